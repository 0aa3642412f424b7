"""The event buffer: order, bound, compression, and how drops are counted."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import Event, GapReason, Origin, ParseErrorKind
from relay.ingest.docker import buffer as module
from relay.ingest.docker.buffer import (
    BATCH_BYTES,
    COMPRESS_ABOVE_BYTES,
    EVENT_BYTES,
    SNAPSHOT_BYTES,
    Connection,
    EventBuffer,
    Item,
    Record,
    RecordsDropped,
    StreamOpened,
    item_bytes,
    parse_record,
)
from relay.ingest.docker.chunk import CHUNK_BYTES, RECORD_OVERHEAD_BYTES, uncompressed_bytes
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import InvalidRecord

HERE = Connection(engine="here", host="node-1", opened_ns=0, since_ns=0)
FULL = GapReason.BUFFER_FULL


def record(content: bytes) -> Record:
    return Record(HERE, content)


def buffer_for(records: int) -> EventBuffer:
    """A buffer that fits this many records of up to 8 bytes."""
    return EventBuffer(records * (RECORD_OVERHEAD_BYTES + 8))


async def test_a_record_too_long_for_an_empty_buffer_is_counted_at_once() -> None:
    """A drop does not wait for a record that fits."""
    buffer = EventBuffer(RECORD_OVERHEAD_BYTES)
    buffer.put_records(HERE, [b"1"])
    assert await buffer.take(10) == [RecordsDropped(HERE, 1, FULL)]


async def test_items_are_returned_in_order() -> None:
    """Records and the items between them are returned in the order in which they were put."""
    buffer, first, second = buffer_for(10), StreamOpened(HERE), StreamOpened(HERE)
    buffer.put(first)
    buffer.put_records(HERE, [b"1", b"2"])
    buffer.put(second)
    assert await buffer.take(10) == [first, record(b"1"), record(b"2"), second]


async def test_take_returns_no_more_items_than_requested() -> None:
    """`take` returns no more items than requested; the rest stays for the next call."""
    buffer = buffer_for(10)
    buffer.put_records(HERE, [b"1", b"2", b"3"])
    assert await buffer.take(2) == [record(b"1"), record(b"2")]
    assert await buffer.take(2) == [record(b"3")]


async def test_take_waits_for_an_item() -> None:
    """Taking from an empty buffer returns when a record is put."""
    buffer = buffer_for(10)
    taking = asyncio.ensure_future(buffer.take(10))
    await asyncio.sleep(0)
    assert not taking.done()
    buffer.put_records(HERE, [b"1"])
    assert await taking == [record(b"1")]


async def test_a_closed_buffer_returns_what_is_left_and_then_nothing() -> None:
    """Closing loses nothing that was read."""
    buffer = buffer_for(10)
    buffer.put_records(HERE, [b"1"])
    buffer.close()
    assert await buffer.take(10) == [record(b"1")]
    assert await buffer.take(10) == []


async def test_closing_ends_the_wait() -> None:
    """A call that waits for an item returns nothing once the buffer is closed."""
    buffer = buffer_for(10)
    taking = asyncio.ensure_future(buffer.take(10))
    await asyncio.sleep(0)
    buffer.close()
    assert await taking == []


async def test_drops_are_counted_in_their_place() -> None:
    """One item counts all consecutive drops, between what came before and after."""
    buffer = buffer_for(4)
    buffer.put_records(HERE, [b"1" * 200, b"2", b"3" * 200, b"4" * 200])
    assert await buffer.take(1) == [record(b"1" * 200)]
    buffer.put_records(HERE, [b"5"])
    assert await buffer.take(10) == [record(b"2"), RecordsDropped(HERE, 2, FULL), record(b"5")]


async def test_a_drop_at_the_end_is_counted() -> None:
    """The count does not wait for a record that may never come."""
    buffer = buffer_for(1)
    buffer.put_records(HERE, [b"1", b"2"])
    assert await buffer.take(10) == [record(b"1"), RecordsDropped(HERE, 1, FULL)]


async def test_taking_frees_space() -> None:
    """The bound applies to what the buffer holds, not to what went through it."""
    buffer = buffer_for(2)
    for _ in range(3):
        buffer.put_records(HERE, [b"1", b"2"])
        assert await buffer.take(10) == [record(b"1"), record(b"2")]
        buffer.put_records(HERE, [b"3" * 17 + b"4" * RECORD_OVERHEAD_BYTES])
        assert await buffer.take(10) == [RecordsDropped(HERE, 1, FULL)]


def test_take_ready_does_not_wait() -> None:
    """It returns no more than requested, and nothing if the buffer is empty."""
    buffer = buffer_for(2)
    assert buffer.is_empty
    assert buffer.take_ready(10) == []
    buffer.put_records(HERE, [b"1", b"2", b"3"])
    assert not buffer.is_empty
    assert buffer.take_ready(1) == [record(b"1")]
    assert buffer.take_ready(10) == [record(b"2"), RecordsDropped(HERE, 1, FULL)]
    assert buffer.is_empty


def test_a_record_is_parsed_with_its_connection() -> None:
    """The connection gives the engine, the host, what is history, and whether it is Podman."""
    kill = (
        b'{"Type":"container","Action":"kill","timeNano":%d,"Actor":{"Attributes":{"signal":"9"}}}'
    )
    docker = Connection("here", "node-1", opened_ns=10, since_ns=1)
    event = parse_record(kill % 10, docker)
    assert isinstance(event, Event)
    assert (event.engine, event.host, event.origin, event.signal) == (
        "here",
        "node-1",
        Origin.LIVE,
        9,
    )
    podman = Connection("here", "node-1", opened_ns=11, since_ns=1, podman=True)
    event = parse_record(kill % 10, podman)
    assert isinstance(event, Event)
    assert (event.origin, event.signal) == (Origin.REPLAYED, None)
    invalid = parse_record(b"<html>", docker)
    assert isinstance(invalid, InvalidRecord)
    assert (invalid.error, invalid.head) == (ParseErrorKind.NOT_JSON, b"<html>")


def test_a_history_that_does_not_fit_is_left_out() -> None:
    """It takes memory like records do. The item keeps its ``committed`` flag."""
    buffer = EventBuffer(2 * EVENT_BYTES + RECORD_OVERHEAD_BYTES)
    event = parse_record(b'{"Type":"volume","Action":"create","timeNano":1}', HERE)
    assert isinstance(event, Event)
    small, large = StreamOpened(HERE, (event,)), StreamOpened(HERE, (event, event))
    buffer.put(small)
    buffer.put(large)
    buffer.put_records(HERE, [b"1" * EVENT_BYTES])
    first, second, dropped = buffer.take_ready(10)
    assert first is small
    assert isinstance(second, StreamOpened)
    assert second.history is None
    assert second.committed is large.committed
    assert dropped == RecordsDropped(HERE, 1, FULL)
    buffer.put(large)
    assert buffer.take_ready(10) == [large]


def container_snapshot(**labels: str) -> ContainerSnapshot:
    return ContainerSnapshot("c", "web", "bb:1", labels, True, 1, None, None, False, None)


@pytest.mark.parametrize(
    ("item", "size_bytes"),
    [
        (StreamOpened(HERE), RECORD_OVERHEAD_BYTES),
        (RecordsDropped(HERE, 1, FULL), RECORD_OVERHEAD_BYTES),
        (parse_record(b'{"Type":"volume","Action":"create","timeNano":1}', HERE), EVENT_BYTES),
        (Snapshot("here", "node-1", 1), RECORD_OVERHEAD_BYTES),
        (Snapshot("here", "node-1", 1, missing=frozenset("ab")), 3 * RECORD_OVERHEAD_BYTES),
        (
            Snapshot("here", "node-1", 1, (container_snapshot(a="x" * 1000), container_snapshot())),
            RECORD_OVERHEAD_BYTES + SNAPSHOT_BYTES + RECORD_OVERHEAD_BYTES + 1001 + SNAPSHOT_BYTES,
        ),
    ],
    ids=["opened", "dropped", "own event", "empty snapshot", "missing", "containers"],
)
def test_every_item_takes_space(item: Item, size_bytes: int) -> None:
    """Any item is put even if the buffer is full, and leaves less space for records."""
    buffer = EventBuffer(size_bytes + RECORD_OVERHEAD_BYTES + 8)
    for content, kept in ((b"1" * 8, True), (b"1" * 9, False)):
        buffer.put(item)
        buffer.put_records(HERE, [content])
        assert buffer.take_ready(10) == [
            item,
            record(content) if kept else RecordsDropped(HERE, 1, FULL),
        ]
    tiny = EventBuffer(0)
    tiny.put(item)
    assert tiny.take_ready(10) == [item]


async def test_a_batch_is_bounded_in_bytes_too() -> None:
    """The first item is always taken, and then what fits."""
    buffer, size = EventBuffer(4 * BATCH_BYTES), BATCH_BYTES - RECORD_OVERHEAD_BYTES
    sizes = [2 * BATCH_BYTES, 8, size - RECORD_OVERHEAD_BYTES - 8, 9]
    buffer.put_records(HERE, [b"1" * size for size in sizes])
    assert [item_bytes(item) for item in await buffer.take(10)] == [
        2 * BATCH_BYTES + RECORD_OVERHEAD_BYTES
    ]
    assert sum(map(item_bytes, await buffer.take(10))) == BATCH_BYTES
    assert buffer.take_ready(10, 1) == [record(b"1" * 9)]
    assert buffer.is_empty


_STEPS = st.lists(
    st.tuples(st.just("put"), st.integers(1, 6)) | st.tuples(st.just("take"), st.integers(1, 5)),
    max_size=60,
)


@given(_STEPS)
def test_every_record_is_returned_or_counted(steps: list[tuple[str, int]]) -> None:
    """At any pace every record is returned in order, or counted, within the bound."""
    asyncio.run(_check_that_every_record_is_returned_or_counted(steps))


async def _check_that_every_record_is_returned_or_counted(steps: list[tuple[str, int]]) -> None:
    buffer, put, taken = buffer_for(10), list[bytes](), list[Item]()
    for step, number in steps:
        if step == "put":
            put.append(bytes([len(put)]) * number)
            buffer.put_records(HERE, put[-1:])
        elif len(taken) < len(put):
            buffer.put(StreamOpened(HERE))
            items = await buffer.take(number)
            assert sum(len(item.content) for item in items if isinstance(item, Record)) <= 80
            taken += items
    buffer.close()
    while items := await buffer.take(5):
        taken += items
    position = 0
    for item in taken:
        match item:
            case Record(content=content):
                assert content == put[position]
                position += 1
            case RecordsDropped(count=count):
                position += count
            case _:
                pass
    assert position == len(put)


def similar_records(first: int, count: int) -> list[bytes]:
    """Similar records of about 700 bytes, as an engine sends them."""
    return [b'{"timeNano":%d,"Attributes":"%s"}' % (first + at, b"x" * 680) for at in range(count)]


def test_waiting_records_are_compressed() -> None:
    """Similar records take a fraction of their size, and are returned in order."""
    buffer, records = EventBuffer(2 * COMPRESS_ABOVE_BYTES), similar_records(0, 40_000)
    for first in range(0, len(records), 100):
        buffer.put_records(HERE, records[first : first + 100])
    assert uncompressed_bytes(records) > 3 * 2 * COMPRESS_ABOVE_BYTES
    assert buffer.size_bytes < 2 * COMPRESS_ABOVE_BYTES
    assert buffer.item_count == len(records)
    taken = list[Item]()
    while items := buffer.take_ready(500):
        taken += items
    assert taken == [record(content) for content in records]
    assert (buffer.size_bytes, buffer.item_count, buffer.is_empty) == (0, 0, True)


def test_other_items_keep_their_place_among_compressed_records() -> None:
    """Each record also keeps its connection."""
    other = Connection(engine="here", host="node-2", opened_ns=0, since_ns=0)
    buffer, first, second = (
        EventBuffer(8 * COMPRESS_ABOVE_BYTES),
        similar_records(0, 9_000),
        similar_records(9_000, 200),
    )
    opened, dropped = StreamOpened(other), RecordsDropped(other, 3, GapReason.RECORD_TOO_LONG)
    buffer.put_records(HERE, first)
    buffer.put(opened)
    buffer.put_records(other, second[:100])
    buffer.put(dropped)
    buffer.put_records(HERE, second[100:])
    assert buffer.item_count == 9_202
    taken = list[Item]()
    while items := buffer.take_ready(7):
        taken += items
    assert taken == [
        *map(record, first),
        opened,
        *(Record(other, content) for content in second[:100]),
        dropped,
        *map(record, second[100:]),
    ]


_CONTENTS = [b"x" * 60, b"y" * 5_000, random.Random(1).randbytes(40_000).replace(b"\n", b" ")]
_MANY = st.lists(
    st.tuples(st.just("put"), st.integers(0, 2), st.integers(1, 60))
    | st.tuples(st.just("take"), st.integers(1, 300), st.integers(1, BATCH_BYTES)),
    min_size=10,
    max_size=60,
)


@given(st.integers(2 * CHUNK_BYTES, 16 * CHUNK_BYTES), _MANY)
def test_the_bound_holds_with_and_without_compression(
    limit: int, steps: list[tuple[str, int, int]]
) -> None:
    """Whether content compresses or not, every record is returned in order, or counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "COMPRESS_ABOVE_BYTES", 2 * CHUNK_BYTES)  # compress early
        _check_that_the_bound_holds(limit, steps)


