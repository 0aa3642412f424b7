"""Lanes over a real store and a scripted destination."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from relay.config import RetryConfig
from relay.core.exchange import Reason, Response
from relay.store.outbox import SqliteOutbox, open_outbox
from relay.store.records import Intake
from tests.component.delivery_worker import (
    Clock,
    Destination,
    empty,
    lane,
    left,
    running,
    take_in,
    told,
)


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    async with open_outbox(tmp_path / "relay.db") as opened:
        yield opened


async def test_deliveries_about_one_subject_stay_in_order(outbox: SqliteOutbox) -> None:
    """However many may be under way at once, one container's are never."""
    to = Destination()
    made = [told(number) for number in range(20)]
    await take_in(outbox, *made)
    running = lane(outbox, to, Clock(), concurrency=8)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await empty(outbox)
        running.stop()
    assert to.begun == [one.id for one in made]
    assert to.most_at_once == 1


async def test_different_subjects_go_in_parallel_up_to_the_concurrency(
    outbox: SqliteOutbox,
) -> None:
    """Three of five are under way while none is answered, and no more."""
    to = Destination()
    to.open.clear()
    await take_in(outbox, *(told(number, str(number)) for number in range(5)))
    running = lane(outbox, to, Clock(), concurrency=3)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await to.until(3)
        assert len(to.begun) == 3
        to.open.set()
        await empty(outbox)
        running.stop()
    assert to.most_at_once == 3
    assert len(to.begun) == 5


async def test_a_failure_holds_back_its_subject_only(outbox: SqliteOutbox) -> None:
    """What follows about the same container waits; another container's is delivered."""
    first, second, other = told(1, "a"), told(2, "a"), told(3, "b")
    to = Destination(lambda id_: Response(500 if id_ == first.id else 200))
    await take_in(outbox, first, second, other)
    running = lane(outbox, to, Clock())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await to.until(2)
        await left(outbox, 2)
        running.stop()
    assert sorted(to.begun) == sorted([first.id, other.id])


async def test_a_retry_survives_a_restart(tmp_path: Path) -> None:
    """Another process makes the second attempt when it is due, under the same id."""
    clock, notification = Clock(), told(1)
    to = Destination(lambda _: Response(None, failure=Reason.TIMEOUT))
    for attempt in (1, 2):
        async with open_outbox(tmp_path / "relay.db") as outbox:
            if attempt == 1:
                await take_in(outbox, notification)
            running = lane(outbox, to, clock, retry={"initial": "10s"})
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(running.run())
                await to.until(attempt)
                running.stop()
            due = await outbox.due("hook", clock.now_ns + 10**12, 9)
            assert [one.attempts for one in due.deliveries] == [attempt]
        clock.now_ns += 60 * 10**9
    assert to.begun == [notification.id] * 2


async def test_the_wait_grows(outbox: SqliteOutbox) -> None:
    """After the first failure it is ``initial``, then twice that."""
    clock, to = Clock(), Destination(lambda _: Response(503))
    await take_in(outbox, told(1))
    waits = []
    for attempt in (1, 2, 3):
        running = lane(outbox, to, clock, retry={"initial": "10s", "max": "30s"})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(running.run())
            await to.until(attempt)
            running.stop()
        due_ns = (await outbox.due("hook", clock.now_ns, 1)).next_ns
        assert due_ns is not None
        waits.append((due_ns - clock.now_ns) // 10**9)
        clock.now_ns = due_ns
    assert waits == [10, 20, 30]


async def test_too_old_is_given_up_and_lets_its_successor_go(outbox: SqliteOutbox) -> None:
    """After ``max_age`` a delivery is a dead letter; the next about the container is tried."""
    old, young = told(1), told(2)
    clock = Clock()
    to = Destination(lambda id_: Response(500 if id_ == old.id else 200))
    await take_in(outbox, old, young, now_ns=clock.now_ns - 2 * 3600 * 10**9)
    running = lane(outbox, to, clock, retry={"max_age": "1h", "max": "1h"})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await empty(outbox)
        running.stop()
    assert to.begun == [old.id, young.id]


async def test_a_hanging_destination_delays_no_other(outbox: SqliteOutbox) -> None:
    """One lane waits; the other is done before it."""
    hanging, healthy = Destination(), Destination()
    hanging.open.clear()
    await outbox.take_in(
        Intake("here", None, [(told(number), ["slow", "hook"]) for number in range(10)]), 10**18
    )
    lanes = [
        lane(outbox, hanging, Clock(), "slow"),
        lane(outbox, healthy, Clock()),
    ]
    async with asyncio.TaskGroup() as tasks:
        for one in lanes:
            tasks.create_task(one.run())
        await empty(outbox)
        assert (await outbox.pending()) == {"slow": 10}
        hanging.open.set()
        await empty(outbox, "slow")
        for one in lanes:
            one.stop()


async def test_a_stop_begins_nothing_and_settles_what_is_under_way(outbox: SqliteOutbox) -> None:
    """The attempt under way counts; the rest stays in the store."""
    to = Destination()
    to.open.clear()
    await take_in(outbox, told(1, "a"), told(2, "b"))
    running = lane(outbox, to, Clock(), concurrency=1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await to.until(1)
        running.stop()
        to.open.set()
    assert len(to.begun) == 1
    assert (await outbox.pending()) == {"hook": 1}


async def test_news_wakes_an_idle_lane(outbox: SqliteOutbox) -> None:
    """What is committed while the lane waits goes out without waiting for a timer."""
    to = Destination()
    running = lane(outbox, to, Clock())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await take_in(outbox, told(1))
        await to.until(1)
        running.stop()


async def test_one_wide_line_for_each_attempt(outbox: SqliteOutbox) -> None:
    """It has all that is known of the attempt, the answer too, and neither URL nor body."""
    to = Destination(lambda _: Response(500, b"what it said"))
    notification = told(1)
    await take_in(outbox, notification)
    running = lane(outbox, to, Clock())
    with structlog.testing.capture_logs() as lines:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(running.run())
            await to.until(1)
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


async def test_a_rate_limit_spreads_attempts(outbox: SqliteOutbox) -> None:
    """Beyond the burst an attempt waits for its turn."""
    to = Destination()
    await take_in(outbox, *(told(number, str(number)) for number in range(4)))
    running = lane(outbox, to, Clock(), rate_limit="2/h")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.run())
        await to.until(2)
        await left(outbox, 2)
        running.stop()
    assert len(to.begun) == 2


async def test_the_next_attempt_does_not_wait_for_the_store(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once an attempt is answered there is room for the next, for a bounded number of them."""
    to, written = Destination(), asyncio.Event()
    settle = outbox.settle

    async def late(*given: Any) -> None:
        await written.wait()
        await settle(*given)

    monkeypatch.setattr(outbox, "settle", late)
    monkeypatch.setattr("relay.delivery.worker.UNSETTLED", 3)
    await take_in(outbox, *(told(number, str(number)) for number in range(9)))
    async with running(lane(outbox, to, Clock(), concurrency=1)):
        await to.until(4)
        await outbox.pending()
        assert len(to.begun) == 4
        written.set()
        await empty(outbox)
    assert to.most_at_once == 1
    assert len(set(to.begun)) == len(to.begun) == 9
