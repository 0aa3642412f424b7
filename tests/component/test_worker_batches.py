"""Lanes that send many notifications in one request: time is the test's."""

import asyncio
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.core.exchange import Answer, Reason, Response
from relay.delivery.circuit_breaker import FAILURES, Turn
from relay.store.outbox import SqliteOutbox, open_outbox
from relay.store.records import Selection
from tests.component.batch_samples import AT_ONCE, DOWN, MS, OK, STEADY, ids, some
from tests.component.delivery_worker import (
    Batches,
    Clock,
    Hours,
    empty,
    lane,
    left,
    running,
    take_in,
    told,
)
from tests.component.observer import Heard


async def test_what_waits_goes_together(outbox: SqliteOutbox, clock: Clock) -> None:
    """As many as ``max`` in a request, the longest due first, each under its own id."""
    to, made = Batches(), some(10)
    await take_in(outbox, *made)
    async with running(lane(outbox, to, clock, batch=AT_ONCE, concurrency=1)):
        await empty(outbox)
    assert to.sizes == [4, 4, 2]
    assert list(chain(*to.taken)) == ids(made)


async def test_one_alone_is_an_array_too(outbox: SqliteOutbox, clock: Clock) -> None:
    """A receiver knows one form only."""
    to, made = Batches(), some(1)
    await take_in(outbox, *made)
    async with running(lane(outbox, to, clock, batch=AT_ONCE)):
        await empty(outbox)
    assert to.taken == [ids(made)]
    assert to.ids[0].startswith("bat_")


async def test_the_first_waits_for_others(outbox: SqliteOutbox, clock: Clock, hours: Hours) -> None:
    """So long as ``wait`` says, and no longer; then all that came meanwhile go with it."""
    to, made = Batches(), some(3)
    async with running(lane(outbox, to, clock, batch={})):
        await take_in(outbox, made[0], now_ns=clock.now_ns)
        await hours.move(0.049)
        await take_in(outbox, *made[1:], now_ns=clock.now_ns)
        await hours.settle()
        assert to.taken == []
        await hours.move(0.001)
        await to.until(1)
        assert to.taken == [ids(made)]


async def test_a_full_request_waits_for_nothing(outbox: SqliteOutbox, clock: Clock) -> None:
    """Time stands still, and only what would not fill another stays."""
    to = Batches()
    async with running(lane(outbox, to, clock, batch={"max": 4, "wait": "5s"})):
        for number in range(9):
            await take_in(outbox, told(number, str(number)))
        await left(outbox, 1)
        assert to.sizes == [4, 4]
        clock.now_ns += 5000 * MS
        outbox.news("hook").set()
        await empty(outbox)
    assert to.sizes == [4, 4, 1]


async def test_what_has_waited_is_not_held_up_again(outbox: SqliteOutbox, clock: Clock) -> None:
    """A container's backlog: of each only the first is ever due, and none of them waits."""
    to = Batches()
    await take_in(outbox, *(told(number) for number in range(20)), now_ns=clock.now_ns - 50 * MS)
    async with running(lane(outbox, to, clock, batch={})):
        await empty(outbox)
    assert to.sizes == [1] * 20


async def test_a_stop_ends_the_wait(outbox: SqliteOutbox, clock: Clock, hours: Hours) -> None:
    """What is at hand goes once more, as many together as may."""
    to = Batches()
    async with running(lane(outbox, to, clock, batch={"wait": "5s"})):
        await take_in(outbox, *some(3))
        await hours.settle()
        assert to.taken == []
    assert to.sizes == [3]


async def test_order_is_kept_within_a_container(outbox: SqliteOutbox, clock: Clock) -> None:
    """No request holds two of one, and each is behind those before it."""
    to, made = Batches(), [told(number, "abc"[number % 3]) for number in range(12)]
    await take_in(outbox, *made)
    async with running(lane(outbox, to, clock, batch={"wait": "0s"})):
        await empty(outbox)
    assert to.taken == [ids(made[at : at + 3]) for at in range(0, 12, 3)]


async def test_without_an_order_one_container_fills_a_request(clock: Clock) -> None:
    """``ordering: none``: each delivery stands for itself."""
    to = Batches()
    async with open_outbox(None, unordered=["hook"]) as outbox:
        await take_in(outbox, *(told(number) for number in range(8)))
        async with running(lane(outbox, to, clock, ordering="none", batch=AT_ONCE)):
            await empty(outbox)
    assert to.sizes == [4, 4]


async def test_concurrency_counts_requests(outbox: SqliteOutbox, clock: Clock) -> None:
    """So many are under way while none is answered, though a place of each is for many."""
    to = Batches()
    to.open.clear()
    await take_in(outbox, *some(40))
    async with running(lane(outbox, to, clock, batch=AT_ONCE, concurrency=3)):
        await to.until(3)
        await Hours(outbox, clock).settle()
        assert to.sizes == [4, 4, 4]
        to.open.set()
        await empty(outbox)
    assert to.most_at_once == 3


