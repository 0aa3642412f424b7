"""Lanes that are given what was just committed, and settle many attempts at once."""

import asyncio
import random
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from relay.core.exchange import Response
from relay.core.notification import Include, notify
from relay.delivery import acks
from relay.store.outbox import SqliteOutbox
from relay.store.records import HOLD_NS, Due, Intake, Settled
from tests.component.batch_samples import STEADY
from tests.component.delivery_worker import (
    Clock,
    Destination,
    Hours,
    empty,
    lane,
    left,
    running,
    take_in,
    told,
)


@pytest.fixture
def fetches(outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch) -> list[Due]:
    """What the store was asked for, and answered."""
    found: list[Due] = []
    due = outbox.due

    async def asked(*question: Any) -> Due:
        found.append(await due(*question))
        return found[-1]

    monkeypatch.setattr(outbox, "due", asked)
    return found


@pytest.fixture
def commits(outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many were settled at once."""
    counts: list[int] = []
    settle = outbox.settle

    async def counted(settled: Sequence[Settled], now_ns: int) -> bool:
        counts.append(len(settled))
        return await settle(settled, now_ns)

    monkeypatch.setattr(outbox, "settle", counted)
    return counts


async def test_what_is_committed_is_sent_unasked(
    outbox: SqliteOutbox, clock: Clock, hours: Hours, fetches: list[Due]
) -> None:
    """A lane that has nothing to do does not ask the store for what it is given."""
    to = Destination()
    async with running(lane(outbox, to, clock)):
        await hours.settle()
        fetches.clear()
        await take_in(outbox, told(1, "a"), told(2, "b"))
        await empty(outbox)
    assert len(to.begun) == 2
    assert fetches == []


async def test_what_stands_behind_another_is_sent_when_that_is_settled(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """It is not given before."""
    to = Destination()
    to.open.clear()
    async with running(lane(outbox, to, clock)):
        await hours.settle()
        await take_in(outbox, told(1), told(2))
        await take_in(outbox, told(3))
        await hours.settle()
        assert len(to.begun) == 1
        to.open.set()
        await empty(outbox)
    assert len(to.begun) == 3


async def test_what_is_held_is_asked_for_when_its_time_comes(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """What it is to include may come in time."""
    to = Destination()
    held = notify("route", told(1).events[0], Include(logs=5))
    async with running(lane(outbox, to, clock)):
        await hours.settle()
        await outbox.take_in(Intake("here", None, [(held, ["hook"])]), clock.now_ns)
        await hours.settle()
        assert to.begun == []
        await hours.move(HOLD_NS / 1e9)
        await empty(outbox)
    assert len(to.begun) == 1


@pytest.mark.parametrize("seed", range(5))
async def test_given_or_asked_for_each_is_sent_once_and_in_order(
    outbox: SqliteOutbox, clock: Clock, seed: int
) -> None:
    """However batches, fetches and failures fall together."""
    dice = random.Random(seed)
    taken: list[str] = []

    def answer(id_: str) -> Response:
        if dice.random() < 0.25:
            return Response(408)
        taken.append(id_)
        return Response(200)

    to = Destination(answer)
    order: defaultdict[str, list[str]] = defaultdict(list)
    async with running(lane(outbox, to, clock, concurrency=3, retry=STEADY)):
        for number in range(40):
            batch = []
            for place in range(dice.randint(1, 120 if number % 10 == 0 else 5)):
                subject = str(dice.randint(0, 20))
                batch.append(told(1000 * number + place, subject))
                order[subject].append(batch[-1].id)
            await take_in(outbox, *batch, now_ns=clock.now_ns)
            for _ in range(dice.randint(0, 5)):
                await asyncio.sleep(0)
        while await outbox.pending():
            await Hours(outbox, clock).move(60)
    assert sorted(taken) == sorted(id_ for ids in order.values() for id_ in ids)
    for ids in order.values():
        assert [id_ for id_ in taken if id_ in set(ids)] == ids


async def test_outcomes_are_committed_together(
    outbox: SqliteOutbox,
    clock: Clock,
    hours: Hours,
    commits: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that come one after the other wait a little for each other, or until they are many."""
    monkeypatch.setattr(acks, "GATHER_S", 3600)
    to, count = Destination(), acks.ENOUGH
    async with running(lane(outbox, to, clock)):
        await hours.settle()
        for number in range(count):
            assert commits == []
            await take_in(outbox, told(number, str(number)))
            await hours.settle()
        await empty(outbox)
    assert commits == [count]


async def test_a_stop_waits_for_no_further_outcome(
    outbox: SqliteOutbox,
    clock: Clock,
    hours: Hours,
    commits: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What came is committed at once."""
    monkeypatch.setattr(acks, "GATHER_S", 3600)
    async with running(lane(outbox, Destination(), clock)):
        await hours.settle()
        await take_in(outbox, told(1))
        await hours.settle()
    assert commits == [1]
    assert await outbox.pending() == {}


async def test_what_stands_in_line_is_not_held_up(
    outbox: SqliteOutbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outcome for which others wait does not wait itself where no other is to come."""
    to = Destination()
    async with running(lane(outbox, to, clock)):
        await take_in(outbox, *map(told, range(20)))
        await left(outbox, 18)
        monkeypatch.setattr(acks, "GATHER_S", 3600)
        await left(outbox, 1)
    assert len(to.begun) == 20


@pytest.mark.parametrize(("concurrency", "others"), [(1, 3), (8, 20)])
async def test_a_retry_is_made_though_others_were_at_hand_when_it_was_due(
    outbox: SqliteOutbox, clock: Clock, hours: Hours, concurrency: int, others: int
) -> None:
    """The lane looks for it once there is room."""
    first, tries = told(1, "late"), [Response(200), Response(503)]
    to = Destination(lambda id_: tries.pop() if id_ == first.id else Response(200))
    retry = {"initial": "1s", "jitter": 0}
    async with running(lane(outbox, to, clock, concurrency=concurrency, retry=retry)):
        await take_in(outbox, first, now_ns=clock.now_ns)
        await to.until(1)
        await hours.settle()
        to.open.clear()
        made = [told(10 + number, str(number)) for number in range(others)]
        await take_in(outbox, *made, now_ns=clock.now_ns)
        await hours.settle()
        await hours.move(2)
        to.open.set()
        await empty(outbox)
    assert to.begun.count(first.id) == 2


async def test_what_nobody_told_of_is_found(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """A store that mends itself does not know whom it is to tell: lanes look now and then."""
    to = Destination(lambda _: Response(503 if len(to.begun) == 1 else 200))
    async with running(lane(outbox, to, clock, retry={"initial": "10m", "max": "10m"})):
        await take_in(outbox, told(1), told(2), now_ns=clock.now_ns)
        await to.until(1)
        await hours.settle()
        await outbox._committer.run(_lose_the_first)
        await hours.move(61)
        await to.until(2)


def _lose_the_first(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM deliveries WHERE seq = 1")
    connection.execute("UPDATE deliveries SET due_ns = created_ns WHERE seq = 2")


async def test_what_comes_during_a_fetch_is_not_overlooked(
    outbox: SqliteOutbox, clock: Clock, hours: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells of it again."""
    to, due, late = Destination(), outbox.due, [told(2, "b"), told(1, "a")]

    async def slow(*question: Any) -> Due:
        found = await due(*question)
        if late:
            await take_in(outbox, late.pop(), now_ns=clock.now_ns)
        return found

    monkeypatch.setattr(outbox, "due", slow)
    async with running(lane(outbox, to, clock)):
        await hours.settle()
        await empty(outbox)
    assert len(to.begun) == 2
