"""A long notification is stored once for its deliveries and dead letters, while any is left."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.core.exchange import Dead, Delivered, Outcome, Reason, Retry
from relay.core.include import Included
from relay.core.notification import Notification
from relay.store.faults import StoreLoss
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import LONG_BYTES, Ack, Delivery, IngestCommit, Selection
from relay.store.schema import migrate
from tests.support.profiles import examples
from tests.unit.store.samples import fetch_due, make_commit, make_notification, with_include

ALL = Selection()
MANY = tuple(f"ops-{number}" for number in range(11))


@pytest_asyncio.fixture
async def outbox() -> AsyncIterator[Outbox]:
    """An empty outbox."""
    async with open_outbox(None) as made:
        yield made


def make_long(number: int, length: int = LONG_BYTES) -> Notification:
    """The notification of an event with a long label, about a container of its own."""
    made = make_notification(number, f"c{number}")
    (event,) = made.events
    actor = msgspec.structs.replace(event.actor, attributes={"label": "x" * length})
    return msgspec.structs.replace(made, events=(msgspec.structs.replace(event, actor=actor),))


async def stored(outbox: Outbox) -> list[int]:
    """The numbers of the long notifications in the store."""

    def query(connection: sqlite3.Connection) -> list[int]:
        return [seq for (seq,) in connection.execute("SELECT seq FROM long_notifications")]

    return await outbox._writer.run(query)


async def referenced(outbox: Outbox) -> set[int]:
    """The numbers to which deliveries and dead letters refer."""

    def query(connection: sqlite3.Connection) -> set[int]:
        return {
            seq
            for table in ("deliveries", "dead_letters")
            for (seq,) in connection.execute(f"SELECT long_seq FROM {table}")
            if seq is not None
        }

    return await outbox._writer.run(query)


async def settle(outbox: Outbox, delivery: Delivery, outcome: Outcome) -> None:
    await outbox.ack([Ack(delivery, outcome)], 10, flush=True)


async def test_one_copy_for_all_destinations(tmp_path: Path) -> None:
    """The file takes little more than one, and each destination gets the whole notification."""
    file, length = tmp_path / "relay.db", 2**20
    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(make_long(1, length), to=MANY), 10)
        assert await stored(outbox) == [1]
        for to in MANY:
            (delivery,) = await fetch_due(outbox, 10, to)
            assert delivery.notification == make_long(1, length)
            assert delivery.size_bytes == len(msgspec.json.encode(delivery.notification))
    assert file.stat().st_size < 1.5 * length


async def test_a_short_one_is_stored_with_each_delivery(outbox: Outbox) -> None:
    """So that an ordinary commit needs no other statement."""
    await outbox.commit(make_commit(make_notification(1), to=MANY), 10)
    assert await stored(outbox) == []


async def test_one_without_destinations_is_not_stored(outbox: Outbox) -> None:
    """Nothing would ever delete it."""
    await outbox.commit(make_commit(make_long(1), to=()), 10)
    assert await stored(outbox) == []


async def test_it_is_deleted_with_the_last_delivery(outbox: Outbox) -> None:
    """Whatever becomes of the others."""
    await outbox.commit(make_commit(make_long(1), to=("a", "b", "c")), 10)
    for to, outcome in (
        ("a", Delivered()),
        ("b", Retry(1.0, Reason.UNAVAILABLE)),
        ("c", Delivered()),
    ):
        (delivery,) = await fetch_due(outbox, 10, to)
        await settle(outbox, delivery, outcome)
        assert await stored(outbox) == [1]
    (delivery,) = await fetch_due(outbox, 2**62, "b")
    assert (delivery.notification, delivery.attempts) == (make_long(1), 1)
    await settle(outbox, delivery, Delivered())
    assert await stored(outbox) == []


async def test_dead_letters_share_it_too(outbox: Outbox) -> None:
    """Giving up, replaying and dropping copy nothing."""
    await outbox.commit(make_commit(make_long(1), to=("a", "b", "c")), 10)
    (delivery,) = await fetch_due(outbox, 10, "a")
    await settle(outbox, delivery, Dead(Reason.REFUSED))
    assert (await outbox.expire("b", 10, 20)).count == 1
    assert (await outbox.drop_destination("c", 20)).count == 1
    found = await outbox.dead_letters(Selection(route="crashed"), 9)
    assert [each.destination for each in found] == ["c", "b", "a"]
    assert [each.notification for each in found] == [make_long(1)] * 3
    assert await stored(outbox) == [1]
    assert await outbox.replay_dead_letters(Selection(destination="b"), lambda: ["b"], 20) == 1
    assert await stored(outbox) == [1]
    (again,) = await fetch_due(outbox, 20, "b")
    assert again.notification == make_long(1)
    assert await outbox.drop_dead_letters(ALL) == 2
    assert await stored(outbox) == [1]
    await settle(outbox, again, Delivered())
    assert await stored(outbox) == []


async def test_what_it_includes_is_stored_once(outbox: Outbox) -> None:
    """The complete notification replaces the other one; what comes too late leaves nothing."""
    notification = with_include(make_long(1))
    complete = msgspec.structs.replace(notification, included=Included(health="y" * LONG_BYTES))
    (seqs,) = (await outbox.commit(make_commit(notification, to=("a", "b")), 10)).seqs
    await outbox.enrich(seqs, complete, 20)
    assert len(await stored(outbox)) == 1
    await outbox.enrich(seqs, complete, 30)  # no longer held
    assert len(await stored(outbox)) == 1
    for to in ("a", "b"):
        (delivery,) = await fetch_due(outbox, 30, to)
        assert delivery.notification == complete
        await settle(outbox, delivery, Delivered())
    assert await stored(outbox) == []


@pytest.mark.parametrize("grows", [True, False])
async def test_a_notification_becomes_long_or_short(outbox: Outbox, grows: bool) -> None:
    """Where it is stored changes with its length."""
    short, long = make_notification(1), make_long(1)
    before, after = (short, long) if grows else (long, short)
    (seqs,) = (await outbox.commit(make_commit(with_include(before), to=("a", "b")), 10)).seqs
    await outbox.enrich(seqs, after, 20)
    assert bool(await stored(outbox)) is grows
    for to in ("a", "b"):
        (delivery,) = await fetch_due(outbox, 20, to)
        assert delivery.notification == after
        assert delivery.size_bytes == len(msgspec.json.encode(after))


async def test_only_those_still_held_get_what_is_included(outbox: Outbox) -> None:
    """The others keep the notification with which they may be under way."""
    notification = with_include(make_long(1))
    complete = msgspec.structs.replace(notification, included=Included(health="y" * LONG_BYTES))
    (seqs,) = (await outbox.commit(make_commit(notification, to=("a", "b")), 10)).seqs
    await outbox.enrich(seqs[:1], complete, 20)
    assert await stored(outbox) == [1, 2]
    (first,) = await fetch_due(outbox, 2**62, "a")
    (second,) = await fetch_due(outbox, 2**62, "b")
    assert (first.notification, second.notification) == (complete, notification)


@pytest.mark.parametrize("length", [LONG_BYTES, 2**20])
async def test_eviction_counts_each_once(length: int) -> None:
    """As many fit as there is room for; one is freed with the last delivery that refers to it."""
    async with open_outbox(None, max_size=8 * length + 2**17) as outbox:
        evicted = [
            (await outbox.commit(make_commit(make_long(number, length), to=MANY), 10)).evicted
            for number in range(1, 7)
        ]
        assert not any(evicted)
        for number in range(7, 20):
            await outbox.commit(make_commit(make_long(number, length), to=MANY), 10)
        assert 4 <= len(await stored(outbox)) <= 9
        assert set(await stored(outbox)) == await referenced(outbox)
        newest = (await fetch_due(outbox, 10, MANY[-1]))[-1]
        assert newest.notification == make_long(19, length)


@pytest.mark.parametrize("table", ["deliveries", "dead_letters"])
async def test_a_store_of_version_4_is_migrated(tmp_path: Path, table: str) -> None:
    """What it holds stays where it is, and is delivered, given up and replayed as before."""
    file, content = tmp_path / "relay.db", msgspec.json.encode(make_long(1))
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=4)
        for to in ("a", "b"):
            row = {"destination": to, "notification": content, "created_ns": 5}
            if table == "deliveries":
                row |= {"chain": len(to), "due_ns": 5}
            else:
                row |= {"id": make_long(1).id, "died_ns": 6, "attempts": 1, "reason": "expired"}
            names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
            connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", row)
        connection.commit()
    async with open_outbox(file) as outbox:
        if table == "dead_letters":
            assert (await outbox.dead_letters(ALL, 1))[0].notification == make_long(1)
            assert await outbox.replay_dead_letters(ALL, lambda: ["a", "b"], 10) == 2
        for to, outcome in (("a", Delivered()), ("b", Dead(Reason.REFUSED))):
            (delivery,) = await fetch_due(outbox, 10, to)
            assert delivery.notification == make_long(1)
            assert delivery.size_bytes == len(content)
            await settle(outbox, delivery, outcome)
        assert [each.destination for each in await outbox.dead_letters(ALL, 9)] == ["b"]
        assert await outbox.drop_dead_letters(ALL) == 1
        assert await stored(outbox) == []


async def test_a_lost_notification_costs_only_its_own_deliveries(tmp_path: Path) -> None:
    """When one is missing, the store is rebuilt without those that refer to it."""
    file, losses = tmp_path / "relay.db", list[StoreLoss]()
    async with open_outbox(file) as outbox:
        batch = [make_long(1), make_long(2), make_notification(3)]
        await outbox.commit(make_commit(*batch, to=("a", "b")), 10)
        (gone, *_) = await fetch_due(outbox, 10, "b")
        await settle(outbox, gone, Dead(Reason.REFUSED))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM long_notifications WHERE seq = 1")
        connection.execute("INSERT INTO long_notifications VALUES (9, x'7b7d')")
        connection.commit()
    async with open_outbox(file, on_loss=losses.append) as outbox:
        for to in ("a", "b"):
            due = await fetch_due(outbox, 10, to)
            assert [each.notification for each in due] == [make_long(2), make_notification(3)]
        assert await outbox.dead_letters(ALL, 9) == []
        assert await stored(outbox) == [2]
    assert [loss.recovered for loss in losses] == [4]


async def test_its_number_is_used_again_only_when_nothing_refers_to_it(outbox: Outbox) -> None:
    """A delivery that was fetched before does not get the contents of another one."""
    await outbox.commit(make_commit(make_long(1)), 10)
    (delivery,) = await fetch_due(outbox, 10)
    await settle(outbox, delivery, Delivered())
    await outbox.commit(make_commit(make_long(2)), 10)
    await settle(outbox, delivery, Delivered())  # once more, after a restart of its worker
    (other,) = await fetch_due(outbox, 10)
    assert other.notification == make_long(2)


_TO = st.sampled_from("abc")
_steps = st.one_of(
    st.tuples(st.just("commit"), st.sets(_TO), st.booleans(), st.booleans()),
    st.tuples(
        st.just("ack"),
        _TO,
        st.sampled_from(
            [Delivered(), Dead(Reason.REFUSED), Retry(0.0, Reason.UNAVAILABLE)],
        ),
    ),
    st.tuples(st.just("enrich"), st.booleans()),
    st.tuples(st.sampled_from(["give up", "replay", "drop"]), _TO),
    st.tuples(st.just("prune"), st.integers(0, 3)),
)


@settings(max_examples=examples(200))
@given(st.lists(_steps, max_size=25), st.sampled_from([2**30, 2**18]))
def test_none_is_missing_and_none_is_left_over(
    steps: list[tuple[object, ...]], max_size: int
) -> None:
    """After each step, exactly those to which something refers are stored, and all can be read."""
    asyncio.run(_run(steps, max_size))


async def _run(steps: list[tuple[object, ...]], max_size: int) -> None:
    held: list[tuple[Notification, list[int]]] = []
    async with open_outbox(None, max_size=max_size) as outbox:
        for number, step in enumerate(steps, 1):
            await _take(step, number, held, outbox)
            assert set(await stored(outbox)) == await referenced(outbox)
        for to in "abc":
            for delivery in await fetch_due(outbox, 2**62, to):
                number = delivery.notification.events[0].time_ns
                assert delivery.notification.id == make_notification(number, f"c{number}").id
                await settle(outbox, delivery, Delivered())
        await outbox.drop_dead_letters(ALL)
        assert await stored(outbox) == []
        assert await outbox.pending() == {}


async def _take(
    step: tuple[object, ...],
    number: int,
    held: list[tuple[Notification, list[int]]],
    outbox: Outbox,
) -> None:
    match step:
        case "commit", set(destinations), is_long, is_held:
            made = make_long(number) if is_long else make_notification(number, f"c{number}")
            made = with_include(made) if is_held else made
            batch = IngestCommit("here", None, [(made, sorted(destinations))])
            (seqs,) = (await outbox.commit(batch, 10)).seqs
            if is_held:
                held.append((made, list(seqs)))
        case "ack", str(to), (Delivered() | Dead() | Retry()) as outcome:
            for delivery in (await fetch_due(outbox, 2**62, to))[:1]:
                await settle(outbox, delivery, outcome)
        case "enrich", is_long if held:
            made, seqs = held.pop()
            health = "y" * (LONG_BYTES if is_long else 10)
            complete = msgspec.structs.replace(made, included=Included(health=health))
            await outbox.enrich(seqs, complete, 10)
        case "give up", str(to):
            await outbox.expire(to, 10, 20)
        case "replay", str(to):
            await outbox.replay_dead_letters(ALL, lambda: [to], 10)
        case "drop", str(to):
            await outbox.drop_dead_letters(Selection(destination=to))
        case "prune", int(max_count):
            await outbox.prune_dead_letters(0, max_count)
