"""Incidents at a hub: of many hosts, all of whose engines have the same name."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from relay.core.event import GapReason, source_of, unique_id
from relay.core.incident import Condition, Resolution, Status
from relay.core.include import NOT_INCLUDED, Included
from relay.incidents.clock import Engines, Now
from relay.incidents.dispatcher import Dispatcher
from relay.incidents.group import make_group_key
from relay.incidents.policy import HUB_GROUP_BY, PolicyKeys
from relay.incidents.subject import is_own, subject_key
from tests.unit.incidents.events import die, event, health, ns, own, start
from tests.unit.incidents.fleet import VIA, heard, hosts, of, of_engine, of_relay, silent
from tests.unit.incidents.world import DIED, Setup, World

OWN: Mapping[str, Any] = {
    "name": "own",
    "match": {"type": "relay", "action": ["engine_lost", "engine_back", "destination_*"]},
    "to": ["ops"],
}


def hub(*routes: Mapping[str, Any], group_by: tuple[str, ...] = HUB_GROUP_BY) -> World:
    """A hub whose stream is open and was read."""
    keys = {"ops": PolicyKeys(group_by=group_by)}
    world = World(Setup(*(routes or (DIED, OWN)), keys=keys))
    world.lead_s[VIA] = 0.0
    world.connect(VIA)
    return world


def test_two_hosts_with_the_same_container() -> None:
    """Each has an incident and a message of its own; only the one that recovers is over."""
    world = hub()
    world.take(of("web-1", die(0)), of("web-2", die(0)))
    world.run(10)
    assert [len(message.update.incidents) for _, message in world.sent] == [1, 1]
    world.take(of("web-1", start(11)))
    world.run(100)
    one, two = sorted(world.dispatcher.list_incidents(), key=lambda each: each.subject)
    assert (one.status, one.resolution) == (Status.RESOLVED, Resolution.RECOVERED)
    assert two.is_open


def test_keys() -> None:
    """No two hosts share a key, and no host has one of the hub's own engines."""
    events = [
        own_event
        for host in ("web-1", "web-2", "local", "fleet web-1")
        for own_event in (
            of(host, die(0)),
            of(host, event("destroy", 0, "data", type_="volume")),
            of_relay(host, "destination_failing", 0, destination="ops"),
            of_engine(host, "engine_lost", 0),
            silent(host, 0),
        )
    ]
    events += [
        die(0),
        die(0, engine="local"),
        own("engine_lost", 0),
        own("engine_lost", 0, "fleet"),
    ]
    keys = [subject_key(each) for each in events]
    assert len(set(keys)) == len(events)
    assert [is_own(key) for key in keys] == [*[False] * (len(events) - 2), True, True]


def test_a_service_of_a_swarm() -> None:
    """Whichever of its managers was first, it is the same subject."""
    failed = replace(event("start_failed", 0, "api", type_="service"), scope="swarm")
    one, other = of("manager-1", failed), of("manager-2", failed, "other")
    assert subject_key(one) == subject_key(other)
    assert source_of(one) == source_of(other) == "fleet swarm"


def test_a_rack_is_gone() -> None:
    """Thirty hosts that fall silent are one message, and so are those that come back."""
    world = hub()
    world.take(*(silent(host, 0) for host in hosts(30)))
    world.run(30)
    ((_, message),) = world.sent
    assert len(message.update.incidents) == 30
    assert {each.condition for each in message.update.incidents} == {Condition.DOWN}
    assert {each.subject for each in message.update.incidents} == set(hosts(30))
    world.take(*(heard(host, 40) for host in hosts(30)))
    world.run(200)
    (_, (_, message)) = world.sent
    assert message.status is Status.RESOLVED
    assert len(message.update.incidents) == 30


