"""How the store settles deliveries."""

from collections.abc import AsyncIterator
from itertools import starmap
from pathlib import Path

import pytest

from relay.core.event import make_self_event
from relay.core.exchange import Answer, Dead, Delivered, Outcome, Reason, Retry
from relay.core.notification import build_notification
from relay.store import deliveries
from relay.store.deliveries import ANSWER_CHARS
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import GIVE_UP_BATCH, Ack, Delivery, GiveUpResult, Quota, Selection
from tests.unit.store.samples import make_commit, make_notification

S = 10**9
LONG = Answer(500, "x" * 4096, None)


@pytest.fixture
async def outbox() -> AsyncIterator[Outbox]:
    async with open_outbox(None) as opened:
        yield opened


async def fetch_head(outbox: Outbox, now_ns: int = 10, to: str = "ops") -> Delivery:
    """The only one that is due."""
    (one,) = (await outbox.fetch_due(to, now_ns, 9)).deliveries
    return one


async def test_a_waiting_delivery_keeps_the_start_of_the_last_answer(outbox: Outbox) -> None:
    """It shows why the delivery waits, and answers do not make the store grow."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    await outbox.ack(
        [Ack(await fetch_head(outbox), Retry(5.0, Reason.UNAVAILABLE), LONG)], 10, flush=True
    )
    (waiting,) = await outbox.waiting("ops", 9)
    assert (waiting.reason, waiting.attempts, waiting.due_ns) == ("unavailable", 1, 10 + 5 * S)
    assert waiting.answer == Answer(500, "x" * ANSWER_CHARS)


async def test_a_dead_letter_keeps_the_whole_answer(outbox: Outbox) -> None:
    """With its reason and its attempts."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    await outbox.ack([Ack(await fetch_head(outbox), Dead(Reason.REFUSED), LONG)], 20, flush=True)
    (dead_letter,) = await outbox.dead_letters(Selection(), 9)
    assert (dead_letter.destination, dead_letter.notification) == ("ops", make_notification(1))
    assert (dead_letter.created_ns, dead_letter.died_ns, dead_letter.attempts) == (10, 20, 1)
    assert (dead_letter.reason, dead_letter.answer) == ("refused", LONG)


async def test_a_full_store_keeps_the_start_of_an_answer(tmp_path: Path) -> None:
    """A thousand refusals do not exceed the quota: a dead letter takes no more space than its
    delivery.
    """
    async with open_outbox(tmp_path / "relay.db", max_size=2**20) as outbox:
        number = 0
        while not (
            await outbox.commit(make_commit(make_notification(number, f"c{number}")), 10)
        ).evicted:
            number += 1
        for one in (await outbox.fetch_due("ops", 10, 10_000)).deliveries:
            await outbox.ack([Ack(one, Dead(Reason.REFUSED), LONG)], 20, flush=True)
        dead_letters = await outbox.dead_letters(Selection(), 10_000)
        kept = {dead_letter.answer and len(dead_letter.answer.text) for dead_letter in dead_letters}
    assert len(dead_letters) > 1000
    assert kept == {len(LONG.text), ANSWER_CHARS}
    assert (tmp_path / "relay.db").stat().st_size < 2 * 2**20


async def test_many_are_acknowledged_at_once(outbox: Outbox) -> None:
    """Each gets its outcome; the successors of those that are gone become due, in order."""
    await outbox.commit(
        make_commit(*(make_notification(n, about) for n, about in enumerate("abcabc"))), 10
    )
    gone, dead, again = (await outbox.fetch_due("ops", 10, 9)).deliveries
    outcomes = (Delivered(), Dead(Reason.REFUSED), Retry(5.0, Reason.UNAVAILABLE))
    acks = zip((gone, dead, again), outcomes, (None, LONG, LONG), strict=True)
    await outbox.ack(list(starmap(Ack, acks)), 20, flush=True)
    due = (await outbox.fetch_due("ops", 20, 9)).deliveries
    assert [it.notification for it in due] == [make_notification(3, "a"), make_notification(4, "b")]
    (dead_letter,) = await outbox.dead_letters(Selection(), 9)
    assert (dead_letter.notification, dead_letter.answer) == (make_notification(1, "b"), LONG)
    (waits, *_) = await outbox.waiting("ops", 9)
    assert (waits.notification, waits.attempts) == (make_notification(2, "c"), 1)
    assert (waits.due_ns, waits.answer) == (20 + 5 * S, Answer(500, "x" * ANSWER_CHARS))


