"""What was read of an engine and is not digested yet."""

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from enum import StrEnum

from relay.engine.inference import Look
from relay.engine.record import Malformed, parse
from relay.event import Event

RECORD_COST = 128
"""What a record takes in memory beside its content, in bytes, about."""

EVENT_COST = 2_048
"""What an event of a history takes, about."""


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
    """When the connection before it ended, by the engine's time; None if it is the first."""
    identity: str | None = None
    """The engine's own id; None where it gives none that lasts."""
    podman: bool = False


@dataclass(frozen=True, slots=True)
class Record:
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


class Why(StrEnum):
    """Why a stretch of the stream may be incomplete."""

    HISTORY_OVERRUN = "history_overrun"
    """More happened while nobody listened than the engine remembers."""
    ENGINE_RESTARTED = "engine_restarted"
    """Its history, which a restart empties, does not reach back, and is not full either."""
    ANOTHER_ENGINE = "another_engine"
    """An engine with another id answers at the same place."""
    BUFFER_FULL = "buffer_full"
    """``ingest.buffer`` had no more room."""
    RECORD_TOO_LONG = "record_too_long"
    """A record outgrew what is kept of one."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Records that found no room or were too long to keep; what they told is lost."""

    connection: Connection
    count: int
    why: Why


Item = Record | Opened | Dropped | Look | Event
"""An `Event` here is one of relay's own."""


class Inbox:
    """A queue between one reader, which never waits, and one digester, which does.

    Memory is bounded by the bytes of the records in it. Beyond that, new records are dropped, and
    one `Dropped` that counts them takes their place in the order.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[Item] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._lost: Dropped | None = None
        self._closed = False
        self.lossy = asyncio.Event()
        """Set once a gap is declared; whoever acts on it clears it."""

    @property
    def longest(self) -> int:
        """How long a record may be to find room at all, in bytes."""
        return self._limit - RECORD_COST

    def put(self, item: Item) -> None:
        """Add what happened; of these there are few. A history goes without where room is short."""
        if self._size + _cost(item) > self._limit and isinstance(item, Opened):
            item = replace(item, history=None)
        self._size += _cost(item)
        self._items.append(item)
        self._filled.set()

    def put_records(self, connection: Connection, records: list[bytes]) -> None:
        """Add records while there is room."""
        for content in records:
            record = Record(connection, content)
            if self._size + _cost(record) > self._limit:
                self._lose(connection)
            else:
                self._declare_lost()
                self._items.append(record)
                self._size += _cost(record)
        self._filled.set()

    def _lose(self, connection: Connection) -> None:
        count = 1 if self._lost is None else self._lost.count + 1
        self._lost = Dropped(connection, count, Why.BUFFER_FULL)

    def _declare_lost(self) -> None:
        if self._lost is not None:
            self._items.append(self._lost)
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
        """Wait until there is something and take up to ``most`` items; empty once closed."""
        while not (self._items or self._lost or self._closed):
            self._filled.clear()
            await self._filled.wait()
        return self.take_ready(most)

    def take_ready(self, most: int) -> list[Item]:
        """Up to ``most`` of the items that are there."""
        if len(self._items) <= most:
            self._declare_lost()
        items = [self._items.popleft() for _ in range(min(most, len(self._items)))]
        self._size -= sum(map(_cost, items))
        return items


def _cost(item: Item) -> int:
    """What an item takes of the room, in bytes."""
    match item:
        case Record(content=content):
            return len(content) + RECORD_COST
        case Opened(history=tuple() as history):
            return len(history) * EVENT_COST
        case _:
            return 0
