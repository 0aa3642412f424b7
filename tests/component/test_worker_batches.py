"""Workers that send many notifications in one request, in virtual time."""

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


async def test_waiting_notifications_are_batched(outbox: Outbox, clock: Clock) -> None:
    """Up to ``max`` in a request, the longest due first, each under its own id."""
    to, notifications = BatchDestination(), sample_notifications(10)
    await enqueue(outbox, *notifications)
    async with run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, concurrency=1)):
        await wait_until_empty(outbox)
    assert to.sizes == [4, 4, 2]
    assert list(chain(*to.batches)) == ids(notifications)


async def test_a_batch_of_one_is_an_array(outbox: Outbox, clock: Clock) -> None:
    """So that a receiver has to know one form only."""
    to, notifications = BatchDestination(), sample_notifications(1)
    await enqueue(outbox, *notifications)
    async with run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR)):
        await wait_until_empty(outbox)
    assert to.batches == [ids(notifications)]
    assert to.request_ids[0].startswith("bat_")


async def test_the_first_waits_for_others(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """It waits for exactly ``wait``; what is committed meanwhile goes with it."""
    to, notifications = BatchDestination(), sample_notifications(3)
    async with run_workers(make_worker(outbox, to, clock, batch={})):
        await enqueue(outbox, notifications[0], now_ns=clock.now_ns)
        await virtual_time.advance(0.049)
        await enqueue(outbox, *notifications[1:], now_ns=clock.now_ns)
        await virtual_time.wait_until_idle()
        assert to.batches == []
        await virtual_time.advance(0.001)
        await to.wait_for_count(1)
        assert to.batches == [ids(notifications)]


async def test_a_full_batch_does_not_wait(outbox: Outbox, clock: Clock) -> None:
    """Only the deliveries that do not fill another batch stay."""
    to = BatchDestination()
    async with run_workers(make_worker(outbox, to, clock, batch={"max": 4, "wait": "5s"})):
        for number in range(9):
            await enqueue(outbox, sample_notification(number, str(number)))
        await wait_until_pending(outbox, 1)
        assert to.sizes == [4, 4]
        clock.now_ns += 5000 * MS
        VirtualTime(outbox, clock).wake()
        await wait_until_empty(outbox)
    assert to.sizes == [4, 4, 1]


async def test_a_delivery_that_has_waited_does_not_wait_again(outbox: Outbox, clock: Clock) -> None:
    """In a backlog about one container one delivery is due at a time, and none lingers."""
    to = BatchDestination()
    await enqueue(
        outbox,
        *(sample_notification(number) for number in range(20)),
        now_ns=clock.now_ns - 50 * MS,
    )
    async with run_workers(make_worker(outbox, to, clock, batch={})):
        await wait_until_empty(outbox)
    assert to.sizes == [1] * 20


async def test_a_stop_ends_the_wait(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """What is prefetched is sent at once, in one batch."""
    to = BatchDestination()
    async with run_workers(make_worker(outbox, to, clock, batch={"wait": "5s"})):
        await enqueue(outbox, *sample_notifications(3))
        await virtual_time.wait_until_idle()
        assert to.batches == []
    assert to.sizes == [3]


async def test_order_is_kept_within_a_container(outbox: Outbox, clock: Clock) -> None:
    """No batch holds two deliveries about one container, and each comes after the earlier ones."""
    to = BatchDestination()
    notifications = [sample_notification(number, "abc"[number % 3]) for number in range(12)]
    await enqueue(outbox, *notifications)
    async with run_workers(make_worker(outbox, to, clock, batch={"wait": "0s"})):
        await wait_until_empty(outbox)
    assert to.batches == [ids(notifications[at : at + 3]) for at in range(0, 12, 3)]


async def test_unordered_deliveries_of_one_container_share_a_batch(clock: Clock) -> None:
    """With ``ordering: none`` each delivery stands for itself."""
    to = BatchDestination()
    async with open_outbox(None, unordered=["hook"]) as outbox:
        await enqueue(outbox, *(sample_notification(number) for number in range(8)))
        async with run_workers(
            make_worker(outbox, to, clock, ordering="none", batch=BATCH_OF_FOUR)
        ):
            await wait_until_empty(outbox)
    assert to.sizes == [4, 4]


async def test_concurrency_counts_requests(outbox: Outbox, clock: Clock) -> None:
    """``concurrency`` limits the open requests, however many notifications each holds."""
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


async def test_a_rate_limit_counts_requests(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """What waits for a token goes together into the next batch."""
    to = BatchDestination()
    await enqueue(outbox, *sample_notifications(12))
    async with run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, rate_limit="2/s")):
        await wait_until_pending(outbox, 4)
        await virtual_time.wait_until_idle()
        assert to.sizes == [4, 4]
        await virtual_time.advance(0.5)
        await wait_until_empty(outbox)
    assert to.sizes == [4, 4, 4]


async def test_a_failed_batch_fails_each_delivery(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """All are due again at the same time, one attempt older; the same batch has the same id."""
    to = BatchDestination(lambda _: OK if len(to.batches) > 1 else Response(500, b"oh"))
    notifications = sample_notifications(2)
    await enqueue(outbox, *notifications)
    async with run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, retry=NO_JITTER)):
        await to.wait_for_count(1)
        await virtual_time.wait_until_idle()
        waiting = await outbox.waiting("hook", 9)
        assert [(each.attempts, each.due_ns) for each in waiting] == [
            (1, clock.now_ns + 1000 * MS)
        ] * 2
        assert {each.answer for each in waiting} == {Answer(500, "oh")}
        await virtual_time.advance(1)
        await wait_until_empty(outbox)
    assert to.batches == [ids(notifications)] * 2
    assert to.request_ids[0] == to.request_ids[1]