async def test_many_are_acknowledged_in_one_commit(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one fails, none is settled, and all are due as before."""
    await outbox.commit(make_commit(make_notification(1, "a"), make_notification(2, "b")), 10)
    due = (await outbox.fetch_due("ops", 10, 9)).deliveries

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(deliveries, "schedule_retry", fail)
    outcomes: tuple[Outcome, ...] = (Delivered(), Retry(5.0, Reason.UNAVAILABLE))
    with pytest.raises(ZeroDivisionError):
        await outbox.ack(list(map(Ack, due, outcomes)), 20, flush=True)
    assert list((await outbox.fetch_due("ops", 10, 9)).deliveries) == list(due)


async def test_a_pause_is_stored(tmp_path: Path) -> None:
    """The longest one, until it is over or ended."""
    async with open_outbox(tmp_path / "relay.db") as outbox:
        await outbox.commit(make_commit(make_notification(1)), 10)
        for pause_s in (60.0, 30.0):
            one = await fetch_head(outbox)
            await outbox.ack([Ack(one, Retry(0.0, Reason.RATE_LIMITED, pause_s))], 10, flush=True)
    async with open_outbox(tmp_path / "relay.db") as outbox:
        assert await outbox.pauses(10) == {"ops": 10 + 60 * S}
        assert await outbox.pauses(10 + 60 * S) == {}
        await outbox.end_pause("ops")
        assert await outbox.pauses(10) == {}


async def test_a_pause_from_a_wrong_clock_is_deleted(outbox: Outbox) -> None:
    """No pause is longer than a destination may ask for."""
    await outbox.commit(make_commit(make_notification(1)), 10**6 * S)
    one = await fetch_head(outbox, 10**6 * S)
    await outbox.ack([Ack(one, Retry(60.0, Reason.RATE_LIMITED, 60.0))], 10**6 * S, flush=True)
    await outbox.correct_times(10, 3600 * S)
    assert await outbox.pauses(10) == {}


async def test_old_deliveries_expire_without_an_attempt(outbox: Outbox) -> None:
    """In batches, oldest first, with the attempts made so far; not those under way."""
    count = GIVE_UP_BATCH + 2
    await outbox.commit(make_commit(*(make_notification(n, f"c{n}") for n in range(count))), 10)
    await outbox.commit(make_commit(make_notification(count, "young")), 11)
    tried, under_way = (await outbox.fetch_due("ops", 10, 2)).deliveries
    await outbox.ack(
        [Ack(tried, Retry(9.0, Reason.TIMEOUT), Answer(None, error="no answer"))], 10, flush=True
    )
    exclude = [under_way.seq]
    counts = [await outbox.expire("ops", 10, 20, exclude) for _ in range(3)]
    assert counts == [GiveUpResult(GIVE_UP_BATCH - 1), GiveUpResult(2), GiveUpResult()]
    assert await outbox.expire("audit", 10, 20) == GiveUpResult()
    assert await outbox.pending() == {"ops": 2}
    dead_letters = await outbox.dead_letters(Selection(), 1000)
    assert {dead_letter.reason for dead_letter in dead_letters} == {"expired"}
    assert (dead_letters[-1].attempts, dead_letters[-1].answer) == (
        1,
        Answer(None, error="no answer"),
    )
    assert {dead_letter.attempts for dead_letter in dead_letters[:-1]} == {0}


async def test_the_successor_of_an_expired_delivery_becomes_due(outbox: Outbox) -> None:
    """The younger one about the same container goes on."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    await outbox.commit(make_commit(make_notification(2)), 20)
    assert await outbox.expire("ops", 10, 30) == GiveUpResult(1)
    assert (await fetch_head(outbox, 30)).notification == make_notification(2)


async def test_retry_now_makes_retries_due(outbox: Outbox) -> None:
    """The order of deliveries and other destinations are not affected."""
    await outbox.commit(
        make_commit(make_notification(1), make_notification(2), to=("ops", "audit")), 10
    )
    for to in ("ops", "audit"):
        await outbox.ack(
            [Ack(await fetch_head(outbox, 10, to), Retry(600.0, Reason.TIMEOUT))], 10, flush=True
        )
    await outbox.retry_now("ops", 20)
    assert (await fetch_head(outbox, 20)).notification == make_notification(1)
    assert list((await outbox.fetch_due("audit", 20, 9)).deliveries) == []


async def test_deliveries_to_unordered_destinations_do_not_wait() -> None:
    """All are due at once, while those to an ordered destination wait for each other."""
    async with open_outbox(None, unordered=["audit"]) as outbox:
        await outbox.commit(
            make_commit(make_notification(1), make_notification(2), to=("ops", "audit")), 10
        )
        assert len((await outbox.fetch_due("ops", 10, 9)).deliveries) == 1
        assert len((await outbox.fetch_due("audit", 10, 9)).deliveries) == 2


async def test_waiting_deliveries_are_listed_in_order(outbox: Outbox) -> None:
    """Of one destination or of all, up to the limit; one behind another has no due time."""
    await outbox.commit(
        make_commit(make_notification(1), make_notification(2), to=("ops", "audit")), 10
    )
    shown = await outbox.waiting(None, 3)
    assert [(one.destination, one.due_ns) for one in shown] == [
        ("ops", 10),
        ("audit", 10),
        ("ops", None),
    ]
    assert [one.destination for one in await outbox.waiting("audit", 9)] == ["audit"] * 2
    assert shown[0].reason is None
    assert shown[0].answer is None


async def test_a_delivered_one_leaves_nothing(outbox: Outbox) -> None:
    """No dead letter and no answer."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    await outbox.ack(
        [Ack(await fetch_head(outbox), Delivered(), Answer(200, "ok"))], 20, flush=True
    )
    assert await outbox.pending() == {}
    assert await outbox.dead_letters(Selection(), 9) == []


async def test_a_successor_does_not_expire_before_one_under_way(
    outbox: Outbox,
) -> None:
    """If both are replayed later, they are in the order of their events."""
    await outbox.commit(
        make_commit(make_notification(1), make_notification(2), make_notification(3, "other")), 10
    )
    under_way = next(
        it
        for it in (await outbox.fetch_due("ops", 10, 9)).deliveries
        if it.notification == make_notification(1)
    )
    assert await outbox.expire("ops", 10, 20, [under_way.seq]) == GiveUpResult(1)
    await outbox.ack([Ack(under_way, Dead(Reason.EXPIRED))], 20, flush=True)
    assert await outbox.expire("ops", 10, 20) == GiveUpResult(1)
    dead_letters = await outbox.dead_letters(Selection(), 9)
    assert [it.notification for it in reversed(dead_letters)] == [
        make_notification(3, "other"),
        make_notification(1),
        make_notification(2),
    ]


async def test_expired_self_events_are_counted_separately(outbox: Outbox) -> None:
    """A dead letter about a dead letter is not reported."""
    own = make_self_event("dead_letter", engine="relay", host="h", time_ns=1)
    await outbox.commit(make_commit(make_notification(1), build_notification("own", own)), 10)
    assert await outbox.expire("ops", 10, 20) == GiveUpResult(2, self_events=1)


async def test_outages_are_stored(tmp_path: Path) -> None:
    """With the time of their beginning, which stays unchanged, until they end."""
    async with open_outbox(tmp_path / "relay.db") as outbox:
        await outbox.begin_outage("ops", 10)
        await outbox.begin_outage("ops", 20)
        await outbox.begin_outage("audit", 30)
    async with open_outbox(tmp_path / "relay.db") as outbox:
        assert await outbox.outages() == {"ops": 10, "audit": 30}
        await outbox.end_outage("ops")
        assert await outbox.outages() == {"audit": 30}


async def test_a_dead_letter_can_pause_its_destination(outbox: Outbox) -> None:
    """The last answer applies to the deliveries behind it."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    dead = Dead(Reason.ATTEMPTS, Reason.RATE_LIMITED, pause_s=60.0)
    await outbox.ack([Ack(await fetch_head(outbox), dead)], 10, flush=True)
    assert await outbox.pauses(10) == {"ops": 10 + 60 * S}


async def test_deliveries_to_a_dropped_destination_are_given_up(outbox: Outbox) -> None:
    """All of them, due or not, with the results of their attempts."""
    await outbox.commit(
        make_commit(
            make_notification(1),
            make_notification(2),
            make_notification(3, "db"),
            to=("ops", "audit"),
        ),
        10,
    )
    await outbox.ack(
        [Ack(await fetch_numbered(outbox, 1), Retry(5.0, Reason.UNAVAILABLE), LONG)], 10, flush=True
    )
    assert await outbox.drop_destination("ops", 20) == GiveUpResult(3, self_events=0)
    assert await outbox.drop_destination("ops", 20) == GiveUpResult()
    assert await outbox.pending() == {"audit": 3}
    dead_letters = await outbox.dead_letters(Selection(), 9)
    assert [
        (it.destination, it.notification.events[0].time_ns, it.attempts, it.reason)
        for it in reversed(dead_letters)
    ] == [("ops", number, number == 1, "destination_removed") for number in (1, 2, 3)]
    assert dead_letters[-1].answer == Answer(500, "x" * ANSWER_CHARS)
    assert {(it.created_ns, it.died_ns) for it in dead_letters} == {(10, 20)}


async def test_many_are_given_up_in_batches(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first, so that no commit blocks other calls for long."""
    monkeypatch.setattr("relay.store.deliveries.GIVE_UP_BATCH", 2)
    await outbox.commit(
        make_commit(*(make_notification(number, f"c{number}") for number in range(5))), 10
    )
    assert [(await outbox.drop_destination("ops", 20)).count for _ in range(4)] == [2, 2, 1, 0]
    dead_letters = await outbox.dead_letters(Selection(), 9)
    assert [it.notification.events[0].time_ns for it in reversed(dead_letters)] == list(range(5))


async def test_dropped_self_events_are_counted_separately(outbox: Outbox) -> None:
    """Their dead letters are not reported."""
    own = build_notification(
        "own", make_self_event("started", engine="relay", host="h", time_ns=1, name="relay")
    )
    await outbox.commit(make_commit(make_notification(1), own), 10)
    assert await outbox.drop_destination("ops", 20) == GiveUpResult(2, self_events=1)


async def fetch_numbered(outbox: Outbox, number: int) -> Delivery:
    """The one with this number, which is due."""
    due = (await outbox.fetch_due("ops", 10, 9)).deliveries
    (one,) = (it for it in due if it.notification.events[0].time_ns == number)
    return one


async def test_limits_can_change(outbox: Outbox) -> None:
    """Later deliveries about one subject no longer wait for each other, or do again."""
    limits = Quota(2**30, "drop-oldest")
    outbox.set_limits(limits, ["ops"])
    await outbox.commit(make_commit(make_notification(1), make_notification(2)), 10)
    assert len((await outbox.fetch_due("ops", 10, 9)).deliveries) == 2
    outbox.set_limits(limits, [])
    await outbox.commit(make_commit(make_notification(3, "db"), make_notification(4, "db")), 10)
    assert len((await outbox.fetch_due("ops", 10, 9)).deliveries) == 3
