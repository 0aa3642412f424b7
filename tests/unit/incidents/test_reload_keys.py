"""A reload that changes keys: they apply to what is open, and nothing is reported again."""

import pytest

from relay.core.incident import Audience, Notify
from relay.incidents.policy import PolicyKeys
from tests.unit.incidents.events import crash_loop, die, start
from tests.unit.incidents.world import DIED, Setup, World

MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS


def reload(world: World, **keys: PolicyKeys) -> int:
    """Replace the keys of routes and destinations; return how many are watched no longer."""
    world.setup = Setup(keys=keys)
    setup = world.setup
    unwatched, changes = world.dispatcher.reload(setup.policies, setup.router, world.now)
    world.store.apply(changes)
    world.check_store()
    return unwatched


@pytest.mark.parametrize(
    ("section", "minutes", "resolved_at"), [("ops", 5, 303.1), ("died", 5, 303.1), ("ops", 1, 63.1)]
)
def test_resolve_after(section: str, minutes: int, resolved_at: float) -> None:
    """How long a container has to be well is that of the new keys, whatever section has them."""
    world = World().play([die(0), start(0.1)], 10)
    assert reload(world, **{section: PolicyKeys(resolve_after_ns=minutes * MINUTE_NS)}) == 0
    world.run(1000)
    assert [t for t, *_ in world.reported()] == [3.0, resolved_at]


def test_a_shorter_time_that_is_over_already() -> None:
    """What has been well for long enough is resolved now."""
    long = PolicyKeys(resolve_after_ns=HOUR_NS)
    world = World(Setup(keys={"ops": long})).play([die(0), start(0.1)], 600)
    assert len(world.reported()) == 1
    assert reload(world) == 0
    world.run(700)
    assert world.reported()[1:] == [(603.0, "resolved", "resolved", 0)]


@pytest.mark.parametrize(
    ("hours", "reminders"), [(0, []), (1, [3603.0, 7203.0]), (2, [7203.0]), (24, [])]
)
def test_repeat_interval(hours: int, reminders: list[float]) -> None:
    """The next reminder comes so long after the last message; with 0s there is none."""
    world = World().play([die(0)], 100)
    assert reload(world, ops=PolicyKeys(repeat_interval_ns=hours * HOUR_NS)) == 0
    world.run(7300)
    assert [t for t, _, reason, _ in world.reported() if reason == "reminder"] == reminders


def test_group_by() -> None:
    """Two incidents of different groups are reported together from then on."""
    events = [die(0, "a"), die(0, "b")]
    world = World().play(events, 100)
    assert [message.update.group for message in world.messages()] == [
        {"engine": "here", "project": "a"},
        {"engine": "here", "project": "b"},
    ]
    assert reload(world, ops=PolicyKeys(group_by=())) == 0
    world.play([start(200, "a"), start(201, "b")], 1000)
    assert [(t, status) for t, status, *_ in world.reported()[2:]] == [(263.0, "resolved")]
    assert world.messages()[2].update.group == {}


def test_an_end_that_nobody_wants_any_more() -> None:
    """What is resolved after the reload is counted, and not reported."""
    world = World().play(crash_loop(deaths=5), 20)
    assert reload(world, died=PolicyKeys(send_resolved=False)) == 0
    world.run(1000)
    assert [status for _, status, *_ in world.reported()] == ["firing"]
    world.check_balance()


@pytest.mark.parametrize("section", ["ops", "died"])
def test_single_events_from_now_on(section: str) -> None:
    """The incidents are no longer watched, without a message; further events go at once."""
    world = World().play([die(0)], 10)
    assert reload(world, **{section: PolicyKeys(notify=Notify.EVENTS)}) == 1
    world.play([start(20), die(30)], 1000)
    assert len(world.reported()) == 1
    assert world.immediate == [(30.0, "ops", "die")]
    world.check_balance()


def test_incidents_from_now_on() -> None:
    """What was sent as an event opens no incident; the next problem does."""
    events = {"ops": PolicyKeys(notify=Notify.EVENTS)}
    world = World(Setup(keys=events)).play([die(0)], 10)
    assert reload(world) == 0
    world.run(1000)
    assert world.reported() == []
    world.play([die(2000)], 2100)
    assert world.reported() == [(2003.0, "firing", "opened", 1)]


def test_a_destination_of_another_type() -> None:
    """A chat that becomes a pager, under its old name, gets a message of the end."""
    world = World().play([die(0)], 10)
    world.setup = Setup(DIED, audiences={"ops": Audience.PAGER})
    setup = world.setup
    unwatched, changes = world.dispatcher.reload(setup.policies, setup.router, world.now)
    world.store.apply(changes)
    assert unwatched == 0
    world.play([start(20)], 1000)
    assert world.reported()[1:] == [(80.0, "resolved", "resolved", 0)]
    assert world.messages()[1].update.incidents[0].opening_event == die(0)