async def test_a_rate_counts_requests(outbox: SqliteOutbox, clock: Clock, hours: Hours) -> None:
    """What waits for its turn meanwhile goes together in the next."""
    to = Batches()
    await take_in(outbox, *some(12))
    async with running(lane(outbox, to, clock, batch=AT_ONCE, rate_limit="2/s")):
        await left(outbox, 4)
        await hours.settle()
        assert to.sizes == [4, 4]
        await hours.move(0.5)
        await empty(outbox)
    assert to.sizes == [4, 4, 4]


async def test_a_failure_is_one_of_each(outbox: SqliteOutbox, clock: Clock, hours: Hours) -> None:
    """All are due again at the same time, one attempt older; the same again has the same id."""
    to, made = Batches(lambda _: OK if len(to.taken) > 1 else Response(500, b"oh")), some(2)
    await take_in(outbox, *made)
    async with running(lane(outbox, to, clock, batch=AT_ONCE, retry=STEADY)):
        await to.until(1)
        await hours.settle()
        waiting = await outbox.waiting("hook", 9)
        assert [(it.attempts, it.due_ns) for it in waiting] == [(1, clock.now_ns + 1000 * MS)] * 2
        assert {it.answer for it in waiting} == {Answer(500, "oh")}
        await hours.move(1)
        await empty(outbox)
    assert to.taken == [ids(made)] * 2
    assert to.ids[0] == to.ids[1]


