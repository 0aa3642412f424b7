"""The outbox in SQLite."""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from relay.bookmark import Bookmark
from relay.config import StoreConfig, WhenFull
from relay.container import Container
from relay.exchange import Outcome
from relay.notification import Notification
from relay.store import deliveries, engines, losses, room
from relay.store.committer import Committer
from relay.store.file import Memory, StoreFile
from relay.store.outbox import Delivery, Due, Enriched, Intake, Receipt
from relay.store.room import Room, Shed
from relay.store.trouble import Loss, State

_DEFAULTS = StoreConfig()


class SqliteOutbox:
    """An `Outbox`; see there for what each call promises."""

    def __init__(self, committer: Committer, bound: Room) -> None:
        self._committer = committer
        self._room = bound
        self._news: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    @property
    def state(self) -> State:
        """See `Outbox.state`."""
        return self._committer.state

    async def bookmark(self, engine: str) -> Bookmark | None:
        """See `Outbox.bookmark`."""
        return await self._committer.run(partial(engines.bookmark, engine))

    async def containers(self, engine: str) -> list[Container]:
        """See `Outbox.containers`."""
        return await self._committer.run(partial(engines.containers, engine))

    async def take_in(self, intake: Intake, now_ns: int) -> Receipt:
        """See `Outbox.take_in`."""
        receipt, shed = await self._committer.run(partial(_take_in, intake, self._room, now_ns))
        for _, destinations in intake.notifications:
            self._tell(destinations)
        self._tell(shed.destinations)
        return receipt

    async def losses(self) -> list[Loss]:
        """See `Outbox.losses`."""
        return await self._committer.run(losses.undeclared)

    async def enrich(
        self, seqs: Sequence[int], notification: Notification, now_ns: int
    ) -> Enriched:
        """See `Outbox.enrich`."""
        work = partial(room.enrich, seqs, notification, self._room, now_ns)
        enriched, destinations = await self._committer.run(work)
        self._tell(destinations)
        return enriched

    async def due(
        self, destination: str, now_ns: int, most: int, besides: Collection[int] = ()
    ) -> Due:
        """See `Outbox.due`."""
        asked = partial(deliveries.due, destination, now_ns, most, list(besides))
        return await self._committer.run(asked)

    async def settle(self, delivery: Delivery, outcome: Outcome, now_ns: int) -> None:
        """See `Outbox.settle`."""
        await self._committer.run(partial(deliveries.settle, delivery, outcome, now_ns))
        self._tell([delivery.destination])

    async def settle_clock(self, now_ns: int, most_ns: int) -> int:
        """See `Outbox.settle_clock`."""
        mended = await self._committer.run(partial(deliveries.settle_clock, now_ns, most_ns))
        self._tell(self._news)
        return mended

    def news(self, destination: str) -> asyncio.Event:
        """See `Outbox.news`."""
        return self._news[destination]

    async def pending(self) -> dict[str, int]:
        """See `Outbox.pending`."""
        return await self._committer.run(deliveries.pending)

    def _tell(self, destinations: Collection[str]) -> None:
        for destination in destinations:
            self._news[destination].set()


@asynccontextmanager
async def open_outbox(
    path: Path | None,
    *,
    max_size: int = _DEFAULTS.max_size,
    when_full: WhenFull = _DEFAULTS.when_full,
    on_loss: Callable[[Loss], None] | None = None,
) -> AsyncIterator[SqliteOutbox]:
    """The outbox at ``path``, made if it is not there; None keeps it in memory only.

    ``max_size`` is in bytes. ``on_loss`` is called in the event loop, before this returns or while
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
        yield SqliteOutbox(committer, Room(max_size, when_full))
    finally:
        await committer.close()


def _take_in(
    intake: Intake, bound: Room, now_ns: int, connection: sqlite3.Connection
) -> tuple[Receipt, Shed]:
    engines.save(intake, connection)
    losses.declare(intake.declares, connection)
    return room.store(intake, bound, now_ns, connection)
