"""The outbox in SQLite."""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from relay.config import StoreConfig, WhenFull
from relay.core.checkpoint import Checkpoint
from relay.core.container import Container
from relay.core.notification import Notification
from relay.store import (
    checkpoints,
    deliveries,
    losses,
    quota,
)
from relay.store import (
    dead_letters as letters,
)
from relay.store import (
    settle as outcomes,
)
from relay.store.database import DatabaseFile, MemoryDatabase
from relay.store.enqueue import EnqueueOptions
from relay.store.faults import StoreLoss, StoreStatus
from relay.store.quota import Evicted
from relay.store.records import (
    Ack,
    Backlog,
    CommitResult,
    DeadLetter,
    Delivery,
    DestinationNames,
    DueDeliveries,
    EnrichResult,
    GiveUpResult,
    IngestCommit,
    Quota,
    Selection,
    WaitingDelivery,
    is_heartbeat,
)
from relay.store.wakeup import Wakeup
from relay.store.writer import StoreWriter

_DEFAULTS = StoreConfig()


class SqliteOutbox:
    """An `Outbox`; see there for what each call promises."""

    def __init__(self, writer: StoreWriter, quota: Quota, unordered: Collection[str] = ()) -> None:
        self._writer = writer
        self.set_limits(quota, unordered)
        self._wakeups: defaultdict[str, Wakeup[Delivery]] = defaultdict(Wakeup)

    def set_limits(self, quota: Quota, unordered: Collection[str]) -> None:
        """See `Outbox.set_limits`."""
        self._quota, self._unordered_destinations = quota, frozenset(unordered)

    @property
    def status(self) -> StoreStatus:
        """See `Outbox.status`."""
        return self._writer.status

    @property
    def is_alive(self) -> bool:
        """See `Outbox.is_alive`."""
        return self._writer.is_alive

    @property
    def oldest_wait_s(self) -> float:
        """See `Outbox.oldest_wait_s`."""
        return self._writer.oldest_wait_s

    async def checkpoint(self, engine: str) -> Checkpoint | None:
        """See `Outbox.checkpoint`."""
        return await self._writer.run(partial(checkpoints.load_checkpoint, engine))

    async def containers(self, engine: str) -> list[Container]:
        """See `Outbox.containers`."""
        return await self._writer.run(partial(checkpoints.load_containers, engine))

    async def commit(self, batch: IngestCommit, now_ns: int) -> CommitResult:
        """See `Outbox.commit`."""
        result, evicted = await self._writer.run(
            partial(
                _commit, batch, self._quota, EnqueueOptions(now_ns, self._unordered_destinations)
            )
        )
        self._offer(batch, result, now_ns)
        self._request_fetch(evicted.destinations)
        return result

    async def losses(self) -> list[StoreLoss]:
        """See `Outbox.losses`."""
        return await self._writer.run(losses.undeclared_losses)

    async def enrich(
        self, seqs: Sequence[int], notification: Notification, now_ns: int
    ) -> EnrichResult:
        """See `Outbox.enrich`."""
        work = partial(quota.enrich, seqs, notification, self._quota, now_ns)
        enriched, destinations = await self._writer.run(work)
        self._request_fetch(destinations)
        return enriched

    async def fetch_due(
        self, destination: str, now_ns: int, limit: int, exclude: Collection[int] = ()
    ) -> DueDeliveries:
        """See `Outbox.fetch_due`."""
        asked = partial(deliveries.fetch_due, destination, now_ns, limit, list(exclude))
        return await self._writer.run(asked)

    async def ack(self, acks: Sequence[Ack], now_ns: int) -> bool:
        """See `Outbox.ack`."""
        work = partial(outcomes.settle, acks, self._quota, now_ns)
        destinations = await self._writer.run(work)
        self._request_fetch(destinations)
        return bool(destinations)

    async def expire(
        self, destination: str, before_ns: int, now_ns: int, exclude: Collection[int] = ()
    ) -> GiveUpResult:
        """See `Outbox.expire`."""
        work = partial(deliveries.expire, destination, before_ns, now_ns, list(exclude))
        expired = await self._writer.run(work)
        if expired.count:
            self._request_fetch([destination])
        return expired

    async def drop_destination(self, destination: str, now_ns: int) -> GiveUpResult:
        """See `Outbox.drop_destination`."""
        return await self._writer.run(partial(deliveries.drop_destination, destination, now_ns))

    async def retry_now(self, destination: str, now_ns: int) -> None:
        """See `Outbox.retry_now`."""
        await self._writer.run(partial(deliveries.retry_now, destination, now_ns))
        self._request_fetch([destination])

    async def begin_outage(self, destination: str, now_ns: int) -> None:
        """See `Outbox.begin_outage`."""
        await self._writer.run(partial(deliveries.begin_outage, destination, now_ns))

    async def end_outage(self, destination: str) -> None:
        """See `Outbox.end_outage`."""
        await self._writer.run(partial(deliveries.end_outage, destination))

    async def outages(self) -> dict[str, int]:
        """See `Outbox.outages`."""
        return await self._writer.run(deliveries.outages)

    async def pauses(self, now_ns: int) -> dict[str, int]:
        """See `Outbox.pauses`."""
        return await self._writer.run(partial(deliveries.pauses, now_ns))

    async def end_pause(self, destination: str) -> None:
        """See `Outbox.end_pause`."""
        await self._writer.run(partial(deliveries.end_pause, destination))
        self._request_fetch([destination])

    async def waiting(self, destination: str | None, limit: int) -> list[WaitingDelivery]:
        """See `Outbox.waiting`."""
        return await self._writer.run(partial(deliveries.waiting, destination, limit))

    async def dead_letters(
        self, selection: Selection, limit: int, below: int | None = None
    ) -> list[DeadLetter]:
        """See `Outbox.dead_letters`."""
        return await self._writer.run(partial(letters.find, selection, limit, below))

    async def replay_dead_letters(
        self, selection: Selection, destinations: DestinationNames, now_ns: int
    ) -> int:
        """See `Outbox.replay_dead_letters`."""
        how = EnqueueOptions(now_ns, self._unordered_destinations, hold_for_included=False)
        span, count = await self._dead_letter_numbers(), 0
        while found := await self._writer.run(
            partial(letters.replay, selection, destinations(), span, how)
        ):
            span, count = range(found[-1].number + 1, span.stop), count + len(found)
            self._request_fetch({letter.destination for letter in found})
        return count

    async def drop_dead_letters(self, selection: Selection) -> int:
        """See `Outbox.drop_dead_letters`."""
        span, count = await self._dead_letter_numbers(), 0
        while found := await self._writer.run(partial(letters.drop, selection, span)):
            span, count = range(found[-1].number + 1, span.stop), count + len(found)
        return count

    async def prune_dead_letters(self, before_ns: int, max_count: int) -> int:
        """See `Outbox.prune_dead_letters`."""
        return await self._writer.run(partial(letters.prune, before_ns, max_count))

    async def _dead_letter_numbers(self) -> range:
        """The numbers that there are: one that is given up meanwhile is not among them."""
        return range(1, await self._writer.run(letters.newest_number) + 1)

    async def correct_times(self, now_ns: int, max_wait_ns: int) -> int:
        """See `Outbox.correct_times`."""
        corrected = await self._writer.run(partial(deliveries.correct_times, now_ns, max_wait_ns))
        self._request_fetch(self._wakeups)
        return corrected

    def wakeup(self, destination: str) -> Wakeup[Delivery]:
        """See `Outbox.wakeup`."""
        return self._wakeups[destination]

    async def pending(self) -> dict[str, int]:
        """See `Outbox.pending`."""
        return {name: each.count for name, each in (await self.backlog()).items()}

    async def backlog(self) -> dict[str, Backlog]:
        """See `Outbox.backlog`."""
        return await self._writer.run(deliveries.backlog)

    def _offer(self, batch: IngestCommit, result: CommitResult, now_ns: int) -> None:
        """Give the lanes what was committed and is due; for the rest they ask when it may be."""
        for (notification, destinations), seqs in zip(
            batch.notifications, result.seqs, strict=True
        ):
            whole = len(seqs) == len(destinations)  # else it is not known which were given up
            waits = notification.include is not None or is_heartbeat(notification.events[0])
            for place, to in enumerate(destinations):
                if whole and seqs[place] in result.due:
                    self._wakeups[to].offer(Delivery(seqs[place], to, notification, now_ns, 0))
                elif waits or not whole:  # what stands behind another is told of with that
                    self._wakeups[to].request_fetch()

    def _request_fetch(self, destinations: Collection[str]) -> None:
        for destination in destinations:
            self._wakeups[destination].request_fetch()


