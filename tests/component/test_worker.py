"""Delivery workers over a real store and a scripted destination."""

from collections.abc import AsyncIterator
from pathlib import Path

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
    """Two deliveries about one container are never in flight together, whatever the concurrency."""
    to = ScriptedDestination()
    notifications = [sample_notification(number) for number in range(20)]
    await enqueue(outbox, *notifications)
    async with run_workers(make_worker(outbox, to, Clock(), concurrency=8)):
        await wait_until_empty(outbox)
    assert to.received == [each.id for each in notifications]
    assert to.max_concurrent == 1


async def test_subjects_are_sent_in_parallel_up_to_the_concurrency(
    outbox: Outbox,
) -> None:
    """With a concurrency of 3 exactly three of five are in flight while none is answered."""
    to = ScriptedDestination()
    to.open.clear()
    await enqueue(outbox, *(sample_notification(number, str(number)) for number in range(5)))
    async with run_workers(make_worker(outbox, to, Clock(), concurrency=3)):
        await to.wait_for_count(3)
        assert len(to.received) == 3
        to.open.set()
        await wait_until_empty(outbox)
    assert to.max_concurrent == 3
    assert len(to.received) == 5


async def test_a_failure_holds_back_its_subject_only(outbox: Outbox) -> None:
    """Later deliveries about the same container wait; another container's is delivered."""
    first, second = sample_notification(1, "a"), sample_notification(2, "a")
    other = sample_notification(3, "b")
    to = ScriptedDestination(lambda id_: Response(500 if id_ == first.id else 200))
    await enqueue(outbox, first, second, other)
    async with run_workers(make_worker(outbox, to, Clock())):
        await to.wait_for_count(2)
        await wait_until_pending(outbox, 2)
    assert sorted(to.received) == sorted([first.id, other.id])


async def test_a_retry_survives_a_restart(tmp_path: Path) -> None:
    """Another process makes the second attempt when it is due, under the same id."""
    clock, notification = Clock(), sample_notification(1)
    to = ScriptedDestination(lambda _: Response(None, failure=Reason.TIMEOUT))
    for attempt in (1, 2):
        async with open_outbox(tmp_path / "relay.db") as outbox:
            if attempt == 1:
                await enqueue(outbox, notification)
            worker = make_worker(outbox, to, clock, retry={"initial": "10s"})
            async with run_workers(worker):
                await to.wait_for_count(attempt)
            due = await outbox.fetch_due("hook", clock.now_ns + 10**12, 9)
            assert [each.attempts for each in due.deliveries] == [attempt]
        clock.now_ns += 60 * 10**9
    assert to.received == [notification.id] * 2


async def test_backoff_doubles_up_to_max(outbox: Outbox) -> None:
    """The first wait is ``initial``, the second twice that, and none is longer than ``max``."""
    clock, to = Clock(), ScriptedDestination(lambda _: Response(503))
    await enqueue(outbox, sample_notification(1))
    waits = []
    for attempt in (1, 2, 3):
        worker = make_worker(outbox, to, clock, retry={"initial": "10s", "max": "30s"})
        async with run_workers(worker):
            await to.wait_for_count(attempt)
        due_ns = (await outbox.fetch_due("hook", clock.now_ns, 1)).next_due_ns
        assert due_ns is not None
        waits.append((due_ns - clock.now_ns) // 10**9)
        clock.now_ns = due_ns
    assert waits == [10, 20, 30]


async def test_an_expired_delivery_releases_the_next_one(outbox: Outbox) -> None:
    """After ``max_age`` it is a dead letter, and the next about the container is sent."""
    old, young = sample_notification(1), sample_notification(2)
    clock = Clock()
    to = ScriptedDestination(lambda id_: Response(500 if id_ == old.id else 200))
    await enqueue(outbox, old, young, now_ns=clock.now_ns - 2 * 3600 * 10**9)
    async with run_workers(make_worker(outbox, to, clock, retry={"max_age": "1h", "max": "1h"})):
        await wait_until_empty(outbox)
    assert to.received == [old.id, young.id]


async def test_a_hanging_destination_delays_no_other(outbox: Outbox) -> None:
    """While one destination does not answer, all deliveries to another one finish."""
    hanging, healthy = ScriptedDestination(), ScriptedDestination()
    hanging.open.clear()
    both = [(sample_notification(number), ["slow", "hook"]) for number in range(10)]
    await outbox.commit(IngestCommit("here", None, both), 10**18)
    workers = [
        make_worker(outbox, hanging, Clock(), "slow"),
        make_worker(outbox, healthy, Clock()),
    ]
    async with run_workers(*workers):
        await wait_until_empty(outbox)
        assert (await outbox.pending()) == {"slow": 10}
        hanging.open.set()
        await wait_until_empty(outbox, "slow")


async def test_a_stop_starts_nothing_and_commits_open_attempts(outbox: Outbox) -> None:
    """The outcome of the open attempt is committed; the rest stays in the store."""
    to = ScriptedDestination()
    to.open.clear()
    await enqueue(outbox, sample_notification(1, "a"), sample_notification(2, "b"))
    worker = make_worker(outbox, to, Clock(), concurrency=1)
    async with run_workers(worker):
        await to.wait_for_count(1)
        worker.stop()
        to.open.set()
    assert len(to.received) == 1
    assert (await outbox.pending()) == {"hook": 1}


async def test_a_commit_wakes_an_idle_worker(outbox: Outbox) -> None:
    """What is committed while the worker waits is sent without waiting for a timer."""
    to = ScriptedDestination()
    async with run_workers(make_worker(outbox, to, Clock())):
        await enqueue(outbox, sample_notification(1))
        await to.wait_for_count(1)


async def test_each_attempt_is_logged_in_one_line(outbox: Outbox) -> None:
    """The line holds all that is known of the attempt, and neither the URL nor the body."""
    to = ScriptedDestination(lambda _: Response(500, b"no such hook"))
    notification = sample_notification(1)
    await enqueue(outbox, notification)
    worker = make_worker(outbox, to, Clock())
    with structlog.testing.capture_logs() as lines:
        async with run_workers(worker):
            await to.wait_for_count(1)
    line, first_failure = lines
    assert first_failure["event"] == "destination.first_failed"
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
        "answer": "no such hook",
        "retry_in_s": RetryConfig().initial.total_seconds(),
    }


async def test_a_rate_limit_spreads_attempts(outbox: Outbox) -> None:
    """Beyond the burst an attempt waits for a token."""
    to = ScriptedDestination()
    await enqueue(outbox, *(sample_notification(number, str(number)) for number in range(4)))
    async with run_workers(make_worker(outbox, to, Clock(), rate_limit="2/h")):
        await to.wait_for_count(2)
        await wait_until_pending(outbox, 2)
    assert len(to.received) == 2


async def test_the_next_attempt_does_not_wait_for_the_ack(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts before the outcome is committed, up to `MAX_UNACKED` outcomes."""
    to, submit = ScriptedDestination(), outbox._acks.submit
    monkeypatch.setattr(outbox._acks, "submit", lambda *, is_urgent=True: None)
    monkeypatch.setattr("relay.delivery.worker.MAX_UNACKED", 3)
    await enqueue(outbox, *(sample_notification(number, str(number)) for number in range(9)))
    async with run_workers(make_worker(outbox, to, Clock(), concurrency=1)):
        await to.wait_for_count(4)
        await outbox.pending()
        assert len(to.received) == 4
        monkeypatch.setattr(outbox._acks, "submit", submit)
        await wait_until_empty(outbox)
    assert to.max_concurrent == 1
    assert len(set(to.received)) == len(to.received) == 9
