"""The bounded buffer between an engine's stream and the store.

`EventBuffer` lets the reader run on while the worker waits for a commit. Its bound is in bytes of
memory. While many records wait, those that are not taken next are compressed in chunks
(`relay.ingest.docker.chunk`), so that a long outage of the store fits. Records beyond the bound are
dropped and counted, and the count takes their place in the order, so that the loss is reported as a
gap. A buffer lives as long as its session; once closed it still hands out what it holds.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from relay.core.event import Event, GapReason
from relay.ingest.docker.chunk import CHUNK_BYTES, RECORD_OVERHEAD_BYTES, Chunk
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event

EVENT_BYTES = 2_048
"""Approximate memory of an `Event` without the text of its attributes."""

SNAPSHOT_BYTES = 1_024
"""Approximate memory of a `ContainerSnapshot` without its labels."""

BATCH_BYTES = 1024 * 1024
"""At most this much is taken at once, as `item_bytes` measures it; a single item may be larger."""

COMPRESS_ABOVE_BYTES = 4 * 1024 * 1024
"""While more than this waits, full chunks are compressed."""

COMPRESS_LONG_ABOVE_BYTES = 8 * 1024 * 1024
"""While more than this waits, or more than a quarter of the bound, long records are compressed too.
The reader waits for that, so a few of them may stay as they are."""


class Connection(msgspec.Struct, frozen=True):
    """What applies to everything that one connection reads. Times are the engine's."""

    engine: str
    host: str
    opened_ns: int
    """When the connection was made: older events come out of the engine's history."""
    since_ns: int
    """The time from which events were requested."""
    ahead_ns: int = 0
    """How far the engine's clock is ahead of the local clock."""
    down_since_ns: int | None = None
    """When the engine went down and ended the previous connection; None if the engine is not known
    to have been down."""
    after_failure: bool = False
    """Whether the engine was unreachable between the previous connection and this one."""
    identity: str | None = None
    """The engine's own id; None if it has none that stays the same."""
    podman: bool = False
    is_local: bool = False
    """Whether the engine runs on this machine, and so has the same clock."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of a stream, not parsed yet."""

    connection: Connection
    content: bytes


def parse_record(
    record: bytes, connection: Connection, *, may_be_relay: bool = False
) -> Event | InvalidRecord:
    """Parse a record of this connection; see `parse_event`."""
    return parse_event(
        record,
        engine=connection.engine,
        host=connection.host,
        live_from_ns=connection.opened_ns,
        podman=connection.podman,
        may_be_relay=may_be_relay,
    )


class StreamOpened(msgspec.Struct, frozen=True):
    """A stream was opened over this connection."""

    connection: Connection
    history: tuple[Event, ...] | None = None
    """The engine's history a moment before; None if the engine did not provide it."""
    committed: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    """Set once this item and everything read before it is committed."""


class RecordsDropped(msgspec.Struct, frozen=True):
    """Records that did not fit into the buffer or were too long to keep. Their events are lost."""

    connection: Connection
    count: int
    reason: GapReason


Item = Record | StreamOpened | RecordsDropped | Snapshot | Event
"""An `Event` here is one of relay's own."""


class _RecordRun(msgspec.Struct, frozen=True):
    """Consecutive records of one connection."""

    connection: Connection
    chunk: Chunk


