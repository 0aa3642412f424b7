"""What was read of an engine and is not digested yet."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from relay.core.event import Event, Why
from relay.ingest.docker.chunk import PILE_SIZE, RECORD_COST, Pile
from relay.ingest.docker.containers.inference import Look
from relay.ingest.docker.engine.inspection import Sighting
from relay.ingest.docker.engine.parser import Malformed, parse

EVENT_COST = 2_048
"""What an event takes, of a history or relay's own, about."""

SIGHTING_COST = 1_024
"""What a container takes that was looked at, beside its labels, about."""

BATCH_SIZE = 1024 * 1024
"""The most that is taken at once, in bytes, by the same measure; one item is, whatever its size."""

LOOSE = 4 * 1024 * 1024
"""Where more waits than this, in bytes, the records behind it are packed."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What holds for all that one connection reads."""

    engine: str
    host: str
    opened_ns: int
    """The engine's time when the stream was opened: what is older comes out of its history."""
    since_ns: int
    """From when on the stream was asked for, by the engine's time."""
    ahead_ns: int = 0
    """How far the engine's clock is ahead of the local one."""
    lost_ns: int | None = None
    """When the engine went down, by its own time, and the connection before with it; None if it is
    not known to have been down."""
    after_failure: bool = False
    """Whether it could not be reached at first, since the connection before."""
    identity: str | None = None
    """The engine's own id; None where it gives none that lasts."""
    podman: bool = False


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of a stream, as it was read."""

    connection: Connection
    content: bytes


def read(record: bytes, connection: Connection) -> Event | Malformed:
    """The event that a record of this connection tells of."""
    return parse(
        record,
        engine=connection.engine,
        host=connection.host,
        live_from_ns=connection.opened_ns,
        podman=connection.podman,
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream was opened."""

    connection: Connection
    history: tuple[Event, ...] | None = None
    """What the engine remembered a moment before; None if it did not tell."""
    digested: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once this and all that was read before it is committed."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Records that found no room or were too long to keep; what they told is lost."""

    connection: Connection
    count: int
    why: Why


Item = Record | Opened | Dropped | Look | Event
"""An `Event` here is one of relay's own."""


@dataclass(frozen=True, slots=True)
class _Read:
    """Records that one connection read in a row."""

    connection: Connection
    pile: Pile


