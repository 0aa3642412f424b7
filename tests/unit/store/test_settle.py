"""What attempts come to, as the store keeps it."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import starmap
from pathlib import Path

import msgspec
import pytest

from relay.core.event import make_self_event
from relay.core.exchange import Answer, Dead, Delivered, Outcome, Reason, Retry
from relay.core.notification import build_notification
from relay.store import deliveries
from relay.store.deliveries import ANSWER_CHARS
from relay.store.outbox import SqliteOutbox, open_outbox
from relay.store.records import GIVE_UP_BATCH, Ack, Delivery, GiveUpResult, Quota, Selection
from relay.store.schema import migrate
from tests.unit.store.samples import make_commit, make_notification

S = 10**9
LONG = Answer(500, "x" * 4096, None)


@pytest.fixture
async def outbox() -> AsyncIterator[SqliteOutbox]:
    async with open_outbox(None) as opened:
        yield opened


async def fetch_head(outbox: SqliteOutbox, now_ns: int = 10, to: str = "ops") -> Delivery:
    """The one that is due."""
    (one,) = (await outbox.fetch_due(to, now_ns, 9)).deliveries
    return one


async def test_what_waits_keeps_the_beginning_of_the_last_answer(outbox: SqliteOutbox) -> None:
    """Why it waits can be seen, and an answer does not make the store grow."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    await outbox.ack([Ack(await fetch_head(outbox), Retry(5.0, Reason.UNAVAILABLE), LONG)], 10)
    (waiting,) = await outbox.waiting("ops", 9)
    assert (waiting.reason, waiting.attempts, waiting.due_ns) == ("unavailable", 1, 10 + 5 * S)
    assert waiting.answer == Answer(500, "x" * ANSWER_CHARS)


async def test_a_dead_letter_keeps_all_of_it(outbox: SqliteOutbox) -> None:
    """Its reason, its attempts, the answer as it was kept of the attempt."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    await outbox.ack([Ack(await fetch_head(outbox), Dead(Reason.REFUSED), LONG)], 20)
    (letter,) = await outbox.dead_letters(Selection(), 9)
    assert (letter.destination, letter.notification) == ("ops", make_notification(1))
    assert (letter.created_ns, letter.died_ns, letter.attempts) == (10, 20, 1)
    assert (letter.reason, letter.answer) == ("refused", LONG)


async def test_a_full_store_keeps_the_beginning(tmp_path: Path) -> None:
    """Letters take no more room than what they were: a thousand refusals do not burst the bound."""
    async with open_outbox(tmp_path / "relay.db", max_size=2**20) as outbox:
        number = 0
        while not (
            await outbox.commit(make_commit(make_notification(number, f"c{number}")), 10)
        ).evicted:
            number += 1
        for one in (await outbox.fetch_due("ops", 10, 10_000)).deliveries:
            await outbox.ack([Ack(one, Dead(Reason.REFUSED), LONG)], 20)
        letters = await outbox.dead_letters(Selection(), 10_000)
        kept = {letter.answer and len(letter.answer.text) for letter in letters}
    assert len(letters) > 1000
    assert kept == {len(LONG.text), ANSWER_CHARS}
    assert (tmp_path / "relay.db").stat().st_size < 2 * 2**20


async def test_many_are_settled_at_once(outbox: SqliteOutbox) -> None:
    """Each comes to its own; what stands behind those that are gone is due, in its order."""
    await outbox.commit(
        make_commit(*(make_notification(n, about) for n, about in enumerate("abcabc"))), 10
    )
    gone, dead, again = (await outbox.fetch_due("ops", 10, 9)).deliveries
    outcomes = (Delivered(), Dead(Reason.REFUSED), Retry(5.0, Reason.UNAVAILABLE))
    settled = zip((gone, dead, again), outcomes, (None, LONG, LONG), strict=True)
    await outbox.ack(list(starmap(Ack, settled)), 20)
    due = (await outbox.fetch_due("ops", 20, 9)).deliveries
    assert [it.notification for it in due] == [make_notification(3, "a"), make_notification(4, "b")]
    (letter,) = await outbox.dead_letters(Selection(), 9)
    assert (letter.notification, letter.answer) == (make_notification(1, "b"), LONG)
    (waits, *_) = await outbox.waiting("ops", 9)
    assert (waits.notification, waits.attempts) == (make_notification(2, "c"), 1)
    assert (waits.due_ns, waits.answer) == (20 + 5 * S, Answer(500, "x" * ANSWER_CHARS))


async def test_a_batch_is_settled_in_one_commit(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If any of it fails none of it was done, and all of it is due as before."""
    await outbox.commit(make_commit(make_notification(1, "a"), make_notification(2, "b")), 10)
    due = (await outbox.fetch_due("ops", 10, 9)).deliveries

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(deliveries, "schedule_retry", fail)
    outcomes: tuple[Outcome, ...] = (Delivered(), Retry(5.0, Reason.UNAVAILABLE))
    with pytest.raises(ZeroDivisionError):
        await outbox.ack(list(map(Ack, due, outcomes)), 20)
    assert list((await outbox.fetch_due("ops", 10, 9)).deliveries) == list(due)