def _check_that_the_bound_holds(limit: int, steps: list[tuple[str, int, int]]) -> None:
    buffer, put, taken = EventBuffer(limit), list[bytes](), list[Item]()
    for step, one, other in steps:
        if step == "put":
            records = [b"%d %s" % (len(put) + at, _CONTENTS[one]) for at in range(other)]
            buffer.put_records(HERE, records)
            put += records
        else:
            taken += buffer.take_ready(one, other)
        assert (
            buffer.size_bytes <= limit + RECORD_OVERHEAD_BYTES
        )  # a count of drops is appended in any case
    while items := buffer.take_ready(500):
        taken += items
    assert buffer.size_bytes == buffer.item_count == 0
    position = 0
    for item in taken:
        if isinstance(item, RecordsDropped):
            position += item.count
        else:
            assert item == record(put[position])
            position += 1
    assert position == len(put)


def test_space_for_one_decompressed_chunk_is_reserved() -> None:
    """Taking never makes the buffer exceed its bound."""
    buffer = EventBuffer(COMPRESS_ABOVE_BYTES + CHUNK_BYTES)
    while not buffer.size_bytes > COMPRESS_ABOVE_BYTES - CHUNK_BYTES // 2:
        buffer.put_records(HERE, similar_records(0, 10))
    buffer.put_records(HERE, similar_records(0, 9_000))
    full = buffer.size_bytes
    assert full <= COMPRESS_ABOVE_BYTES
    buffer.put_records(HERE, similar_records(0, 1))
    assert buffer.size_bytes == full


