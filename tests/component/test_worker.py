"""Lanes over a real store and a scripted destination."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from relay.config import RetryConfig
from relay.core.exchange import Reason, Response
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import IngestCommit
from tests.component.delivery_worker import (
    Clock,
    ScriptedDestination,
    enqueue,
    make_worker,
    run_workers,
    sample_notification,
    wait_until_empty,
    wait_until_pending,
)


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    async with open_outbox(tmp_path / "relay.db") as opened:
        yield opened


async def test_deliveries_about_one_subject_stay_in_order(outbox: Outbox) -> None:
    """However many may be under way at once, one container's are never."""
    to = ScriptedDestination()
    made = [sample_notification(number) for number in range(20)]
    await enqueue(outbox, *made)
    running = make_worker(outbox, to, Clock(), concurrency=8)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await wait_until_empty(outbox)
        running.stop()
    assert to.received == [one.id for one in made]
    assert to.max_concurrent == 1


async def test_different_subjects_go_in_parallel_up_to_the_concurrency(
    outbox: Outbox,
) -> None:
    """Three of five are under way while none is answered, and no more."""
    to = ScriptedDestination()
    to.open.clear()
    await enqueue(outbox, *(sample_notification(number, str(number)) for number in range(5)))
    running = make_worker(outbox, to, Clock(), concurrency=3)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await to.wait_for_count(3)
        assert len(to.received) == 3
        to.open.set()
        await wait_until_empty(outbox)
        running.stop()
    assert to.max_concurrent == 3
    assert len(to.received) == 5


async def test_a_failure_holds_back_its_subject_only(outbox: Outbox) -> None:
    """What follows about the same container waits; another container's is delivered."""
    first, second, other = (
        sample_notification(1, "a"),
        sample_notification(2, "a"),
        sample_notification(3, "b"),
    )
    to = ScriptedDestination(lambda id_: Response(500 if id_ == first.id else 200))
    await enqueue(outbox, first, second, other)
    running = make_worker(outbox, to, Clock())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await to.wait_for_count(2)
        await wait_until_pending(outbox, 2)
        running.stop()
    assert sorted(to.received) == sorted([first.id, other.id])


async def test_a_retry_survives_a_restart(tmp_path: Path) -> None:
    """Another process makes the second attempt when it is due, under the same id."""
    clock, notification = Clock(), sample_notification(1)
    to = ScriptedDestination(lambda _: Response(None, failure=Reason.TIMEOUT))
    for attempt in (1, 2):
        async with open_outbox(tmp_path / "relay.db") as outbox:
            if attempt == 1:
                await enqueue(outbox, notification)
            running = make_worker(outbox, to, clock, retry={"initial": "10s"})
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(running.run())
                await to.wait_for_count(attempt)
                running.stop()
            due = await outbox.fetch_due("hook", clock.now_ns + 10**12, 9)
            assert [one.attempts for one in due.deliveries] == [attempt]
        clock.now_ns += 60 * 10**9
    assert to.received == [notification.id] * 2


