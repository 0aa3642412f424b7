"""The event buffer: order, bound, and how drops are counted."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import Event, GapReason, Origin, ParseErrorKind
from relay.ingest.docker.buffer import (
    BATCH_BYTES,
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
from relay.ingest.docker.chunk import RECORD_OVERHEAD_BYTES
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
