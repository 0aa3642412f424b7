"""Lanes whose destination is busy, down, or gone: time is the test's."""

from pathlib import Path
from typing import Any

import pytest

from relay.config import Rate
from relay.core.event import happening
from relay.core.exchange import Reason, Request, Response
from relay.core.notification import notify
from relay.core.status import Condition
from relay.delivery.circuit_breaker import FAILURES, Turn
from relay.delivery.rate_limit import Valve
from relay.store.outbox import SqliteOutbox, open_outbox
from relay.store.records import GIVEN_UP_AT_ONCE, Selection
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
from tests.component.observer import Heard

STEADY = {"jitter": 0}
DOWN = Response(None, failure=Reason.CONNECTION, error="Connection refused")


async def many(outbox: SqliteOutbox, count: int, *, first: int = 0, now_ns: int = 10**18) -> None:
    """Deliveries about as many containers."""
    made = (told(number, str(number)) for number in range(first, first + count))
    await take_in(outbox, *made, now_ns=now_ns)


async def test_a_dead_endpoint_costs_one_attempt_an_interval(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """A thousand wait; in ten minutes there are a first few attempts, and then single probes."""
    to = Destination(lambda _: DOWN)
    await many(outbox, 1000)
    async with running(lane(outbox, to, clock, retry=STEADY)):
        await hours.settle()
        first = len(to.begun)
        to.most_at_once = 0
        for _ in range(1200):
            await hours.move(0.5)
        probes = len(to.begun) - first
    print({"attempts": len(to.begun), "at first": first, "probes": probes})  # noqa: T201 - shown with -s, and whenever this fails
    assert first <= FAILURES + 8
    assert to.most_at_once == 1
    # after 1, 2, 4, 8, 16, 32 s and then each minute: 63 + 8 * 60 = 543, and 603 is too late
    assert probes == 14


async def test_an_episode_is_told_once_and_ends_with_everything_delivered(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """Failing, recovered; then what waited for its own later attempt goes at once."""
    gossip, to = Heard(), Destination(lambda _: DOWN)
    await many(outbox, 100)
    async with running(lane(outbox, to, clock, gossip=gossip, retry=STEADY)):
        await hours.settle()
        for _ in range(300):
            await hours.move(1)
        to.answer = lambda _: Response(200)
        await hours.move(60)
        await empty(outbox)
    turns = [(turn, name, dict(facts)) for turn, name, facts in gossip.turns]
    assert turns == [
        (Turn.FAILING, "hook", {"why": "connection", "reason": "Connection refused"}),
        (Turn.RECOVERED, "hook", {"failed_for_s": "360"}),
    ]


async def test_an_answer_that_asks_for_time_pauses_the_destination(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """Nothing goes before it is over, and then everything."""
    to = Destination(lambda _: Response(429, headers={"retry-after": "30"}))
    await many(outbox, 3)
    async with running(lane(outbox, to, clock, concurrency=1)):
        await hours.settle()
        to.answer = lambda _: Response(200)
        await hours.move(29.9)
        assert len(to.begun) == 1
        await hours.move(0.1)
        await empty(outbox)
    assert len(to.begun) == 4


async def test_a_pause_holds_across_a_restart(tmp_path: Path, clock: Clock) -> None:
    """Another process obeys what was asked of this one."""
    to = Destination(lambda _: Response(503, headers={"retry-after": "3600"}))
    for _ in range(2):
        async with open_outbox(tmp_path / "relay.db") as outbox:
            hours = Hours(outbox, clock)
            await many(outbox, 3)
            one = lane(outbox, to, clock, concurrency=1)
            async with running(one):
                await hours.settle()
                assert one.condition.resumes_ns == 10**18 + 3600 * 10**9
                await hours.move(0)
    assert len(to.begun) == 1


async def test_a_pause_holds_for_all_that_go_to_one_place(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """Two destinations with one URL: what it asks one of them for, it asks for."""
    to, other = Destination(lambda _: Response(429, headers={"retry-after": "30"})), Destination()
    valve = Valve()
    async with running(
        lane(outbox, to, clock, valve=valve), lane(outbox, other, clock, "other", valve=valve)
    ):
        await take_in(outbox, told(1))
        await hours.settle()
        await take_in(outbox, told(2), to="other")
        await Hours(outbox, clock, "other").settle()
        assert other.begun == []
        await Hours(outbox, clock, "other").move(30)
        await empty(outbox, "other")


async def test_gone_stops_the_destination_until_it_is_enabled(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """One attempt, for days, and nothing is given up; enabled, it goes on with all that waits."""
    gossip, to = Heard(), Destination(lambda _: Response(410, b"channel_is_archived"))
    await many(outbox, 3)
    one = lane(outbox, to, clock, gossip=gossip, concurrency=1)
    async with running(one):
        await hours.settle()
        await hours.move(48 * 3600)
        assert len(to.begun) == 1
        assert one.condition == Condition(stopped=True, failing=True)
        assert await outbox.pending() == {"hook": 3}
        to.answer = lambda _: Response(200)
        assert one.enable()
        await empty(outbox)
        assert one.condition == Condition()
        assert not one.enable()
    assert [turn for turn, _, _ in gossip.turns] == [Turn.FAILING, Turn.RECOVERED]
    assert gossip.turns[0][2] == {"why": "gone", "reason": "answered 410: channel_is_archived"}


@pytest.mark.parametrize("answer", [Response(410), DOWN])
async def test_what_grows_too_old_meanwhile_is_given_up(
    outbox: SqliteOutbox, clock: Clock, hours: Hours, answer: Response
) -> None:
    """Without an attempt for each: the destination would get thousands of them, or none."""
    gossip, to, count = Heard(), Destination(lambda _: answer), 2 * GIVEN_UP_AT_ONCE + 10
    await many(outbox, count)
    async with running(lane(outbox, to, clock, gossip=gossip, retry={"max_age": "1h", **STEADY})):
        await hours.settle()
        await hours.move(3599)
        assert await outbox.pending() == {"hook": count}
        await many(outbox, 1, first=count, now_ns=clock.now_ns)
        await hours.move(120)
    assert await outbox.pending() == {"hook": 1}
    assert len(to.begun) < 20
    letters = await outbox.dead_letters(Selection(), 2 * count)
    assert len(letters) == count
    assert {letter.reason for letter in letters} == {"expired"}
    assert sum(given_up for _, _, given_up in gossip.buried) == count


async def test_a_refusal_is_a_dead_letter_at_once(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """With the whole answer; its successor about the same container has its own attempt."""
    gossip, first = Heard(), told(1)
    body = b"x" * 4096
    to = Destination(lambda id_: Response(400, body) if id_ == first.id else Response(200))
    await take_in(outbox, first, told(2))
    async with running(lane(outbox, to, clock, gossip=gossip)):
        await empty(outbox)
    (letter,) = await outbox.dead_letters(Selection(), 9)
    assert letter.answer is not None
    assert (letter.notification, letter.attempts, letter.reason) == (first, 1, "refused")
    assert (letter.answer.status, letter.answer.text) == (400, body.decode())
    assert gossip.buried == [("hook", Reason.REFUSED, 1)]
    assert len(to.begun) == 2


async def test_a_hot_container_does_not_starve_others(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """What comes behind a thousand of one container goes second."""
    to = Destination()
    to.open.clear()
    await take_in(outbox, *(told(number, "hot") for number in range(1000)))
    quiet = told(1000, "quiet")
    await take_in(outbox, quiet)
    async with running(lane(outbox, to, clock, concurrency=1)):
        await to.until(1)
        to.open.set()
        await to.until(2)
        assert to.begun[1] == quiet.id
        await empty(outbox)


async def test_without_an_order_one_container_goes_in_parallel(clock: Clock) -> None:
    """``ordering: none``: each delivery stands for itself."""
    to = Destination()
    to.open.clear()
    async with open_outbox(None, unordered=["hook"]) as outbox:
        await take_in(outbox, *(told(number) for number in range(4)))
        async with running(lane(outbox, to, clock, ordering="none", concurrency=4)):
            await to.until(4)
            to.open.set()
            await empty(outbox)
    assert to.most_at_once == 4


async def test_a_single_delivery_finds_out_once_a_minute(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """Though its own next try would be ten minutes off: nothing else would notice."""
    to = Destination(lambda _: DOWN)
    await many(outbox, 1)
    async with running(lane(outbox, to, clock, retry=STEADY)):
        await hours.settle()
        for _ in range(3600):
            await hours.move(1)
        count = len(to.begun)
        for _ in range(600):
            await hours.move(1)
        assert len(to.begun) - count == 10
        to.answer = lambda _: Response(200)
        await hours.move(60)
        await empty(outbox)


async def test_enabling_ends_every_wait(outbox: SqliteOutbox, clock: Clock, hours: Hours) -> None:
    """Of the destination, and of the deliveries that it made wait, with what stands behind them."""
    to = Destination(lambda _: Response(429, headers={"retry-after": "86400"}))
    await take_in(outbox, told(1), told(2))
    one = lane(outbox, to, clock)
    async with running(one):
        await hours.settle()
        assert one.condition.resumes_ns == clock.now_ns + 86_400 * 10**9
        to.answer = lambda _: Response(200)
        assert one.enable()
        await empty(outbox)
        assert await outbox.pauses(clock.now_ns) == {}
        assert not one.enable()


async def test_an_episode_goes_on_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    """It is told once, and so is its end, whoever is there to see it."""
    to, turns = Destination(lambda _: DOWN), []
    for life in range(3):
        gossip = Heard()
        async with open_outbox(tmp_path / "relay.db") as outbox:
            if life == 0:
                await many(outbox, 9)
            if life == 2:
                to.answer = lambda _: Response(200)
            async with running(lane(outbox, to, clock, gossip=gossip, retry=STEADY)):
                await Hours(outbox, clock).settle()
                if life == 2:
                    await empty(outbox)
            turns += [turn for turn, _, _ in gossip.turns]
    assert turns == [Turn.FAILING, Turn.RECOVERED]


async def test_what_succeeds_behind_a_410_does_not_undo_it(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """Only somebody who enables it does."""
    gossip, to = Heard(), Destination()
    to.answer = lambda id_: Response(410 if id_ == to.begun[0] else 200)
    to.open.clear()
    await many(outbox, 12)
    one = lane(outbox, to, clock, gossip=gossip, concurrency=4)
    async with running(one):
        await to.until(4)
        to.open.set()
        await hours.settle()
        assert one.condition == Condition(stopped=True, failing=True)
    assert len(to.begun) == 4
    assert [turn for turn, _, _ in gossip.turns] == [Turn.FAILING]


async def test_places_that_are_free_are_used_at_once(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """Where some hang and what was at hand is used up, more is fetched."""
    to = Destination()
    hanging = {told(number, str(number)).id for number in range(4)}
    to.open.clear()
    await many(outbox, 100)
    one = lane(outbox, to, clock, concurrency=8)
    released = to.send

    async def send(request: Request) -> Response:
        if request.headers["webhook-id"] in hanging:
            return await released(request)
        to.begun.append(request.headers["webhook-id"])
        return Response(200)

    to.send = send  # type: ignore[method-assign]
    async with running(one):
        await left(outbox, 4)
        to.open.set()
        await empty(outbox)


async def test_a_neighbour_that_fails_takes_no_turns(outbox: SqliteOutbox, clock: Clock) -> None:
    """Two share a rate: while one only waits for its probe, the other has all of it."""
    down, up, valve = Destination(lambda _: DOWN), Destination(), Valve([Rate(1, 1.0)])
    parts: dict[str, Any] = {"valve": valve, "retry": {"initial": "30s", **STEADY}}
    lanes = [lane(outbox, down, clock, "down", **parts), lane(outbox, up, clock, "up", **parts)]
    moves = [Hours(outbox, clock, name) for name in ("down", "up")]
    async with running(*lanes):
        await take_in(outbox, *(told(n, str(n)) for n in range(20)), to="down")
        for _ in range(20):
            for hours in moves:
                await hours.move(0.5)
        assert len(down.begun) >= FAILURES
        before = len(up.begun)
        await take_in(outbox, *(told(n, str(n)) for n in range(20)), to="up", now_ns=clock.now_ns)
        for _ in range(10):
            for hours in moves:
                await hours.move(0.5)
        assert len(up.begun) - before >= 8


async def test_relays_own_dead_letters_are_not_announced(
    outbox: SqliteOutbox, clock: Clock
) -> None:
    """Else two dead destinations would tell of each other for ever."""
    gossip, to = Heard(), Destination(lambda _: Response(400))
    own = happening("dead_letter", engine="relay", host="h", time_ns=1)
    await take_in(outbox, notify("own", own), told(1))
    async with running(lane(outbox, to, clock, gossip=gossip)):
        await empty(outbox)
    assert gossip.buried == [("hook", Reason.REFUSED, 1)]
