"""Lanes that send many notifications in one request: time is the test's."""

import asyncio
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.core.exchange import Answer, Reason, Response
from relay.delivery.circuit_breaker import FAILURE_THRESHOLD, HealthChange
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import Selection
from tests.component.batch_samples import (
    BATCH_OF_FOUR,
    MS,
    NO_JITTER,
    OK,
    UNREACHABLE,
    ids,
    sample_notifications,
)
from tests.component.delivery_worker import (
    BatchDestination,
    Clock,
    VirtualTime,
    enqueue,
    make_worker,
    run_workers,
    sample_notification,
    wait_until_empty,
    wait_until_pending,
)
from tests.component.observer import RecordingObserver
from tests.support.profiles import examples


async def test_what_waits_goes_together(outbox: Outbox, clock: Clock) -> None:
    """As many as ``max`` in a request, the longest due first, each under its own id."""
    to, made = BatchDestination(), sample_notifications(10)
    await enqueue(outbox, *made)
    async with run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, concurrency=1)):
        await wait_until_empty(outbox)
    assert to.sizes == [4, 4, 2]
    assert list(chain(*to.batches)) == ids(made)


async def test_one_alone_is_an_array_too(outbox: Outbox, clock: Clock) -> None:
    """A receiver knows one form only."""
    to, made = BatchDestination(), sample_notifications(1)
    await enqueue(outbox, *made)
    async with run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR)):
        await wait_until_empty(outbox)
    assert to.batches == [ids(made)]
    assert to.request_ids[0].startswith("bat_")


async def test_the_first_waits_for_others(outbox: Outbox, clock: Clock, hours: VirtualTime) -> None:
    """So long as ``wait`` says, and no longer; then all that came meanwhile go with it."""
    to, made = BatchDestination(), sample_notifications(3)
    async with run_workers(make_worker(outbox, to, clock, batch={})):
        await enqueue(outbox, made[0], now_ns=clock.now_ns)
        await hours.advance(0.049)
        await enqueue(outbox, *made[1:], now_ns=clock.now_ns)
        await hours.wait_until_idle()
        assert to.batches == []
        await hours.advance(0.001)
        await to.wait_for_count(1)
        assert to.batches == [ids(made)]


async def test_a_full_request_waits_for_nothing(outbox: Outbox, clock: Clock) -> None:
    """Time stands still, and only what would not fill another stays."""
    to = BatchDestination()
    async with run_workers(make_worker(outbox, to, clock, batch={"max": 4, "wait": "5s"})):
        for number in range(9):
            await enqueue(outbox, sample_notification(number, str(number)))
        await wait_until_pending(outbox, 1)
        assert to.sizes == [4, 4]
        clock.now_ns += 5000 * MS
        outbox.wakeup("hook").request_fetch()
        await wait_until_empty(outbox)
    assert to.sizes == [4, 4, 1]


async def test_what_has_waited_is_not_held_up_again(outbox: Outbox, clock: Clock) -> None:
    """A container's backlog: of each only the first is ever due, and none of them waits."""
    to = BatchDestination()
    await enqueue(
        outbox,
        *(sample_notification(number) for number in range(20)),
        now_ns=clock.now_ns - 50 * MS,
    )
    async with run_workers(make_worker(outbox, to, clock, batch={})):
        await wait_until_empty(outbox)
    assert to.sizes == [1] * 20


async def test_a_stop_ends_the_wait(outbox: Outbox, clock: Clock, hours: VirtualTime) -> None:
    """What is at hand goes once more, as many together as may."""
    to = BatchDestination()
    async with run_workers(make_worker(outbox, to, clock, batch={"wait": "5s"})):
        await enqueue(outbox, *sample_notifications(3))
        await hours.wait_until_idle()
        assert to.batches == []
    assert to.sizes == [3]


async def test_order_is_kept_within_a_container(outbox: Outbox, clock: Clock) -> None:
    """No request holds two of one, and each is behind those before it."""
    to, made = (
        BatchDestination(),
        [sample_notification(number, "abc"[number % 3]) for number in range(12)],
    )
    await enqueue(outbox, *made)
    async with run_workers(make_worker(outbox, to, clock, batch={"wait": "0s"})):
        await wait_until_empty(outbox)
    assert to.batches == [ids(made[at : at + 3]) for at in range(0, 12, 3)]


async def test_without_an_order_one_container_fills_a_request(clock: Clock) -> None:
    """``ordering: none``: each delivery stands for itself."""
    to = BatchDestination()
    async with open_outbox(None, unordered=["hook"]) as outbox:
        await enqueue(outbox, *(sample_notification(number) for number in range(8)))
        async with run_workers(
            make_worker(outbox, to, clock, ordering="none", batch=BATCH_OF_FOUR)
        ):
            await wait_until_empty(outbox)
    assert to.sizes == [4, 4]


async def test_concurrency_counts_requests(outbox: Outbox, clock: Clock) -> None:
    """So many are under way while none is answered, though a place of each is for many."""
    to = BatchDestination()
    to.open.clear()
    await enqueue(outbox, *sample_notifications(40))
    async with run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, concurrency=3)):
        await to.wait_for_count(3)
        await VirtualTime(outbox, clock).wait_until_idle()
        assert to.sizes == [4, 4, 4]
        to.open.set()
        await wait_until_empty(outbox)
    assert to.max_concurrent == 3


