"""Dead letters: found, replayed, dropped, pruned."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from relay.core.exchange import Answer, Dead, Delivered, Reason
from relay.core.notification import Notification
from relay.store import dead_letters
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import Ack, DeadLetter, Selection
from tests.support.recording_receiver import RecordingReceiver
from tests.unit.store.samples import (
    due_numbers,
    fetch_due,
    make_commit,
    make_notification,
    with_include,
)

ALL = Selection()
ANSWER = Answer(400, "no such channel", None)


def destinations() -> tuple[str, ...]:
    return ("ops", "audit")


@pytest_asyncio.fixture
async def outbox() -> AsyncIterator[Outbox]:
    """An empty outbox."""
    async with open_outbox(None) as made:
        yield made


async def make_dead_letters(
    outbox: Outbox, *notifications: Notification, to: str = "ops", now_ns: int = 10
) -> None:
    """Turn these notifications into dead letters, in this order."""
    await outbox.commit(make_commit(*notifications, to=(to,)), now_ns)
    while found := await fetch_due(outbox, now_ns, to):
        await outbox.ack([Ack(found[0], Dead(Reason.REFUSED), ANSWER)], now_ns, flush=True)


async def numbers(outbox: Outbox, selection: Selection = ALL) -> list[int]:
    return [dead_letter.number for dead_letter in await outbox.dead_letters(selection, 100)]


def by_route(route: str, number: int) -> Notification:
    return msgspec.structs.replace(make_notification(number), route=route)


async def test_a_delivery_that_is_given_up_becomes_a_dead_letter(outbox: Outbox) -> None:
    """The dead letter has the notification, both times, reason, attempts and last answer."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    (head,) = await fetch_due(outbox, 10)
    await outbox.ack([Ack(head, Dead(Reason.REFUSED), ANSWER)], 30, flush=True)
    assert await outbox.dead_letters(ALL, 9) == [
        DeadLetter(1, "ops", make_notification(1), 10, 30, 1, "refused", ANSWER)
    ]
    assert await outbox.pending() == {}


async def test_an_expired_delivery_becomes_a_dead_letter(outbox: Outbox) -> None:
    """The dead letter counts only attempts that were made."""
    await outbox.commit(make_commit(make_notification(1), make_notification(2)), 10)
    assert (await outbox.expire("ops", 10, 50)).count == 2
    found = await outbox.dead_letters(ALL, 9)
    assert [(each.reason, each.attempts, each.died_ns) for each in found] == [
        ("expired", 0, 50)
    ] * 2


async def test_dead_letters_are_listed_newest_first(outbox: Outbox) -> None:
    """Each page begins below the last number of the page before."""
    await make_dead_letters(outbox, *(make_notification(number) for number in range(1, 6)))
    pages = []
    below: int | None = None
    while page := await outbox.dead_letters(ALL, 2, below):
        pages.append([dead_letter.number for dead_letter in page])
        below = page[-1].number
    assert pages == [[5, 4], [3, 2], [1]]


@pytest_asyncio.fixture
async def four(outbox: Outbox) -> Outbox:
    """Dead letters 1 to 4: two routes, two destinations, four times."""
    await make_dead_letters(outbox, by_route("crashed", 1), now_ns=10)
    await make_dead_letters(outbox, by_route("unhealthy", 2), now_ns=20)
    await make_dead_letters(outbox, by_route("crashed", 1), to="audit", now_ns=30)
    await make_dead_letters(outbox, by_route("crashed", 3), now_ns=40)
    return outbox


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (Selection(), [4, 3, 2, 1]),
        (Selection(destination="ops"), [4, 2, 1]),
        (Selection(destination="nobody"), []),
        (Selection(route="crashed"), [4, 3, 1]),
        (Selection(route="crash"), []),
        (Selection(since_ns=30), [4, 3]),
        (Selection(since_ns=41), []),
        (Selection(ids=(2, 4, 99)), [4, 2]),
        (Selection(ids=(make_notification(1).id,)), [3, 1]),
        (Selection(ids=(make_notification(1).id, 2)), [3, 2, 1]),
        (Selection(ids=()), []),
        (Selection(ids=("ntf_%", "%", "", "' OR 1")), []),
        (Selection(ids=(make_notification(1).id,), destination="ops"), [1]),
        (Selection(destination="ops", route="crashed", since_ns=20), [4]),
    ],
)
async def test_a_selection_finds_its_dead_letters(
    four: Outbox, selection: Selection, wanted: list[int]
) -> None:
    """All conditions of a selection have to hold."""
    assert await numbers(four, selection) == wanted


async def test_a_replay_keeps_the_id(outbox: Outbox) -> None:
    """The id stays the same, age and attempts start anew, and the dead letter is deleted."""
    await make_dead_letters(outbox, make_notification(1))
    assert await outbox.replay_dead_letters(ALL, destinations, 500) == 1
    (again,) = await fetch_due(outbox, 500)
    assert again.notification == make_notification(1)
    assert (again.created_ns, again.attempts) == (500, 0)
    assert await numbers(outbox) == []


async def test_a_replay_wakes_its_worker(outbox: Outbox) -> None:
    """The workers of other destinations are not woken."""
    await make_dead_letters(outbox, make_notification(1))
    workers = [RecordingReceiver(outbox, name) for name in destinations()]
    await outbox.replay_dead_letters(ALL, destinations, 500)
    assert [worker.was_informed for worker in workers] == [True, False]