async def test_what_a_destination_asks_for_is_kept(tmp_path: Path) -> None:
    """The longest of it, until it is over or ended."""
    async with open_outbox(tmp_path / "relay.db") as outbox:
        await outbox.commit(make_commit(make_notification(1)), 10)
        for pause_s in (60.0, 30.0):
            one = await fetch_head(outbox)
            await outbox.ack([Ack(one, Retry(0.0, Reason.RATE_LIMITED, pause_s))], 10)
    async with open_outbox(tmp_path / "relay.db") as outbox:
        assert await outbox.pauses(10) == {"ops": 10 + 60 * S}
        assert await outbox.pauses(10 + 60 * S) == {}
        await outbox.end_pause("ops")
        assert await outbox.pauses(10) == {}


async def test_a_pause_that_a_wrong_clock_made_is_forgotten(outbox: SqliteOutbox) -> None:
    """None is longer than anybody may ask for."""
    await outbox.commit(make_commit(make_notification(1)), 10**6 * S)
    one = await fetch_head(outbox, 10**6 * S)
    await outbox.ack([Ack(one, Retry(60.0, Reason.RATE_LIMITED, 60.0))], 10**6 * S)
    await outbox.correct_times(10, 3600 * S)
    assert await outbox.pauses(10) == {}


async def test_what_is_too_old_is_given_up_without_an_attempt(outbox: SqliteOutbox) -> None:
    """In portions, oldest first, with what is known of their attempts; not what is under way."""
    count = GIVE_UP_BATCH + 2
    await outbox.commit(make_commit(*(make_notification(n, f"c{n}") for n in range(count))), 10)
    await outbox.commit(make_commit(make_notification(count, "young")), 11)
    tried, under_way = (await outbox.fetch_due("ops", 10, 2)).deliveries
    await outbox.ack([Ack(tried, Retry(9.0, Reason.TIMEOUT), Answer(None, error="no answer"))], 10)
    besides = [under_way.seq]
    counts = [await outbox.expire("ops", 10, 20, besides) for _ in range(3)]
    assert counts == [GiveUpResult(GIVE_UP_BATCH - 1), GiveUpResult(2), GiveUpResult()]
    assert await outbox.expire("audit", 10, 20) == GiveUpResult()
    assert await outbox.pending() == {"ops": 2}
    letters = await outbox.dead_letters(Selection(), 1000)
    assert {letter.reason for letter in letters} == {"expired"}
    assert (letters[-1].attempts, letters[-1].answer) == (1, Answer(None, error="no answer"))
    assert {letter.attempts for letter in letters[:-1]} == {0}


