"""The inbox: the reader never waits, and what finds no room is declared in its place."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import Event, Origin, Why
from relay.ingest.docker import buffer as module
from relay.ingest.docker.buffer import (
    BATCH_SIZE,
    EVENT_COST,
    LOOSE,
    SIGHTING_COST,
    Connection,
    Dropped,
    Inbox,
    Item,
    Opened,
    Record,
    cost,
    read,
)
from relay.ingest.docker.chunk import PILE_SIZE, RECORD_COST, weight
from relay.ingest.docker.containers.inference import Look
from relay.ingest.docker.engine.inspection import Sighting
from relay.ingest.docker.engine.parser import Flaw, Malformed

HERE = Connection(engine="here", host="node-1", opened_ns=0, since_ns=0)
FULL = Why.BUFFER_FULL


def record(content: bytes) -> Record:
    return Record(HERE, content)


def inbox_of(records: int) -> Inbox:
    """Room for so many records of a few bytes, by what they cost in memory."""
    return Inbox(records * (RECORD_COST + 8))


async def test_one_too_long_for_an_empty_inbox_is_declared_at_once() -> None:
    """Nobody waits for a record that finds room."""
    inbox = Inbox(RECORD_COST)
    inbox.put_records(HERE, [b"1"])
    assert await inbox.take(10) == [Dropped(HERE, 1, FULL)]


async def test_gives_what_was_put_in_its_order() -> None:
    """Records and what happened between them."""
    inbox, first, second = inbox_of(10), Opened(HERE), Opened(HERE)
    inbox.put(first)
    inbox.put_records(HERE, [b"1", b"2"])
    inbox.put(second)
    assert await inbox.take(10) == [first, record(b"1"), record(b"2"), second]


async def test_gives_no_more_than_asked_for() -> None:
    """The rest is for the next time."""
    inbox = inbox_of(10)
    inbox.put_records(HERE, [b"1", b"2", b"3"])
    assert await inbox.take(2) == [record(b"1"), record(b"2")]
    assert await inbox.take(2) == [record(b"3")]


async def test_waits_for_something() -> None:
    """Taking from an empty inbox ends when a record comes."""
    inbox = inbox_of(10)
    taking = asyncio.ensure_future(inbox.take(10))
    await asyncio.sleep(0)
    assert not taking.done()
    inbox.put_records(HERE, [b"1"])
    assert await taking == [record(b"1")]


async def test_closed_it_gives_what_is_left_and_then_nothing() -> None:
    """Nothing that was read is lost by stopping."""
    inbox = inbox_of(10)
    inbox.put_records(HERE, [b"1"])
    inbox.close()
    assert await inbox.take(10) == [record(b"1")]
    assert await inbox.take(10) == []


async def test_closing_ends_the_waiting() -> None:
    """One who waits gets nothing."""
    inbox = inbox_of(10)
    taking = asyncio.ensure_future(inbox.take(10))
    await asyncio.sleep(0)
    inbox.close()
    assert await taking == []


async def test_what_finds_no_room_is_declared_in_its_place() -> None:
    """One item counts all that was dropped, between what came before and after."""
    inbox = inbox_of(4)
    inbox.put_records(HERE, [b"1" * 200, b"2", b"3" * 200, b"4" * 200])
    assert await inbox.take(1) == [record(b"1" * 200)]
    inbox.put_records(HERE, [b"5"])
    assert await inbox.take(10) == [record(b"2"), Dropped(HERE, 2, FULL), record(b"5")]


async def test_what_was_dropped_last_is_declared_too() -> None:
    """It does not wait for a record that may never come."""
    inbox = inbox_of(1)
    inbox.put_records(HERE, [b"1", b"2"])
    assert await inbox.take(10) == [record(b"1"), Dropped(HERE, 1, FULL)]


async def test_taking_makes_room() -> None:
    """The bound is on what is in it, not on what went through."""
    inbox = inbox_of(2)
    for _ in range(3):
        inbox.put_records(HERE, [b"1", b"2"])
        assert await inbox.take(10) == [record(b"1"), record(b"2")]
        inbox.put_records(HERE, [b"3" * 17 + b"4" * RECORD_COST])
        assert await inbox.take(10) == [Dropped(HERE, 1, FULL)]


def test_what_is_there_can_be_taken_without_waiting() -> None:
    """No more than asked for, and nothing if there is nothing."""
    inbox = inbox_of(2)
    assert inbox.empty
    assert inbox.take_ready(10) == []
    inbox.put_records(HERE, [b"1", b"2", b"3"])
    assert not inbox.empty
    assert inbox.take_ready(1) == [record(b"1")]
    assert inbox.take_ready(10) == [record(b"2"), Dropped(HERE, 1, FULL)]
    assert inbox.empty


def test_records_are_read_as_their_connection_says() -> None:
    """Its engine and host, what of it is history, and whether it is Podman."""
    kill = (
        b'{"Type":"container","Action":"kill","timeNano":%d,"Actor":{"Attributes":{"signal":"9"}}}'
    )
    docker = Connection("here", "node-1", opened_ns=10, since_ns=1)
    event = read(kill % 10, docker)
    assert isinstance(event, Event)
    assert (event.engine, event.host, event.origin, event.signal) == (
        "here",
        "node-1",
        Origin.LIVE,
        9,
    )
    podman = Connection("here", "node-1", opened_ns=11, since_ns=1, podman=True)
    event = read(kill % 10, podman)
    assert isinstance(event, Event)
    assert (event.origin, event.signal) == (Origin.REPLAYED, None)
    assert read(b"<html>", docker) == Malformed(Flaw.NOT_JSON, b"<html>")


def test_a_history_takes_room_or_goes_without() -> None:
    """It is in memory like any record; whoever waits for its digestion waits on."""
    inbox = Inbox(2 * EVENT_COST + RECORD_COST)
    event = read(b'{"Type":"volume","Action":"create","timeNano":1}', HERE)
    assert isinstance(event, Event)
    small, large = Opened(HERE, (event,)), Opened(HERE, (event, event))
    inbox.put(small)
    inbox.put(large)
    inbox.put_records(HERE, [b"1" * EVENT_COST])
    first, second, lost = inbox.take_ready(10)
    assert first is small
    assert isinstance(second, Opened)
    assert second.history is None
    assert second.digested is large.digested
    assert lost == Dropped(HERE, 1, FULL)
    inbox.put(large)
    assert inbox.take_ready(10) == [large]


def sighting(**labels: str) -> Sighting:
    return Sighting("c", "web", "bb:1", labels, True, 1, None, None, False, None)


@pytest.mark.parametrize(
    ("item", "room"),
    [
        (Opened(HERE), RECORD_COST),
        (Dropped(HERE, 1, FULL), RECORD_COST),
        (read(b'{"Type":"volume","Action":"create","timeNano":1}', HERE), EVENT_COST),
        (Look("here", "node-1", 1), RECORD_COST),
        (Look("here", "node-1", 1, missing=frozenset("ab")), 3 * RECORD_COST),
        (
            Look("here", "node-1", 1, (sighting(a="x" * 1000), sighting())),
            RECORD_COST + SIGHTING_COST + RECORD_COST + 1001 + SIGHTING_COST,
        ),
    ],
    ids=["opened", "dropped", "own event", "look", "missing", "sightings"],
)
def test_everything_takes_room(item: Item, room: int) -> None:
    """It is put however full the inbox is, and records find that much less room."""
    inbox = Inbox(room + RECORD_COST + 8)
    for content, kept in ((b"1" * 8, True), (b"1" * 9, False)):
        inbox.put(item)
        inbox.put_records(HERE, [content])
        assert inbox.take_ready(10) == [item, record(content) if kept else Dropped(HERE, 1, FULL)]
    tiny = Inbox(0)
    tiny.put(item)
    assert tiny.take_ready(10) == [item]


async def test_a_batch_is_bounded_by_its_size_too() -> None:
    """Whatever is first is taken, and behind it what fits."""
    inbox, size = Inbox(4 * BATCH_SIZE), BATCH_SIZE - RECORD_COST
    sizes = [2 * BATCH_SIZE, 8, size - RECORD_COST - 8, 9]
    inbox.put_records(HERE, [b"1" * size for size in sizes])
    assert [cost(item) for item in await inbox.take(10)] == [2 * BATCH_SIZE + RECORD_COST]
    assert sum(map(cost, await inbox.take(10))) == BATCH_SIZE
    assert inbox.take_ready(10, 1) == [record(b"1" * 9)]
    assert inbox.empty


_STEPS = st.lists(
    st.tuples(st.just("put"), st.integers(1, 6)) | st.tuples(st.just("take"), st.integers(1, 5)),
    max_size=60,
)


@given(_STEPS)
def test_every_record_comes_out_or_is_counted(steps: list[tuple[str, int]]) -> None:
    """Whatever the pace, in order, and never more bytes than the bound."""
    asyncio.run(_every_record_comes_out_or_is_counted(steps))


async def _every_record_comes_out_or_is_counted(steps: list[tuple[str, int]]) -> None:
    inbox, put, taken = inbox_of(10), list[bytes](), list[Item]()
    for step, number in steps:
        if step == "put":
            put.append(bytes([len(put)]) * number)
            inbox.put_records(HERE, put[-1:])
        elif len(taken) < len(put):
            inbox.put(Opened(HERE))
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
            case Dropped(count=count):
                position += count
            case _:
                pass
    assert position == len(put)


def alike(first: int, count: int) -> list[bytes]:
    """Records of about 700 bytes, as one engine tells them."""
    return [b'{"timeNano":%d,"Attributes":"%s"}' % (first + at, b"x" * 680) for at in range(count)]


def test_what_waits_far_behind_takes_little() -> None:
    """Where they are alike, many times what would fit as it was read; all of it in order."""
    inbox, records = Inbox(2 * LOOSE), alike(0, 40_000)
    for first in range(0, len(records), 100):
        inbox.put_records(HERE, records[first : first + 100])
    assert weight(records) > 3 * 2 * LOOSE
    assert inbox.size < 2 * LOOSE
    assert inbox.waiting == len(records)
    taken = list[Item]()
    while got := inbox.take_ready(500):
        taken += got
    assert taken == [record(content) for content in records]
    assert (inbox.size, inbox.waiting, inbox.empty) == (0, 0, True)


def test_what_is_no_record_keeps_its_place_among_the_packed() -> None:
    """Each connection's records stay with it, too."""
    other = Connection(engine="here", host="node-2", opened_ns=0, since_ns=0)
    inbox, first, second = Inbox(8 * LOOSE), alike(0, 9_000), alike(9_000, 200)
    opened, lost = Opened(other), Dropped(other, 3, Why.RECORD_TOO_LONG)
    inbox.put_records(HERE, first)
    inbox.put(opened)
    inbox.put_records(other, second[:100])
    inbox.put(lost)
    inbox.put_records(HERE, second[100:])
    assert inbox.waiting == 9_202
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
    | st.tuples(st.just("take"), st.integers(1, 300), st.integers(1, BATCH_SIZE)),
    min_size=10,
    max_size=60,
)


