"""Workers whose destination is busy, unreachable or gone, in virtual time."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.config import Rate
from relay.core.event import make_self_event
from relay.core.exchange import Reason, Response
from relay.core.notification import build_notification
from relay.core.status import DestinationStatus
from relay.delivery.circuit_breaker import FAILURE_THRESHOLD, HealthChange
from relay.delivery.rate_limit import RateLimiter
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import GIVE_UP_BATCH, Selection
from tests.component.delivery_worker import (
    Clock,
    ScriptedDestination,
    VirtualTime,
    enqueue,
    enqueue_many,
    make_worker,
    run_workers,
    sample_notification,
    wait_until_empty,
)
from tests.component.observer import RecordingObserver

NO_JITTER = {"jitter": 0}
UNREACHABLE = Response(None, failure=Reason.CONNECTION, error="Connection refused")


async def test_a_dead_endpoint_costs_one_attempt_an_interval(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """With a thousand waiting, ten minutes bring a few first attempts and then single probes."""
    to = ScriptedDestination(lambda _: UNREACHABLE)
    await enqueue_many(outbox, 1000)
    async with run_workers(make_worker(outbox, to, clock, retry=NO_JITTER)):
        await virtual_time.wait_until_idle()
        first = len(to.received)
        to.max_concurrent = 0
        for _ in range(1200):
            await virtual_time.advance(0.5)
        probes = len(to.received) - first
    print({"attempts": len(to.received), "at first": first, "probes": probes})  # noqa: T201 - shown with -s, and whenever this fails
    assert first <= FAILURE_THRESHOLD + 8
    assert to.max_concurrent == 1
    # after 1, 2, 4, 8, 16, 32 s and then each minute: 63 + 8 * 60 = 543, and 603 is too late
    assert probes == 14


async def test_an_outage_is_reported_once_and_ends_with_everything_delivered(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """At its end all deliveries are sent at once, also those that were due later."""
    observer, to = RecordingObserver(), ScriptedDestination(lambda _: UNREACHABLE)
    await enqueue_many(outbox, 100)
    async with run_workers(make_worker(outbox, to, clock, observer=observer, retry=NO_JITTER)):
        await virtual_time.wait_until_idle()
        for _ in range(300):
            await virtual_time.advance(1)
        to.answer = lambda _: Response(200)
        await virtual_time.advance(60)
        await wait_until_empty(outbox)
    changes = [(change, name, dict(facts)) for change, name, facts in observer.health_changes]
    assert changes == [
        (HealthChange.FAILING, "hook", {"why": "connection", "reason": "Connection refused"}),
        (HealthChange.RECOVERED, "hook", {"failed_for_s": "360"}),
    ]


async def test_retry_after_pauses_the_destination(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """Nothing is sent before the pause is over, and then everything."""
    to = ScriptedDestination(lambda _: Response(429, headers={"retry-after": "30"}))
    await enqueue_many(outbox, 3)
    async with run_workers(make_worker(outbox, to, clock, concurrency=1)):
        await virtual_time.wait_until_idle()
        to.answer = lambda _: Response(200)
        await virtual_time.advance(29.9)
        assert len(to.received) == 1
        await virtual_time.advance(0.1)
        await wait_until_empty(outbox)
    assert len(to.received) == 4


async def test_a_pause_holds_across_a_restart(tmp_path: Path, clock: Clock) -> None:
    """Another process obeys the pause that this one was asked for."""
    to = ScriptedDestination(lambda _: Response(503, headers={"retry-after": "3600"}))
    for _ in range(2):
        async with open_outbox(tmp_path / "relay.db") as outbox:
            virtual_time = VirtualTime(outbox, clock)
            await enqueue_many(outbox, 3)
            worker = make_worker(outbox, to, clock, concurrency=1)
            async with run_workers(worker):
                await virtual_time.wait_until_idle()
                assert worker.status.resumes_ns == 10**18 + 3600 * 10**9
                await virtual_time.advance(0)
    assert len(to.received) == 1


async def test_a_pause_holds_for_all_destinations_with_one_url(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """A pause that the service asks one destination for holds for the other as well."""
    to = ScriptedDestination(lambda _: Response(429, headers={"retry-after": "30"}))
    other = ScriptedDestination()
    limiter = RateLimiter()
    async with run_workers(
        make_worker(outbox, to, clock, rate_limiter=limiter),
        make_worker(outbox, other, clock, "other", rate_limiter=limiter),
    ):
        await enqueue(outbox, sample_notification(1))
        await virtual_time.wait_until_idle()
        await enqueue(outbox, sample_notification(2), to="other")
        await VirtualTime(outbox, clock, "other").wait_until_idle()
        assert other.received == []
        await VirtualTime(outbox, clock, "other").advance(30)
        await wait_until_empty(outbox, "other")


async def test_gone_stops_the_destination_until_it_is_enabled(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """There is one attempt in days and nothing is given up; once enabled, everything is sent."""
    observer = RecordingObserver()
    to = ScriptedDestination(lambda _: Response(410, b"channel_is_archived"))
    await enqueue_many(outbox, 3)
    worker = make_worker(outbox, to, clock, observer=observer, concurrency=1)
    async with run_workers(worker):
        await virtual_time.wait_until_idle()
        await virtual_time.advance(48 * 3600)
        assert len(to.received) == 1
        assert worker.status == DestinationStatus(
            stopped=True, failing=True, last_failure="answered 410: channel_is_archived"
        )
        assert await outbox.pending() == {"hook": 3}
        to.answer = lambda _: Response(200)
        assert worker.enable()
        await wait_until_empty(outbox)
        assert worker.status == DestinationStatus()
        assert not worker.enable()
    assert [change for change, _, _ in observer.health_changes] == [
        HealthChange.FAILING,
        HealthChange.RECOVERED,
    ]
    assert observer.health_changes[0][2] == {
        "why": "gone",
        "reason": "answered 410: channel_is_archived",
    }


@pytest.mark.parametrize("answer", [Response(410), UNREACHABLE])
async def test_deliveries_expire_while_the_destination_is_blocked(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime, answer: Response
) -> None:
    """They are given up without an attempt for each."""
    observer = RecordingObserver()
    to = ScriptedDestination(lambda _: answer)
    count = 2 * GIVE_UP_BATCH + 10
    await enqueue_many(outbox, count)
    async with run_workers(
        make_worker(outbox, to, clock, observer=observer, retry={"max_age": "1h", **NO_JITTER})
    ):
        await virtual_time.wait_until_idle()
        await virtual_time.advance(3599)
        assert await outbox.pending() == {"hook": count}
        await enqueue_many(outbox, 1, first=count, now_ns=clock.now_ns)
        await virtual_time.advance(120)
    assert await outbox.pending() == {"hook": 1}
    assert len(to.received) < 20
    dead_letters = await outbox.dead_letters(Selection(), 2 * count)
    assert len(dead_letters) == count
    assert {dead_letter.reason for dead_letter in dead_letters} == {"expired"}
    assert sum(given_up for _, _, given_up in observer.dead_letters) == count


async def test_a_refusal_is_a_dead_letter_at_once(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """It keeps the whole response; the next delivery about the container has its own attempt."""
    observer, first = RecordingObserver(), sample_notification(1)
    body = b"x" * 4096
    to = ScriptedDestination(lambda id_: Response(400, body) if id_ == first.id else Response(200))
    await enqueue(outbox, first, sample_notification(2))
    async with run_workers(make_worker(outbox, to, clock, observer=observer)):
        await wait_until_empty(outbox)
    (dead_letter,) = await outbox.dead_letters(Selection(), 9)
    assert dead_letter.answer is not None
    assert (dead_letter.notification, dead_letter.attempts, dead_letter.reason) == (
        first,
        1,
        "refused",
    )
    assert (dead_letter.answer.status, dead_letter.answer.text) == (400, body.decode())
    assert observer.dead_letters == [("hook", Reason.REFUSED, 1)]
    assert len(to.received) == 2


async def test_a_single_delivery_is_a_probe_once_a_minute(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """Although its own retry would be ten minutes off: nothing else would notice the recovery."""
    to = ScriptedDestination(lambda _: UNREACHABLE)
    await enqueue_many(outbox, 1)
    async with run_workers(make_worker(outbox, to, clock, retry=NO_JITTER)):
        await virtual_time.wait_until_idle()
        for _ in range(3600):
            await virtual_time.advance(1)
        count = len(to.received)
        for _ in range(600):
            await virtual_time.advance(1)
        assert len(to.received) - count == 10
        to.answer = lambda _: Response(200)
        await virtual_time.advance(60)
        await wait_until_empty(outbox)


async def test_enabling_ends_every_wait(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """The pause ends, and the deliveries that wait for a retry are due at once."""
    to = ScriptedDestination(lambda _: Response(429, headers={"retry-after": "86400"}))
    await enqueue(outbox, sample_notification(1), sample_notification(2))
    worker = make_worker(outbox, to, clock)
    async with run_workers(worker):
        await virtual_time.wait_until_idle()
        assert worker.status.resumes_ns == clock.now_ns + 86_400 * 10**9
        to.answer = lambda _: Response(200)
        assert worker.enable()
        await wait_until_empty(outbox)
        assert await outbox.pauses(clock.now_ns) == {}
        assert not worker.enable()


async def test_an_outage_continues_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    """Its beginning is reported once and its end once, over three processes."""
    to, changes = ScriptedDestination(lambda _: UNREACHABLE), []
    for life in range(3):
        observer = RecordingObserver()
        async with open_outbox(tmp_path / "relay.db") as outbox:
            if life == 0:
                await enqueue_many(outbox, 9)
            if life == 2:
                to.answer = lambda _: Response(200)
            async with run_workers(
                make_worker(outbox, to, clock, observer=observer, retry=NO_JITTER)
            ):
                await VirtualTime(outbox, clock).wait_until_idle()
                if life == 2:
                    await wait_until_empty(outbox)
            changes += [change for change, _, _ in observer.health_changes]
    assert changes == [HealthChange.FAILING, HealthChange.RECOVERED]


async def test_a_success_after_a_410_does_not_undo_it(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """Only ``enable`` ends a stop."""
    observer, to = RecordingObserver(), ScriptedDestination()
    to.answer = lambda id_: Response(410 if id_ == to.received[0] else 200)
    to.open.clear()
    await enqueue_many(outbox, 12)
    worker = make_worker(outbox, to, clock, observer=observer, concurrency=4)
    async with run_workers(worker):
        await to.wait_for_count(4)
        to.open.set()
        await virtual_time.wait_until_idle()
        assert worker.status == DestinationStatus(stopped=True, failing=True)
    assert len(to.received) == 4
    assert [change for change, _, _ in observer.health_changes] == [HealthChange.FAILING]


async def test_a_failing_destination_takes_no_share_of_a_rate(outbox: Outbox, clock: Clock) -> None:
    """While one of two waits for its probe, the other has all of the shared rate."""
    down, up = ScriptedDestination(lambda _: UNREACHABLE), ScriptedDestination()
    limiter = RateLimiter([Rate(1, 1.0)])
    parts: dict[str, Any] = {"rate_limiter": limiter, "retry": {"initial": "30s", **NO_JITTER}}
    workers = [
        make_worker(outbox, down, clock, "down", **parts),
        make_worker(outbox, up, clock, "up", **parts),
    ]
    times = [VirtualTime(outbox, clock, name) for name in ("down", "up")]
    async with run_workers(*workers):
        await enqueue(outbox, *(sample_notification(n, str(n)) for n in range(20)), to="down")
        for _ in range(20):
            for each in times:
                await each.advance(0.5)
        assert len(down.received) >= FAILURE_THRESHOLD
        before = len(up.received)
        await enqueue(
            outbox,
            *(sample_notification(n, str(n)) for n in range(20)),
            to="up",
            now_ns=clock.now_ns,
        )
        for _ in range(10):
            for each in times:
                await each.advance(0.5)
        assert len(up.received) - before >= 8


async def test_dead_letters_of_own_events_are_not_reported(outbox: Outbox, clock: Clock) -> None:
    """Otherwise two dead destinations would report each other for ever."""
    observer, to = RecordingObserver(), ScriptedDestination(lambda _: Response(400))
    own = make_self_event("dead_letter", engine="relay", host="h", time_ns=1)
    await enqueue(outbox, build_notification("own", own), sample_notification(1))
    async with run_workers(make_worker(outbox, to, clock, observer=observer)):
        await wait_until_empty(outbox)
    assert observer.dead_letters == [("hook", Reason.REFUSED, 1)]


async def test_the_first_refusal_of_a_new_destination_is_reported(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """In the log once, and in the status until it accepts something."""
    answers = [Response(404, b"no_service"), Response(429), Response(403, b"x"), Response(200)]
    answers.append(Response(400, b"too long"))
    to = ScriptedDestination(lambda _: answers[len(to.received) - 1])
    statuses = []
    worker = make_worker(outbox, to, clock, retry=NO_JITTER)
    with capture_logs() as logged:
        async with run_workers(worker):
            for number in range(4):
                await enqueue_many(outbox, 1, first=number)
                await virtual_time.wait_until_idle()
                for _ in range(10):
                    await virtual_time.advance(0.5)
                statuses.append(worker.status.first_failure)
    assert len(to.received) == len(answers)
    assert statuses == ["answered 404: no_service", "answered 403: x", None, None]
    assert [line for line in logged if line["event"] == "destination.first_failed"] == [
        {
            "event": "destination.first_failed",
            "log_level": "warning",
            "destination": "hook",
            "why": "refused",
            "reason": "answered 404: no_service",
        }
    ]