def test_records_of_two_connections_are_not_mixed() -> None:
    """Records of two connections are kept apart, even without another item between them."""
    other = Connection(engine="here", host="node-2", opened_ns=0, since_ns=0)
    buffer = EventBuffer(COMPRESS_ABOVE_BYTES)
    buffer.put_records(HERE, [b"1"])
    buffer.put_records(other, [b"2"])
    assert buffer.take_ready(9) == [Record(HERE, b"1"), Record(other, b"2")]


def test_a_short_buffer_is_not_compressed() -> None:
    """Records of a short buffer are soon taken, so they are not compressed."""
    buffer, records = EventBuffer(2 * COMPRESS_ABOVE_BYTES), similar_records(0, 4_000)
    buffer.put_records(HERE, records)
    assert buffer.size_bytes == uncompressed_bytes(records) < COMPRESS_ABOVE_BYTES


def test_a_count_of_drops_takes_no_space_from_the_next_record() -> None:
    """A record that fits is kept, although the count is appended before it."""
    buffer = EventBuffer(RECORD_OVERHEAD_BYTES + 10)
    buffer.put_records(HERE, [b"x" * 11, b"y" * 10])
    assert buffer.take_ready(9) == [
        RecordsDropped(HERE, 1, GapReason.BUFFER_FULL),
        record(b"y" * 10),
    ]


