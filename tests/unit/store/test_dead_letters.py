"""Dead letters: found, replayed, dropped, kept within bounds."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from relay.core.exchange import Answer, Dead, Delivered, Reason
from relay.core.notification import Notification
from relay.store import dead_letters
from relay.store.outbox import open_outbox
from relay.store.records import Ack, DeadLetter, Delivery, Outbox, Selection
from tests.unit.store.samples import make_commit, make_notification, with_include

ALL = Selection()
ANSWER = Answer(400, "no such channel", None)


def destinations() -> tuple[str, ...]:
    return ("ops", "audit")


@pytest_asyncio.fixture
async def outbox() -> AsyncIterator[Outbox]:
    """An empty one."""
    async with open_outbox(None) as made:
        yield made


async def fetch_due(outbox: Outbox, now_ns: int, to: str = "ops") -> list[Delivery]:
    return list((await outbox.fetch_due(to, now_ns, 100)).deliveries)


async def due_numbers(outbox: Outbox, now_ns: int, to: str = "ops") -> list[int]:
    """The numbers of the notifications that are due."""
    return [
        delivery.notification.events[0].time_ns for delivery in await fetch_due(outbox, now_ns, to)
    ]


async def make_dead_letters(
    outbox: Outbox, *notifications: Notification, to: str = "ops", now_ns: int = 10
) -> None:
    """Have these be dead letters, in this order."""
    await outbox.commit(make_commit(*notifications, to=(to,)), now_ns)
    while found := await fetch_due(outbox, now_ns, to):
        await outbox.ack([Ack(found[0], Dead(Reason.REFUSED), ANSWER)], now_ns)


async def numbers(outbox: Outbox, selection: Selection = ALL) -> list[int]:
    return [letter.number for letter in await outbox.dead_letters(selection, 100)]


def by_route(route: str, number: int) -> Notification:
    return msgspec.structs.replace(make_notification(number), route=route)


async def test_what_is_given_up_is_kept(outbox: Outbox) -> None:
    """With the notification, when it was made and given up, why, after how many attempts."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    (head,) = await fetch_due(outbox, 10)
    await outbox.ack([Ack(head, Dead(Reason.REFUSED), ANSWER)], 30)
    assert await outbox.dead_letters(ALL, 9) == [
        DeadLetter(1, "ops", make_notification(1), 10, 30, 1, "refused", ANSWER)
    ]
    assert await outbox.pending() == {}


async def test_what_is_too_old_is_kept_with_the_last_answer(outbox: Outbox) -> None:
    """No attempt is counted that was not made."""
    await outbox.commit(make_commit(make_notification(1), make_notification(2)), 10)
    assert (await outbox.expire("ops", 10, 50)).count == 2
    found = await outbox.dead_letters(ALL, 9)
    assert [(each.reason, each.attempts, each.died_ns) for each in found] == [
        ("expired", 0, 50)
    ] * 2


async def test_the_newest_come_first(outbox: Outbox) -> None:
    """Page by page, each with what is below the one before it."""
    await make_dead_letters(outbox, *(make_notification(number) for number in range(1, 6)))
    pages = []
    below: int | None = None
    while page := await outbox.dead_letters(ALL, 2, below):
        pages.append([letter.number for letter in page])
        below = page[-1].number
    assert pages == [[5, 4], [3, 2], [1]]


@pytest_asyncio.fixture
async def four(outbox: Outbox) -> Outbox:
    """Letters 1 to 4: two routes, two destinations, four times."""
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
async def test_finds_those_that_are_meant(
    four: Outbox, selection: Selection, wanted: list[int]
) -> None:
    """All that is asked for has to hold."""
    assert await numbers(four, selection) == wanted


async def test_replays_under_the_same_id(outbox: Outbox) -> None:
    """As if it were new: its age and attempts begin anew, and it is a dead letter no more."""
    await make_dead_letters(outbox, make_notification(1))
    assert await outbox.replay_dead_letters(ALL, destinations, 500) == 1
    (again,) = await fetch_due(outbox, 500)
    assert again.notification == make_notification(1)
    assert (again.created_ns, again.attempts) == (500, 0)
    assert await numbers(outbox) == []


async def test_a_replay_is_told_to_its_lane(outbox: Outbox) -> None:
    """It is sent at once, and the other lanes sleep on."""
    await make_dead_letters(outbox, make_notification(1))
    for name in destinations():
        outbox.wakeup(name).clear()
    await outbox.replay_dead_letters(ALL, destinations, 500)
    assert [outbox.wakeup(name).is_set() for name in destinations()] == [True, False]