def test_hosts_that_are_gone_are_in_a_group_of_their_own() -> None:
    """Whatever the containers of the hosts are grouped by; programs get each by itself."""
    for fields in (HUB_GROUP_BY, ("host",), ("project",), ("host", "label.rack")):
        one, other = (make_group_key(silent(host, 0), fields) for host in ("web-1", "web-2"))
        assert one == other
        assert make_group_key(of("web-1", die(0)), fields) != one
    assert json.loads(make_group_key(of("web-1", die(0)), HUB_GROUP_BY)) == {
        "engine": "local",
        "host": "web-1",
        "project": "web-1",
    }
    assert make_group_key(silent("web-1", 0), ("subject",)) != make_group_key(
        silent("web-2", 0), ("subject",)
    )


def test_nothing_is_confirmed_while_a_host_is_silent() -> None:
    """A container that was up when its host fell silent may have died since."""
    world = hub()
    world.take(of("web-1", die(0)), of("web-1", start(1)), of("web-2", die(0)))
    world.take(of("web-2", start(1)))
    world.run(20)
    world.take(silent("web-1", 20))
    world.run(200)
    ends = {each.subject: each.is_open for each in world.dispatcher.list_incidents()}
    assert ends == {
        "fleet web-1 local/container/web-1": True,
        "fleet web-2 local/container/web-1": False,
        "fleet web-1 relay/engine/relay": True,
    }
    world.take(heard("web-1", 200))
    world.run(300)
    assert not any(each.is_open for each in world.dispatcher.list_incidents())


def test_nothing_is_confirmed_while_the_relay_of_a_host_has_lost_its_engine() -> None:
    """The other engines of the host are not affected."""
    world = hub()
    for engine in ("local", "other"):
        world.take(of("web-1", die(0), engine), of("web-1", start(1), engine))
    world.take(of_engine("web-1", "engine_lost", 20))
    world.run(200)
    still = [each.subject for each in world.dispatcher.list_incidents() if each.is_open]
    assert sorted(still) == ["fleet web-1 local/container/web-1", "fleet web-1 relay/engine/local"]
    world.take(of_engine("web-1", "engine_back", 200))
    world.run(300)
    assert not any(each.is_open for each in world.dispatcher.list_incidents())


@pytest.mark.parametrize("lost", [silent("web-1", 20), of_engine("web-1", "engine_lost", 20)])
def test_a_restart_remembers_what_is_lost(lost: Any) -> None:
    world = hub()
    world.take(of("web-1", die(0)), of("web-1", start(1)))
    world.run(20)
    world.take(lost)
    world.run(25)
    world.restart()
    world.connect(VIA)
    world.run(300)
    assert len([each for each in world.dispatcher.list_incidents() if each.is_open]) == 2


def test_nothing_is_confirmed_while_the_stream_is_not_open() -> None:
    world = hub()
    world.take(of("web-1", die(0)), of("web-1", start(1)))
    world.run(20)
    world.dispatcher.disconnected(VIA, world.now)
    world.run(200)
    assert all(each.is_open for each in world.dispatcher.list_incidents())
    world.connect(VIA)
    world.run(210)
    assert not any(each.is_open for each in world.dispatcher.list_incidents())


def test_another_relay_takes_the_events() -> None:
    """A standby neither reminds of what other hosts had nor ends it. When it takes over again, what
    is open is in doubt until it is heard of; incidents of its own are not."""
    world = hub()
    world.take(of("web-1", die(0)), of("web-2", die(0)), die(0, "own"))
    world.run(20)
    world.dispatcher.disconnected(VIA, world.now)
    world.store.apply(world.dispatcher.taken_elsewhere(VIA, world.now))
    sent = len(world.sent)
    world.run(90_000)
    ((_, reminder),) = world.sent[sent:]
    assert [each.subject for each in reminder.update.incidents] == ["own"]
    world.connect(VIA)
    world.take(of("web-1", start(90_000)))
    world.run(90_100)
    states = {
        each.subject: (each.is_open, each.life.unknown_since_ns is not None)
        for each in world.dispatcher.list_incidents()
    }
    assert states["fleet web-1 local/container/web-1"] == (False, False)
    assert states["fleet web-2 local/container/web-1"] == (True, True)
    assert states["here/container/own"] == (True, False)
    world.check_store()