async def test_each_delivery_expires_by_its_own_age(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """Of one failed batch the old deliveries are given up, and the others are tried again."""
    observer, to = RecordingObserver(), BatchDestination(lambda _: Response(500))
    old, young = sample_notifications(2), sample_notifications(2, first=2)
    await enqueue(outbox, *old, now_ns=clock.now_ns - 3600 * 1000 * MS)
    await enqueue(outbox, *young)
    retry = {"max_age": "1h", **NO_JITTER}
    async with run_workers(
        make_worker(outbox, to, clock, observer=observer, batch=BATCH_OF_FOUR, retry=retry)
    ):
        await to.wait_for_count(1)
        await virtual_time.wait_until_idle()
    assert to.batches == [ids(old + young)]
    assert [each.notification for each in await outbox.waiting("hook", 9)] == young
    dead_letters = await outbox.dead_letters(Selection(), 9)
    assert {(each.notification.id, each.reason) for each in dead_letters} == {
        (i, "expired") for i in ids(old)
    }
    assert observer.dead_letters == [("hook", Reason.EXPIRED, 2)]


async def test_a_refused_batch_gives_up_each_delivery(outbox: Outbox, clock: Clock) -> None:
    """Each becomes a dead letter with the response; later deliveries are sent."""
    observer = RecordingObserver()
    refused = sample_notifications(3)
    later = sample_notification(9, "1000")
    to = BatchDestination(lambda inside: OK if inside == [later.id] else Response(400, b"no"))
    await enqueue(outbox, *refused, later)
    async with run_workers(make_worker(outbox, to, clock, observer=observer, batch=BATCH_OF_FOUR)):
        await wait_until_empty(outbox)
    dead_letters = await outbox.dead_letters(Selection(), 9)
    assert sorted(each.notification.id for each in dead_letters) == sorted(ids(refused))
    assert {(each.reason, each.attempts, each.answer) for each in dead_letters} == {
        ("refused", 1, Answer(400, "no"))
    }
    assert observer.dead_letters == [("hook", Reason.REFUSED, 3)]


async def test_after_a_crash_a_batch_has_the_same_id(tmp_path: Path, clock: Clock) -> None:
    """A batch whose response was not committed is sent again as it was."""
    to, notifications = BatchDestination(), sample_notifications(3)
    to.open.clear()
    async with open_outbox(tmp_path / "relay.db") as outbox:
        await enqueue(outbox, *notifications)
        run = asyncio.create_task(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR).run())
        await to.wait_for_count(1)
        run.cancel()
        await asyncio.wait([run])
    to.open.set()
    async with (
        open_outbox(tmp_path / "relay.db") as outbox,
        run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR)),
    ):
        await wait_until_empty(outbox)
    assert to.batches == [ids(notifications)] * 2
    assert to.request_ids[0] == to.request_ids[1]


async def test_a_pause_holds_for_the_whole_destination(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """After a 429 nothing is sent until the pause is over, and then everything."""
    busy = Response(429, headers={"retry-after": "60"})
    to = BatchDestination(lambda _: OK if len(to.batches) > 1 else busy)
    await enqueue(outbox, *sample_notifications(6))
    worker = make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, retry=NO_JITTER, concurrency=1)
    async with run_workers(worker):
        await to.wait_for_count(1)
        await virtual_time.wait_until_idle()
        await virtual_time.advance(59)
        assert to.sizes == [4]
        assert worker.status.resumes_ns is not None
        await virtual_time.advance(1.1)
        await wait_until_empty(outbox)
    assert len(to.batches) > 1