async def test_a_replay_is_not_held(outbox: Outbox) -> None:
    """A replayed delivery does not wait for what its route includes."""
    await outbox.commit(make_commit(with_include(make_notification(1))), 0)
    await outbox.expire("ops", 0, 0)
    await outbox.replay_dead_letters(ALL, destinations, 500)
    assert await due_numbers(outbox, 500) == [1]


async def test_a_replay_goes_behind_waiting_deliveries(outbox: Outbox) -> None:
    """Waiting deliveries about the same subject come first; replayed ones stay in order."""
    await make_dead_letters(outbox, make_notification(1), make_notification(2))
    await outbox.commit(make_commit(make_notification(3)), 20)
    await outbox.replay_dead_letters(ALL, destinations, 500)
    order = []
    while found := await fetch_due(outbox, 500):
        assert len(found) == 1
        order.append(found[0].notification.events[0].time_ns)
        await outbox.ack([Ack(found[0], Delivered())], 500, flush=True)
    assert order == [3, 1, 2]


async def test_a_replay_to_an_unordered_destination() -> None:
    """For a destination without an order all replayed deliveries are due at once."""
    async with open_outbox(None, unordered=["ops"]) as outbox:
        await make_dead_letters(outbox, make_notification(1), make_notification(2))
        await outbox.replay_dead_letters(ALL, destinations, 500)
        assert await due_numbers(outbox, 500) == [1, 2]


async def test_a_replay_is_limited_to_configured_destinations(four: Outbox) -> None:
    """Dead letters for a destination that is no longer configured stay."""
    assert await four.replay_dead_letters(ALL, lambda: ["audit"], 500) == 1
    assert await numbers(four) == [4, 2, 1]
    assert await four.replay_dead_letters(ALL, list, 500) == 0


async def test_a_replay_is_limited_to_its_selection(four: Outbox) -> None:
    """The other dead letters stay."""
    assert (
        await four.replay_dead_letters(Selection(route="crashed", since_ns=20), destinations, 500)
        == 2
    )
    assert await numbers(four) == [2, 1]


async def test_a_replay_ends_although_all_of_it_is_refused(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay ends although its destination refuses everything and new dead letters appear."""
    monkeypatch.setattr(dead_letters, "BATCH_SIZE", 1)
    await make_dead_letters(
        outbox, make_notification(1, container="a"), make_notification(2, container="b")
    )

    async def refuse() -> None:
        while True:
            for delivery in await fetch_due(outbox, 500):
                await outbox.ack([Ack(delivery, Dead(Reason.REFUSED))], 500, flush=True)

    refusing = asyncio.create_task(refuse())
    try:
        async with asyncio.timeout(10):
            assert await outbox.replay_dead_letters(ALL, destinations, 500) == 2
            while await outbox.pending():
                await asyncio.sleep(0)
    finally:
        refusing.cancel()
    assert await numbers(outbox) == [4, 3]


@pytest.mark.parametrize("at_once", [1, 2, 500])
async def test_a_selection_is_processed_in_batches(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """A large selection is processed in batches, so that other calls can run in between."""
    monkeypatch.setattr(dead_letters, "BATCH_SIZE", at_once)
    await make_dead_letters(outbox, *(make_notification(number) for number in range(1, 6)))
    assert await outbox.replay_dead_letters(Selection(ids=(1, 2, 5)), destinations, 500) == 3
    assert await outbox.drop_dead_letters(ALL) == 2
    assert await numbers(outbox) == []


async def test_a_drop_is_limited_to_its_selection(four: Outbox) -> None:
    """Only the selected dead letters are deleted, and nothing is delivered."""
    assert await four.drop_dead_letters(Selection(ids=(1, make_notification(3).id))) == 2
    assert await numbers(four) == [3, 2]
    assert await four.pending() == {}
    assert await four.drop_dead_letters(Selection(ids=(1,))) == 0


async def test_a_number_is_never_used_twice(outbox: Outbox) -> None:
    """The number of a deleted dead letter is not used again."""
    await make_dead_letters(outbox, make_notification(1))
    await outbox.drop_dead_letters(ALL)
    await make_dead_letters(outbox, make_notification(2))
    assert await numbers(outbox) == [2]


async def test_old_dead_letters_are_pruned(four: Outbox) -> None:
    """Dead letters given up before a time are deleted, not those given up at that time."""
    assert await four.prune_dead_letters(20, 100) == 1
    assert await numbers(four) == [4, 3, 2]


@pytest.mark.parametrize(
    ("max_count", "left"), [(0, []), (1, [4]), (3, [4, 3, 2]), (4, [4, 3, 2, 1])]
)
async def test_the_oldest_beyond_a_count_are_pruned(
    four: Outbox, max_count: int, left: list[int]
) -> None:
    """Only the newest ones remain; the count may be zero."""
    assert await four.prune_dead_letters(0, max_count) == 4 - max_count
    assert await numbers(four) == left


async def test_age_and_count_apply_together(four: Outbox) -> None:
    """A dead letter that is both too old and beyond the count is counted once."""
    assert await four.prune_dead_letters(20, 2) == 2
    assert await numbers(four) == [4, 3]
