"""What holds updates back, beside the rows of the acceptance table."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from relay.core.event import Event
from relay.core.incident import Audience
from relay.incidents import dispatcher, review
from relay.incidents.effect import Effect, EffectKind
from relay.incidents.enable_label import read_enable_label
from relay.incidents.held import HeldReason, Hold
from relay.incidents.hold import Circumstances, find_hold
from relay.incidents.incident import Incident
from relay.incidents.mute import MuteInterval, build_week
from relay.incidents.policy import LabelPolicy, PolicyKeys
from tests.unit.incidents.events import die, event, own, start
from tests.unit.incidents.world import DIED, Setup, World

FIRST_HOUR = MuteInterval("nights", (build_week("UTC", [(day, 480, 540) for day in range(7)]),))
MUTED = PolicyKeys(mute=(FIRST_HOUR,))
AUDIENCES = {
    "ops": Audience.PEOPLE,
    "pager": Audience.PAGER,
    "alerts": Audience.ALERTS,
    "audit": Audience.PROGRAMS,
}
OUT: dict[str, Any] = {"labels": {"relay.enable": "false"}}
IN: dict[str, Any] = {"labels": {"relay.enable": "true"}}
MINUTE_NS = 60 * 10**9


@pytest.mark.parametrize("to", ["pager", "alerts"])
def test_services_that_group_by_themselves_get_nothing_of_what_came_and_went(to: str) -> None:
    """It is counted as muted, at once."""
    world = World(Setup({**DIED, "to": [to]}, audiences=AUDIENCES, keys={to: MUTED}))
    world.play([die(10), start(10.1)], 8000)
    assert world.reported(to) == []
    assert world.held(to) == {"muted": 1}


@pytest.mark.parametrize("to", ["pager", "alerts"])
def test_they_get_what_is_still_down_when_the_interval_ends(to: str) -> None:
    """Each by itself."""
    world = World(Setup({**DIED, "to": [to]}, audiences=AUDIENCES, keys={to: MUTED}))
    world.play([die(10), die(20, "b")], 3700)
    assert [t for t, *_ in world.reported(to)] == [3600.0, 3600.0]


def test_plain_events_wait_for_the_end_of_an_interval() -> None:
    """Also relay's own, which go at once otherwise; a pager has no use for them later."""
    routes = (
        {"name": "life", "match": {"action": "start"}, "to": ["ops", "pager"]},
        {"name": "own", "match": {"type": "relay"}, "to": ["ops"]},
    )
    world = World(Setup(*routes, audiences=AUDIENCES, keys={"ops": MUTED, "pager": MUTED}))
    world.play([start(10), own("gap", 20)], 3599)
    assert (world.sent, world.immediate, world.waits()) == ([], [], 2)
    world.run(3700)
    assert [reported[0] for reported in world.reported()] == [3600.0, 3600.0]
    assert world.held("pager") == {"muted": 1}
    world.check_balance()


def test_plain_events_of_routes_that_are_muted_at_different_times() -> None:
    """They do not wait for each other."""
    routes = (
        {"name": "up", "match": {"action": "start"}, "to": ["ops"]},
        {"name": "paused", "match": {"action": "pause"}, "to": ["ops"]},
    )
    world = World(Setup(*routes, audiences=AUDIENCES, keys={"up": MUTED}))
    world.play([start(10), event("pause", 10.5)], 3700)
    assert world.reported() == [(13.0, "firing", "events", 1), (3600.0, "firing", "events", 1)]
    assert world.messages()[0].update.actions == {"pause": 1}


def test_a_reminder_waits_for_the_end_of_an_interval() -> None:
    """It is due within it on the next day."""
    world = World(Setup(audiences=AUDIENCES, keys={"ops": MUTED}))
    world.t = -60
    world.play([die(-60)], 86_400 + 3700)
    assert world.reported() == [
        (-57.0, "firing", "opened", 1),
        (86_343.0, "firing", "reminder", 0),
    ]
    late = MuteInterval("late", (build_week("UTC", [(day, 481, 540) for day in range(7)]),))
    world = World(Setup(audiences=AUDIENCES, keys={"ops": PolicyKeys(mute=(late,))}))
    world.play([die(57)], 59)
    world.run(86_400 + 3700)
    assert [t for t, *_ in world.reported()] == [3600.0, 86_400.0 + 3600]