async def test_a_failed_batch_counts_once_and_a_probe_holds_one(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """Five failed requests begin an outage, however many deliveries each holds."""
    observer, to = RecordingObserver(), BatchDestination(lambda _: UNREACHABLE)
    await enqueue(outbox, *sample_notifications(40))
    retry = {"initial": "10s", **NO_JITTER}
    worker = make_worker(
        outbox, to, clock, observer=observer, batch=BATCH_OF_FOUR, retry=retry, concurrency=1
    )
    async with run_workers(worker):
        await to.wait_for_count(FAILURE_THRESHOLD)
        await virtual_time.wait_until_idle()
        assert to.sizes == [4] * FAILURE_THRESHOLD
        await virtual_time.advance(10)
        await to.wait_for_count(FAILURE_THRESHOLD + 1)
        assert to.sizes == [4] * FAILURE_THRESHOLD + [1]
        to.answer_batch = lambda _: OK
        await virtual_time.advance(60)
        await wait_until_empty(outbox)
    assert [change for change, _, _ in observer.health_changes] == [
        HealthChange.FAILING,
        HealthChange.RECOVERED,
    ]
    assert to.sizes[FAILURE_THRESHOLD + 1] == 1


async def test_a_410_stops_the_destination(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """Everything waits until somebody enables the destination."""
    to = BatchDestination(lambda _: Response(410))
    await enqueue(outbox, *sample_notifications(8))
    worker = make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, concurrency=1)
    async with run_workers(worker):
        await to.wait_for_count(1)
        await virtual_time.wait_until_idle()
        await virtual_time.advance(3600)
        assert to.sizes == [4]
        assert await outbox.pending() == {"hook": 8}
        to.answer_batch = lambda _: OK
        assert worker.enable()
        await wait_until_empty(outbox)


async def test_each_request_is_logged_in_one_line(outbox: Outbox, clock: Clock) -> None:
    """The line says how many deliveries the request held, and does not list them."""
    to = BatchDestination(lambda _: Response(500, b"no such hook"))
    await enqueue(outbox, *sample_notifications(3))
    with structlog.testing.capture_logs() as lines:
        async with run_workers(
            make_worker(outbox, to, clock, batch=BATCH_OF_FOUR, retry=NO_JITTER)
        ):
            await to.wait_for_count(1)
    line, first_failure = lines
    assert first_failure["event"] == "destination.first_failed"
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
        "answer": "no such hook",
        "retry_in_s": 1.0,
    }


async def test_counters_count_notifications(outbox: Outbox, clock: Clock) -> None:
    """Attempts and latencies count notifications, so that they compare with other destinations."""
    to = BatchDestination()
    await enqueue(outbox, *sample_notifications(6))
    worker = make_worker(outbox, to, clock, batch=BATCH_OF_FOUR)
    async with run_workers(worker):
        await wait_until_empty(outbox)
    assert worker.counters.attempts == Counter({("delivered", Reason.OK): 6})
    assert worker.counters.latencies.cumulative_counts[-1] == 6


ANSWERS = (200, 413, 500, 429, 400, None)
_answers = st.lists(st.sampled_from(ANSWERS), max_size=30)


@settings(max_examples=examples(40), deadline=None)
@given(_answers, st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=24))
def test_each_comes_to_one_end_in_its_order(answers: list[int | None], subjects: list[str]) -> None:
    """Whatever the answers: each is delivered or dead, once, and after the earlier ones."""
    asyncio.run(_check_each_ends_once(answers, subjects))


async def _check_each_ends_once(answers: list[int | None], subjects: list[str]) -> None:
    script, ended, seen = iter(answers), Counter[str](), defaultdict[str, list[int]](list)
    notifications = [
        sample_notification(number, subject) for number, subject in enumerate(subjects)
    ]
    known = {each.id: each.events[0] for each in notifications}

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
        await enqueue(outbox, *notifications)
        virtual_time = VirtualTime(outbox, clock)
        batch = {"max": 5, "wait": "0s"}
        async with run_workers(
            make_worker(outbox, BatchDestination(answer), clock, batch=batch, retry=retry)
        ):
            while await outbox.pending():
                await virtual_time.advance(60)
        dead_letters = await outbox.dead_letters(Selection(), 99)
    ended.update(dead_letter.notification.id for dead_letter in dead_letters)
    assert ended == Counter(known.keys())
    assert all(numbers == sorted(numbers) for numbers in seen.values())
