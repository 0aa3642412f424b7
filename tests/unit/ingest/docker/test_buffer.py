"""The inbox: the reader never waits, and what finds no room is declared in its place."""

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
    """Room for so many records of a few bytes, by what they cost in memory."""
    return EventBuffer(records * (RECORD_OVERHEAD_BYTES + 8))


async def test_one_too_long_for_an_empty_inbox_is_declared_at_once() -> None:
    """Nobody waits for a record that finds room."""
    inbox = EventBuffer(RECORD_OVERHEAD_BYTES)
    inbox.put_records(HERE, [b"1"])
    assert await inbox.take(10) == [RecordsDropped(HERE, 1, FULL)]


async def test_gives_what_was_put_in_its_order() -> None:
    """Records and what happened between them."""
    inbox, first, second = buffer_for(10), StreamOpened(HERE), StreamOpened(HERE)
    inbox.put(first)
    inbox.put_records(HERE, [b"1", b"2"])
    inbox.put(second)
    assert await inbox.take(10) == [first, record(b"1"), record(b"2"), second]


async def test_gives_no_more_than_asked_for() -> None:
    """The rest is for the next time."""
    inbox = buffer_for(10)
    inbox.put_records(HERE, [b"1", b"2", b"3"])
    assert await inbox.take(2) == [record(b"1"), record(b"2")]
    assert await inbox.take(2) == [record(b"3")]


async def test_waits_for_something() -> None:
    """Taking from an empty inbox ends when a record comes."""
    inbox = buffer_for(10)
    taking = asyncio.ensure_future(inbox.take(10))
    await asyncio.sleep(0)
    assert not taking.done()
    inbox.put_records(HERE, [b"1"])
    assert await taking == [record(b"1")]


async def test_closed_it_gives_what_is_left_and_then_nothing() -> None:
    """Nothing that was read is lost by stopping."""
    inbox = buffer_for(10)
    inbox.put_records(HERE, [b"1"])
    inbox.close()
    assert await inbox.take(10) == [record(b"1")]
    assert await inbox.take(10) == []


async def test_closing_ends_the_waiting() -> None:
    """One who waits gets nothing."""
    inbox = buffer_for(10)
    taking = asyncio.ensure_future(inbox.take(10))
    await asyncio.sleep(0)
    inbox.close()
    assert await taking == []


async def test_what_finds_no_room_is_declared_in_its_place() -> None:
    """One item counts all that was dropped, between what came before and after."""
    inbox = buffer_for(4)
    inbox.put_records(HERE, [b"1" * 200, b"2", b"3" * 200, b"4" * 200])
    assert await inbox.take(1) == [record(b"1" * 200)]
    inbox.put_records(HERE, [b"5"])
    assert await inbox.take(10) == [record(b"2"), RecordsDropped(HERE, 2, FULL), record(b"5")]


async def test_what_was_dropped_last_is_declared_too() -> None:
    """It does not wait for a record that may never come."""
    inbox = buffer_for(1)
    inbox.put_records(HERE, [b"1", b"2"])
    assert await inbox.take(10) == [record(b"1"), RecordsDropped(HERE, 1, FULL)]


async def test_taking_makes_room() -> None:
    """The bound is on what is in it, not on what went through."""
    inbox = buffer_for(2)
    for _ in range(3):
        inbox.put_records(HERE, [b"1", b"2"])
        assert await inbox.take(10) == [record(b"1"), record(b"2")]
        inbox.put_records(HERE, [b"3" * 17 + b"4" * RECORD_OVERHEAD_BYTES])
        assert await inbox.take(10) == [RecordsDropped(HERE, 1, FULL)]


def test_what_is_there_can_be_taken_without_waiting() -> None:
    """No more than asked for, and nothing if there is nothing."""
    inbox = buffer_for(2)
    assert inbox.is_empty
    assert inbox.take_ready(10) == []
    inbox.put_records(HERE, [b"1", b"2", b"3"])
    assert not inbox.is_empty
    assert inbox.take_ready(1) == [record(b"1")]
    assert inbox.take_ready(10) == [record(b"2"), RecordsDropped(HERE, 1, FULL)]
    assert inbox.is_empty


def test_records_are_read_as_their_connection_says() -> None:
    """Its engine and host, what of it is history, and whether it is Podman."""
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
    assert parse_record(b"<html>", docker) == InvalidRecord(ParseErrorKind.NOT_JSON, b"<html>")


