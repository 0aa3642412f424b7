"""The outbox: the store's interface for the ingest and delivery loops; they share nothing else."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from relay.config import StoreConfig, WhenFull
from relay.core.checkpoint import Checkpoint
from relay.core.container import Container
from relay.core.notification import Notification
from relay.store import checkpoints, dead_letters, deliveries, hosts, incidents, outages, recovery
from relay.store.acks import AckQueue
from relay.store.database import DatabaseFile, MemoryDatabase
from relay.store.enqueue import EnqueueOptions
from relay.store.faults import StoreLoss, StoreStatus
from relay.store.handover import Handover
from relay.store.quota import (
    Evicted,
    UsedSpace,
    add_within_quota,
    enrich_within_quota,
    keep_unreadable,
    save_incident_rows,
)
from relay.store.records import (
    Ack,
    Backlog,
    CommitResult,
    DeadLetter,
    DestinationNames,
    DueDeliveries,
    EnrichResult,
    GiveUpResult,
    HostRow,
    IngestCommit,
    MessageFates,
    MessageKey,
    Quota,
    RowChanges,
    SeenChunk,
    Selection,
    StoredRow,
    WaitingDelivery,
)
from relay.store.writer import Operation, StoreWriter

T = TypeVar("T")

_DEFAULTS = StoreConfig()

LONG_READS = 2
"""How many workers may read long notifications at once, because these take much memory until the
worker has rendered them."""


class Outbox:
    """The store of cursors, container states, deliveries and dead letters, in SQLite.

    Every coroutine returns when its change is on disk; while the disk fails, none returns.
    """

    def __init__(self, writer: StoreWriter, quota: Quota, unordered: Collection[str] = ()) -> None:
        self._writer = writer
        self._used = UsedSpace()
        self.set_limits(quota, unordered)
        self._handover = Handover()
        self.attach, self.detach = self._handover.attach, self._handover.detach
        self._long_reads = asyncio.Semaphore(LONG_READS)
        self._acks = AckQueue(writer, self._handover, lambda: self._quota)

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
        return await self._read(partial(checkpoints.load_checkpoint, engine))

    async def containers(self, engine: str, collect: Callable[[Iterable[Container]], T]) -> T:
        """Return what ``collect`` makes of the states of an engine's containers.

        They are those at the last commit. ``collect`` gets them one by one, in the store's thread,
        since all of them may take much memory.
        """
        return await self._read(
            lambda connection: collect(checkpoints.load_containers(engine, connection))
        )

    async def seen(self, engine: str) -> list[SeenChunk]:
        """Return the events of other hosts that the engine handed over, by commit, oldest first."""
        return await self._read(partial(hosts.load_seen, engine))

    async def hosts(self, engine: str) -> list[HostRow]:
        """Return the hosts that send heartbeats to the engine, by name."""
        return await self._read(partial(hosts.load_hosts, engine))

    async def commit(self, batch: IngestCommit, now_ns: int) -> CommitResult:
        """Commit a batch: its deliveries, and the cursor that moves past it.

        A delivery is due at once, or at most `HOLD_NS` later if its notification is to include
        something. A heartbeat replaces one that waits for the same destination.

        A full store evicts dead letters, then the oldest deliveries or those of this batch, as
        configured; the cursor moves in any case. The number of evicted deliveries is stored in the
        same commit, until a batch declares it.
        """
        options = EnqueueOptions(now_ns, self._unordered)
        self._acks.submit(is_urgent=False)
        committing = self._writer.submit(partial(_commit, batch, self._quota, options, self._used))
        committing.add_done_callback(partial(self._inform_workers, batch, now_ns))
        # Shielded: what is stored is passed on to the workers even if the caller is cancelled.
        result, _ = await asyncio.shield(committing)
        return result

    async def incident_rows(self) -> list[StoredRow]:
        """Return all rows of incidents, in the order in which they were first stored."""
        return await self._read(incidents.load_rows)

    def save_incident_rows(self, rows: RowChanges) -> asyncio.Future[None]:
        """Store rows of incidents after everything that was submitted before.

        The transaction is not synced: a power cut may undo it, together with all later ones up to
        the next that is synced. The future is done when the rows are stored; it is done at once if
        there are none. A full store evicts for them with the next commit.

        After a loss (see `open_outbox`) submit all rows once: those that could not be read are
        missing in the new store.
        """
        if not rows:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        operation = partial(save_incident_rows, rows, self._used)
        return self._writer.submit(operation, is_synced=False)

    async def message_fates(self, messages: Collection[MessageKey]) -> MessageFates:
        """Return which of these notifications about incidents wait, and which are dead letters."""
        return await self._read(partial(incidents.find_fates, messages))

    async def losses(self) -> list[StoreLoss]:
        """Return the losses that no batch has declared yet, oldest first."""
        return await self._read(recovery.undeclared_losses)

    async def enrich(
        self, seqs: Sequence[int], notification: Notification, now_ns: int
    ) -> EnrichResult:
        """Replace the notification of held deliveries by the complete one, and end their hold.

        A delivery that is no longer held stays as it is: it may be under way. A full store evicts
        dead letters for the additional space; if that is not enough, the notification says that
        what it was to include is missing.
        """
        operation = partial(
            enrich_within_quota, seqs, notification, self._quota, now_ns, self._used
        )
        result, destinations = await self._write(operation)
        self._handover.request_fetch(destinations)
        return result

    async def fetch_due(
        self,
        destination: str,
        until_ns: int,
        max_count: int,
        exclude: Collection[int] = (),
        max_bytes: int = 2**62,
    ) -> DueDeliveries:
        """Return up to ``max_count`` deliveries that are due by then, the longest due first.

        Leaves out those whose ``seq`` is in ``exclude``: they are in memory. The notifications take
        at most ``max_bytes`` in the store, except that one is always returned. Of deliveries about
        one subject only the first is ever due, so that they stay in order.
        """
        query = partial(
            deliveries.fetch_due, destination, until_ns, max_count, list(exclude), max_bytes
        )
        fetched = await self._read(query)
        if not (seqs := fetched.long_seqs):
            return fetched.with_long({})
        async with self._long_reads:
            long = await self._read(partial(deliveries.read_notifications, seqs))
            return fetched.with_long(long)

    def ack(self, acks: Sequence[Ack], now_ns: int, *, flush: bool = False) -> asyncio.Future[None]:
        """Store outcomes of attempts: delivered, due again later, or a dead letter.

        A heartbeat never becomes a dead letter. Unless a delivery is to be tried again, the next
        one about the same subject becomes due. If an outcome pauses the destination, that is
        stored. The future is done when all that is stored; see `AckQueue.add` for when that is.
        """
        return self._acks.add(acks, now_ns, flush=flush)

    def flush_acks(self) -> None:
        """Store the outcomes that still wait for a transaction, in one of their own."""
        self._acks.submit()

    async def _read(self, query: Operation[T]) -> T:
        """Return the result of a query, after all outcomes so far are stored."""
        has_acks = not self._acks.is_empty  # they need no sync, and a query alone causes none
        self._acks.submit(is_urgent=False)
        return await self._writer.submit(query, is_synced=not has_acks)

    async def _write(self, operation: Operation[T]) -> T:
        """Run an operation after all outcomes so far; return its result when it is on disk."""
        self._acks.submit(is_urgent=False)
        return await self._writer.run(operation)

    def _inform_workers(
        self,
        batch: IngestCommit,
        now_ns: int,
        committing: asyncio.Future[tuple[CommitResult, Evicted]],
    ) -> None:
        if not committing.cancelled() and committing.exception() is None:
            result, evicted = committing.result()
            self._handover.committed(batch, result, now_ns)
            self._handover.request_fetch(evicted.destinations)

    async def expire(
        self, destination: str, before_ns: int, now_ns: int, exclude: Collection[int] = ()
    ) -> GiveUpResult:
        """Give up up to `GIVE_UP_BATCH` deliveries created before then, without another attempt.

        Gives up fewer, but at least one, if their notifications exceed `GIVE_UP_BYTES` together.
        Leaves out those whose ``seq`` is in ``exclude``, and those that wait for one of them.
        """
        operation = partial(deliveries.expire, destination, before_ns, now_ns, list(exclude))
        expired = await self._write(operation)
        if expired.count:
            self._handover.request_fetch([destination])
        return expired

    async def drop_destination(self, destination: str, now_ns: int) -> GiveUpResult:
        """Give up up to `GIVE_UP_BATCH` deliveries to a destination that was removed."""
        return await self._write(partial(deliveries.drop_destination, destination, now_ns))

    async def retry_now(self, destination: str, now_ns: int) -> None:
        """Make deliveries due that wait for another attempt: the destination works again."""
        await self._write(partial(deliveries.retry_now, destination, now_ns))
        self._handover.request_fetch([destination])

    async def begin_outage(self, destination: str, now_ns: int) -> None:
        """Store that the destination fails; the time of an outage that has begun already stays."""
        await self._write(partial(outages.begin, destination, now_ns))

    async def end_outage(self, destination: str) -> None:
        """Store that the destination works again."""
        await self._write(partial(outages.end, destination))

    async def outages(self) -> dict[str, int]:
        """Return the failing destinations, with the time in nanoseconds since which each fails."""
        return await self._read(outages.find_all)

    async def pauses(self, now_ns: int) -> dict[str, int]:
        """Return the paused destinations, with the time in nanoseconds at which each pause ends."""
        return await self._read(partial(outages.find_pauses, now_ns))

    async def end_pause(self, destination: str) -> None:
        """Delete a destination's pause."""
        await self._write(partial(outages.end_pause, destination))
        self._handover.request_fetch([destination])

    async def waiting(self, destination: str | None, limit: int) -> list[WaitingDelivery]:
        """Return up to ``limit`` waiting deliveries, oldest first; None means all destinations.

        Returns fewer, but at least one, if their notifications exceed `PAGE_BYTES` together.
        """
        return await self._read(partial(deliveries.waiting, destination, limit))

    async def dead_letters(
        self, selection: Selection, limit: int, below: int | None = None
    ) -> list[DeadLetter]:
        """Return up to ``limit`` dead letters with numbers below ``below``, newest first.

        Returns fewer, but at least one, if their notifications exceed `PAGE_BYTES` together: only
        an empty list says that there are no others.
        """
        return await self._read(partial(dead_letters.find, selection, limit, below))

    async def count_dead_letters(self, selection: Selection) -> dict[str, int]:
        """Return how many dead letters are selected, by destination."""
        return await self._read(partial(dead_letters.count, selection))

    async def replay_dead_letters(
        self,
        selection: Selection,
        destinations: DestinationNames,
        now_ns: int,
        excluded: Collection[int] = (),
    ) -> int:
        """Turn dead letters into deliveries again, under the same ids, as if they were new.

        Leaves out those whose number is ``excluded``, and those whose destination is not among
        ``destinations``, because nobody would send them; ``destinations`` is called before each
        commit. Returns how many were replayed. About one subject they keep the order in which they
        were given up, and are sent after deliveries that already wait.
        """
        options = EnqueueOptions(now_ns, self._unordered, hold_for_included=False)
        span, count = await self._dead_letter_numbers(), 0
        while batch := await self._write(
            partial(dead_letters.replay, selection, destinations(), span, excluded, options)
        ):
            span, count = range(batch.last + 1, span.stop), count + batch.size
            self._handover.request_fetch(batch.destinations)
        return count

    async def drop_dead_letters(self, selection: Selection) -> int:
        """Delete dead letters. Returns how many."""
        span, count = await self._dead_letter_numbers(), 0
        while found := await self._write(partial(dead_letters.drop, selection, span)):
            span, count = range(found[-1] + 1, span.stop), count + len(found)
        return count

    async def prune_dead_letters(self, before_ns: int, max_count: int) -> int:
        """Delete dead letters given up before then, and the oldest beyond ``max_count``.

        Returns how many.
        """
        operation, count = partial(dead_letters.prune, before_ns, max_count), 0
        while pruned := await self._write(operation):
            count += pruned
        return count

    async def _dead_letter_numbers(self) -> range:
        """Return the numbers in use now.

        A dead letter that is added meanwhile is not replayed or dropped.
        """
        return range(1, await self._read(dead_letters.newest_number) + 1)

    async def correct_times(self, now_ns: int, max_wait_ns: int) -> int:
        """Correct times of deliveries that are impossible because the clock was set back.

        A delivery created in the future was created now; one that waits longer than ``max_wait_ns``
        is due. Returns how many were corrected.
        """
        corrected = await self._write(partial(deliveries.correct_times, now_ns, max_wait_ns))
        self._handover.request_fetch()
        return corrected

    async def pending(self) -> dict[str, int]:
        """Return how many deliveries wait, by destination."""
        return {name: each.count for name, each in (await self.backlog()).items()}

    async def backlog(self) -> dict[str, Backlog]:
        """Return how much waits and since when, for each destination for which anything waits."""
        return await self._read(deliveries.backlog)


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
    outbox = Outbox(writer, Quota(max_size, when_full), unordered)
    try:
        yield outbox
    finally:
        outbox.flush_acks()
        await writer.close()


def _commit(
    batch: IngestCommit,
    quota: Quota,
    options: EnqueueOptions,
    used: UsedSpace,
    connection: sqlite3.Connection,
) -> tuple[CommitResult, Evicted]:
    checkpoints.save(batch, connection)
    hosts.save(batch, connection)
    if batch.unreadable:
        keep_unreadable(batch, options.now_ns, used, connection)
    if batch.incident_rows:
        save_incident_rows(batch.incident_rows, used, connection)
    if batch.declared_losses:
        recovery.declare_losses(batch.declared_losses, connection)
    return add_within_quota(batch, quota, options, used, connection)