async def test_each_is_judged_by_its_own_age(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """Of one request those that are too old are given up, and the others are tried again."""
    gossip, to = Heard(), Batches(lambda _: Response(500))
    old, young = some(2), some(2, first=2)
    await take_in(outbox, *old, now_ns=clock.now_ns - 3600 * 1000 * MS)
    await take_in(outbox, *young)
    retry = {"max_age": "1h", **STEADY}
    async with running(lane(outbox, to, clock, gossip=gossip, batch=AT_ONCE, retry=retry)):
        await to.until(1)
        await hours.settle()
    assert to.taken == [ids(old + young)]
    assert [it.notification for it in await outbox.waiting("hook", 9)] == young
    letters = await outbox.dead_letters(Selection(), 9)
    assert {(it.notification.id, it.reason) for it in letters} == {(i, "expired") for i in ids(old)}
    assert gossip.buried == [("hook", Reason.EXPIRED, 2)]


async def test_a_refusal_is_one_of_all(outbox: SqliteOutbox, clock: Clock) -> None:
    """Each is a dead letter with the answer; what stands behind them goes on."""
    gossip, refused, behind = Heard(), some(3), told(9, "1000")
    to = Batches(lambda inside: OK if inside == [behind.id] else Response(400, b"no"))
    await take_in(outbox, *refused, behind)
    async with running(lane(outbox, to, clock, gossip=gossip, batch=AT_ONCE)):
        await empty(outbox)
    letters = await outbox.dead_letters(Selection(), 9)
    assert sorted(it.notification.id for it in letters) == sorted(ids(refused))
    assert {(it.reason, it.attempts, it.answer) for it in letters} == {
        ("refused", 1, Answer(400, "no"))
    }
    assert gossip.buried == [("hook", Reason.REFUSED, 3)]


async def test_after_a_crash_the_same_ids_come_again(tmp_path: Path, clock: Clock) -> None:
    """A request whose answer nobody saw is made again as it was."""
    to, made = Batches(), some(3)
    to.open.clear()
    async with open_outbox(tmp_path / "relay.db") as outbox:
        await take_in(outbox, *made)
        life = asyncio.create_task(lane(outbox, to, clock, batch=AT_ONCE).run())
        await to.until(1)
        life.cancel()
        await asyncio.wait([life])
    to.open.set()
    async with (
        open_outbox(tmp_path / "relay.db") as outbox,
        running(lane(outbox, to, clock, batch=AT_ONCE)),
    ):
        await empty(outbox)
    assert to.taken == [ids(made)] * 2
    assert to.ids[0] == to.ids[1]


async def test_a_pause_is_of_the_whole_destination(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """429: nothing goes until it is over, and then all of it."""
    busy = Response(429, headers={"retry-after": "60"})
    to = Batches(lambda _: OK if len(to.taken) > 1 else busy)
    await take_in(outbox, *some(6))
    one = lane(outbox, to, clock, batch=AT_ONCE, retry=STEADY, concurrency=1)
    async with running(one):
        await to.until(1)
        await hours.settle()
        await hours.move(59)
        assert to.sizes == [4]
        assert one.condition.resumes_ns is not None
        await hours.move(1.1)
        await empty(outbox)
    assert len(to.taken) > 1


async def test_a_request_is_one_failure_and_a_probe_is_of_one(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """Five requests in a row make an episode, however many are in each."""
    gossip, to = Heard(), Batches(lambda _: DOWN)
    await take_in(outbox, *some(40))
    retry = {"initial": "10s", **STEADY}
    one = lane(outbox, to, clock, gossip=gossip, batch=AT_ONCE, retry=retry, concurrency=1)
    async with running(one):
        await to.until(FAILURES)
        await hours.settle()
        assert to.sizes == [4] * FAILURES
        await hours.move(10)
        await to.until(FAILURES + 1)
        assert to.sizes == [4] * FAILURES + [1]
        to.answer_all = lambda _: OK
        await hours.move(60)
        await empty(outbox)
    assert [turn for turn, _, _ in gossip.turns] == [Turn.FAILING, Turn.RECOVERED]
    assert to.sizes[FAILURES + 1] == 1


async def test_a_410_stops_it_with_all_that_waits(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """Until somebody enables it."""
    to = Batches(lambda _: Response(410))
    await take_in(outbox, *some(8))
    one = lane(outbox, to, clock, batch=AT_ONCE, concurrency=1)
    async with running(one):
        await to.until(1)
        await hours.settle()
        await hours.move(3600)
        assert to.sizes == [4]
        assert await outbox.pending() == {"hook": 8}
        to.answer_all = lambda _: OK
        assert one.enable()
        await empty(outbox)


async def test_one_that_cannot_be_digested_is_alone_at_last(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """It takes no other along: each failed attempt halves how many go with it."""
    made = some(16)
    to = Batches(lambda inside: Response(500 if made[7].id in inside else 200))
    await take_in(outbox, *made)
    async with running(lane(outbox, to, clock, batch={"max": 16, "wait": "0s"}, retry=STEADY)):
        while (await outbox.pending())["hook"] > 1 or to.taken[-1] != [made[7].id]:
            await hours.move(20)
    assert [it.notification for it in await outbox.waiting("hook", 99)] == [made[7]]


async def test_one_wide_line_for_each_request(outbox: SqliteOutbox, clock: Clock) -> None:
    """With how many were in it, and no list of them."""
    to = Batches(lambda _: Response(500, b"what it said"))
    await take_in(outbox, *some(3))
    with structlog.testing.capture_logs() as lines:
        async with running(lane(outbox, to, clock, batch=AT_ONCE, retry=STEADY)):
            await to.until(1)
    (line,) = lines
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "delivery.attempted",
        "log_level": "info",
        "destination": "hook",
        "batch": 3,
        "attempt": 1,
        "status": 500,
        "outcome": "retry",
        "reason": "unavailable",
        "error": None,
        "answer": "what it said",
        "retry_in_s": 1.0,
    }


async def test_counts_are_of_notifications(outbox: SqliteOutbox, clock: Clock) -> None:
    """Attempts and latencies, so that they compare with those of other destinations."""
    to = Batches()
    await take_in(outbox, *some(6))
    one = lane(outbox, to, clock, batch=AT_ONCE)
    async with running(one):
        await empty(outbox)
    assert one.tally.attempts == Counter({("delivered", Reason.OK): 6})
    assert one.tally.latencies.up_to[-1] == 6


ANSWERS = (200, 413, 500, 429, 400, None)
_answers = st.lists(st.sampled_from(ANSWERS), max_size=30)


@settings(max_examples=40, deadline=None)
@given(_answers, st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=24))
def test_each_comes_to_one_end_in_its_order(answers: list[int | None], subjects: list[str]) -> None:
    """Whatever the answers: delivered or dead, once, and behind those before it."""
    asyncio.run(_each_comes_to_one_end(answers, subjects))


async def _each_comes_to_one_end(answers: list[int | None], subjects: list[str]) -> None:
    script, ended, seen = iter(answers), Counter[str](), defaultdict[str, list[int]](list)
    made = [told(number, subject) for number, subject in enumerate(subjects)]
    known = {each.id: each.events[0] for each in made}

    def answer(inside: list[str]) -> Response:
        status = next(script, 200)
        for id_ in inside:
            seen[known[id_].actor.id].append(known[id_].time_ns)
        if status == 200:
            ended.update(inside)
        return DOWN if status is None else Response(status)

    clock = Clock()
    retry = {"max_attempts": 4, **STEADY}
    async with open_outbox(None) as outbox:
        await take_in(outbox, *made)
        hours = Hours(outbox, clock)
        batch = {"max": 5, "wait": "0s"}
        async with running(lane(outbox, Batches(answer), clock, batch=batch, retry=retry)):
            while await outbox.pending():
                await hours.move(60)
        letters = await outbox.dead_letters(Selection(), 99)
    ended.update(letter.notification.id for letter in letters)
    assert ended == Counter(known.keys())
    assert all(numbers == sorted(numbers) for numbers in seen.values())