def test_a_reminder_leaves_out_what_is_silenced() -> None:
    """Until the silence ends or somebody ends it, which takes effect at once."""
    world = World().play([die(0), die(0, "api")], 80_000)
    silence = world.silence({"name": "api"}, 40_000)
    world.run(90_000)
    assert [each.subject for each in world.messages()[-1].update.incidents] == ["web-1"]
    before = len(world.sent)
    world.expire(silence)
    world.run(90_001)
    assert [each.subject for each in world.messages()[before].update.incidents] == ["api", "web-1"]


def test_a_silence_that_somebody_ends() -> None:
    """What it held back is reported at once; one that is added holds back what is not due yet."""
    world = World().play([die(0)], 1)
    silence = world.silence({"name": "web-1"}, 3600)
    world.run(100)
    assert world.reported() == []
    world.expire(silence)
    world.run(200)
    assert world.reported() == [(100.0, "firing", "opened", 1)]


def test_a_problem_that_a_silence_does_not_take() -> None:
    """The last problem counts: it is reported with those before it."""
    route = {"name": "all", "match": {"action": ["die", "oom"]}, "to": ["ops"]}
    world = World(Setup(route, audiences=AUDIENCES))
    world.silence({"action": "oom"}, 3600)
    world.play([event("oom", 0), die(30)], 1000)
    assert world.reported() == [(33.0, "firing", "opened", 2)]


def test_labels_have_to_say_it() -> None:
    """With ``require`` only containers with the label are reported; relay's own problems are."""
    own_route = {"name": "own", "match": {"type": "relay"}, "to": ["ops"]}
    setup = Setup(DIED, own_route, audiences=AUDIENCES, labels=LabelPolicy(require=True))
    failing = own("destination_failing", 2, engine="relay", destination="audit")
    world = World(setup).play([die(0, "a"), die(1, "b", **IN), failing], 100)
    subjects = [each.subject for message in world.messages() for each in message.update.incidents]
    assert sorted(subjects) == ["audit", "b"]
    assert world.held() == {"opted_out": 1}
    assert world.dispatcher.count(world.now).opted_out == 1


def test_labels_that_do_not_count() -> None:
    """With ``enable: false`` the label is a label like others."""
    setup = Setup(audiences=AUDIENCES, labels=LabelPolicy(enable=False))
    assert len(World(setup).play([die(0, **OUT)], 100).reported()) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("false", False), (" FALSE\n", False), ("True", True)),
        *(("", None), ("no", None), ("flase", None), ("false" * 10_000, None)),
    ],
)
def test_what_the_label_says(text: str, value: bool | None) -> None:
    """Nonsense is as no label: it holds nothing back, and enables nothing."""
    labels = {"relay.enable": text}
    assert read_enable_label(die(0, labels=labels)) is value
    assert read_enable_label(replace(die(0, labels=labels), type="network")) is None


def test_a_label_that_changes_with_a_new_container() -> None:
    """What was reported is reported as over, whatever the new container says; what was not reported
    is reported if the new one fails without the label."""
    world = World().play([die(0, id_="a"), start(5, id_="b", **OUT)], 100)
    assert [status for _, status, *_ in world.reported()] == ["firing", "resolved"]
    world = World().play([die(0, id_="a", **OUT), die(100, id_="b")], 200)
    assert world.reported() == [(103.0, "firing", "opened", 1)]
    assert world.held() == {"opted_out": 1}
    world.check_balance()


def test_a_long_event_keeps_what_its_label_said() -> None:
    """Although it is kept without most attributes."""
    labels = {"relay.enable": "false", "note": "x" * 20_000}
    world = World().play([die(0, labels=labels)], 100)
    assert (world.reported(), world.held()) == ([], {"opted_out": 1})


def test_the_configuration_no_longer_holds_something_back() -> None:
    """It is reported at once."""
    world = World(Setup(audiences=AUDIENCES, keys={"ops": MUTED})).play([die(0)], 100)
    setup = Setup(audiences=AUDIENCES)
    _, changes = world.dispatcher.reload(setup.policies, setup.router, world.now)
    world.store.apply(changes)
    world.setup = setup
    world.run(200)
    assert world.reported() == [(100.0, "firing", "opened", 1)]


