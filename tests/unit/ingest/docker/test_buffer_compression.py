"""The event buffer: what waits for long is compressed, and the bound holds with that too."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import Event, GapReason
from relay.ingest.docker import buffer as module
from relay.ingest.docker.buffer import (
    BATCH_BYTES,
    COMPRESS_ABOVE_BYTES,
    EVENT_BYTES,
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

HERE = Connection(engine="here", host="node-1", opened_ns=0, since_ns=0)
FULL = GapReason.BUFFER_FULL


def record(content: bytes) -> Record:
    return Record(HERE, content)


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