@given(st.integers(2 * PILE_SIZE, 16 * PILE_SIZE), _MANY)
def test_packed_or_not_it_keeps_within_its_bound(
    limit: int, steps: list[tuple[str, int, int]]
) -> None:
    """Whatever can be packed and whatever cannot; all comes out in order, or is counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOOSE", 2 * PILE_SIZE)  # packed soon
        _it_keeps_within_its_bound(limit, steps)


def _it_keeps_within_its_bound(limit: int, steps: list[tuple[str, int, int]]) -> None:
    inbox, put, taken = Inbox(limit), list[bytes](), list[Item]()
    for step, one, other in steps:
        if step == "put":
            records = [b"%d %s" % (len(put) + at, _CONTENTS[one]) for at in range(other)]
            inbox.put_records(HERE, records)
            put += records
        else:
            taken += inbox.take_ready(one, other)
        assert inbox.size <= limit + RECORD_COST  # of a loss that is declared, which always is
    while got := inbox.take_ready(500):
        taken += got
    assert inbox.size == inbox.waiting == 0
    position = 0
    for item in taken:
        if isinstance(item, Dropped):
            position += item.count
        else:
            assert item == record(put[position])
            position += 1
    assert position == len(put)


def test_packing_holds_room_for_what_has_to_be_unpacked() -> None:
    """So that taking never makes it outgrow its bound."""
    inbox = Inbox(LOOSE + PILE_SIZE)
    while not inbox.size > LOOSE - PILE_SIZE // 2:
        inbox.put_records(HERE, alike(0, 10))
    inbox.put_records(HERE, alike(0, 9_000))
    full = inbox.size
    assert full <= LOOSE
    inbox.put_records(HERE, alike(0, 1))
    assert inbox.size == full


def test_connections_in_a_row_keep_what_they_read() -> None:
    """Though nothing stands between what the one and the other read."""
    other = Connection(engine="here", host="node-2", opened_ns=0, since_ns=0)
    inbox = Inbox(LOOSE)
    inbox.put_records(HERE, [b"1"])
    inbox.put_records(other, [b"2"])
    assert inbox.take_ready(9) == [Record(HERE, b"1"), Record(other, b"2")]


def test_what_waits_in_front_stays_as_it_was_read() -> None:
    """Nobody packs what is taken at once."""
    inbox, records = Inbox(2 * LOOSE), alike(0, 4_000)
    inbox.put_records(HERE, records)
    assert inbox.size == weight(records) < LOOSE


def test_a_loss_takes_no_room_from_what_is_behind_it() -> None:
    """What fits is kept, though the loss before it is declared then."""
    inbox = Inbox(RECORD_COST + 10)
    inbox.put_records(HERE, [b"x" * 11, b"y" * 10])
    assert inbox.take_ready(9) == [Dropped(HERE, 1, Why.BUFFER_FULL), record(b"y" * 10)]


def test_what_is_taken_holds_no_room() -> None:
    """Once nothing is packed any more, there is as much as at first."""
    records = alike(0, 20_000)
    inbox = Inbox(LOOSE + PILE_SIZE)
    inbox.put_records(HERE, records)
    while inbox.take_ready(500):
        pass
    longest = b"x" * inbox.longest
    inbox.put_records(HERE, [longest])
    assert inbox.take_ready(1) == [record(longest)]