async def test_a_rate_counts_requests(outbox: Outbox, clock: Clock, hours: VirtualTime) -> None:
    """What waits for its turn meanwhile goes together in the next."""
    to = BatchDestination()
    await enqueue(outbox, *sample_notifications(12))
    async with run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, rate_limit="2/s")):
        await wait_until_pending(outbox, 4)
        await hours.wait_until_idle()
        assert to.sizes == [4, 4]
        await hours.advance(0.5)
        await wait_until_empty(outbox)
    assert to.sizes == [4, 4, 4]


async def test_a_failure_is_one_of_each(outbox: Outbox, clock: Clock, hours: VirtualTime) -> None:
    """All are due again at the same time, one attempt older; the same again has the same id."""
    to, made = (
        BatchDestination(lambda _: OK if len(to.batches) > 1 else Response(500, b"oh")),
        sample_notifications(2),
    )
    await enqueue(outbox, *made)
    async with run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, retry=NO_JITTER)):
        await to.wait_for_count(1)
        await hours.wait_until_idle()
        waiting = await outbox.waiting("hook", 9)
        assert [(it.attempts, it.due_ns) for it in waiting] == [(1, clock.now_ns + 1000 * MS)] * 2
        assert {it.answer for it in waiting} == {Answer(500, "oh")}
        await hours.advance(1)
        await wait_until_empty(outbox)
    assert to.batches == [ids(made)] * 2
    assert to.request_ids[0] == to.request_ids[1]


async def test_each_is_judged_by_its_own_age(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """Of one request those that are too old are given up, and the others are tried again."""
    gossip, to = RecordingObserver(), BatchDestination(lambda _: Response(500))
    old, young = sample_notifications(2), sample_notifications(2, first=2)
    await enqueue(outbox, *old, now_ns=clock.now_ns - 3600 * 1000 * MS)
    await enqueue(outbox, *young)
    retry = {"max_age": "1h", **NO_JITTER}
    async with run_workers(
        make_worker(outbox, to, clock, observer=gossip, batch=BATCH_OF_FOUR, retry=retry)
    ):
        await to.wait_for_count(1)
        await hours.wait_until_idle()
    assert to.batches == [ids(old + young)]
    assert [it.notification for it in await outbox.waiting("hook", 9)] == young
    letters = await outbox.dead_letters(Selection(), 9)
    assert {(it.notification.id, it.reason) for it in letters} == {(i, "expired") for i in ids(old)}
    assert gossip.dead_letters == [("hook", Reason.EXPIRED, 2)]


async def test_a_refusal_is_one_of_all(outbox: Outbox, clock: Clock) -> None:
    """Each is a dead letter with the answer; what stands behind them goes on."""
    gossip, refused, behind = (
        RecordingObserver(),
        sample_notifications(3),
        sample_notification(9, "1000"),
    )
    to = BatchDestination(lambda inside: OK if inside == [behind.id] else Response(400, b"no"))
    await enqueue(outbox, *refused, behind)
    async with run_workers(make_worker(outbox, to, clock, observer=gossip, batch=BATCH_OF_FOUR)):
        await wait_until_empty(outbox)
    letters = await outbox.dead_letters(Selection(), 9)
    assert sorted(it.notification.id for it in letters) == sorted(ids(refused))
    assert {(it.reason, it.attempts, it.answer) for it in letters} == {
        ("refused", 1, Answer(400, "no"))
    }
    assert gossip.dead_letters == [("hook", Reason.REFUSED, 3)]


async def test_after_a_crash_the_same_ids_come_again(tmp_path: Path, clock: Clock) -> None:
    """A request whose answer nobody saw is made again as it was."""
    to, made = BatchDestination(), sample_notifications(3)
    to.open.clear()
    async with open_outbox(tmp_path / "relay.db") as outbox:
        await enqueue(outbox, *made)
        life = asyncio.create_task(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR).run())
        await to.wait_for_count(1)
        life.cancel()
        await asyncio.wait([life])
    to.open.set()
    async with (
        open_outbox(tmp_path / "relay.db") as outbox,
        run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR)),
    ):
        await wait_until_empty(outbox)
    assert to.batches == [ids(made)] * 2
    assert to.request_ids[0] == to.request_ids[1]


async def test_a_pause_is_of_the_whole_destination(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """429: nothing goes until it is over, and then all of it."""
    busy = Response(429, headers={"retry-after": "60"})
    to = BatchDestination(lambda _: OK if len(to.batches) > 1 else busy)
    await enqueue(outbox, *sample_notifications(6))
    one = make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, retry=NO_JITTER, concurrency=1)
    async with run_workers(one):
        await to.wait_for_count(1)
        await hours.wait_until_idle()
        await hours.advance(59)
        assert to.sizes == [4]
        assert one.status.resumes_ns is not None
        await hours.advance(1.1)
        await wait_until_empty(outbox)
    assert len(to.batches) > 1