async def test_a_replay_is_not_held(outbox: Outbox) -> None:
    """What its route includes was asked for long ago, or never will be."""
    await outbox.commit(make_commit(with_include(make_notification(1))), 0)
    await outbox.expire("ops", 0, 0)
    await outbox.replay_dead_letters(ALL, destinations, 500)
    assert await due_numbers(outbox, 500) == [1]


async def test_a_replay_goes_behind_what_waits(outbox: Outbox) -> None:
    """About the same subject, and in the order in which they were given up."""
    await make_dead_letters(outbox, make_notification(1), make_notification(2))
    await outbox.commit(make_commit(make_notification(3)), 20)
    await outbox.replay_dead_letters(ALL, destinations, 500)
    order = []
    while found := await fetch_due(outbox, 500):
        assert len(found) == 1
        order.append(found[0].notification.events[0].time_ns)
        await outbox.ack([Ack(found[0], Delivered())], 500)
    assert order == [3, 1, 2]


async def test_a_replay_in_no_order() -> None:
    """Where a destination's deliveries are in none, all are due at once."""
    async with open_outbox(None, unordered=["ops"]) as outbox:
        await make_dead_letters(outbox, make_notification(1), make_notification(2))
        await outbox.replay_dead_letters(ALL, destinations, 500)
        assert await due_numbers(outbox, 500) == [1, 2]


async def test_replays_only_to_those_there_are(four: Outbox) -> None:
    """Letters for a destination that is configured no more stay."""
    assert await four.replay_dead_letters(ALL, lambda: ["audit"], 500) == 1
    assert await numbers(four) == [4, 2, 1]
    assert await four.replay_dead_letters(ALL, list, 500) == 0


async def test_replays_those_that_are_meant(four: Outbox) -> None:
    """The others stay what they are."""
    assert (
        await four.replay_dead_letters(Selection(route="crashed", since_ns=20), destinations, 500)
        == 2
    )
    assert await numbers(four) == [2, 1]


async def test_what_dies_during_a_replay_is_not_replayed_again(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A destination that refuses everything keeps no replay going for ever."""
    monkeypatch.setattr(dead_letters, "BATCH_SIZE", 1)
    await make_dead_letters(
        outbox, make_notification(1, container="a"), make_notification(2, container="b")
    )

    async def refuse() -> None:
        while True:
            for delivery in await fetch_due(outbox, 500):
                await outbox.ack([Ack(delivery, Dead(Reason.REFUSED))], 500)

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
async def test_takes_all_however_many(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Some at a time, so that others get at the store meanwhile."""
    monkeypatch.setattr(dead_letters, "BATCH_SIZE", at_once)
    await make_dead_letters(outbox, *(make_notification(number) for number in range(1, 6)))
    assert await outbox.replay_dead_letters(Selection(ids=(1, 2, 5)), destinations, 500) == 3
    assert await outbox.drop_dead_letters(ALL) == 2
    assert await numbers(outbox) == []


async def test_drops_those_that_are_meant(four: Outbox) -> None:
    """They are gone, and nothing is delivered."""
    assert await four.drop_dead_letters(Selection(ids=(1, make_notification(3).id))) == 2
    assert await numbers(four) == [3, 2]
    assert await four.pending() == {}
    assert await four.drop_dead_letters(Selection(ids=(1,))) == 0


async def test_no_number_is_given_twice(outbox: Outbox) -> None:
    """Who has written one down never gets another letter by it."""
    await make_dead_letters(outbox, make_notification(1))
    await outbox.drop_dead_letters(ALL)
    await make_dead_letters(outbox, make_notification(2))
    assert await numbers(outbox) == [2]


async def test_old_ones_go(four: Outbox) -> None:
    """Those that died before a time; not those that died then."""
    assert await four.prune_dead_letters(20, 100) == 1
    assert await numbers(four) == [4, 3, 2]


@pytest.mark.parametrize(("most", "left"), [(0, []), (1, [4]), (3, [4, 3, 2]), (4, [4, 3, 2, 1])])
async def test_the_oldest_go_beyond_a_number(four: Outbox, most: int, left: list[int]) -> None:
    """So many are kept, none included."""
    assert await four.prune_dead_letters(0, most) == 4 - most
    assert await numbers(four) == left


async def test_age_and_number_hold_together(four: Outbox) -> None:
    """Each is counted once."""
    assert await four.prune_dead_letters(20, 2) == 2
    assert await numbers(four) == [4, 3]