def test_a_gap_at_a_host() -> None:
    """What was up there is still watched; of what was down, nobody knows whether it came back."""
    world = hub()
    world.take(*(of("web-1", die(0, name)) for name in ("up", "down")), of("web-2", die(0, "down")))
    world.take(of("web-1", start(1, "up")))
    gap = of_engine("web-1", "gap", 5)
    world.take(replace(gap, actor=replace(gap.actor, attributes={"why": GapReason.UNPROVEN})))
    unknown = [
        each.subject
        for each in world.dispatcher.list_incidents()
        if each.life.unknown_since_ns is not None
    ]
    assert unknown == ["fleet web-1 local/container/down"]


def test_events_that_the_store_of_a_host_gave_up() -> None:
    """They may be those of any engine of that host."""
    world = hub()
    world.take(of("web-1", die(0), "one"), of("web-1", die(0), "other"), of("web-2", die(0)))
    world.take(of_relay("web-1", "gap", 5))
    unknown = [it.life.unknown_since_ns is not None for it in world.dispatcher.list_incidents()]
    assert unknown == [True, True, False]


@pytest.mark.parametrize("ahead_s", [-3600.0, 0.0, 3600.0])
def test_the_clock_of_a_host(ahead_s: float) -> None:
    """An hour before or after: what is over is over a minute after it is up again."""
    world = hub()
    world.host_lead_s["fleet web-1 "] = ahead_s
    world.take(of("web-1", die(ahead_s)), of("web-1", start(1 + ahead_s)))
    world.run(50)
    assert all(each.is_open for each in world.dispatcher.list_incidents())
    world.run(70)
    assert not any(each.is_open for each in world.dispatcher.list_incidents())


def test_the_clock_of_a_host_is_set() -> None:
    world = hub()
    world.take(of("web-1", die(0)), of("web-1", start(1)))
    world.host_lead_s["fleet web-1 "] = 3600.0
    world.store.apply(world.dispatcher.host_clock_set("fleet web-1 ", 3600 * 10**9, world.now))
    world.run(50)
    assert all(each.is_open for each in world.dispatcher.list_incidents())
    world.run(70)
    assert not any(each.is_open for each in world.dispatcher.list_incidents())


LOGS = Included(logs=("a", "b", "c"))


@pytest.mark.parametrize(
    ("came", "expected"),
    [(LOGS, Included(logs=("b", "c"))), (None, Included(missing=NOT_INCLUDED))],
)
def test_what_came_with_an_event(came: Included | None, expected: Included) -> None:
    """The message has what the route wants of it. Nobody is asked: only its host could answer."""
    world = hub({**DIED, "include": {"logs": 2}})
    event = of("web-1", die(0))
    included = {} if came is None else {unique_id(event): came}
    routed = [(event, world.setup.router.route(event))]
    result = world.dispatcher.take(routed, world.now, included=included)
    assert result.inquiries == []
    world.store.apply(result.changes)
    world.run(10)
    ((_, message),) = world.sent
    assert message.to_notification().included == expected


def test_what_is_remembered_of_lost_engines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another relay can name as many engines as it likes."""
    monkeypatch.setattr("relay.incidents.clock.MAX_LOST", 10)
    engines = Engines(0)
    for number in range(100):
        engines.follow(of_engine("web-1", "engine_lost", 0, f"e{number}"))
    assert len(engines._lost_ns) == 10
    assert engines.known_until_ns("fleet web-1 e99", Now(ns(10))) == 0


def test_health_of_another_host() -> None:
    """Evidence of any kind keeps its host."""
    route = {"name": "sick", "match": {"health": "unhealthy"}, "to": ["ops"]}
    world = hub(route)
    world.take(of("web-1", health(0, "unhealthy")), of("web-2", health(1, "healthy")))
    (incident,) = world.dispatcher.list_incidents()
    assert incident.is_open
    world.take(of("web-1", health(2, "healthy")))
    world.run(100)
    assert isinstance(world.dispatcher, Dispatcher)
    (incident,) = world.dispatcher.list_incidents()
    assert not incident.is_open
