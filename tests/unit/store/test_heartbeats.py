"""What the outbox does with relay's heartbeats: the newest is all that matters."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from relay.core.event import RELAY_ENGINE, make_self_event
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Retry
from relay.core.notification import Notification, build_notification
from relay.store.outbox import open_outbox
from relay.store.records import Ack, Delivery, GiveUpResult, Outbox, Selection, is_heartbeat
from tests.unit.store.samples import make_commit, make_notification


def self_notification(
    number: int, action: str = "heartbeat", engine: str = RELAY_ENGINE
) -> Notification:
    """Of something that happens to relay."""
    return build_notification(
        "alive", make_self_event(action, engine=engine, host="node-1", time_ns=number, name="relay")
    )


@pytest_asyncio.fixture(params=["ordered", "unordered"])
async def outbox(request: pytest.FixtureRequest) -> AsyncIterator[Outbox]:
    """One in which ``ops`` keeps an order or none."""
    async with open_outbox(None, unordered=["ops"] * (request.param == "unordered")) as made:
        yield made


async def fetch_due(outbox: Outbox, to: str = "ops") -> list[Delivery]:
    return list((await outbox.fetch_due(to, 10**12, 100)).deliveries)


async def due_times(outbox: Outbox, to: str = "ops") -> list[int]:
    return [each.notification.events[0].time_ns for each in await fetch_due(outbox, to)]


async def test_the_newest_takes_the_place_of_those_before(outbox: Outbox) -> None:
    """A thousand that nobody took are one: due at once, and not tried yet."""
    for number in range(1000):
        await outbox.commit(make_commit(self_notification(number)), number)
        if number == 500:
            (delivery,) = await fetch_due(outbox)
            await outbox.ack([Ack(delivery, Retry(10**9, Reason.CONNECTION))], number)
    (left,) = await fetch_due(outbox)
    assert (left.notification, left.attempts, left.created_ns) == (self_notification(999), 0, 999)
    assert await outbox.pending() == {"ops": 1}


async def test_it_takes_no_other_place(outbox: Outbox) -> None:
    """Not of what else happened, and not of what is for another destination."""
    await outbox.commit(make_commit(self_notification(1), to=("audit",)), 1)
    await outbox.commit(
        make_commit(make_notification(2), self_notification(3, "started"), self_notification(4)), 2
    )
    await outbox.commit(make_commit(self_notification(5)), 5)
    assert await due_times(outbox) == [2, 3, 5]
    assert await due_times(outbox, "audit") == [1]


async def test_it_waits_for_nothing_else(outbox: Outbox) -> None:
    """What happened to relay before it may be tried for hours; nor does that wait for it."""
    await outbox.commit(make_commit(self_notification(1, "started")), 1)
    await outbox.commit(make_commit(self_notification(2)), 2)
    (started, _) = await fetch_due(outbox)
    await outbox.ack([Ack(started, Retry(10**9, Reason.CONNECTION))], 3)
    assert await due_times(outbox) == [2]
    await outbox.commit(make_commit(self_notification(4, "gap", engine="here")), 4)
    assert await due_times(outbox) == [2, 4]


@pytest.mark.parametrize(
    "outcome", [Delivered(), Retry(60, Reason.TIMEOUT), Dead(Reason.REFUSED)], ids=str
)
async def test_one_that_is_under_way_settles_nothing(outbox: Outbox, outcome: Outcome) -> None:
    """Once a newer one has its place, what becomes of it is no matter."""
    await outbox.commit(make_commit(self_notification(1)), 1)
    (old,) = await fetch_due(outbox)
    await outbox.commit(make_commit(self_notification(2)), 2)
    await outbox.ack([Ack(old, outcome)], 3)
    assert await due_times(outbox) == [2]
    assert await outbox.dead_letters(Selection(), 10) == []


async def test_none_is_kept_dead(outbox: Outbox) -> None:
    """One that is refused, or too old, is gone."""
    await outbox.commit(make_commit(self_notification(1)), 1)
    (beat,) = await fetch_due(outbox)
    await outbox.ack([Ack(beat, Dead(Reason.REFUSED))], 2)
    await outbox.commit(make_commit(self_notification(3), make_notification(4)), 3)
    assert await outbox.expire("ops", 10, 20) == GiveUpResult(2, self_events=1)
    (letter,) = await outbox.dead_letters(Selection(), 10)
    assert letter.notification == make_notification(4)
    assert await outbox.pending() == {}


def test_only_relays_own_is_one() -> None:
    """An engine that has such an event means something else by it."""
    assert is_heartbeat(self_notification(1).events[0])
    assert not is_heartbeat(self_notification(1, engine="here").events[0])
    assert not is_heartbeat(self_notification(1, "started").events[0])
