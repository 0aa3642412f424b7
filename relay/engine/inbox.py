"""What was read of an engine and is not digested yet."""

import asyncio
from collections import deque
from dataclasses import dataclass

from relay.event import Event

RECORD_COST = 128
"""What a record takes in memory beside its content, in bytes, about."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What holds for all that one connection reads."""

    engine: str
    host: str
    opened_ns: int
    """The engine's time when the stream was opened: what is older comes out of its history."""
    since_ns: int
    """From when on the stream was asked for, by the engine's time."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a stream, as it was read."""

    connection: Connection
    content: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream was opened."""

    connection: Connection


@dataclass(frozen=True, slots=True)
class Dropped:
    """Records that found no room or were too long to keep; what they told is lost."""

    connection: Connection
    count: int
    reason: str


Item = Record | Opened | Dropped | Event
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

    def put(self, item: Item) -> None:
        """Add what happened; of these there are few."""
        self._items.append(item)
        self._filled.set()

    def put_records(self, connection: Connection, records: list[bytes]) -> None:
        """Add records while there is room."""
        for content in records:
            cost = len(content) + RECORD_COST
            if self._size + cost > self._limit:
                self._lose(connection)
            else:
                self._declare_lost()
                self._items.append(Record(connection, content))
                self._size += cost
        self._filled.set()

    def _lose(self, connection: Connection) -> None:
        count = 1 if self._lost is None else self._lost.count + 1
        self._lost = Dropped(connection, count, "ingest.buffer is full")

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
        if len(self._items) <= most:
            self._declare_lost()
        items = [self._items.popleft() for _ in range(min(most, len(self._items)))]
        self._size -= sum(
            len(item.content) + RECORD_COST for item in items if isinstance(item, Record)
        )
        return items