class EventBuffer:
    """A queue between a reader, which never waits, and a worker, which does.

    Its bound is in bytes of memory, compressed or not. Records beyond it are dropped, and one
    `RecordsDropped` that counts them takes their place in the order.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: deque[_RecordRun | Item] = deque()
        self._compressed_count = 0
        self._largest_compressed_bytes = 0
        """How much memory the largest compressed chunk takes when it is decompressed. Starts over
        whenever no chunk is compressed."""
        self._new_long: list[Chunk] = []
        """The long chunks that were added since the last call of `compress_long`."""
        self._has_items = asyncio.Event()
        self._pending_drop: RecordsDropped | None = None
        """The drops since the last record was added; appended before the next record."""
        self._is_closed = False
        self.size_bytes = 0
        """How much memory the buffer takes now."""
        self.item_count = 0
        """How many items were put and not taken yet: mostly records."""
        self.gap_found = asyncio.Event()
        """Set when a gap is committed; the `Reconciler` clears it."""

    @property
    def max_record_bytes(self) -> int:
        """The longest record that fits into an empty buffer."""
        return self._max_bytes - RECORD_OVERHEAD_BYTES

    def put(self, item: Item) -> None:
        """Add an item, even beyond the bound: only records are many.

        If space is short, a `StreamOpened` is added without its history.
        """
        if self.size_bytes + item_bytes(item) > self._max_bytes and isinstance(item, StreamOpened):
            item = msgspec.structs.replace(item, history=None)
        self._append_item(item)
        self._has_items.set()

    def put_records(self, connection: Connection, records: list[bytes]) -> None:
        """Add the records that fit, and count the others as dropped."""
        index = 0
        while index < len(records):
            if RECORD_OVERHEAD_BYTES + len(records[index]) > self._free_bytes:
                self._drop(connection)
                index += 1
            else:
                self._append_pending_drop()
                index = self._append_records(connection, records, index)
        self._has_items.set()

    @property
    def _free_bytes(self) -> int:
        """Free bytes. Reserves one chunk, because a chunk is decompressed before it is read."""
        reserved_bytes = max(CHUNK_BYTES, self._largest_compressed_bytes)
        return self._max_bytes - self.size_bytes - (reserved_bytes if self._compressed_count else 0)

    def _append_records(self, connection: Connection, records: list[bytes], first: int) -> int:
        """Add the record at index ``first`` and as many of the following as fit.

        Returns the index of the next record.
        """
        last = self._items[-1] if self._items else None
        index = first
        if (
            isinstance(last, _RecordRun)
            and last.connection is connection
            and not last.chunk.is_compressed
        ):
            index = self._fill_chunk(last.chunk, records, first, self._free_bytes)
        if index == first:
            self._compress_last()
            run = _RecordRun(connection, Chunk())
            self._items.append(run)
            # The record fitted before the pending drop was appended, which takes a little space.
            free_bytes = max(self._free_bytes, RECORD_OVERHEAD_BYTES + len(records[first]))
            index = self._fill_chunk(run.chunk, records, first, free_bytes)
            if run.chunk.is_long:
                self._new_long.append(run.chunk)
        return index

    def _fill_chunk(self, chunk: Chunk, records: list[bytes], first: int, free_bytes: int) -> int:
        before = chunk.size_bytes
        index = chunk.fill(records, first, free_bytes)
        self.size_bytes += chunk.size_bytes - before
        self.item_count += index - first
        return index

    def _compress_last(self) -> None:
        """Compress the last chunk if much is waiting: nothing more will be added to it."""
        last = self._items[-1] if self._items else None
        if (
            isinstance(last, _RecordRun)
            and self.size_bytes > COMPRESS_ABOVE_BYTES
            and not last.chunk.is_compressed
        ):
            before = last.chunk.size_bytes
            last.chunk.compress()
            self._note_compressed(last.chunk, before)

    async def compress_long(self) -> None:
        """Compress the long records that were added last, if much is waiting.

        The reader calls it after `put_records`, so that many long records in a row fit. It works
        in a thread, and the reader reads on when it returns.
        """
        chunks, self._new_long = self._new_long, []
        for chunk in chunks:
            if self.size_bytes <= min(COMPRESS_LONG_ABOVE_BYTES, self._max_bytes // 4):
                return
            before = chunk.size_bytes
            await chunk.compress_long()
            if chunk.is_compressed:
                self._note_compressed(chunk, before)

    def _note_compressed(self, chunk: Chunk, size_bytes: int) -> None:
        """Count a chunk that took ``size_bytes`` before it was compressed, if it is now."""
        self.size_bytes += chunk.size_bytes - size_bytes
        if chunk.is_compressed:
            larger = self._largest_compressed_bytes if self._compressed_count else 0
            self._largest_compressed_bytes = max(larger, chunk.uncompressed_size_bytes)
            self._compressed_count += 1

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
        """Whether every item was taken."""
        return not self._items

    def close(self) -> None:
        """Note that nothing more will be put: `take` returns what is left, and then empty lists."""
        self._is_closed = True
        self._has_items.set()

    async def take(self, max_items: int) -> list[Item]:
        """Wait for an item, then `take_ready`. Empty only if the buffer is closed and empty."""
        while not (self._items or self._pending_drop or self._is_closed):
            self._has_items.clear()
            await self._has_items.wait()
        first = self._items[0] if self._items else None
        if isinstance(first, _RecordRun) and first.chunk.is_long and first.chunk.is_compressed:
            before = first.chunk.size_bytes
            await first.chunk.decompress_long()
            self._note_decompressed(first.chunk, before)
        return self.take_ready(max_items)

    def take_ready(self, max_items: int, max_bytes: int = BATCH_BYTES) -> list[Item]:
        """Take up to ``max_items`` items of up to ``max_bytes``, without waiting.

        The first item is taken even if it is larger. Empty if the buffer is empty.
        """
        taken: list[Item] = []
        while len(taken) < max_items:
            if not self._items:
                self._append_pending_drop()
            if not self._items or (taken and self._first_is_longer(max_bytes)):
                break
            self._decompress_first()
            before = self.size_bytes
            items = self._take_first(max_items - len(taken), max_bytes)
            if not items and not taken:  # the first item alone is larger than max_bytes
                items = self._take_first(1, self.size_bytes)
            if not items:
                break
            taken += items
            max_bytes -= before - self.size_bytes
        self.item_count -= len(taken)
        return taken

    def _decompress_first(self) -> None:
        first = self._items[0]
        if isinstance(first, _RecordRun) and first.chunk.is_compressed:
            before = first.chunk.size_bytes
            first.chunk.decompress()
            self._note_decompressed(first.chunk, before)

    def _note_decompressed(self, chunk: Chunk, size_bytes: int) -> None:
        """Count a chunk that took ``size_bytes`` while it was compressed."""
        self.size_bytes += chunk.size_bytes - size_bytes
        self._compressed_count -= 1

    def _first_is_longer(self, max_bytes: int) -> bool:
        """Whether the first item is a long record of more than ``max_bytes``."""
        first = self._items[0]
        return (
            isinstance(first, _RecordRun)
            and first.chunk.is_long
            and first.chunk.uncompressed_size_bytes > max_bytes
        )

    def _take_first(self, max_items: int, max_bytes: int) -> Sequence[Item]:
        """Take the first item, or up to ``max_items`` records of the first chunk.

        Empty if the first item is larger than ``max_bytes``.
        """
        first = self._items[0]
        if not isinstance(first, _RecordRun):
            size_bytes = item_bytes(first)
            if size_bytes > max_bytes:
                return ()
            self._items.popleft()
            self.size_bytes -= size_bytes
            return (first,)
        before = first.chunk.size_bytes
        contents = first.chunk.take(max_items, max_bytes)
        self.size_bytes += first.chunk.size_bytes - before
        if first.chunk.is_empty:
            self._items.popleft()
        return [Record(first.connection, content) for content in contents]


def item_bytes(item: Item) -> int:
    """Return approximately how much memory an item takes."""
    match item:
        case Record(content=content):
            return RECORD_OVERHEAD_BYTES + len(content)
        case StreamOpened(history=tuple() as history):
            return RECORD_OVERHEAD_BYTES + sum(map(event_bytes, history))
        case Snapshot(containers=containers, missing=missing):
            return RECORD_OVERHEAD_BYTES * (1 + len(missing)) + sum(map(snapshot_bytes, containers))
        case Event():
            return event_bytes(item)
        case _:
            return RECORD_OVERHEAD_BYTES


def event_bytes(event: Event) -> int:
    """Return approximately how much memory an event takes."""
    attributes = event.actor.attributes.items()
    return EVENT_BYTES + sum(len(name) + len(value) for name, value in attributes)


def snapshot_bytes(snapshot: ContainerSnapshot) -> int:
    """Return approximately how much memory the snapshot of one container takes."""
    labels = sum(
        RECORD_OVERHEAD_BYTES + len(name) + len(value) for name, value in snapshot.labels.items()
    )
    return SNAPSHOT_BYTES + labels
