"""Rows of the acceptance table, on virtual time: relay is killed, an engine or a destination is out
of reach, a clock is set, the configuration changes.
"""

from unittest.mock import ANY

import pytest
from msgspec.structs import replace

from relay.core.incident import Audience, Resolution
from relay.incidents.clock import Now
from relay.incidents.observation import Observation, ObservedContainer
from tests.unit.incidents.events import crash_loop, die, ns, own, start
from tests.unit.incidents.world import DIED, Setup, World

DAY = 86_400.0


def test_a23_killed_at_every_step() -> None:
    """The same messages with the same ids, wherever relay is killed and started again."""
    expected = [(t, message.id) for t, message in World().play(crash_loop(), 8000).sent]
    world = World()
    for each in crash_loop():
        world.run(each.time_ns / 1e9 - ns(0) / 1e9)
        world.restart()
        world.take(each)
        world.restart()
    for t in range(3650, 3800, 5):
        world.run(float(t))
        world.restart()
    world.run(8000)
    assert [(t, message.id) for t, message in world.sent] == expected


def test_a23_killed_before_the_message_is_stored() -> None:
    """It is made again, with the same id."""
    world = World().play([die(0), start(0.1), die(0.2)], 2.9)
    lost = world.dispatcher.due(Now(ns(3.0))).messages
    world.t = 3.9
    world.dispatcher = world.load()  # from rows that do not have it
    world.connect()
    world.run(4.0)
    assert world.messages() == [
        replace(each, update=replace(each.update, incidents=ANY, made_ns=ANY)) for each in lost
    ]


@pytest.mark.parametrize("found_by", ["history", "reconciliation"])
def test_a24_an_engine_out_of_reach(found_by: str) -> None:
    """Nothing is confirmed until relay knows what happened meanwhile."""
    world = World().play([die(0), start(0.1) if found_by == "history" else own("started", 0.1)], 20)
    world.dispatcher.disconnected("here", world.now)
    world.run(400)
    assert world.reported() == [(3.0, "firing", "opened", 1)]
    world.store.apply(world.dispatcher.connected("here", world.now))
    world.run(401)
    seen = ObservedContainer("id-of-web-1", "web-1", {}, is_running=True, started_ns=ns(0.1))
    world.observe(Observation("here", ns(401), [seen]))
    world.store.apply(world.dispatcher.caught_up("here", world.now))
    world.run(500)
    assert world.reported()[1:] == [(404.0, "resolved", "resolved", 0)]


def test_a27_a_destination_that_is_down_all_night() -> None:
    """One message a group waits; when it is taken, one newer follows."""
    world = World(Setup({**DIED, "to": ["ops", "audit"]}))
    world.broken.add("ops")
    events = [*crash_loop(0), *crash_loop(10_000)]
    for n in range(5):
        name = f"other-{n}"
        events += [die(100.0 * n, name, project=name), start(100.0 * n + 1, name, project=name)]
    world.play(events, 28_800)
    waiting = [message.update.group for message in world.waiting]
    assert len(waiting) == 6
    assert len({str(group) for group in waiting}) == 6
    assert len(world.immediate) == 143
    before = len(world.sent)
    world.repair("ops")
    world.run(40_000)
    newer = world.messages()[before:]
    assert sum(len(message.update.incidents) for message in newer) == 6
    assert len(newer) <= 6
    assert sum(count for _, _, _, count in world.reported()) == 143


def test_a28_a_message_that_is_given_up() -> None:
    """Its incidents are reported once more, as if they had not been reported before."""
    world = World()
    world.broken.add("ops")
    world.play([die(0)], 3 * DAY)
    world.give_up(world.waiting[0])
    world.repair("ops")
    world.run(3 * DAY + 100)
    first, second, *_ = world.messages()
    assert len(world.messages()) == 2
    assert second.update.reason == "opened"
    assert not second.update.incidents[0].notified_before
    assert second.id != first.id


def test_a29_the_wall_clock_is_set() -> None:
    """Nothing changes: not if it is relay's clock, and not if the engine's is set as well."""
    expected = World().play(crash_loop(), 8000).reported()
    world = World()
    for each in crash_loop():
        t = each.time_ns / 1e9 - ns(0) / 1e9
        world.run(t)
        ahead_s = 7200 if 100 < t < 2000 else 0
        world.lead_s = {"here": ahead_s, "relay": ahead_s}
        world.take(replace(each, time_ns=each.time_ns + ahead_s * 10**9))
    world.run(8000)
    assert world.reported() == expected


def test_a30_a_route_is_renamed_then_removed() -> None:
    """Nothing is reported again; then the pager gets a message of the end."""
    audiences = {"pager": Audience.PAGER}
    world = World(Setup({**DIED, "to": ["pager"]}, audiences=audiences)).play([die(0)], 100)
    renamed = Setup({**DIED, "name": "dead", "to": ["pager"]}, audiences=audiences)
    assert reload(world, renamed) == 0
    world.run(200)
    assert world.reported("pager") == [(0.0, "firing", "opened", 1)]
    other = Setup({"name": "x", "match": {"action": "oom"}, "to": ["pager"]}, audiences=audiences)
    assert reload(world, other) == 1
    world.run(300)
    assert world.reported("pager")[1:] == [(200.0, "resolved", "resolved", 0)]
    (ended,) = world.messages("pager")[1].update.incidents
    assert ended.resolution is Resolution.UNWATCHED
    assert (ended.route, ended.opening_route) == ("dead", "died")  # the key stays the same
    assert ended.opening_event == die(0)


def reload(world: World, setup: Setup) -> int:
    """The configuration is replaced; returns how many incidents are watched no longer."""
    world.setup = setup
    unwatched, changes = world.dispatcher.reload(setup.policies, setup.router, world.now)
    world.store.apply(changes)
    world.check_store()
    return unwatched
