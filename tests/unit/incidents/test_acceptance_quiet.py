"""The second part of the acceptance table, row by row, on virtual time: what is held back.

t = 0 is 08:00 UTC, so the mute interval of these tests is the first hour.
"""

from datetime import UTC, datetime
from typing import Any

import pytest

from relay.core.incident import Audience, Condition, Resolution
from relay.core.zone import UTC_ZONE
from relay.destinations.common.incident_line import describe_incident
from relay.incidents.mute import MuteInterval, build_week
from relay.incidents.policy import PolicyKeys
from tests.unit.incidents import events as make
from tests.unit.incidents.events import START_S, crash_loop, die, event, start
from tests.unit.incidents.world import DIED, Setup, World

AUDIENCES = {"ops": Audience.PEOPLE, "pager": Audience.PAGER, "audit": Audience.PROGRAMS}
DAYS = range(7)
FIRST_HOUR = MuteInterval("nights", (build_week("UTC", [(day, 480, 540) for day in DAYS]),))
MUTED = PolicyKeys(mute=(FIRST_HOUR,))
SECOND_NS = 10**9


def muted(to: str = "ops") -> World:
    """A destination that is muted for the first hour."""
    return World(Setup({**DIED, "to": [to]}, audiences=AUDIENCES, keys={to: MUTED}))


def test_b1_a_silence_over_a_crash_that_stays_down() -> None:
    """It is reported when the silence ends."""
    world = World()
    silence = world.silence({"name": "web-*"}, 3600)
    world.play([die(10)], 3599)
    assert world.reported() == []
    view = world.view()
    assert (view.held, view.silence, view.silence_by) == ("silenced", silence, "ann")
    assert (view.silence_comment, view.held_until_ns) == ("deploy", make.ns(3600))
    assert world.waits() == 1
    world.run(5000)
    assert world.reported() == [(3600.0, "firing", "opened", 1)]
    world.check_balance()


def test_b2_a_silence_over_a_crash_that_is_over() -> None:
    """It is never reported; the silence says what it held back."""
    world = World()
    world.silence({"name": "web-1"}, 3600)
    world.play([die(10), start(10.1)], 4 * 3600)
    assert world.reported() == []
    assert world.held() == {"silenced": 1}
    (silence,) = world.dispatcher.list_silences()
    assert (silence.held_incidents, silence.held_events) == (1, 1)
    world.check_balance()


def test_b3_the_end_of_what_was_reported_comes_through_a_silence() -> None:
    """Whoever was notified of a problem is notified of its end."""
    world = World().play([die(10)], 60)
    world.silence({"name": "web-1"}, 3540)
    world.play([start(1000)], 8000)
    assert world.reported() == [(13.0, "firing", "opened", 1), (1063.0, "resolved", "resolved", 0)]


def test_b4_a_silence_in_the_middle_of_a_crash_loop() -> None:
    """No update falls into it, so it changes nothing."""
    world = World()
    events = list(crash_loop())
    world.play([each for each in events if each.time_ns < make.ns(100)], 100)
    world.silence({"name": "web-1"}, 600)
    world.play([each for each in events if each.time_ns >= make.ns(100)], 8000)
    assert world.reported() == World().play(crash_loop(), 8000).reported()
    assert world.held() == {}


def test_b5_a_mute_interval_ends_with_one_message() -> None:
    """It has what is down, and what came and went."""
    world = muted()
    events = [
        die(10, "web", project="shop"),
        die(20, "api", project="shop"),
        start(20.1, "api", project="shop"),
    ]
    world.play(events, 3599)
    assert world.reported() == []
    assert world.waits() == 2
    assert (world.view("web").held, world.view("web").mute_interval) == ("muted", "nights")
    world.run(8000)
    assert world.reported() == [(3600.0, "firing", "opened", 2)]
    web, api = world.messages()[0].update.incidents
    assert (web.subject, web.status, web.condition) == ("web", "firing", Condition.DOWN)
    assert (api.subject, api.status, api.notified_before) == ("api", "resolved", False)
    sentence = describe_incident(api, make.ns(3600), UTC_ZONE)
    assert "".join(piece.text for piece in sentence) == (
        "api came and went: crashed with exit code 3; it is up again after 60 s"
    )
    world.check_balance()


