"""What wakes a worker: commits that are passed on to it, due times, and stored outcomes."""

import asyncio
import random
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from relay.core.exchange import Response
from relay.core.include import Include
from relay.core.notification import build_notification
from relay.store import acks
from relay.store.acks import settle
from relay.store.outbox import Outbox
from relay.store.records import HOLD_NS, Ack, DueDeliveries, IngestCommit
from tests.component.batch_samples import NO_JITTER
from tests.component.delivery_worker import (
    WAIT_S,
    Clock,
    ScriptedDestination,
    VirtualTime,
    enqueue,
    make_worker,
    run_workers,
    sample_notification,
    wait_until_empty,
)


@pytest.fixture
def fetches(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> list[DueDeliveries]:
    """What the store returned to each query for due deliveries."""
    results: list[DueDeliveries] = []
    fetch_due = outbox.fetch_due

    async def recorded(*args: Any) -> DueDeliveries:
        results.append(await fetch_due(*args))
        return results[-1]

    monkeypatch.setattr(outbox, "fetch_due", recorded)
    return results


@pytest.fixture
def ack_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many outcomes each transaction held."""
    counts: list[int] = []

    def counted(acks: Sequence[Ack], *rest: Any) -> Any:
        counts.append(len(acks))
        return settle(acks, *rest)

    monkeypatch.setattr("relay.store.acks.settle", counted)
    return counts


async def test_a_commit_is_passed_on_without_a_query(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime, fetches: list[DueDeliveries]
) -> None:
    """An idle worker does not query the store for what was just committed."""
    to = ScriptedDestination()
    async with run_workers(make_worker(outbox, to, clock)):
        await virtual_time.wait_until_idle()
        fetches.clear()
        await enqueue(outbox, sample_notification(1, "a"), sample_notification(2, "b"))
        await wait_until_empty(outbox)
    assert len(to.received) == 2
    assert fetches == []


async def test_the_next_delivery_of_a_subject_is_sent_when_the_one_before_it_was_answered(
    outbox: Outbox,
    clock: Clock,
    virtual_time: VirtualTime,
    fetches: list[DueDeliveries],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not before, and without waiting until that outcome is stored, or a query."""
    monkeypatch.setattr(acks, "ACK_LINGER_S", 3600)
    to = ScriptedDestination()
    to.open.clear()
    async with run_workers(make_worker(outbox, to, clock)):
        await virtual_time.wait_until_idle()
        fetches.clear()
        await enqueue(outbox, sample_notification(1), sample_notification(2))
        await enqueue(outbox, sample_notification(3))
        await virtual_time.wait_until_idle()
        assert len(to.received) == 1
        to.open.set()
        await to.wait_for_count(3)
        assert fetches == []
        assert await pending_in_store(outbox) == 3
    assert len(to.received) == 3


async def test_a_failure_leaves_the_following_ones_of_its_subject_in_the_store(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """They follow the retry, in their order."""
    answers = [Response(200), Response(503)]
    to = ScriptedDestination(lambda _: answers.pop() if answers else Response(200))
    notifications = [sample_notification(number) for number in range(4)]
    async with run_workers(make_worker(outbox, to, clock, retry={"initial": "1s", "jitter": 0})):
        await virtual_time.wait_until_idle()
        await enqueue(outbox, *notifications, now_ns=clock.now_ns)
        await virtual_time.wait_until_idle()
        assert to.received == [notifications[0].id]
        await virtual_time.advance(2)
        await wait_until_empty(outbox)
    assert to.received == [notifications[0].id, *(each.id for each in notifications)]


async def pending_in_store(outbox: Outbox) -> int:
    """How many deliveries wait, without letting outcomes be stored."""
    (count,) = await outbox._writer.run(
        lambda connection: connection.execute("SELECT count(*) FROM deliveries").fetchone()
    )
    return int(count)


async def test_a_held_delivery_is_fetched_when_it_is_due(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """A delivery that waits for its ``include`` is due after `HOLD_NS`."""
    to = ScriptedDestination()
    held = build_notification("route", sample_notification(1).events[0], Include(logs=5))
    async with run_workers(make_worker(outbox, to, clock)):
        await virtual_time.wait_until_idle()
        await outbox.commit(IngestCommit("here", None, [(held, ["hook"])]), clock.now_ns)
        await virtual_time.wait_until_idle()
        assert to.received == []
        await virtual_time.advance(HOLD_NS / 1e9)
        await wait_until_empty(outbox)
    assert len(to.received) == 1


@pytest.mark.parametrize("seed", range(5))
async def test_passed_on_or_fetched_each_is_sent_once_and_in_order(
    outbox: Outbox, clock: Clock, seed: int
) -> None:
    """However commits, queries and failures coincide."""
    rng = random.Random(seed)
    delivered: list[str] = []

    def answer(id_: str) -> Response:
        if rng.random() < 0.25:
            return Response(408)
        delivered.append(id_)
        return Response(200)

    to = ScriptedDestination(answer)
    order: defaultdict[str, list[str]] = defaultdict(list)
    async with run_workers(make_worker(outbox, to, clock, concurrency=3, retry=NO_JITTER)):
        for number in range(40):
            batch = []
            for offset in range(rng.randint(1, 120 if number % 10 == 0 else 5)):
                subject = str(rng.randint(0, 20))
                batch.append(sample_notification(1000 * number + offset, subject))
                order[subject].append(batch[-1].id)
            await enqueue(outbox, *batch, now_ns=clock.now_ns)
            for _ in range(rng.randint(0, 5)):
                await asyncio.sleep(0)
        while await outbox.pending():
            await VirtualTime(outbox, clock).advance(60)
    assert sorted(delivered) == sorted(id_ for ids in order.values() for id_ in ids)
    for ids in order.values():
        assert [id_ for id_ in delivered if id_ in set(ids)] == ids


async def test_outcomes_are_stored_together(
    outbox: Outbox, clock: Clock, ack_sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes wait a little for others, unless there are `ACK_BATCH_SIZE` of them."""
    monkeypatch.setattr(acks, "ACK_LINGER_S", 3600)
    to, count = ScriptedDestination(), acks.ACK_BATCH_SIZE
    to.open.clear()
    worker = make_worker(outbox, to, clock, concurrency=count)
    async with run_workers(worker):
        await enqueue(outbox, *(sample_notification(it, str(it)) for it in range(count)))
        await to.wait_for_count(count)
        to.open.set()
        await wait_until_stored(outbox, 0)
        assert ack_sizes == [count]


async def wait_until_stored(outbox: Outbox, left: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while await pending_in_store(outbox) > left:
            await asyncio.sleep(0.001)


async def test_outcomes_are_stored_with_the_next_commit(
    outbox: Outbox, clock: Clock, ack_sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a transaction of their own."""
    monkeypatch.setattr(acks, "ACK_LINGER_S", 3600)
    to = ScriptedDestination()
    async with run_workers(make_worker(outbox, to, clock)):
        await enqueue(outbox, sample_notification(1, "a"))
        await to.wait_for_count(1)
        await asyncio.sleep(0)
        await enqueue(outbox, sample_notification(2, "b"))
        await wait_until_stored(outbox, 1)
        assert ack_sizes == [1]


async def test_a_stop_waits_for_no_further_outcome(
    outbox: Outbox,
    clock: Clock,
    virtual_time: VirtualTime,
    ack_sizes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Outcomes that are waiting are stored at once."""
    monkeypatch.setattr(acks, "ACK_LINGER_S", 3600)
    to = ScriptedDestination()
    async with run_workers(make_worker(outbox, to, clock)):
        await virtual_time.wait_until_idle()
        await enqueue(outbox, sample_notification(1))
        await to.wait_for_count(1)
    assert ack_sizes == [1]
    assert await outbox.pending() == {}


@pytest.mark.parametrize(("concurrency", "others"), [(1, 3), (8, 20)])
async def test_a_retry_is_sent_although_others_were_prefetched(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime, concurrency: int, others: int
) -> None:
    """The worker looks for retries that became due as soon as there is capacity."""
    first, tries = sample_notification(1, "late"), [Response(200), Response(503)]
    to = ScriptedDestination(lambda id_: tries.pop() if id_ == first.id else Response(200))
    retry = {"initial": "1s", "jitter": 0}
    async with run_workers(make_worker(outbox, to, clock, concurrency=concurrency, retry=retry)):
        await enqueue(outbox, first, now_ns=clock.now_ns)
        await to.wait_for_count(1)
        await virtual_time.wait_until_idle()
        to.open.clear()
        notifications = [sample_notification(10 + number, str(number)) for number in range(others)]
        await enqueue(outbox, *notifications, now_ns=clock.now_ns)
        await virtual_time.wait_until_idle()
        await virtual_time.advance(2)
        to.open.set()
        await wait_until_empty(outbox)
    assert to.received.count(first.id) == 2


async def test_a_delivery_without_a_wakeup_is_found(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """A store that repairs itself informs no worker, so workers query it regularly."""
    to = ScriptedDestination(lambda _: Response(503 if len(to.received) == 1 else 200))
    async with run_workers(make_worker(outbox, to, clock, retry={"initial": "10m", "max": "10m"})):
        await enqueue(outbox, sample_notification(1), sample_notification(2), now_ns=clock.now_ns)
        await to.wait_for_count(1)
        await virtual_time.wait_until_idle()
        await outbox._writer.run(_delete_first)
        await virtual_time.advance(61)
        await to.wait_for_count(2)


def _delete_first(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM deliveries WHERE seq = 1")
    connection.execute("UPDATE deliveries SET due_ns = created_ns WHERE seq = 2")


async def test_a_commit_during_a_fetch_is_not_overlooked(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor sent twice."""
    to, fetch_due = ScriptedDestination(), outbox.fetch_due
    late = [sample_notification(2, "b"), sample_notification(1, "a")]

    async def slow(*args: Any) -> DueDeliveries:
        await enqueue(outbox, late.pop(), now_ns=clock.now_ns)  # the query returns it as well
        result = await fetch_due(*args)
        await enqueue(outbox, late.pop(), now_ns=clock.now_ns)
        return result

    monkeypatch.setattr(outbox, "fetch_due", slow)
    async with run_workers(make_worker(outbox, to, clock)):
        await virtual_time.wait_until_idle()
        await wait_until_empty(outbox)
    assert len(to.received) == 2