async def test_the_wait_grows(outbox: Outbox) -> None:
    """After the first failure it is ``initial``, then twice that."""
    clock, to = Clock(), ScriptedDestination(lambda _: Response(503))
    await enqueue(outbox, sample_notification(1))
    waits = []
    for attempt in (1, 2, 3):
        running = make_worker(outbox, to, clock, retry={"initial": "10s", "max": "30s"})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(running.run())
            await to.wait_for_count(attempt)
            running.stop()
        due_ns = (await outbox.fetch_due("hook", clock.now_ns, 1)).next_due_ns
        assert due_ns is not None
        waits.append((due_ns - clock.now_ns) // 10**9)
        clock.now_ns = due_ns
    assert waits == [10, 20, 30]


async def test_too_old_is_given_up_and_lets_its_successor_go(outbox: Outbox) -> None:
    """After ``max_age`` a delivery is a dead letter; the next about the container is tried."""
    old, young = sample_notification(1), sample_notification(2)
    clock = Clock()
    to = ScriptedDestination(lambda id_: Response(500 if id_ == old.id else 200))
    await enqueue(outbox, old, young, now_ns=clock.now_ns - 2 * 3600 * 10**9)
    running = make_worker(outbox, to, clock, retry={"max_age": "1h", "max": "1h"})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await wait_until_empty(outbox)
        running.stop()
    assert to.received == [old.id, young.id]


async def test_a_hanging_destination_delays_no_other(outbox: Outbox) -> None:
    """One lane waits; the other is done before it."""
    hanging, healthy = ScriptedDestination(), ScriptedDestination()
    hanging.open.clear()
    await outbox.commit(
        IngestCommit(
            "here", None, [(sample_notification(number), ["slow", "hook"]) for number in range(10)]
        ),
        10**18,
    )
    lanes = [
        make_worker(outbox, hanging, Clock(), "slow"),
        make_worker(outbox, healthy, Clock()),
    ]
    async with asyncio.TaskGroup() as tasks:
        for one in lanes:
            tasks.create_task(one.run())
        await wait_until_empty(outbox)
        assert (await outbox.pending()) == {"slow": 10}
        hanging.open.set()
        await wait_until_empty(outbox, "slow")
        for one in lanes:
            one.stop()


async def test_a_stop_begins_nothing_and_settles_what_is_under_way(outbox: Outbox) -> None:
    """The attempt under way counts; the rest stays in the store."""
    to = ScriptedDestination()
    to.open.clear()
    await enqueue(outbox, sample_notification(1, "a"), sample_notification(2, "b"))
    running = make_worker(outbox, to, Clock(), concurrency=1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await to.wait_for_count(1)
        running.stop()
        to.open.set()
    assert len(to.received) == 1
    assert (await outbox.pending()) == {"hook": 1}


async def test_news_wakes_an_idle_lane(outbox: Outbox) -> None:
    """What is committed while the lane waits goes out without waiting for a timer."""
    to = ScriptedDestination()
    running = make_worker(outbox, to, Clock())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await enqueue(outbox, sample_notification(1))
        await to.wait_for_count(1)
        running.stop()


async def test_one_wide_line_for_each_attempt(outbox: Outbox) -> None:
    """It has all that is known of the attempt, the answer too, and neither URL nor body."""
    to = ScriptedDestination(lambda _: Response(500, b"what it said"))
    notification = sample_notification(1)
    await enqueue(outbox, notification)
    running = make_worker(outbox, to, Clock())
    with structlog.testing.capture_logs() as lines:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(running.run())
            await to.wait_for_count(1)
            running.stop()
    (line,) = lines
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "delivery.attempted",
        "log_level": "info",
        "route": "route",
        "destination": "hook",
        "notification": notification.id,
        "attempt": 1,
        "status": 500,
        "outcome": "retry",
        "reason": "unavailable",
        "error": None,
        "answer": "what it said",
        "retry_in_s": RetryConfig().initial.total_seconds(),
    }


async def test_a_rate_limit_spreads_attempts(outbox: Outbox) -> None:
    """Beyond the burst an attempt waits for its turn."""
    to = ScriptedDestination()
    await enqueue(outbox, *(sample_notification(number, str(number)) for number in range(4)))
    running = make_worker(outbox, to, Clock(), rate_limit="2/h")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await to.wait_for_count(2)
        await wait_until_pending(outbox, 2)
        running.stop()
    assert len(to.received) == 2


async def test_the_next_attempt_does_not_wait_for_the_store(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once an attempt is answered there is room for the next, for a bounded number of them."""
    to, written = ScriptedDestination(), asyncio.Event()
    settle = outbox.ack

    async def late(*given: Any) -> None:
        await written.wait()
        await settle(*given)

    monkeypatch.setattr(outbox, "ack", late)
    monkeypatch.setattr("relay.delivery.worker.MAX_UNACKED", 3)
    await enqueue(outbox, *(sample_notification(number, str(number)) for number in range(9)))
    async with run_workers(make_worker(outbox, to, Clock(), concurrency=1)):
        await to.wait_for_count(4)
        await outbox.pending()
        assert len(to.received) == 4
        written.set()
        await wait_until_empty(outbox)
    assert to.max_concurrent == 1
    assert len(set(to.received)) == len(to.received) == 9