def test_b5_the_message_says_what_was_reported_before_and_is_still_down() -> None:
    """Of its group, and without counting anything twice."""
    keys = {"ops": PolicyKeys(mute=(FIRST_HOUR,))}
    world = World(Setup({**DIED, "to": ["ops"]}, audiences=AUDIENCES, keys=keys))
    events = [die(-60, "db", project="shop"), die(-50, "x"), die(10, "web", project="shop")]
    world.t = -60
    world.play(events, 8000)
    assert world.reported()[-1] == (3600.0, "firing", "opened", 1)
    lines = world.messages()[-1].update.incidents
    assert [(each.subject, each.reason, each.count) for each in lines] == [
        ("db", "reminder", 0),
        ("web", "opened", 1),
    ]
    world.check_balance()


@pytest.mark.parametrize(
    ("to", "reported", "ended"), [("ops", 13.0, 3600.0), ("pager", 10.0, 1060.0)]
)
def test_b6_the_end_within_a_mute_interval(to: str, reported: float, ended: float) -> None:
    """People are notified in the morning, a pager at once."""
    late = MuteInterval("late", (build_week("UTC", [(day, 481, 540) for day in DAYS]),))
    keys = {to: PolicyKeys(mute=(late,))}
    world = World(Setup({**DIED, "to": [to]}, audiences=AUDIENCES, keys=keys))
    world.play([die(10), start(1000)], 8000)
    assert world.reported(to) == [
        (reported, "firing", "opened", 1),
        (ended, "resolved", "resolved", 0),
    ]


def test_b7_open_for_two_minutes() -> None:
    """What is over before is counted; what stays is reported when it has been open for so long."""
    world = World(Setup(keys={"ops": PolicyKeys(for_ns=120 * SECOND_NS)}))
    events = [
        die(0),
        start(0.1),
        die(1000, "web-2"),
        start(1000.1, "web-2"),
        die(1030, "web-2"),
    ]
    world.play(events[:4], 1010)
    view = world.view("web-2")
    assert (view.held, view.held_until_ns) == ("for", make.ns(1120))
    world.play(events[4:], 5000)
    assert world.reported() == [(1120.0, "firing", "opened", 2)]
    assert world.held() == {"for": 1}
    assert world.view("web-2").deaths == 2
    world.check_balance()


def test_b7_the_wait_goes_on_after_a_restart() -> None:
    """It is by the time of the incident's life, not by that of relay's."""
    world = World(Setup(keys={"ops": PolicyKeys(for_ns=120 * SECOND_NS)})).play([die(0)], 60)
    world.restart()
    world.run(1000)
    assert world.reported() == [(120.0, "firing", "opened", 1)]
    late = World(Setup(keys={"ops": PolicyKeys(for_ns=120 * SECOND_NS)}))
    late.t = 600
    late.take(die(0))  # from the history of an engine that was out of reach
    late.run(1000)
    assert late.reported() == [(603.0, "firing", "opened", 1)]


def test_b7_escalation() -> None:
    """A second route with the same match pages somebody later, and resolves that."""
    routes = ({**DIED}, {**DIED, "name": "page", "to": ["pager"]})
    keys = {"page": PolicyKeys(for_ns=900 * SECOND_NS)}
    world = World(Setup(*routes, audiences=AUDIENCES, keys=keys))
    world.play([die(0), start(1000), die(5000, "b"), start(5001, "b")], 9000)
    assert world.reported("pager") == [
        (900.0, "firing", "opened", 1),
        (1060.0, "resolved", "resolved", 0),
    ]
    assert [reported[0] for reported in world.reported()] == [3.0, 1063.0, 5003.0, 5064.0]
    assert world.held("pager") == {"for": 1}


@pytest.mark.parametrize("back_s", [0.5, 55.0])
def test_b8_a_service_crashes_during_a_deployment(back_s: float) -> None:
    """Nothing is reported if it is well a minute after the command, even if it is not so for long
    enough: it has the time for that."""
    world = World()
    world.silence({"project": "shop"}, 60 + 60)  # the command takes a minute
    crash = [die(59, "api", project="shop"), start(59 + back_s, "api", project="shop")]
    world.play(crash, 8000)
    assert world.reported() == []
    assert world.held() == {"silenced": 1}
    (silence,) = world.dispatcher.list_silences()
    assert (silence.held_incidents, silence.held_events) == (1, 1)


def test_b8_a_service_that_is_not_well_after_a_deployment() -> None:
    """It is reported when the silence ends or, if it seemed well then, when it fails again."""
    world = World()
    world.silence({"project": "shop"}, 120)
    events = [
        die(59, "api", project="shop"),
        start(100, "api", project="shop"),
        die(130, "api", project="shop"),
        die(60, "db", project="shop"),
    ]
    world.play(events, 1000)
    assert world.reported()[:2] == [(120.0, "firing", "opened", 1), (180.0, "firing", "opened", 2)]
    assert [each.subject for each in world.messages()[0].update.incidents] == ["db"]