def test_taking_everything_frees_everything() -> None:
    """No space stays reserved once no chunk is compressed."""
    records = similar_records(0, 20_000)
    buffer = EventBuffer(COMPRESS_ABOVE_BYTES + CHUNK_BYTES)
    buffer.put_records(HERE, records)
    while buffer.take_ready(500):
        pass
    longest = b"x" * buffer.max_record_bytes
    buffer.put_records(HERE, [longest])
    assert buffer.take_ready(1) == [record(longest)]


def long_record(number: int) -> bytes:
    """A record of a megabyte that compresses well."""
    return b'{"number":%d,"label":"%s"}' % (number, b"restart unless-stopped; " * 43_690)


async def put_long(buffer: EventBuffer, numbers: range) -> None:
    """Put long records as the reader does."""
    for number in numbers:
        buffer.put_records(HERE, [long_record(number)])
        await buffer.compress_long()


async def test_many_long_records_fit_because_they_are_compressed() -> None:
    """A hundred times the bound fits, and all of it comes out again, in order."""
    buffer = EventBuffer(4 * 2**20)
    await put_long(buffer, range(100))
    assert buffer.size_bytes < buffer.max_record_bytes
    taken = [item for _ in range(100) for item in await buffer.take(500)]
    assert taken == [record(long_record(number)) for number in range(100)]
    assert buffer.size_bytes == buffer.item_count == 0