async def test_a_request_is_one_failure_and_a_probe_is_of_one(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """Five requests in a row make an episode, however many are in each."""
    gossip, to = RecordingObserver(), BatchDestination(lambda _: UNREACHABLE)
    await enqueue(outbox, *sample_notifications(40))
    retry = {"initial": "10s", **NO_JITTER}
    one = make_worker(
        outbox, to, clock, observer=gossip, batch=BATCH_OF_FOUR, retry=retry, concurrency=1
    )
    async with run_workers(one):
        await to.wait_for_count(FAILURE_THRESHOLD)
        await hours.wait_until_idle()
        assert to.sizes == [4] * FAILURE_THRESHOLD
        await hours.advance(10)
        await to.wait_for_count(FAILURE_THRESHOLD + 1)
        assert to.sizes == [4] * FAILURE_THRESHOLD + [1]
        to.answer_batch = lambda _: OK
        await hours.advance(60)
        await wait_until_empty(outbox)
    assert [turn for turn, _, _ in gossip.health_changes] == [
        HealthChange.FAILING,
        HealthChange.RECOVERED,
    ]
    assert to.sizes[FAILURE_THRESHOLD + 1] == 1


async def test_a_410_stops_it_with_all_that_waits(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """Until somebody enables it."""
    to = BatchDestination(lambda _: Response(410))
    await enqueue(outbox, *sample_notifications(8))
    one = make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, concurrency=1)
    async with run_workers(one):
        await to.wait_for_count(1)
        await hours.wait_until_idle()
        await hours.advance(3600)
        assert to.sizes == [4]
        assert await outbox.pending() == {"hook": 8}
        to.answer_batch = lambda _: OK
        assert one.enable()
        await wait_until_empty(outbox)


async def test_one_that_cannot_be_digested_is_alone_at_last(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """It takes no other along: each failed attempt halves how many go with it."""
    made = sample_notifications(16)
    to = BatchDestination(lambda inside: Response(500 if made[7].id in inside else 200))
    await enqueue(outbox, *made)
    async with run_workers(
        make_worker(outbox, to, clock, batch={"max": 16, "wait": "0s"}, retry=NO_JITTER)
    ):
        while (await outbox.pending())["hook"] > 1 or to.batches[-1] != [made[7].id]:
            await hours.advance(20)
    assert [it.notification for it in await outbox.waiting("hook", 99)] == [made[7]]


async def test_one_wide_line_for_each_request(outbox: Outbox, clock: Clock) -> None:
    """With how many were in it, and no list of them."""
    to = BatchDestination(lambda _: Response(500, b"what it said"))
    await enqueue(outbox, *sample_notifications(3))
    with structlog.testing.capture_logs() as lines:
        async with run_workers(
            make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, retry=NO_JITTER)
        ):
            await to.wait_for_count(1)
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


async def test_counts_are_of_notifications(outbox: Outbox, clock: Clock) -> None:
    """Attempts and latencies, so that they compare with those of other destinations."""
    to = BatchDestination()
    await enqueue(outbox, *sample_notifications(6))
    one = make_worker(outbox, to, clock, batch=BATCH_OF_FOUR)
    async with run_workers(one):
        await wait_until_empty(outbox)
    assert one.counters.attempts == Counter({("delivered", Reason.OK): 6})
    assert one.counters.latencies.cumulative_counts[-1] == 6


ANSWERS = (200, 413, 500, 429, 400, None)
_answers = st.lists(st.sampled_from(ANSWERS), max_size=30)


@settings(max_examples=examples(40), deadline=None)
@given(_answers, st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=24))
def test_each_comes_to_one_end_in_its_order(answers: list[int | None], subjects: list[str]) -> None:
    """Whatever the answers: delivered or dead, once, and behind those before it."""
    asyncio.run(_check_each_ends_once(answers, subjects))


async def _check_each_ends_once(answers: list[int | None], subjects: list[str]) -> None:
    script, ended, seen = iter(answers), Counter[str](), defaultdict[str, list[int]](list)
    made = [sample_notification(number, subject) for number, subject in enumerate(subjects)]
    known = {each.id: each.events[0] for each in made}

    def answer(inside: list[str]) -> Response:
        status = next(script, 200)
        for id_ in inside:
            seen[known[id_].actor.id].append(known[id_].time_ns)
        if status == 200:
            ended.update(inside)
        return UNREACHABLE if status is None else Response(status)

    clock = Clock()
    retry = {"max_attempts": 4, **NO_JITTER}
    async with open_outbox(None) as outbox:
        await enqueue(outbox, *made)
        hours = VirtualTime(outbox, clock)
        batch = {"max": 5, "wait": "0s"}
        async with run_workers(
            make_worker(outbox, BatchDestination(answer), clock, batch=batch, retry=retry)
        ):
            while await outbox.pending():
                await hours.advance(60)
        letters = await outbox.dead_letters(Selection(), 99)
    ended.update(letter.notification.id for letter in letters)
    assert ended == Counter(known.keys())
    assert all(numbers == sorted(numbers) for numbers in seen.values())
