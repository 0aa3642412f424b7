"""What was read of an engine and is not digested yet."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from relay.core.event import Event, GapReason
from relay.ingest.docker.chunk import CHUNK_BYTES, RECORD_OVERHEAD_BYTES, Chunk
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event

EVENT_BYTES = 2_048
"""What an event takes, of a history or relay's own, about."""

SNAPSHOT_BYTES = 1_024
"""What a container takes that was looked at, beside its labels, about."""

BATCH_BYTES = 1024 * 1024
"""The most that is taken at once, in bytes, by the same measure; one item is, whatever its size."""

COMPRESS_ABOVE_BYTES = 4 * 1024 * 1024
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
    down_since_ns: int | None = None
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


def parse_record(record: bytes, connection: Connection) -> Event | InvalidRecord:
    """The event that a record of this connection tells of."""
    return parse_event(
        record,
        engine=connection.engine,
        host=connection.host,
        live_from_ns=connection.opened_ns,
        podman=connection.podman,
    )


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A stream was opened."""

    connection: Connection
    history: tuple[Event, ...] | None = None
    """What the engine remembered a moment before; None if it did not tell."""
    committed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once this and all that was read before it is committed."""


@dataclass(frozen=True, slots=True)
class RecordsDropped:
    """Records that found no room or were too long to keep; what they told is lost."""

    connection: Connection
    count: int
    reason: GapReason


Item = Record | StreamOpened | RecordsDropped | Snapshot | Event
"""An `Event` here is one of relay's own."""


@dataclass(frozen=True, slots=True)
class _RecordRun:
    """Records that one connection read in a row."""

    connection: Connection
    chunk: Chunk


