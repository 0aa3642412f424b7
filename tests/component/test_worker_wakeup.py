"""Lanes that are given what was just committed, and settle many attempts at once."""

import asyncio
import random
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from relay.core.exchange import Response
from relay.core.notification import Include, build_notification
from relay.delivery import acks
from relay.store.outbox import Outbox
from relay.store.records import HOLD_NS, Ack, DueDeliveries, IngestCommit
from tests.component.batch_samples import NO_JITTER
from tests.component.delivery_worker import (
    Clock,
    ScriptedDestination,
    VirtualTime,
    enqueue,
    make_worker,
    run_workers,
    sample_notification,
    wait_until_empty,
    wait_until_pending,
)


@pytest.fixture
def fetches(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> list[DueDeliveries]:
    """What the store was asked for, and answered."""
    found: list[DueDeliveries] = []
    due = outbox.fetch_due

    async def asked(*question: Any) -> DueDeliveries:
        found.append(await due(*question))
        return found[-1]

    monkeypatch.setattr(outbox, "fetch_due", asked)
    return found


@pytest.fixture
def commits(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many were settled at once."""
    counts: list[int] = []
    settle = outbox.ack

    async def counted(settled: Sequence[Ack], now_ns: int) -> bool:
        counts.append(len(settled))
        return await settle(settled, now_ns)

    monkeypatch.setattr(outbox, "ack", counted)
    return counts


async def test_what_is_committed_is_sent_unasked(
    outbox: Outbox, clock: Clock, hours: VirtualTime, fetches: list[DueDeliveries]
) -> None:
    """A lane that has nothing to do does not ask the store for what it is given."""
    to = ScriptedDestination()
    async with run_workers(make_worker(outbox, to, clock)):
        await hours.wait_until_idle()
        fetches.clear()
        await enqueue(outbox, sample_notification(1, "a"), sample_notification(2, "b"))
        await wait_until_empty(outbox)
    assert len(to.received) == 2
    assert fetches == []


async def test_what_stands_behind_another_is_sent_when_that_is_settled(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """It is not given before."""
    to = ScriptedDestination()
    to.open.clear()
    async with run_workers(make_worker(outbox, to, clock)):
        await hours.wait_until_idle()
        await enqueue(outbox, sample_notification(1), sample_notification(2))
        await enqueue(outbox, sample_notification(3))
        await hours.wait_until_idle()
        assert len(to.received) == 1
        to.open.set()
        await wait_until_empty(outbox)
    assert len(to.received) == 3


async def test_what_is_held_is_asked_for_when_its_time_comes(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """What it is to include may come in time."""
    to = ScriptedDestination()
    held = build_notification("route", sample_notification(1).events[0], Include(logs=5))
    async with run_workers(make_worker(outbox, to, clock)):
        await hours.wait_until_idle()
        await outbox.commit(IngestCommit("here", None, [(held, ["hook"])]), clock.now_ns)
        await hours.wait_until_idle()
        assert to.received == []
        await hours.advance(HOLD_NS / 1e9)
        await wait_until_empty(outbox)
    assert len(to.received) == 1


@pytest.mark.parametrize("seed", range(5))
async def test_given_or_asked_for_each_is_sent_once_and_in_order(
    outbox: Outbox, clock: Clock, seed: int
) -> None:
    """However batches, fetches and failures fall together."""
    dice = random.Random(seed)
    taken: list[str] = []

    def answer(id_: str) -> Response:
        if dice.random() < 0.25:
            return Response(408)
        taken.append(id_)
        return Response(200)

    to = ScriptedDestination(answer)
    order: defaultdict[str, list[str]] = defaultdict(list)
    async with run_workers(make_worker(outbox, to, clock, concurrency=3, retry=NO_JITTER)):
        for number in range(40):
            batch = []
            for place in range(dice.randint(1, 120 if number % 10 == 0 else 5)):
                subject = str(dice.randint(0, 20))
                batch.append(sample_notification(1000 * number + place, subject))
                order[subject].append(batch[-1].id)
            await enqueue(outbox, *batch, now_ns=clock.now_ns)
            for _ in range(dice.randint(0, 5)):
                await asyncio.sleep(0)
        while await outbox.pending():
            await VirtualTime(outbox, clock).advance(60)
    assert sorted(taken) == sorted(id_ for ids in order.values() for id_ in ids)
    for ids in order.values():
        assert [id_ for id_ in taken if id_ in set(ids)] == ids


async def test_outcomes_are_committed_together(
    outbox: Outbox,
    clock: Clock,
    hours: VirtualTime,
    commits: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that come one after the other wait a little for each other, or until they are many."""
    monkeypatch.setattr(acks, "LINGER_S", 3600)
    to, count = ScriptedDestination(), acks.BATCH_SIZE
    async with run_workers(make_worker(outbox, to, clock)):
        await hours.wait_until_idle()
        for number in range(count):
            assert commits == []
            await enqueue(outbox, sample_notification(number, str(number)))
            await hours.wait_until_idle()
        await wait_until_empty(outbox)
    assert commits == [count]


async def test_a_stop_waits_for_no_further_outcome(
    outbox: Outbox,
    clock: Clock,
    hours: VirtualTime,
    commits: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What came is committed at once."""
    monkeypatch.setattr(acks, "LINGER_S", 3600)
    async with run_workers(make_worker(outbox, ScriptedDestination(), clock)):
        await hours.wait_until_idle()
        await enqueue(outbox, sample_notification(1))
        await hours.wait_until_idle()
    assert commits == [1]
    assert await outbox.pending() == {}


async def test_what_stands_in_line_is_not_held_up(
    outbox: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outcome for which others wait does not wait itself where no other is to come."""
    to = ScriptedDestination()
    async with run_workers(make_worker(outbox, to, clock)):
        await enqueue(outbox, *map(sample_notification, range(20)))
        await wait_until_pending(outbox, 18)
        monkeypatch.setattr(acks, "LINGER_S", 3600)
        await wait_until_pending(outbox, 1)
    assert len(to.received) == 20


@pytest.mark.parametrize(("concurrency", "others"), [(1, 3), (8, 20)])
async def test_a_retry_is_made_though_others_were_at_hand_when_it_was_due(
    outbox: Outbox, clock: Clock, hours: VirtualTime, concurrency: int, others: int
) -> None:
    """The lane looks for it once there is room."""
    first, tries = sample_notification(1, "late"), [Response(200), Response(503)]
    to = ScriptedDestination(lambda id_: tries.pop() if id_ == first.id else Response(200))
    retry = {"initial": "1s", "jitter": 0}
    async with run_workers(make_worker(outbox, to, clock, concurrency=concurrency, retry=retry)):
        await enqueue(outbox, first, now_ns=clock.now_ns)
        await to.wait_for_count(1)
        await hours.wait_until_idle()
        to.open.clear()
        made = [sample_notification(10 + number, str(number)) for number in range(others)]
        await enqueue(outbox, *made, now_ns=clock.now_ns)
        await hours.wait_until_idle()
        await hours.advance(2)
        to.open.set()
        await wait_until_empty(outbox)
    assert to.received.count(first.id) == 2


async def test_what_nobody_told_of_is_found(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """A store that mends itself does not know whom it is to tell: lanes look now and then."""
    to = ScriptedDestination(lambda _: Response(503 if len(to.received) == 1 else 200))
    async with run_workers(make_worker(outbox, to, clock, retry={"initial": "10m", "max": "10m"})):
        await enqueue(outbox, sample_notification(1), sample_notification(2), now_ns=clock.now_ns)
        await to.wait_for_count(1)
        await hours.wait_until_idle()
        await outbox._writer.run(_delete_first)
        await hours.advance(61)
        await to.wait_for_count(2)


def _delete_first(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM deliveries WHERE seq = 1")
    connection.execute("UPDATE deliveries SET due_ns = created_ns WHERE seq = 2")


async def test_what_comes_during_a_fetch_is_not_overlooked(
    outbox: Outbox, clock: Clock, hours: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells of it again."""
    to, due, late = (
        ScriptedDestination(),
        outbox.fetch_due,
        [sample_notification(2, "b"), sample_notification(1, "a")],
    )

    async def slow(*question: Any) -> DueDeliveries:
        found = await due(*question)
        if late:
            await enqueue(outbox, late.pop(), now_ns=clock.now_ns)
        return found

    monkeypatch.setattr(outbox, "fetch_due", slow)
    async with run_workers(make_worker(outbox, to, clock)):
        await hours.wait_until_idle()
        await wait_until_empty(outbox)
    assert len(to.received) == 2