class Inbox:
    """A queue between one reader, which never waits, and one digester, which does.

    Memory is bounded by the bytes that what is in it takes there: as it was read, or packed. Beyond
    that, new records are dropped, and one `Dropped` that counts them takes their place in the
    order.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[_Read | Item] = deque()
        self._packed = 0
        self._filled = asyncio.Event()
        self._lost: Dropped | None = None
        self._closed = False
        self.size = 0
        """What it takes in memory now, in bytes."""
        self.waiting = 0
        """How much was read and is not taken: records, for the most part."""
        self.lossy = asyncio.Event()
        """Set once a gap is declared; whoever acts on it clears it."""

    @property
    def longest(self) -> int:
        """How long a record may be to find room at all, in bytes."""
        return self._limit - RECORD_COST

    def put(self, item: Item) -> None:
        """Add what happened; of these there are few, and they find room whatever they cost.

        A history stays out where room is short.
        """
        if self.size + cost(item) > self._limit and isinstance(item, Opened):
            item = replace(item, history=None)
        self._add(item)
        self._filled.set()

    def put_records(self, connection: Connection, records: list[bytes]) -> None:
        """Add records while there is room."""
        place = 0
        while place < len(records):
            if RECORD_COST + len(records[place]) > self._room:
                self._lose(connection)
                place += 1
            else:
                self._declare_lost()
                place = self._fill(connection, records, place)
        self._filled.set()

    @property
    def _room(self) -> int:
        """Where some are packed, one pile may have to be unpacked."""
        return self._limit - self.size - (PILE_SIZE if self._packed else 0)

    def _fill(self, connection: Connection, records: list[bytes], first: int) -> int:
        """Add the first of these records, and of those behind it what fits.

        Returns which is the next.
        """
        last = self._items[-1] if self._items else None
        place = first
        if isinstance(last, _Read) and last.connection is connection and not last.pile.packed:
            place = self._grow(last.pile, records, first, self._room)
        if place == first:
            self._close_pile()
            read = _Read(connection, Pile())
            self._items.append(read)
            # where a loss was just declared, that may have taken the room
            room = max(self._room, RECORD_COST + len(records[first]))
            place = self._grow(read.pile, records, first, room)
        return place

    def _grow(self, pile: Pile, records: list[bytes], first: int, room: int) -> int:
        before = pile.size
        place = pile.fill(records, first, room)
        self.size += pile.size - before
        self.waiting += place - first
        return place

    def _close_pile(self) -> None:
        """Nothing is added any more to what is last."""
        last = self._items[-1] if self._items else None
        if isinstance(last, _Read) and self.size > LOOSE and not last.pile.packed:
            before = last.pile.size
            last.pile.pack()
            self.size += last.pile.size - before
            self._packed += last.pile.packed

    def _add(self, item: Item) -> None:
        self._close_pile()
        self._items.append(item)
        self.size += cost(item)
        self.waiting += 1

    def _lose(self, connection: Connection) -> None:
        count = 1 if self._lost is None else self._lost.count + 1
        self._lost = Dropped(connection, count, Why.BUFFER_FULL)

    def _declare_lost(self) -> None:
        if self._lost is not None:
            self._add(self._lost)
            self._lost = None

    @property
    def empty(self) -> bool:
        """Whether all that was read is taken."""
        return not self._items

    def close(self) -> None:
        """Nothing more is put; `take` gives what is left and then nothing."""
        self._closed = True
        self._filled.set()

    async def take(self, most: int) -> list[Item]:
        """Wait until there is something and `take_ready`; empty once closed."""
        while not (self._items or self._lost or self._closed):
            self._filled.clear()
            await self._filled.wait()
        return self.take_ready(most)

    def take_ready(self, most: int, size: int = BATCH_SIZE) -> list[Item]:
        """Up to ``most`` of the items that are there, of up to ``size`` bytes; at least one."""
        taken: list[Item] = []
        while len(taken) < most:
            if not self._items:
                self._declare_lost()
            if not self._items:
                break
            self._unpack_first()
            before = self.size
            got = self._take_first(most - len(taken), size)
            if not got and not taken:
                got = self._take_first(1, self.size)
            if not got:
                break
            taken += got
            size -= before - self.size
        self.waiting -= len(taken)
        return taken

    def _unpack_first(self) -> None:
        first = self._items[0]
        if isinstance(first, _Read) and first.pile.packed:
            before = first.pile.size
            first.pile.unpack()
            self.size += first.pile.size - before
            self._packed -= 1

    def _take_first(self, most: int, size: int) -> Sequence[Item]:
        """What is first, or of the records that are so many; nothing where it is too large."""
        first = self._items[0]
        if not isinstance(first, _Read):
            taken = cost(first)
            if taken > size:
                return ()
            self._items.popleft()
            self.size -= taken
            return (first,)
        before = first.pile.size
        contents = first.pile.take(most, size)
        self.size += first.pile.size - before
        if first.pile.empty:
            self._items.popleft()
        return [Record(first.connection, content) for content in contents]


def cost(item: Item) -> int:
    """What an item takes of the room, in bytes."""
    match item:
        case Record(content=content):
            return RECORD_COST + len(content)
        case Opened(history=tuple() as history):
            return RECORD_COST + len(history) * EVENT_COST
        case Look(sightings=sightings, missing=missing):
            return RECORD_COST * (1 + len(missing)) + sum(map(sighting_cost, sightings))
        case Event():
            return EVENT_COST
        case _:
            return RECORD_COST


def sighting_cost(seen: Sighting) -> int:
    """What a container that was looked at takes of the room, in bytes, about."""
    labels = seen.labels.items()
    return SIGHTING_COST + sum(RECORD_COST + len(name) + len(text) for name, text in labels)
