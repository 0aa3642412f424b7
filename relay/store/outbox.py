"""The outbox: the store's interface for the ingest and delivery loops; they share nothing else."""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from relay.config import StoreConfig, WhenFull
from relay.core.checkpoint import Checkpoint, Container
from relay.core.notification import Notification
from relay.store import checkpoints, dead_letters, deliveries, recovery
from relay.store.database import DatabaseFile, MemoryDatabase
from relay.store.enqueue import EnqueueOptions
from relay.store.faults import StoreLoss, StoreStatus
from relay.store.quota import Evicted, add_within_quota, enrich_within_quota
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
from relay.store.settle import settle
from relay.store.wakeup import Wakeup
from relay.store.writer import StoreWriter

_DEFAULTS = StoreConfig()


class Outbox:
    """The store of cursors, container states, deliveries and dead letters, in SQLite.

    Every coroutine returns when its change is on disk; while the disk fails, none returns.
    """

    def __init__(self, writer: StoreWriter, quota: Quota, unordered: Collection[str] = ()) -> None:
        self._writer = writer
        self.set_limits(quota, unordered)
        self._wakeups: defaultdict[str, Wakeup[Delivery]] = defaultdict(Wakeup)

    def set_limits(self, quota: Quota, unordered: Collection[str]) -> None:
        """Set the store's quota, and the destinations whose deliveries need no order.

        Applies to all later commits. Returns at once.
        """
        self._quota, self._unordered = quota, frozenset(unordered)

    @property
    def status(self) -> StoreStatus:
        """Whether the disk works. May be read in any thread."""
        return self._writer.status

    @property
    def is_alive(self) -> bool:
        """Whether the writer thread runs. Also true while it waits for a disk that hangs."""
        return self._writer.is_alive

    @property
    def oldest_wait_s(self) -> float:
        """How long the oldest waiting call has waited; 0.0 if none waits."""
        return self._writer.oldest_wait_s

    async def checkpoint(self, engine: str) -> Checkpoint | None:
        """Return where an engine's cursor stood at its last commit; None without any commit."""
        return await self._writer.run(partial(checkpoints.load_checkpoint, engine))

    async def containers(self, engine: str) -> list[Container]:
        """Return the states of an engine's containers at the last commit."""
        return await self._writer.run(partial(checkpoints.load_containers, engine))

    async def commit(self, batch: IngestCommit, now_ns: int) -> CommitResult:
        """Commit a batch: its deliveries, and the cursor that moves past it.

        A delivery is due at once, or at most `HOLD_NS` later if its notification is to include
        something. A heartbeat replaces one that waits for the same destination.

        A full store evicts dead letters, then the oldest deliveries or those of this batch, as
        configured; the cursor moves in any case. The number of evicted deliveries is stored in the
        same commit, until a batch declares it.
        """
        options = EnqueueOptions(now_ns, self._unordered)
        operation = partial(_commit, batch, self._quota, options)
        result, evicted = await self._writer.run(operation)
        self._offer(batch, result, now_ns)
        self._request_fetch(evicted.destinations)
        return result

    async def losses(self) -> list[StoreLoss]:
        """Return the losses that no batch has declared yet, oldest first."""
        return await self._writer.run(recovery.undeclared_losses)

    async def enrich(
        self, seqs: Sequence[int], notification: Notification, now_ns: int
    ) -> EnrichResult:
        """Replace the notification of held deliveries by the complete one, and end their hold.

        A delivery that is no longer held stays as it is: it may be under way. A full store evicts
        dead letters for the additional space; if that is not enough, the notification says that
        what it was to include is missing.
        """
        operation = partial(enrich_within_quota, seqs, notification, self._quota, now_ns)
        result, destinations = await self._writer.run(operation)
        self._request_fetch(destinations)
        return result

    async def fetch_due(
        self, destination: str, now_ns: int, limit: int, exclude: Collection[int] = ()
    ) -> DueDeliveries:
        """Return up to ``limit`` deliveries that are due, the longest due first.

        Leaves out those whose ``seq`` is in ``exclude``: they are under way. Of deliveries about
        one subject only the first is ever due, so that they stay in order.
        """
        operation = partial(deliveries.fetch_due, destination, now_ns, limit, list(exclude))
        return await self._writer.run(operation)

    async def ack(self, acks: Sequence[Ack], now_ns: int) -> bool:
        """Commit outcomes of attempts, all at once: delivered, due again later, or a dead letter.

        A heartbeat never becomes a dead letter. Unless a delivery is to be tried again, the next
        one about the same subject becomes due. If an outcome pauses the destination, that is
        stored. Returns whether anything becomes due because of this, now or later.
        """
        operation = partial(settle, acks, self._quota, now_ns)
        destinations = await self._writer.run(operation)
        self._request_fetch(destinations)
        return bool(destinations)

    async def expire(
        self, destination: str, before_ns: int, now_ns: int, exclude: Collection[int] = ()
    ) -> GiveUpResult:
        """Give up up to `GIVE_UP_BATCH` deliveries created before then, without another attempt.

        Gives up fewer, but one at least, if their notifications are longer than `GIVE_UP_BYTES`.

        Leaves out those whose ``seq`` is in ``exclude``, and those that wait for one of them.
        """
        operation = partial(deliveries.expire, destination, before_ns, now_ns, list(exclude))
        expired = await self._writer.run(operation)
        if expired.count:
            self._request_fetch([destination])
        return expired

    async def drop_destination(self, destination: str, now_ns: int) -> GiveUpResult:
        """Give up up to `GIVE_UP_BATCH` deliveries to a destination that was removed."""
        return await self._writer.run(partial(deliveries.drop_destination, destination, now_ns))

    async def retry_now(self, destination: str, now_ns: int) -> None:
        """Make deliveries due that wait for another attempt: the destination works again."""
        await self._writer.run(partial(deliveries.retry_now, destination, now_ns))
        self._request_fetch([destination])

    async def begin_outage(self, destination: str, now_ns: int) -> None:
        """Store that the destination fails; the time of an outage that has begun already stays."""
        await self._writer.run(partial(deliveries.begin_outage, destination, now_ns))

    async def end_outage(self, destination: str) -> None:
        """Store that the destination works again."""
        await self._writer.run(partial(deliveries.end_outage, destination))

    async def outages(self) -> dict[str, int]:
        """Return the failing destinations, with the time in nanoseconds since which each fails."""
        return await self._writer.run(deliveries.outages)

    async def pauses(self, now_ns: int) -> dict[str, int]:
        """Return the paused destinations, with the time in nanoseconds at which each pause ends."""
        return await self._writer.run(partial(deliveries.pauses, now_ns))

    async def end_pause(self, destination: str) -> None:
        """Delete a destination's pause."""
        await self._writer.run(partial(deliveries.end_pause, destination))
        self._request_fetch([destination])

    async def waiting(self, destination: str | None, limit: int) -> list[WaitingDelivery]:
        """Return up to ``limit`` waiting deliveries, oldest first; None means all destinations.

        Returns fewer if their notifications are longer than `PAGE_BYTES` together.
        """
        return await self._writer.run(partial(deliveries.waiting, destination, limit))

    async def dead_letters(
        self, selection: Selection, limit: int, below: int | None = None
    ) -> list[DeadLetter]:
        """Return up to ``limit`` dead letters with numbers below ``below``, newest first.

        Returns fewer if their notifications are longer than `PAGE_BYTES` together, but one at
        least: only an empty list says that there are no more.
        """
        return await self._writer.run(partial(dead_letters.find, selection, limit, below))

    async def count_dead_letters(self, selection: Selection) -> dict[str, int]:
        """Return how many dead letters are selected, by destination."""
        return await self._writer.run(partial(dead_letters.count, selection))

    async def replay_dead_letters(
        self, selection: Selection, destinations: DestinationNames, now_ns: int
    ) -> int:
        """Turn dead letters into deliveries again, under the same ids, as if they were new.

        Leaves out those whose destination is not among ``destinations``, because nobody would send
        them; ``destinations`` is called before each commit. Returns how many were replayed. About
        one subject they keep the order in which they were given up, and are sent after deliveries
        that already wait.
        """
        options = EnqueueOptions(now_ns, self._unordered, hold_for_included=False)
        span, count = await self._dead_letter_numbers(), 0
        while found := await self._writer.run(
            partial(dead_letters.replay, selection, destinations(), span, options)
        ):
            span, count = range(found[-1][0] + 1, span.stop), count + len(found)
            self._request_fetch({destination for _, destination in found})
        return count

    async def drop_dead_letters(self, selection: Selection) -> int:
        """Delete dead letters. Returns how many."""
        span, count = await self._dead_letter_numbers(), 0
        while found := await self._writer.run(partial(dead_letters.drop, selection, span)):
            span, count = range(found[-1] + 1, span.stop), count + len(found)
        return count

    async def prune_dead_letters(self, before_ns: int, max_count: int) -> int:
        """Delete dead letters given up before then, and the oldest beyond ``max_count``.

        Returns how many.
        """
        operation, count = partial(dead_letters.prune, before_ns, max_count), 0
        while pruned := await self._writer.run(operation):
            count += pruned
        return count

    async def _dead_letter_numbers(self) -> range:
        """Return the numbers in use now.

        A dead letter that is added meanwhile is not replayed or dropped.
        """
        return range(1, await self._writer.run(dead_letters.newest_number) + 1)

    async def correct_times(self, now_ns: int, max_wait_ns: int) -> int:
        """Correct times of deliveries that are impossible because the clock was set back meanwhile.

        A delivery created in the future was created now; one that waits longer than ``max_wait_ns``
        is due. Returns how many were corrected.
        """
        corrected = await self._writer.run(partial(deliveries.correct_times, now_ns, max_wait_ns))
        self._request_fetch(self._wakeups)
        return corrected

    def wakeup(self, destination: str) -> Wakeup[Delivery]:
        """Return the wake-up of a destination's worker: set when there may be more to send.

        The worker clears it. A delivery that a batch makes due at once is passed on directly, as
        far as the worker has granted credit.
        """
        return self._wakeups[destination]

    async def pending(self) -> dict[str, int]:
        """Return how many deliveries wait, by destination."""
        return {name: each.count for name, each in (await self.backlog()).items()}

    async def backlog(self) -> dict[str, Backlog]:
        """Return how much waits and since when, for each destination for which anything waits."""
        return await self._writer.run(deliveries.backlog)

    def _offer(self, batch: IngestCommit, result: CommitResult, now_ns: int) -> None:
        """Pass on what was committed and is due; request a fetch for what may be due later.

        A delivery behind another one is not announced: the worker is woken when that is settled.
        """
        for (notification, destinations), seqs in zip(
            batch.notifications, result.seqs, strict=True
        ):
            none_evicted = len(seqs) == len(destinations)  # else `seqs` does not line up
            waits = notification.include is not None or is_heartbeat(notification.events[0])
            for place, to in enumerate(destinations):
                if none_evicted and seqs[place] in result.due:
                    self._wakeups[to].offer(Delivery(seqs[place], to, notification, now_ns, 0))
                elif waits or not none_evicted:  # one behind another is due later
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
) -> AsyncIterator[Outbox]:
    """Open the store at ``path``, and create it if it is missing; None keeps it in memory only.

    ``max_size`` is in bytes; ``unordered`` are the destinations whose deliveries need no order.
    ``on_loss`` is called in the event loop, before this returns or while the store is open, when a
    store was found corrupt and a new one was created. The new one lists the loss in `Outbox.losses`
    until a batch declares it.

    Raises `StoreError` if the store cannot be used: it is locked by another relay, was written by a
    newer one, is not a store of relay's, or is not writable.
    """
    loop = asyncio.get_running_loop()

    def report_loss(loss: StoreLoss) -> None:
        if on_loss is not None:
            loop.call_soon_threadsafe(on_loss, loss)

    writer = StoreWriter(MemoryDatabase() if path is None else DatabaseFile(path, report_loss))
    await writer.start()
    try:
        yield Outbox(writer, Quota(max_size, when_full), unordered)
    finally:
        await writer.close()


def _commit(
    batch: IngestCommit, quota: Quota, options: EnqueueOptions, connection: sqlite3.Connection
) -> tuple[CommitResult, Evicted]:
    checkpoints.save(batch, connection)
    recovery.declare_losses(batch.declared_losses, connection)
    return add_within_quota(batch, quota, options, connection)
