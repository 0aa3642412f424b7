"""Stores the outcomes of attempts, many in one transaction.

Outcomes need no sync of their own: if one is lost, its delivery is only sent once more, under the
same id. So they wait up to `ACK_LINGER_S` for a transaction that happens anyway.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from relay.core.exchange import Dead, Delivered, Retry
from relay.store import deliveries, outages
from relay.store.handover import Handover
from relay.store.quota import fit_answer
from relay.store.records import Ack, Quota
from relay.store.writer import StoreWriter

ACK_LINGER_S = 0.05
"""How long outcomes wait for a transaction that they can be part of."""

ACK_BATCH_SIZE = 256
"""This many outcomes do not wait any longer."""


@dataclass(slots=True)
class _PendingAcks:
    """Outcomes that wait for a transaction."""

    now_ns: int
    done: asyncio.Future[None]
    timer: asyncio.TimerHandle
    acks: list[Ack] = field(default_factory=list)


class AckQueue:
    """Collects outcomes for the next transaction, and reports them to the workers after it."""

    def __init__(
        self, writer: StoreWriter, handover: Handover, get_quota: Callable[[], Quota]
    ) -> None:
        self._writer = writer
        self._handover = handover
        self._get_quota = get_quota
        self._pending: _PendingAcks | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no outcome waits for a transaction."""
        return self._pending is None

    def add(self, acks: Sequence[Ack], now_ns: int, *, flush: bool) -> asyncio.Future[None]:
        """Add outcomes to the next transaction.

        They get a transaction of their own if none comes within `ACK_LINGER_S`, if there are
        `ACK_BATCH_SIZE` of them, or with ``flush``. It is not synced: if a power cut undoes it,
        these deliveries are sent once more, under the same ids.

        Returns a future that is done when the outcomes are stored.
        """
        pending = self._pending
        if pending is None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(ACK_LINGER_S, self.submit)
            pending = self._pending = _PendingAcks(now_ns, loop.create_future(), timer)
        pending.acks += acks
        pending.now_ns = max(pending.now_ns, now_ns)
        if flush or len(pending.acks) >= ACK_BATCH_SIZE:
            self.submit()
        return pending.done

    def submit(self, *, is_urgent: bool = True) -> None:
        """Queue the outcomes for the writer; if not urgent, together with its next operation."""
        if (pending := self._pending) is None:
            return
        self._pending = None
        pending.timer.cancel()
        operation = partial(settle, pending.acks, self._get_quota(), pending.now_ns)
        settling = self._writer.submit(operation, is_synced=False, is_urgent=is_urgent)
        settling.add_done_callback(partial(self._report, pending))

    def _report(self, pending: _PendingAcks, settling: asyncio.Future[None]) -> None:
        if settling.cancelled():
            pending.done.cancel()
        elif (error := settling.exception()) is not None:
            self._handover.fail({ack.delivery.destination for ack in pending.acks}, error)
            pending.done.set_exception(error)
            pending.done.exception()  # retrieved: not every caller waits for it
        else:
            self._handover.settled(pending.acks)
            pending.done.set_result(None)


def settle(acks: Sequence[Ack], quota: Quota, now_ns: int, connection: sqlite3.Connection) -> None:
    """Store outcomes, in order; see `Outbox.ack`."""
    for is_delivered, group in groupby(acks, lambda ack: isinstance(ack.outcome, Delivered)):
        if is_delivered:
            delivered = [ack.delivery.seq for ack in group]
            deliveries.delete_and_release_next(delivered, now_ns, connection)
        else:
            for ack in group:
                _store_failure(ack, quota, now_ns, connection)
    for ack in acks:
        if ack.outcome.pause_s > 0:
            until_ns = now_ns + int(ack.outcome.pause_s * 1e9)
            outages.pause(ack.delivery.destination, until_ns, connection)


def _store_failure(ack: Ack, quota: Quota, now_ns: int, connection: sqlite3.Connection) -> None:
    match ack:
        case delivery, Retry() as retry, answer:
            deliveries.schedule_retry(delivery, retry, answer, now_ns, connection)
        case delivery, Dead(reason=reason), answer:
            fitted = fit_answer(answer, quota, connection)
            deliveries.move_to_dead_letters(delivery, reason, fitted, now_ns, connection)