@asynccontextmanager
async def open_outbox(
    path: Path | None,
    *,
    max_size: int = _DEFAULTS.max_size,
    when_full: WhenFull = _DEFAULTS.when_full,
    unordered: Collection[str] = (),
    on_loss: Callable[[StoreLoss], None] | None = None,
) -> AsyncIterator[SqliteOutbox]:
    """The outbox at ``path``, made if it is not there; None keeps it in memory only.

    ``max_size`` is in bytes; ``unordered`` are the destinations whose deliveries are in no order.
    ``on_loss`` is called in the event loop, before this returns or while
    it is open, when a store was found broken and a new one begun; until it is declared, the new
    one keeps it among its `Outbox.losses`.

    Raises `StoreError` where it cannot be used: held by another relay, written by a newer one, not
    a store of relay's, or not writable.
    """
    loop = asyncio.get_running_loop()

    def report_loss(loss: StoreLoss) -> None:
        if on_loss is not None:
            loop.call_soon_threadsafe(on_loss, loss)

    writer = StoreWriter(MemoryDatabase() if path is None else DatabaseFile(path, report_loss))
    await writer.start()
    try:
        yield SqliteOutbox(writer, Quota(max_size, when_full), unordered)
    finally:
        await writer.close()


def _commit(
    batch: IngestCommit, limits: Quota, options: EnqueueOptions, connection: sqlite3.Connection
) -> tuple[CommitResult, Evicted]:
    checkpoints.save(batch, connection)
    losses.declare_losses(batch.declared_losses, connection)
    return quota.add_within_quota(batch, limits, options, connection)