def test_b9_a_label_attack() -> None:
    """A container can keep itself out of the messages, and nothing else."""
    routes = ({**DIED}, {**DIED, "name": "all", "to": ["audit"]})
    world = World(Setup(*routes, audiences=AUDIENCES))
    labels = {"relay.enable": "false", "com.docker.compose.service": "db"}
    evil: dict[str, Any] = {"project": "shop", "labels": labels}
    events = [
        die(0, "shop-db", project="shop"),
        die(1, "evil", **evil),
        start(1.1, "evil", **evil),
        *(die(2 + n / 100, f"x{n}", project="shop") for n in range(30)),
    ]
    world.play(events, 30)
    assert world.reported() == [(3.0, "firing", "opened", 31)]
    names = [each.subject for each in world.messages()[0].update.incidents]
    assert names[0] == "shop-db"
    assert "evil" not in names
    assert len(world.immediate) == 32  # audit has them all
    assert world.held() == {"opted_out": 1}
    assert world.view("evil").held == "opted_out"
    assert world.dispatcher.count(world.now).opted_out == 1
    assert world.view("shop-db").ended_ns is None
    world.check_balance()


BERLIN = MuteInterval("dst", (build_week("Europe/Berlin", [(6, 120, 180)]),))


@pytest.mark.parametrize(
    ("day", "crashes_at", "hours"),
    [("2026-03-29", "00:59", 0), ("2026-10-25", "00:01", 2), ("2026-11-01", "01:01", 1)],
)
def test_b10_daylight_saving(day: str, crashes_at: str, hours: int) -> None:
    """In March 02:00 to 03:00 never comes; in October it comes twice."""
    crash_s = datetime.fromisoformat(f"{day}T{crashes_at}").replace(tzinfo=UTC).timestamp()
    t = crash_s - START_S
    world = World(Setup(keys={"ops": PolicyKeys(mute=(BERLIN,))}))
    world.t = t
    world.play([die(t)], t + 5 * 3600)
    ((reported, *_),) = world.reported()
    assert reported - t == (3.0 if not hours else hours * 3600 - 60.0)


def test_b11_the_wall_clock_is_set_while_a_silence_runs() -> None:
    """It is over while the clock is ahead, and in force again when it is back."""
    world = World(Setup(audiences=AUDIENCES))
    world.silence({"type": "container"}, 3600)
    world.play([die(10)], 1000)
    assert world.reported() == []
    world.set_clock(7200)
    world.run(1100)
    assert world.reported() == [(1000.0, "firing", "opened", 1)]
    world.set_clock(0)
    world.take(die(1200, "api"))
    world.run(3500)
    assert len(world.reported()) == 1
    world.run(5000)
    assert world.reported()[1:] == [(3600.0, "firing", "opened", 1)]


def test_an_interval_that_never_ends() -> None:
    """Nothing is ever reported, and all of it waits."""
    always = MuteInterval("always", (build_week("UTC", [(day, 0, 1440) for day in DAYS]),))
    world = World(Setup(keys={"ops": PolicyKeys(mute=(always,))}))
    world.play([die(0), die(10, "b"), start(10.1, "b"), event("oom", 11, "c")], 30 * 86_400)
    assert world.reported() == []
    assert world.waits() == 2
    assert world.view().held_until_ns is None
    assert not world.dispatcher.awaits_change
    world.check_balance()


def test_a_silence_that_takes_everything() -> None:
    """Also relay's own problems and plain events; it ends like others."""
    own = {"name": "own", "match": {"type": "relay"}, "to": ["ops"]}
    all_ = {"name": "all", "match": {"action": ["die", "start"]}, "to": ["ops"]}
    world = World(Setup(all_, own, audiences=AUDIENCES))
    world.silence(None, 3600)
    events = [
        start(1, "other"),
        make.own("gap", 2),
        make.own("destination_failing", 3, engine="relay", destination="audit"),
        die(4),
    ]
    world.play(events, 3599)
    assert (world.reported(), world.immediate) == ([], [])
    assert (world.held(), world.waits()) == ({"silenced": 2}, 2)
    world.run(5000)
    assert [reported[0] for reported in world.reported()] == [3600.0, 3600.0]
    world.check_balance()


def test_what_came_and_went_has_a_resolution() -> None:
    """An incident that came and went in a mute interval has its resolution in the message."""
    world = muted()
    world.play([die(20, "api"), start(20.1, "api")], 8000)
    (line,) = world.messages()[0].update.incidents
    assert line.resolution is Resolution.RECOVERED