async def test_the_successor_of_what_was_given_up_becomes_due(outbox: SqliteOutbox) -> None:
    """About one container the young one goes on."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    await outbox.commit(make_commit(make_notification(2)), 20)
    assert await outbox.expire("ops", 10, 30) == GiveUpResult(1)
    assert (await fetch_head(outbox, 30)).notification == make_notification(2)


async def test_hurry_makes_due_what_waits_for_another_try(outbox: SqliteOutbox) -> None:
    """And leaves the order, and what is for others, as it is."""
    await outbox.commit(
        make_commit(make_notification(1), make_notification(2), to=("ops", "audit")), 10
    )
    for to in ("ops", "audit"):
        await outbox.ack([Ack(await fetch_head(outbox, 10, to), Retry(600.0, Reason.TIMEOUT))], 10)
    await outbox.retry_now("ops", 20)
    assert (await fetch_head(outbox, 20)).notification == make_notification(1)
    assert list((await outbox.fetch_due("audit", 20, 9)).deliveries) == []


async def test_unordered_destinations_wait_for_nothing() -> None:
    """Each delivery is due at once, while those to an ordered one are in order."""
    async with open_outbox(None, unordered=["audit"]) as outbox:
        await outbox.commit(
            make_commit(make_notification(1), make_notification(2), to=("ops", "audit")), 10
        )
        assert len((await outbox.fetch_due("ops", 10, 9)).deliveries) == 1
        assert len((await outbox.fetch_due("audit", 10, 9)).deliveries) == 2


async def test_what_waits_is_shown_in_order(outbox: SqliteOutbox) -> None:
    """Of one destination or of all, no more than asked for; behind another it has no time."""
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


async def test_letters_of_version_2_are_still_there(tmp_path: Path) -> None:
    """With their numbers, found by route and id as the new ones are; no number is given again."""
    file = tmp_path / "relay.db"
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=2)
        for number, content in (
            (3, msgspec.json.encode(make_notification(3))),
            (7, msgspec.json.encode(make_notification(7))),
        ):
            connection.execute(
                "INSERT INTO dead_letters VALUES (?, 'ops', ?, 10, 20, 4, 'expired')",
                (number, content),
            )
        connection.commit()
    async with open_outbox(file) as outbox:
        found = await outbox.dead_letters(Selection(route="crashed"), 9)
        assert [letter.number for letter in found] == [7, 3]
        assert [letter.answer for letter in found] == [None, None]
        (one,) = await outbox.dead_letters(Selection(ids=(make_notification(3).id,)), 9)
        assert one.notification == make_notification(3)
        assert await outbox.drop_dead_letters(Selection()) == 2
        await outbox.commit(make_commit(make_notification(9)), 10)
        await outbox.ack([Ack(await fetch_head(outbox), Dead(Reason.REFUSED))], 20)
        assert [letter.number for letter in await outbox.dead_letters(Selection(), 9)] == [8]


async def test_what_was_delivered_leaves_nothing(outbox: SqliteOutbox) -> None:
    """No letter, no answer."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    await outbox.ack([Ack(await fetch_head(outbox), Delivered(), Answer(200, "ok"))], 20)
    assert await outbox.pending() == {}
    assert await outbox.dead_letters(Selection(), 9) == []


async def test_what_stands_behind_one_under_way_is_not_given_up_before_it(
    outbox: SqliteOutbox,
) -> None:
    """Replayed later, both are in the order of their events."""
    await outbox.commit(
        make_commit(make_notification(1), make_notification(2), make_notification(3, "other")), 10
    )
    under_way = next(
        it
        for it in (await outbox.fetch_due("ops", 10, 9)).deliveries
        if it.notification == make_notification(1)
    )
    assert await outbox.expire("ops", 10, 20, [under_way.seq]) == GiveUpResult(1)
    await outbox.ack([Ack(under_way, Dead(Reason.EXPIRED))], 20)
    assert await outbox.expire("ops", 10, 20) == GiveUpResult(1)
    letters = await outbox.dead_letters(Selection(), 9)
    assert [it.notification for it in reversed(letters)] == [
        make_notification(3, "other"),
        make_notification(1),
        make_notification(2),
    ]


async def test_relays_own_are_counted_apart(outbox: SqliteOutbox) -> None:
    """Nobody is told that it could not be told that something could not be told."""
    own = make_self_event("dead_letter", engine="relay", host="h", time_ns=1)
    await outbox.commit(make_commit(make_notification(1), build_notification("own", own)), 10)
    assert await outbox.expire("ops", 10, 20) == GiveUpResult(2, self_events=1)


