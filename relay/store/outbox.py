"""The outbox in SQLite."""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from relay.config import StoreConfig, WhenFull
from relay.core.checkpoint import Bookmark
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
from relay.store.database import Memory, StoreFile
from relay.store.enqueue import Adding
from relay.store.faults import Loss, State
from relay.store.quota import Shed
from relay.store.records import (
    Backlog,
    DeadLetter,
    Delivery,
    Due,
    Enriched,
    GivenUp,
    Intake,
    Names,
    Receipt,
    Room,
    Selection,
    Settled,
    Waiting,
    is_heartbeat,
)
from relay.store.wakeup import News
from relay.store.writer import Committer

_DEFAULTS = StoreConfig()


class SqliteOutbox:
    """An `Outbox`; see there for what each call promises."""

    def __init__(self, committer: Committer, room: Room, unordered: Collection[str] = ()) -> None:
        self._committer = committer
        self.bound(room, unordered)
        self._news: defaultdict[str, News[Delivery]] = defaultdict(News)

    def bound(self, room: Room, unordered: Collection[str]) -> None:
        """See `Outbox.bound`."""
        self._room, self._unordered = room, frozenset(unordered)

    @property
    def state(self) -> State:
        """See `Outbox.state`."""
        return self._committer.state

    @property
    def lives(self) -> bool:
        """See `Outbox.lives`."""
        return self._committer.lives

    @property
    def waited_s(self) -> float:
        """See `Outbox.waited_s`."""
        return self._committer.waited_s

    async def bookmark(self, engine: str) -> Bookmark | None:
        """See `Outbox.bookmark`."""
        return await self._committer.run(partial(checkpoints.bookmark, engine))

    async def containers(self, engine: str) -> list[Container]:
        """See `Outbox.containers`."""
        return await self._committer.run(partial(checkpoints.containers, engine))

    async def take_in(self, intake: Intake, now_ns: int) -> Receipt:
        """See `Outbox.take_in`."""
        receipt, shed = await self._committer.run(
            partial(_take_in, intake, self._room, Adding(now_ns, self._unordered))
        )
        self._hand_over(intake, receipt, now_ns)
        self._tell(shed.destinations)
        return receipt

    async def losses(self) -> list[Loss]:
        """See `Outbox.losses`."""
        return await self._committer.run(losses.undeclared)

    async def enrich(
        self, seqs: Sequence[int], notification: Notification, now_ns: int
    ) -> Enriched:
        """See `Outbox.enrich`."""
        work = partial(quota.enrich, seqs, notification, self._room, now_ns)
        enriched, destinations = await self._committer.run(work)
        self._tell(destinations)
        return enriched

    async def due(
        self, destination: str, now_ns: int, most: int, besides: Collection[int] = ()
    ) -> Due:
        """See `Outbox.due`."""
        asked = partial(deliveries.due, destination, now_ns, most, list(besides))
        return await self._committer.run(asked)

    async def settle(self, settled: Sequence[Settled], now_ns: int) -> bool:
        """See `Outbox.settle`."""
        work = partial(outcomes.settle, settled, self._room, now_ns)
        told = await self._committer.run(work)
        self._tell(told)
        return bool(told)

    async def expire(
        self, destination: str, before_ns: int, now_ns: int, besides: Collection[int] = ()
    ) -> GivenUp:
        """See `Outbox.expire`."""
        work = partial(deliveries.expire, destination, before_ns, now_ns, list(besides))
        expired = await self._committer.run(work)
        if expired.count:
            self._tell([destination])
        return expired

    async def retire(self, destination: str, now_ns: int) -> GivenUp:
        """See `Outbox.retire`."""
        return await self._committer.run(partial(deliveries.retire, destination, now_ns))

    async def hurry(self, destination: str, now_ns: int) -> None:
        """See `Outbox.hurry`."""
        await self._committer.run(partial(deliveries.hurry, destination, now_ns))
        self._tell([destination])

    async def begin_episode(self, destination: str, now_ns: int) -> None:
        """See `Outbox.begin_episode`."""
        await self._committer.run(partial(deliveries.begin_episode, destination, now_ns))

    async def end_episode(self, destination: str) -> None:
        """See `Outbox.end_episode`."""
        await self._committer.run(partial(deliveries.end_episode, destination))

    async def episodes(self) -> dict[str, int]:
        """See `Outbox.episodes`."""
        return await self._committer.run(deliveries.episodes)

    async def pauses(self, now_ns: int) -> dict[str, int]:
        """See `Outbox.pauses`."""
        return await self._committer.run(partial(deliveries.pauses, now_ns))

    async def end_pause(self, destination: str) -> None:
        """See `Outbox.end_pause`."""
        await self._committer.run(partial(deliveries.end_pause, destination))
        self._tell([destination])

    async def waiting(self, destination: str | None, most: int) -> list[Waiting]:
        """See `Outbox.waiting`."""
        return await self._committer.run(partial(deliveries.waiting, destination, most))

    async def dead_letters(
        self, selection: Selection, most: int, below: int | None = None
    ) -> list[DeadLetter]:
        """See `Outbox.dead_letters`."""
        return await self._committer.run(partial(letters.find, selection, most, below))

    async def replay(self, selection: Selection, destinations: Names, now_ns: int) -> int:
        """See `Outbox.replay`."""
        how = Adding(now_ns, self._unordered, held=False)
        span, count = await self._letters(), 0
        while found := await self._committer.run(
            partial(letters.replay, selection, destinations(), span, how)
        ):
            span, count = range(found[-1].number + 1, span.stop), count + len(found)
            self._tell({letter.destination for letter in found})
        return count

    async def drop(self, selection: Selection) -> int:
        """See `Outbox.drop`."""
        span, count = await self._letters(), 0
        while found := await self._committer.run(partial(letters.drop, selection, span)):
            span, count = range(found[-1].number + 1, span.stop), count + len(found)
        return count

    async def prune(self, before_ns: int, most: int) -> int:
        """See `Outbox.prune`."""
        return await self._committer.run(partial(letters.prune, before_ns, most))

    async def _letters(self) -> range:
        """The numbers that there are: one that is given up meanwhile is not among them."""
        return range(1, await self._committer.run(letters.newest) + 1)

    async def settle_clock(self, now_ns: int, most_ns: int) -> int:
        """See `Outbox.settle_clock`."""
        mended = await self._committer.run(partial(deliveries.settle_clock, now_ns, most_ns))
        self._tell(self._news)
        return mended

    def news(self, destination: str) -> News[Delivery]:
        """See `Outbox.news`."""
        return self._news[destination]

    async def pending(self) -> dict[str, int]:
        """See `Outbox.pending`."""
        return {name: each.count for name, each in (await self.backlog()).items()}

    async def backlog(self) -> dict[str, Backlog]:
        """See `Outbox.backlog`."""
        return await self._committer.run(deliveries.backlog)

    def _hand_over(self, intake: Intake, receipt: Receipt, now_ns: int) -> None:
        """Give the lanes what was committed and is due; for the rest they ask when it may be."""
        for (notification, destinations), seqs in zip(
            intake.notifications, receipt.seqs, strict=True
        ):
            whole = len(seqs) == len(destinations)  # else it is not known which were given up
            waits = notification.include is not None or is_heartbeat(notification.events[0])
            for place, to in enumerate(destinations):
                if whole and seqs[place] in receipt.due:
                    self._news[to].hand(Delivery(seqs[place], to, notification, now_ns, 0))
                elif waits or not whole:  # what stands behind another is told of with that
                    self._news[to].set()

    def _tell(self, destinations: Collection[str]) -> None:
        for destination in destinations:
            self._news[destination].set()


@asynccontextmanager
async def open_outbox(
    path: Path | None,
    *,
    max_size: int = _DEFAULTS.max_size,
    when_full: WhenFull = _DEFAULTS.when_full,
    unordered: Collection[str] = (),
    on_loss: Callable[[Loss], None] | None = None,
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

    def declare(loss: Loss) -> None:
        if on_loss is not None:
            loop.call_soon_threadsafe(on_loss, loss)

    committer = Committer(Memory() if path is None else StoreFile(path, declare))
    await committer.start()
    try:
        yield SqliteOutbox(committer, Room(max_size, when_full), unordered)
    finally:
        await committer.close()


def _take_in(
    intake: Intake, bound: Room, how: Adding, connection: sqlite3.Connection
) -> tuple[Receipt, Shed]:
    checkpoints.save(intake, connection)
    losses.declare(intake.declares, connection)
    return quota.store(intake, bound, how, connection)