def test_a_history_takes_room_or_goes_without() -> None:
    """It is in memory like any record; whoever waits for its digestion waits on."""
    inbox = EventBuffer(2 * EVENT_BYTES + RECORD_OVERHEAD_BYTES)
    event = parse_record(b'{"Type":"volume","Action":"create","timeNano":1}', HERE)
    assert isinstance(event, Event)
    small, large = StreamOpened(HERE, (event,)), StreamOpened(HERE, (event, event))
    inbox.put(small)
    inbox.put(large)
    inbox.put_records(HERE, [b"1" * EVENT_BYTES])
    first, second, lost = inbox.take_ready(10)
    assert first is small
    assert isinstance(second, StreamOpened)
    assert second.history is None
    assert second.committed is large.committed
    assert lost == RecordsDropped(HERE, 1, FULL)
    inbox.put(large)
    assert inbox.take_ready(10) == [large]


def container_snapshot(**labels: str) -> ContainerSnapshot:
    return ContainerSnapshot("c", "web", "bb:1", labels, True, 1, None, None, False, None)


@pytest.mark.parametrize(
    ("item", "room"),
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
    ids=["opened", "dropped", "own event", "look", "missing", "sightings"],
)
def test_everything_takes_room(item: Item, room: int) -> None:
    """It is put however full the inbox is, and records find that much less room."""
    inbox = EventBuffer(room + RECORD_OVERHEAD_BYTES + 8)
    for content, kept in ((b"1" * 8, True), (b"1" * 9, False)):
        inbox.put(item)
        inbox.put_records(HERE, [content])
        assert inbox.take_ready(10) == [
            item,
            record(content) if kept else RecordsDropped(HERE, 1, FULL),
        ]
    tiny = EventBuffer(0)
    tiny.put(item)
    assert tiny.take_ready(10) == [item]


async def test_a_batch_is_bounded_by_its_size_too() -> None:
    """Whatever is first is taken, and behind it what fits."""
    inbox, size = EventBuffer(4 * BATCH_BYTES), BATCH_BYTES - RECORD_OVERHEAD_BYTES
    sizes = [2 * BATCH_BYTES, 8, size - RECORD_OVERHEAD_BYTES - 8, 9]
    inbox.put_records(HERE, [b"1" * size for size in sizes])
    assert [item_bytes(item) for item in await inbox.take(10)] == [
        2 * BATCH_BYTES + RECORD_OVERHEAD_BYTES
    ]
    assert sum(map(item_bytes, await inbox.take(10))) == BATCH_BYTES
    assert inbox.take_ready(10, 1) == [record(b"1" * 9)]
    assert inbox.is_empty


_STEPS = st.lists(
    st.tuples(st.just("put"), st.integers(1, 6)) | st.tuples(st.just("take"), st.integers(1, 5)),
    max_size=60,
)


@given(_STEPS)
def test_every_record_comes_out_or_is_counted(steps: list[tuple[str, int]]) -> None:
    """Whatever the pace, in order, and never more bytes than the bound."""
    asyncio.run(_every_record_comes_out_or_is_counted(steps))


async def _every_record_comes_out_or_is_counted(steps: list[tuple[str, int]]) -> None:
    inbox, put, taken = buffer_for(10), list[bytes](), list[Item]()
    for step, number in steps:
        if step == "put":
            put.append(bytes([len(put)]) * number)
            inbox.put_records(HERE, put[-1:])
        elif len(taken) < len(put):
            inbox.put(StreamOpened(HERE))
            got = await inbox.take(number)
            assert sum(len(item.content) for item in got if isinstance(item, Record)) <= 80
            taken += got
    inbox.close()
    while got := await inbox.take(5):
        taken += got
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
    """Records of about 700 bytes, as one engine tells them."""
    return [b'{"timeNano":%d,"Attributes":"%s"}' % (first + at, b"x" * 680) for at in range(count)]


def test_what_waits_far_behind_takes_little() -> None:
    """Where they are alike, many times what would fit as it was read; all of it in order."""
    inbox, records = EventBuffer(2 * COMPRESS_ABOVE_BYTES), similar_records(0, 40_000)
    for first in range(0, len(records), 100):
        inbox.put_records(HERE, records[first : first + 100])
    assert uncompressed_bytes(records) > 3 * 2 * COMPRESS_ABOVE_BYTES
    assert inbox.size_bytes < 2 * COMPRESS_ABOVE_BYTES
    assert inbox.item_count == len(records)
    taken = list[Item]()
    while got := inbox.take_ready(500):
        taken += got
    assert taken == [record(content) for content in records]
    assert (inbox.size_bytes, inbox.item_count, inbox.is_empty) == (0, 0, True)