async def test_a_few_long_records_are_not_compressed() -> None:
    """While little waits, they are soon taken."""
    buffer = EventBuffer(64 * 2**20)
    await put_long(buffer, range(7))
    assert buffer.size_bytes > 7 * 2**20
    await put_long(buffer, range(7, 20))
    assert buffer.size_bytes < 10 * 2**20


async def test_a_long_record_behind_others_is_not_decompressed_before_it_is_taken() -> None:
    """A batch that has no room for it leaves it as it is."""
    buffer = EventBuffer(4 * 2**20)
    buffer.put_records(HERE, [b"1"])
    await put_long(buffer, range(3))
    before = buffer.size_bytes
    assert buffer.take_ready(2, max_bytes=1_000) == [record(b"1")]
    assert buffer.size_bytes < before
    assert len(buffer.take_ready(9)) == 1


async def test_space_for_a_decompressed_long_record_is_reserved() -> None:
    """Taking never makes the buffer exceed its bound, whatever is in it."""
    buffer, noise = EventBuffer(4 * 2**20), random.Random(1).randbytes(4 * 2**20)
    await put_long(buffer, range(4))
    for start in range(0, len(noise), 70_000):
        buffer.put_records(HERE, [noise[start : start + 70_000].replace(b"\n", b" ")])
        await buffer.compress_long()
    while not buffer.is_empty:
        await buffer.take(1)
        assert buffer.size_bytes <= 4 * 2**20


def test_a_history_counts_with_its_attributes() -> None:
    """Events with long labels take more memory than others."""
    event = parse_record(
        b'{"Type":"container","Action":"die","timeNano":1,"Actor":{"Attributes":{"a":"%s"}}}'
        % (b"x" * 10_000),
        HERE,
    )
    assert isinstance(event, Event)
    assert item_bytes(event) > EVENT_BYTES + 10_000
    assert item_bytes(StreamOpened(HERE, (event, event))) > 2 * (EVENT_BYTES + 10_000)