@pytest.mark.parametrize(
    ("match", "held", "reported"),
    [
        ({"type": "container"}, {}, [(3600.0, "firing", "events", 1)]),
        ({"action": "die"}, {"unwatched": 1}, []),
    ],
)
def test_plain_events_wait_with_the_route_that_they_have_now(
    match: dict[str, Any], held: dict[str, int], reported: list[Any]
) -> None:
    """A route is renamed while it is muted; if none sends them any more, they are counted."""

    def setup(name: str, match: dict[str, Any]) -> Setup:
        route = {"name": name, "match": match, "to": ["ops"]}
        return Setup(route, audiences=AUDIENCES, keys={"ops": MUTED})

    world = World(setup("all", {"type": "container"})).play([start(5)], 100)
    world.setup = setup("renamed", match)
    _, changes = world.dispatcher.reload(world.setup.policies, world.setup.router, world.now)
    world.store.apply(changes)
    assert world.held() == held
    world.run(4000)
    world.check_store()
    assert world.reported() == reported


@pytest.mark.parametrize("make", [die, start])
def test_much_that_is_held_back_is_asked_for_in_parts(
    make: Callable[[float, str], Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Incidents as well as groups of plain events: other loops get their turn in between."""
    monkeypatch.setattr(dispatcher, "MAX_CHECKS", 3)
    route = {"name": "all", "match": {"type": "container"}, "to": ["ops"]}
    world = World(Setup(route, audiences=AUDIENCES, keys={"ops": MUTED}))
    world.play([make(0, f"web-{n}") for n in range(7)], 100)
    world.silence({"name": "other"}, 60)
    results = [world.dispatcher.due(world.now).is_complete for _ in range(3)]
    assert results == [False, False, True]


def test_in_a_storm_each_incident_is_asked_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With thousands of them, that is what takes the time."""
    asked: list[str] = []

    def find(incident: Incident, at: Circumstances) -> Hold | None:
        asked.append(incident.name)
        return find_hold(incident, at)

    monkeypatch.setattr(review, "find_hold", find)
    world = World().play([die(n / 10, f"web-{n}") for n in range(5)], 10)
    assert world.reported() == [(3.0, "firing", "opened", 5)]
    assert sorted(asked) == [f"web-{n}" for n in range(5)]


def test_an_alert_that_is_held_back_is_not_repeated() -> None:
    """A silence is added between two problems of an incident: the second one does not fire."""
    world = World(Setup({**DIED, "to": ["alerts"]}, audiences=AUDIENCES))
    world.play([die(0, "db"), die(0), start(0.1)], 100)
    db = ("alerts", "here/container/db")
    world.silence({"name": "web-1"}, 600)
    world.play([die(300)], 690)
    assert len(world.refreshes) == 2
    assert world.dispatcher.list_reported("alerts") == [db]
    world.run(705)
    assert world.reported("alerts")[-1] == (700.0, "firing", "reopened", 1)
    assert world.dispatcher.list_reported("alerts") == [db, ("alerts", "here/container/web-1")]


def test_none_of_it_concerns_events() -> None:
    """Programs get every event."""
    keys = {"audit": replace(MUTED, for_ns=10 * MINUTE_NS)}
    world = World(Setup({**DIED, "to": ["audit"]}, audiences=AUDIENCES, keys=keys))
    world.silence(None, 3600)
    world.play([die(0, **OUT)], 10)
    assert world.immediate == [(0.0, "audit", "die")]


class Watcher:
    """Watches what the dispatcher does with each event."""

    is_watching = True

    def __init__(self) -> None:
        self.seen: list[Effect] = []

    def on_effects(self, _: object, effects: Any) -> None:
        """Keep what an event did."""
        self.seen += effects.values()


def test_who_watches_sees_what_is_held_back() -> None:
    """A plain event at once, an incident as soon as its group was due."""
    route = {"name": "all", "match": {"action": ["die", "start"]}, "to": ["ops"]}
    world, watcher = World(Setup(route, audiences=AUDIENCES)), Watcher()
    world.dispatcher.effect_observer = watcher
    silence = world.silence(None, 3600)
    world.play([start(0), die(1), die(10)], 20)
    plain, opened, counted = watcher.seen
    assert (plain.kind, plain.hold and plain.hold.silence) == (EffectKind.HELD, silence)
    assert (opened.kind, opened.hold) == (EffectKind.OPENED, None)
    assert counted.hold is not None
    assert (counted.kind, counted.hold.reason) == (EffectKind.COUNTED, HeldReason.SILENCED)