async def test_episodes_are_kept(tmp_path: Path) -> None:
    """From their beginning, which stays what it was, to their end."""
    async with open_outbox(tmp_path / "relay.db") as outbox:
        await outbox.begin_outage("ops", 10)
        await outbox.begin_outage("ops", 20)
        await outbox.begin_outage("audit", 30)
    async with open_outbox(tmp_path / "relay.db") as outbox:
        assert await outbox.outages() == {"ops": 10, "audit": 30}
        await outbox.end_outage("ops")
        assert await outbox.outages() == {"audit": 30}


async def test_a_dead_letter_can_ask_for_a_pause_as_well(outbox: SqliteOutbox) -> None:
    """Its last answer holds for those that come behind it."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    dead = Dead(Reason.ATTEMPTS, Reason.RATE_LIMITED, pause_s=60.0)
    await outbox.ack([Ack(await fetch_head(outbox), dead)], 10)
    assert await outbox.pauses(10) == {"ops": 10 + 60 * S}


async def test_what_waits_for_a_destination_that_is_no_more(outbox: SqliteOutbox) -> None:
    """All of it, due or not and at whatever place in its line, with what came of its attempts."""
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
        [Ack(await fetch_numbered(outbox, 1), Retry(5.0, Reason.UNAVAILABLE), LONG)], 10
    )
    assert await outbox.drop_destination("ops", 20) == GiveUpResult(3, self_events=0)
    assert await outbox.drop_destination("ops", 20) == GiveUpResult()
    assert await outbox.pending() == {"audit": 3}
    letters = await outbox.dead_letters(Selection(), 9)
    assert [
        (it.destination, it.notification.events[0].time_ns, it.attempts, it.reason)
        for it in reversed(letters)
    ] == [("ops", number, number == 1, "destination_removed") for number in (1, 2, 3)]
    assert letters[-1].answer == Answer(500, "x" * ANSWER_CHARS)
    assert {(it.created_ns, it.died_ns) for it in letters} == {(10, 20)}


async def test_many_are_given_up_in_parts(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first, so that no commit holds the others up for long."""
    monkeypatch.setattr("relay.store.deliveries.GIVE_UP_BATCH", 2)
    await outbox.commit(
        make_commit(*(make_notification(number, f"c{number}") for number in range(5))), 10
    )
    assert [(await outbox.drop_destination("ops", 20)).count for _ in range(4)] == [2, 2, 1, 0]
    letters = await outbox.dead_letters(Selection(), 9)
    assert [it.notification.events[0].time_ns for it in reversed(letters)] == list(range(5))


async def test_what_tells_of_relay_itself_is_counted_apart(outbox: SqliteOutbox) -> None:
    """Nobody is told of what becomes of that."""
    own = build_notification(
        "own", make_self_event("started", engine="relay", host="h", time_ns=1, name="relay")
    )
    await outbox.commit(make_commit(make_notification(1), own), 10)
    assert await outbox.drop_destination("ops", 20) == GiveUpResult(2, self_events=1)


async def fetch_numbered(outbox: SqliteOutbox, number: int) -> Delivery:
    """The one of this number, which is due."""
    due = (await outbox.fetch_due("ops", 10, 9)).deliveries
    (one,) = (it for it in due if it.notification.events[0].time_ns == number)
    return one


async def test_its_bounds_can_change(outbox: SqliteOutbox) -> None:
    """What comes from then on about one subject waits for none before it, or does again."""
    room = Quota(2**30, "drop-oldest")
    outbox.set_limits(room, ["ops"])
    await outbox.commit(make_commit(make_notification(1), make_notification(2)), 10)
    assert len((await outbox.fetch_due("ops", 10, 9)).deliveries) == 2
    outbox.set_limits(room, [])
    await outbox.commit(make_commit(make_notification(3, "db"), make_notification(4, "db")), 10)
    assert len((await outbox.fetch_due("ops", 10, 9)).deliveries) == 3
