"""Lanes whose destination is busy, down, or gone: time is the test's."""

from pathlib import Path
from typing import Any

import pytest

from relay.config import Rate
from relay.core.event import make_self_event
from relay.core.exchange import Reason, Request, Response
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
    make_worker,
    run_workers,
    sample_notification,
    wait_until_empty,
    wait_until_pending,
)
from tests.component.observer import RecordingObserver

NO_JITTER = {"jitter": 0}
UNREACHABLE = Response(None, failure=Reason.CONNECTION, error="Connection refused")


async def enqueue_many(outbox: Outbox, count: int, *, first: int = 0, now_ns: int = 10**18) -> None:
    """Deliveries about as many containers."""
    made = (sample_notification(number, str(number)) for number in range(first, first + count))
    await enqueue(outbox, *made, now_ns=now_ns)


async def test_a_dead_endpoint_costs_one_attempt_an_interval(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """A thousand wait; in ten minutes there are a first few attempts, and then single probes."""
    to = ScriptedDestination(lambda _: UNREACHABLE)
    await enqueue_many(outbox, 1000)
    async with run_workers(make_worker(outbox, to, clock, retry=NO_JITTER)):
        await hours.wait_until_idle()
        first = len(to.received)
        to.max_concurrent = 0
        for _ in range(1200):
            await hours.advance(0.5)
        probes = len(to.received) - first
    print({"attempts": len(to.received), "at first": first, "probes": probes})  # noqa: T201 - shown with -s, and whenever this fails
    assert first <= FAILURE_THRESHOLD + 8
    assert to.max_concurrent == 1
    # after 1, 2, 4, 8, 16, 32 s and then each minute: 63 + 8 * 60 = 543, and 603 is too late
    assert probes == 14


async def test_an_episode_is_told_once_and_ends_with_everything_delivered(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """Failing, recovered; then what waited for its own later attempt goes at once."""
    gossip, to = RecordingObserver(), ScriptedDestination(lambda _: UNREACHABLE)
    await enqueue_many(outbox, 100)
    async with run_workers(make_worker(outbox, to, clock, observer=gossip, retry=NO_JITTER)):
        await hours.wait_until_idle()
        for _ in range(300):
            await hours.advance(1)
        to.answer = lambda _: Response(200)
        await hours.advance(60)
        await wait_until_empty(outbox)
    turns = [(turn, name, dict(facts)) for turn, name, facts in gossip.health_changes]
    assert turns == [
        (HealthChange.FAILING, "hook", {"why": "connection", "reason": "Connection refused"}),
        (HealthChange.RECOVERED, "hook", {"failed_for_s": "360"}),
    ]


async def test_an_answer_that_asks_for_time_pauses_the_destination(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """Nothing goes before it is over, and then everything."""
    to = ScriptedDestination(lambda _: Response(429, headers={"retry-after": "30"}))
    await enqueue_many(outbox, 3)
    async with run_workers(make_worker(outbox, to, clock, concurrency=1)):
        await hours.wait_until_idle()
        to.answer = lambda _: Response(200)
        await hours.advance(29.9)
        assert len(to.received) == 1
        await hours.advance(0.1)
        await wait_until_empty(outbox)
    assert len(to.received) == 4


async def test_a_pause_holds_across_a_restart(tmp_path: Path, clock: Clock) -> None:
    """Another process obeys what was asked of this one."""
    to = ScriptedDestination(lambda _: Response(503, headers={"retry-after": "3600"}))
    for _ in range(2):
        async with open_outbox(tmp_path / "relay.db") as outbox:
            hours = VirtualTime(outbox, clock)
            await enqueue_many(outbox, 3)
            one = make_worker(outbox, to, clock, concurrency=1)
            async with run_workers(one):
                await hours.wait_until_idle()
                assert one.status.resumes_ns == 10**18 + 3600 * 10**9
                await hours.advance(0)
    assert len(to.received) == 1


async def test_a_pause_holds_for_all_that_go_to_one_place(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """Two destinations with one URL: what it asks one of them for, it asks for."""
    to, other = (
        ScriptedDestination(lambda _: Response(429, headers={"retry-after": "30"})),
        ScriptedDestination(),
    )
    valve = RateLimiter()
    async with run_workers(
        make_worker(outbox, to, clock, rate_limiter=valve),
        make_worker(outbox, other, clock, "other", rate_limiter=valve),
    ):
        await enqueue(outbox, sample_notification(1))
        await hours.wait_until_idle()
        await enqueue(outbox, sample_notification(2), to="other")
        await VirtualTime(outbox, clock, "other").wait_until_idle()
        assert other.received == []
        await VirtualTime(outbox, clock, "other").advance(30)
        await wait_until_empty(outbox, "other")


async def test_gone_stops_the_destination_until_it_is_enabled(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """One attempt, for days, and nothing is given up; enabled, it goes on with all that waits."""
    gossip, to = (
        RecordingObserver(),
        ScriptedDestination(lambda _: Response(410, b"channel_is_archived")),
    )
    await enqueue_many(outbox, 3)
    one = make_worker(outbox, to, clock, observer=gossip, concurrency=1)
    async with run_workers(one):
        await hours.wait_until_idle()
        await hours.advance(48 * 3600)
        assert len(to.received) == 1
        assert one.status == DestinationStatus(stopped=True, failing=True)
        assert await outbox.pending() == {"hook": 3}
        to.answer = lambda _: Response(200)
        assert one.enable()
        await wait_until_empty(outbox)
        assert one.status == DestinationStatus()
        assert not one.enable()
    assert [turn for turn, _, _ in gossip.health_changes] == [
        HealthChange.FAILING,
        HealthChange.RECOVERED,
    ]
    assert gossip.health_changes[0][2] == {
        "why": "gone",
        "reason": "answered 410: channel_is_archived",
    }


@pytest.mark.parametrize("answer", [Response(410), UNREACHABLE])
async def test_what_grows_too_old_meanwhile_is_given_up(
    outbox: Outbox, clock: Clock, hours: VirtualTime, answer: Response
) -> None:
    """Without an attempt for each: the destination would get thousands of them, or none."""
    gossip, to, count = (
        RecordingObserver(),
        ScriptedDestination(lambda _: answer),
        2 * GIVE_UP_BATCH + 10,
    )
    await enqueue_many(outbox, count)
    async with run_workers(
        make_worker(outbox, to, clock, observer=gossip, retry={"max_age": "1h", **NO_JITTER})
    ):
        await hours.wait_until_idle()
        await hours.advance(3599)
        assert await outbox.pending() == {"hook": count}
        await enqueue_many(outbox, 1, first=count, now_ns=clock.now_ns)
        await hours.advance(120)
    assert await outbox.pending() == {"hook": 1}
    assert len(to.received) < 20
    letters = await outbox.dead_letters(Selection(), 2 * count)
    assert len(letters) == count
    assert {letter.reason for letter in letters} == {"expired"}
    assert sum(given_up for _, _, given_up in gossip.dead_letters) == count


async def test_a_refusal_is_a_dead_letter_at_once(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """With the whole answer; its successor about the same container has its own attempt."""
    gossip, first = RecordingObserver(), sample_notification(1)
    body = b"x" * 4096
    to = ScriptedDestination(lambda id_: Response(400, body) if id_ == first.id else Response(200))
    await enqueue(outbox, first, sample_notification(2))
    async with run_workers(make_worker(outbox, to, clock, observer=gossip)):
        await wait_until_empty(outbox)
    (letter,) = await outbox.dead_letters(Selection(), 9)
    assert letter.answer is not None
    assert (letter.notification, letter.attempts, letter.reason) == (first, 1, "refused")
    assert (letter.answer.status, letter.answer.text) == (400, body.decode())
    assert gossip.dead_letters == [("hook", Reason.REFUSED, 1)]
    assert len(to.received) == 2


async def test_a_hot_container_does_not_starve_others(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """What comes behind a thousand of one container goes second."""
    to = ScriptedDestination()
    to.open.clear()
    await enqueue(outbox, *(sample_notification(number, "hot") for number in range(1000)))
    quiet = sample_notification(1000, "quiet")
    await enqueue(outbox, quiet)
    async with run_workers(make_worker(outbox, to, clock, concurrency=1)):
        await to.wait_for_count(1)
        to.open.set()
        await to.wait_for_count(2)
        assert to.received[1] == quiet.id
        await wait_until_empty(outbox)


async def test_without_an_order_one_container_goes_in_parallel(clock: Clock) -> None:
    """``ordering: none``: each delivery stands for itself."""
    to = ScriptedDestination()
    to.open.clear()
    async with open_outbox(None, unordered=["hook"]) as outbox:
        await enqueue(outbox, *(sample_notification(number) for number in range(4)))
        async with run_workers(make_worker(outbox, to, clock, ordering="none", concurrency=4)):
            await to.wait_for_count(4)
            to.open.set()
            await wait_until_empty(outbox)
    assert to.max_concurrent == 4


async def test_a_single_delivery_finds_out_once_a_minute(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """Though its own next try would be ten minutes off: nothing else would notice."""
    to = ScriptedDestination(lambda _: UNREACHABLE)
    await enqueue_many(outbox, 1)
    async with run_workers(make_worker(outbox, to, clock, retry=NO_JITTER)):
        await hours.wait_until_idle()
        for _ in range(3600):
            await hours.advance(1)
        count = len(to.received)
        for _ in range(600):
            await hours.advance(1)
        assert len(to.received) - count == 10
        to.answer = lambda _: Response(200)
        await hours.advance(60)
        await wait_until_empty(outbox)


async def test_enabling_ends_every_wait(outbox: Outbox, clock: Clock, hours: VirtualTime) -> None:
    """Of the destination, and of the deliveries that it made wait, with what stands behind them."""
    to = ScriptedDestination(lambda _: Response(429, headers={"retry-after": "86400"}))
    await enqueue(outbox, sample_notification(1), sample_notification(2))
    one = make_worker(outbox, to, clock)
    async with run_workers(one):
        await hours.wait_until_idle()
        assert one.status.resumes_ns == clock.now_ns + 86_400 * 10**9
        to.answer = lambda _: Response(200)
        assert one.enable()
        await wait_until_empty(outbox)
        assert await outbox.pauses(clock.now_ns) == {}
        assert not one.enable()


async def test_an_episode_goes_on_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    """It is told once, and so is its end, whoever is there to see it."""
    to, turns = ScriptedDestination(lambda _: UNREACHABLE), []
    for life in range(3):
        gossip = RecordingObserver()
        async with open_outbox(tmp_path / "relay.db") as outbox:
            if life == 0:
                await enqueue_many(outbox, 9)
            if life == 2:
                to.answer = lambda _: Response(200)
            async with run_workers(
                make_worker(outbox, to, clock, observer=gossip, retry=NO_JITTER)
            ):
                await VirtualTime(outbox, clock).wait_until_idle()
                if life == 2:
                    await wait_until_empty(outbox)
            turns += [turn for turn, _, _ in gossip.health_changes]
    assert turns == [HealthChange.FAILING, HealthChange.RECOVERED]


async def test_what_succeeds_behind_a_410_does_not_undo_it(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """Only somebody who enables it does."""
    gossip, to = RecordingObserver(), ScriptedDestination()
    to.answer = lambda id_: Response(410 if id_ == to.received[0] else 200)
    to.open.clear()
    await enqueue_many(outbox, 12)
    one = make_worker(outbox, to, clock, observer=gossip, concurrency=4)
    async with run_workers(one):
        await to.wait_for_count(4)
        to.open.set()
        await hours.wait_until_idle()
        assert one.status == DestinationStatus(stopped=True, failing=True)
    assert len(to.received) == 4
    assert [turn for turn, _, _ in gossip.health_changes] == [HealthChange.FAILING]


async def test_places_that_are_free_are_used_at_once(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """Where some hang and what was at hand is used up, more is fetched."""
    to = ScriptedDestination()
    hanging = {sample_notification(number, str(number)).id for number in range(4)}
    to.open.clear()
    await enqueue_many(outbox, 100)
    one = make_worker(outbox, to, clock, concurrency=8)
    released = to.send

    async def send(request: Request) -> Response:
        if request.headers["webhook-id"] in hanging:
            return await released(request)
        to.received.append(request.headers["webhook-id"])
        return Response(200)

    to.send = send  # type: ignore[method-assign]
    async with run_workers(one):
        await wait_until_pending(outbox, 4)
        to.open.set()
        await wait_until_empty(outbox)


async def test_a_neighbour_that_fails_takes_no_turns(outbox: Outbox, clock: Clock) -> None:
    """Two share a rate: while one only waits for its probe, the other has all of it."""
    down, up = ScriptedDestination(lambda _: UNREACHABLE), ScriptedDestination()
    limiter = RateLimiter([Rate(1, 1.0)])
    parts: dict[str, Any] = {"rate_limiter": limiter, "retry": {"initial": "30s", **NO_JITTER}}
    lanes = [
        make_worker(outbox, down, clock, "down", **parts),
        make_worker(outbox, up, clock, "up", **parts),
    ]
    moves = [VirtualTime(outbox, clock, name) for name in ("down", "up")]
    async with run_workers(*lanes):
        await enqueue(outbox, *(sample_notification(n, str(n)) for n in range(20)), to="down")
        for _ in range(20):
            for hours in moves:
                await hours.advance(0.5)
        assert len(down.received) >= FAILURE_THRESHOLD
        before = len(up.received)
        await enqueue(
            outbox,
            *(sample_notification(n, str(n)) for n in range(20)),
            to="up",
            now_ns=clock.now_ns,
        )
        for _ in range(10):
            for hours in moves:
                await hours.advance(0.5)
        assert len(up.received) - before >= 8


async def test_relays_own_dead_letters_are_not_announced(outbox: Outbox, clock: Clock) -> None:
    """Else two dead destinations would tell of each other for ever."""
    gossip, to = RecordingObserver(), ScriptedDestination(lambda _: Response(400))
    own = make_self_event("dead_letter", engine="relay", host="h", time_ns=1)
    await enqueue(outbox, build_notification("own", own), sample_notification(1))
    async with run_workers(make_worker(outbox, to, clock, observer=gossip)):
        await wait_until_empty(outbox)
    assert gossip.dead_letters == [("hook", Reason.REFUSED, 1)]