class EventBuffer:
    """A queue between one reader, which never waits, and one digester, which does.

    Memory is bounded by the bytes that what is in it takes there: as it was read, or packed. Beyond
    that, new records are dropped, and one `RecordsDropped` that counts them takes their place in the
    order.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: deque[_RecordRun | Item] = deque()
        self._compressed_count = 0
        self._has_items = asyncio.Event()
        self._pending_drop: RecordsDropped | None = None
        self._is_closed = False
        self.size_bytes = 0
        """What it takes in memory now, in bytes."""
        self.item_count = 0
        """How much was read and is not taken: records, for the most part."""
        self.gap_found = asyncio.Event()
        """Set once a gap is declared; whoever acts on it clears it."""

    @property
    def max_record_bytes(self) -> int:
        """How long a record may be to find room at all, in bytes."""
        return self._max_bytes - RECORD_OVERHEAD_BYTES

    def put(self, item: Item) -> None:
        """Add what happened; of these there are few, and they find room whatever they cost.

        A history stays out where room is short.
        """
        if self.size_bytes + item_bytes(item) > self._max_bytes and isinstance(item, StreamOpened):
            item = replace(item, history=None)
        self._append_item(item)
        self._has_items.set()

    def put_records(self, connection: Connection, records: list[bytes]) -> None:
        """Add records while there is room."""
        place = 0
        while place < len(records):
            if RECORD_OVERHEAD_BYTES + len(records[place]) > self._free_bytes:
                self._drop(connection)
                place += 1
            else:
                self._append_pending_drop()
                place = self._append_records(connection, records, place)
        self._has_items.set()

    @property
    def _free_bytes(self) -> int:
        """Where some are packed, one pile may have to be unpacked."""
        return self._max_bytes - self.size_bytes - (CHUNK_BYTES if self._compressed_count else 0)

    def _append_records(self, connection: Connection, records: list[bytes], first: int) -> int:
        """Add the first of these records, and of those behind it what fits.

        Returns which is the next.
        """
        last = self._items[-1] if self._items else None
        place = first
        if (
            isinstance(last, _RecordRun)
            and last.connection is connection
            and not last.chunk.is_compressed
        ):
            place = self._fill_chunk(last.chunk, records, first, self._free_bytes)
        if place == first:
            self._compress_last()
            read = _RecordRun(connection, Chunk())
            self._items.append(read)
            # where a loss was just declared, that may have taken the room
            room = max(self._free_bytes, RECORD_OVERHEAD_BYTES + len(records[first]))
            place = self._fill_chunk(read.chunk, records, first, room)
        return place

    def _fill_chunk(self, chunk: Chunk, records: list[bytes], first: int, free_bytes: int) -> int:
        before = chunk.size
        place = chunk.fill(records, first, free_bytes)
        self.size_bytes += chunk.size - before
        self.item_count += place - first
        return place

    def _compress_last(self) -> None:
        """Nothing is added any more to what is last."""
        last = self._items[-1] if self._items else None
        if (
            isinstance(last, _RecordRun)
            and self.size_bytes > COMPRESS_ABOVE_BYTES
            and not last.chunk.is_compressed
        ):
            before = last.chunk.size
            last.chunk.compress()
            self.size_bytes += last.chunk.size - before
            self._compressed_count += last.chunk.is_compressed

    def _append_item(self, item: Item) -> None:
        self._compress_last()
        self._items.append(item)
        self.size_bytes += item_bytes(item)
        self.item_count += 1

    def _drop(self, connection: Connection) -> None:
        count = 1 if self._pending_drop is None else self._pending_drop.count + 1
        self._pending_drop = RecordsDropped(connection, count, GapReason.BUFFER_FULL)

    def _append_pending_drop(self) -> None:
        if self._pending_drop is not None:
            self._append_item(self._pending_drop)
            self._pending_drop = None

    @property
    def is_empty(self) -> bool:
        """Whether all that was read is taken."""
        return not self._items

    def close(self) -> None:
        """Nothing more is put; `take` gives what is left and then nothing."""
        self._is_closed = True
        self._has_items.set()

    async def take(self, max_items: int) -> list[Item]:
        """Wait until there is something and `take_ready`; empty once closed."""
        while not (self._items or self._pending_drop or self._is_closed):
            self._has_items.clear()
            await self._has_items.wait()
        return self.take_ready(max_items)

    def take_ready(self, max_items: int, max_bytes: int = BATCH_BYTES) -> list[Item]:
        """Up to ``most`` of the items that are there, of up to ``size`` bytes; at least one."""
        taken: list[Item] = []
        while len(taken) < max_items:
            if not self._items:
                self._append_pending_drop()
            if not self._items:
                break
            self._decompress_first()
            before = self.size_bytes
            got = self._take_first(max_items - len(taken), max_bytes)
            if not got and not taken:
                got = self._take_first(1, self.size_bytes)
            if not got:
                break
            taken += got
            max_bytes -= before - self.size_bytes
        self.item_count -= len(taken)
        return taken

    def _decompress_first(self) -> None:
        first = self._items[0]
        if isinstance(first, _RecordRun) and first.chunk.is_compressed:
            before = first.chunk.size
            first.chunk.decompress()
            self.size_bytes += first.chunk.size - before
            self._compressed_count -= 1

    def _take_first(self, max_items: int, max_bytes: int) -> Sequence[Item]:
        """What is first, or of the records that are so many; nothing where it is too large."""
        first = self._items[0]
        if not isinstance(first, _RecordRun):
            taken = item_bytes(first)
            if taken > max_bytes:
                return ()
            self._items.popleft()
            self.size_bytes -= taken
            return (first,)
        before = first.chunk.size
        contents = first.chunk.take(max_items, max_bytes)
        self.size_bytes += first.chunk.size - before
        if first.chunk.is_empty:
            self._items.popleft()
        return [Record(first.connection, content) for content in contents]


def item_bytes(item: Item) -> int:
    """What an item takes of the room, in bytes."""
    match item:
        case Record(content=content):
            return RECORD_OVERHEAD_BYTES + len(content)
        case StreamOpened(history=tuple() as history):
            return RECORD_OVERHEAD_BYTES + len(history) * EVENT_BYTES
        case Snapshot(containers=sightings, missing=missing):
            return RECORD_OVERHEAD_BYTES * (1 + len(missing)) + sum(map(snapshot_bytes, sightings))
        case Event():
            return EVENT_BYTES
        case _:
            return RECORD_OVERHEAD_BYTES


def snapshot_bytes(snapshot: ContainerSnapshot) -> int:
    """What a container that was looked at takes of the room, in bytes, about."""
    labels = snapshot.labels.items()
    return SNAPSHOT_BYTES + sum(
        RECORD_OVERHEAD_BYTES + len(name) + len(text) for name, text in labels
    )