def test_what_is_no_record_keeps_its_place_among_the_packed() -> None:
    """Each connection's records stay with it, too."""
    other = Connection(engine="here", host="node-2", opened_ns=0, since_ns=0)
    inbox, first, second = (
        EventBuffer(8 * COMPRESS_ABOVE_BYTES),
        similar_records(0, 9_000),
        similar_records(9_000, 200),
    )
    opened, lost = StreamOpened(other), RecordsDropped(other, 3, GapReason.RECORD_TOO_LONG)
    inbox.put_records(HERE, first)
    inbox.put(opened)
    inbox.put_records(other, second[:100])
    inbox.put(lost)
    inbox.put_records(HERE, second[100:])
    assert inbox.item_count == 9_202
    taken = list[Item]()
    while got := inbox.take_ready(7):
        taken += got
    assert taken == [
        *map(record, first),
        opened,
        *(Record(other, content) for content in second[:100]),
        lost,
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
def test_packed_or_not_it_keeps_within_its_bound(
    limit: int, steps: list[tuple[str, int, int]]
) -> None:
    """Whatever can be packed and whatever cannot; all comes out in order, or is counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "COMPRESS_ABOVE_BYTES", 2 * CHUNK_BYTES)  # packed soon
        _it_keeps_within_its_bound(limit, steps)


def _it_keeps_within_its_bound(limit: int, steps: list[tuple[str, int, int]]) -> None:
    inbox, put, taken = EventBuffer(limit), list[bytes](), list[Item]()
    for step, one, other in steps:
        if step == "put":
            records = [b"%d %s" % (len(put) + at, _CONTENTS[one]) for at in range(other)]
            inbox.put_records(HERE, records)
            put += records
        else:
            taken += inbox.take_ready(one, other)
        assert (
            inbox.size_bytes <= limit + RECORD_OVERHEAD_BYTES
        )  # of a loss that is declared, which always is
    while got := inbox.take_ready(500):
        taken += got
    assert inbox.size_bytes == inbox.item_count == 0
    position = 0
    for item in taken:
        if isinstance(item, RecordsDropped):
            position += item.count
        else:
            assert item == record(put[position])
            position += 1
    assert position == len(put)


def test_packing_holds_room_for_what_has_to_be_unpacked() -> None:
    """So that taking never makes it outgrow its bound."""
    inbox = EventBuffer(COMPRESS_ABOVE_BYTES + CHUNK_BYTES)
    while not inbox.size_bytes > COMPRESS_ABOVE_BYTES - CHUNK_BYTES // 2:
        inbox.put_records(HERE, similar_records(0, 10))
    inbox.put_records(HERE, similar_records(0, 9_000))
    full = inbox.size_bytes
    assert full <= COMPRESS_ABOVE_BYTES
    inbox.put_records(HERE, similar_records(0, 1))
    assert inbox.size_bytes == full


def test_connections_in_a_row_keep_what_they_read() -> None:
    """Though nothing stands between what the one and the other read."""
    other = Connection(engine="here", host="node-2", opened_ns=0, since_ns=0)
    inbox = EventBuffer(COMPRESS_ABOVE_BYTES)
    inbox.put_records(HERE, [b"1"])
    inbox.put_records(other, [b"2"])
    assert inbox.take_ready(9) == [Record(HERE, b"1"), Record(other, b"2")]


def test_what_waits_in_front_stays_as_it_was_read() -> None:
    """Nobody packs what is taken at once."""
    inbox, records = EventBuffer(2 * COMPRESS_ABOVE_BYTES), similar_records(0, 4_000)
    inbox.put_records(HERE, records)
    assert inbox.size_bytes == uncompressed_bytes(records) < COMPRESS_ABOVE_BYTES


def test_a_loss_takes_no_room_from_what_is_behind_it() -> None:
    """What fits is kept, though the loss before it is declared then."""
    inbox = EventBuffer(RECORD_OVERHEAD_BYTES + 10)
    inbox.put_records(HERE, [b"x" * 11, b"y" * 10])
    assert inbox.take_ready(9) == [
        RecordsDropped(HERE, 1, GapReason.BUFFER_FULL),
        record(b"y" * 10),
    ]


def test_what_is_taken_holds_no_room() -> None:
    """Once nothing is packed any more, there is as much as at first."""
    records = similar_records(0, 20_000)
    inbox = EventBuffer(COMPRESS_ABOVE_BYTES + CHUNK_BYTES)
    inbox.put_records(HERE, records)
    while inbox.take_ready(500):
        pass
    longest = b"x" * inbox.max_record_bytes
    inbox.put_records(HERE, [longest])
    assert inbox.take_ready(1) == [record(longest)]
