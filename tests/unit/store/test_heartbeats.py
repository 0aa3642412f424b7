"""What the outbox does with relay's heartbeats: the newest is all that matters."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from relay.core.event import OWN_ENGINE, happening
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Retry
from relay.core.notification import Notification, notify
from relay.store.outbox import open_outbox
from relay.store.records import Delivery, GivenUp, Outbox, Selection, Settled, is_heartbeat
from tests.unit.store.samples import intake, told


def own(number: int, action: str = "heartbeat", engine: str = OWN_ENGINE) -> Notification:
    """Of something that happens to relay."""
    return notify(
        "alive", happening(action, engine=engine, host="node-1", time_ns=number, name="relay")
    )


@pytest_asyncio.fixture(params=["ordered", "unordered"])
async def outbox(request: pytest.FixtureRequest) -> AsyncIterator[Outbox]:
    """One in which ``ops`` keeps an order or none."""
    async with open_outbox(None, unordered=["ops"] * (request.param == "unordered")) as made:
        yield made


async def due(outbox: Outbox, to: str = "ops") -> list[Delivery]:
    return list((await outbox.due(to, 10**12, 100)).deliveries)


async def times(outbox: Outbox, to: str = "ops") -> list[int]:
    return [each.notification.events[0].time_ns for each in await due(outbox, to)]


async def test_the_newest_takes_the_place_of_those_before(outbox: Outbox) -> None:
    """A thousand that nobody took are one: due at once, and not tried yet."""
    for number in range(1000):
        await outbox.take_in(intake(own(number)), number)
        if number == 500:
            (delivery,) = await due(outbox)
            await outbox.settle([Settled(delivery, Retry(10**9, Reason.CONNECTION))], number)
    (left,) = await due(outbox)
    assert (left.notification, left.attempts, left.created_ns) == (own(999), 0, 999)
    assert await outbox.pending() == {"ops": 1}


async def test_it_takes_no_other_place(outbox: Outbox) -> None:
    """Not of what else happened, and not of what is for another destination."""
    await outbox.take_in(intake(own(1), to=("audit",)), 1)
    await outbox.take_in(intake(told(2), own(3, "started"), own(4)), 2)
    await outbox.take_in(intake(own(5)), 5)
    assert await times(outbox) == [2, 3, 5]
    assert await times(outbox, "audit") == [1]


async def test_it_waits_for_nothing_else(outbox: Outbox) -> None:
    """What happened to relay before it may be tried for hours; nor does that wait for it."""
    await outbox.take_in(intake(own(1, "started")), 1)
    await outbox.take_in(intake(own(2)), 2)
    (started, _) = await due(outbox)
    await outbox.settle([Settled(started, Retry(10**9, Reason.CONNECTION))], 3)
    assert await times(outbox) == [2]
    await outbox.take_in(intake(own(4, "gap", engine="here")), 4)
    assert await times(outbox) == [2, 4]


@pytest.mark.parametrize(
    "outcome", [Delivered(), Retry(60, Reason.TIMEOUT), Dead(Reason.REFUSED)], ids=str
)
async def test_one_that_is_under_way_settles_nothing(outbox: Outbox, outcome: Outcome) -> None:
    """Once a newer one has its place, what becomes of it is no matter."""
    await outbox.take_in(intake(own(1)), 1)
    (old,) = await due(outbox)
    await outbox.take_in(intake(own(2)), 2)
    await outbox.settle([Settled(old, outcome)], 3)
    assert await times(outbox) == [2]
    assert await outbox.dead_letters(Selection(), 10) == []


async def test_none_is_kept_dead(outbox: Outbox) -> None:
    """One that is refused, or too old, is gone."""
    await outbox.take_in(intake(own(1)), 1)
    (beat,) = await due(outbox)
    await outbox.settle([Settled(beat, Dead(Reason.REFUSED))], 2)
    await outbox.take_in(intake(own(3), told(4)), 3)
    assert await outbox.expire("ops", 10, 20) == GivenUp(2, own=1)
    (letter,) = await outbox.dead_letters(Selection(), 10)
    assert letter.notification == told(4)
    assert await outbox.pending() == {}


def test_only_relays_own_is_one() -> None:
    """An engine that has such an event means something else by it."""
    assert is_heartbeat(own(1).events[0])
    assert not is_heartbeat(own(1, engine="here").events[0])
    assert not is_heartbeat(own(1, "started").events[0])
