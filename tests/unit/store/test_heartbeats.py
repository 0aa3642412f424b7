"""The outbox keeps only the newest of relay's heartbeats."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec.structs import replace

from relay.core.event import RELAY_ENGINE, make_self_event
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Retry
from relay.core.notification import Notification, build_notification
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import Ack, Delivery, GiveUpResult, Selection, is_heartbeat
from tests.unit.store.samples import make_commit, make_notification


def self_notification(
    number: int, action: str = "heartbeat", engine: str = RELAY_ENGINE
) -> Notification:
    """A notification of one of relay's own events."""
    return build_notification(
        "alive", make_self_event(action, engine=engine, host="node-1", time_ns=number, name="relay")
    )


@pytest_asyncio.fixture(params=["ordered", "unordered"])
async def outbox(request: pytest.FixtureRequest) -> AsyncIterator[Outbox]:
    """Once with ``ops`` ordered, once unordered."""
    async with open_outbox(None, unordered=["ops"] * (request.param == "unordered")) as made:
        yield made


async def fetch_due(outbox: Outbox, to: str = "ops") -> list[Delivery]:
    return list((await outbox.fetch_due(to, 10**12, 100)).deliveries)


async def due_times(outbox: Outbox, to: str = "ops") -> list[int]:
    return [each.notification.events[0].time_ns for each in await fetch_due(outbox, to)]


async def test_the_newest_heartbeat_replaces_older_ones(outbox: Outbox) -> None:
    """Of a thousand undelivered heartbeats only the newest is left: due at once, no attempts."""
    for number in range(1000):
        await outbox.commit(make_commit(self_notification(number)), number)
        if number == 500:
            (delivery,) = await fetch_due(outbox)
            await outbox.ack([Ack(delivery, Retry(10**9, Reason.CONNECTION))], number, flush=True)
    (left,) = await fetch_due(outbox)
    assert (left.notification, left.attempts, left.created_ns) == (self_notification(999), 0, 999)
    assert await outbox.pending() == {"ops": 1}


async def test_a_heartbeat_replaces_nothing_else(outbox: Outbox) -> None:
    """It replaces no other events and no delivery to another destination."""
    await outbox.commit(make_commit(self_notification(1), to=("audit",)), 1)
    await outbox.commit(
        make_commit(make_notification(2), self_notification(3, "started"), self_notification(4)), 2
    )
    await outbox.commit(make_commit(self_notification(5)), 5)
    assert await due_times(outbox) == [2, 3, 5]
    assert await due_times(outbox, "audit") == [1]


async def test_heartbeats_of_several_hosts(outbox: Outbox) -> None:
    """Each replaces the earlier ones of its own host only."""

    def beat(number: int, host: str | None) -> Notification:
        notification = self_notification(number)
        (event,) = notification.events
        if host is not None:
            event = replace(event, via="fleet", host=host)
        return replace(notification, id=f"ntf_{number}", events=(event,))

    for number, host in enumerate((None, "web-1", "web-2", None, "web-1", "web-2")):
        await outbox.commit(make_commit(beat(number, host)), number)
    assert await due_times(outbox) == [3, 4, 5]


async def test_a_heartbeat_waits_for_no_other_event(outbox: Outbox) -> None:
    """It does not wait for earlier events of relay, and later ones do not wait for it."""
    await outbox.commit(make_commit(self_notification(1, "started")), 1)
    await outbox.commit(make_commit(self_notification(2)), 2)
    (started, _) = await fetch_due(outbox)
    await outbox.ack([Ack(started, Retry(10**9, Reason.CONNECTION))], 3, flush=True)
    assert await due_times(outbox) == [2]
    await outbox.commit(make_commit(self_notification(4, "gap", engine="here")), 4)
    assert await due_times(outbox) == [2, 4]


@pytest.mark.parametrize(
    "outcome", [Delivered(), Retry(60, Reason.TIMEOUT), Dead(Reason.REFUSED)], ids=str
)
async def test_the_outcome_of_a_replaced_heartbeat_is_ignored(
    outbox: Outbox, outcome: Outcome
) -> None:
    """The outcome of a heartbeat that a newer one has replaced changes nothing."""
    await outbox.commit(make_commit(self_notification(1)), 1)
    (old,) = await fetch_due(outbox)
    await outbox.commit(make_commit(self_notification(2)), 2)
    await outbox.ack([Ack(old, outcome)], 3, flush=True)
    assert await due_times(outbox) == [2]
    assert await outbox.dead_letters(Selection(), 10) == []


async def test_a_heartbeat_never_becomes_a_dead_letter(outbox: Outbox) -> None:
    """A heartbeat that is refused or expires is deleted."""
    await outbox.commit(make_commit(self_notification(1)), 1)
    (beat,) = await fetch_due(outbox)
    await outbox.ack([Ack(beat, Dead(Reason.REFUSED))], 2, flush=True)
    await outbox.commit(make_commit(self_notification(3), make_notification(4)), 3)
    assert await outbox.expire("ops", 10, 20) == GiveUpResult(2, self_events=1)
    (dead_letter,) = await outbox.dead_letters(Selection(), 10)
    assert dead_letter.notification == make_notification(4)
    assert await outbox.pending() == {}


def test_only_relays_own_heartbeat_is_one() -> None:
    """An event of that name from an engine is not a heartbeat."""
    assert is_heartbeat(self_notification(1).events[0])
    assert not is_heartbeat(self_notification(1, engine="here").events[0])
    assert not is_heartbeat(self_notification(1, "started").events[0])
