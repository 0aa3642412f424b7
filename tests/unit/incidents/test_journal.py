"""The log lines about incidents, and what is shown of each event."""

from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.core.event import Event
from relay.incidents.dispatcher import Dispatcher
from relay.incidents.effect import Effect, EffectKind
from relay.incidents.journal import MAX_LINES, Journal
from relay.incidents.policy import PolicyKeys
from tests.unit.incidents.events import crash_loop, die, event, start
from tests.unit.incidents.world import DIED, Setup, World


class LoggedWorld(World):
    """A world whose dispatcher logs."""

    def load(self) -> Dispatcher:
        """A dispatcher of the stored rows."""
        self.journal = Journal()
        return Dispatcher(
            self.store.load(),
            self.setup.policies,
            self.setup.router,
            self.now,
            [(each.destination, each.id) for each in self.waiting],
            journal=self.journal,
        )


def names(logs: list[Any]) -> list[str]:
    """The names of the lines."""
    return [each["event"] for each in logs]


def test_the_life_of_an_incident() -> None:
    """Each change is a line; a further event is none."""
    with capture_logs() as logs:
        LoggedWorld().play(crash_loop(deaths=5), 400)
    assert names(logs) == [
        *("incident.opened", "incident.crash_looping", "incident.told"),
        *("incident.resolved", "incident.told"),
    ]
    opened, _, reported, resolved, _ = logs
    assert opened["log_level"] == "info"
    assert {"subject", "route", "destination", "severity"} < opened.keys()
    assert opened["incident"] == resolved["incident"]
    assert (reported["reason"], reported["status"], reported["incidents"]) == (
        "opened",
        "firing",
        1,
    )
    assert reported["notification"].startswith("ntf_")
    assert resolved["resolution"] == "recovered"


def test_reopened_and_closed() -> None:
    """They have names of their own."""
    world = LoggedWorld().play([die(0), start(0.1)], 100)
    with capture_logs() as logs:
        world.play([die(110)], 130)
        (incident,) = world.dispatcher.list_incidents()
        world.store.apply(world.dispatcher.close(incident.id, world.now))
    assert names(logs) == ["incident.reopened", "incident.told", "incident.closed"]


def test_held_back() -> None:
    """With the reason and the number of events."""
    keys = {"died": PolicyKeys(send_resolved=False)}
    world = LoggedWorld(Setup(DIED, keys=keys))
    with capture_logs() as logs:
        world.play([die(0), start(0.1), die(5), start(5.1)], 200)
    (held,) = (each for each in logs if each["event"] == "incident.held")
    assert (held["reason"], held["events"]) == ("send_resolved", 1)


def test_watched_no_longer() -> None:
    """A route that is gone."""
    world = LoggedWorld().play([die(0)], 10)
    with capture_logs() as logs:
        other = Setup({**DIED, "match": {"action": "oom"}})
        world.dispatcher.reload(other.policies, other.router, world.now)
    assert names(logs) == ["incident.unwatched"]


def test_a_storm_is_a_few_lines() -> None:
    """The rest is a number."""
    world = LoggedWorld()
    with capture_logs() as logs:
        world.take(*(die(0, f"web-{number}") for number in range(1000)))
        world.journal.flush()
    assert names(logs) == ["incident.opened"] * (MAX_LINES + 1)
    assert logs[-1]["more"] == 1000 - MAX_LINES
    with capture_logs() as logs:
        world.take(die(1, "one-more"))
        world.journal.flush()
    assert names(logs) == ["incident.opened"]
    assert "more" not in logs[0]


class Observer:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.is_watching = True
        self.seen: list[tuple[str, Mapping[str, Effect]]] = []

    def on_effects(self, event: Event, effects: Mapping[str, Effect]) -> None:
        """Keep it."""
        self.seen.append((event.action, effects))


def test_what_is_done_with_an_event() -> None:
    """By destination; what is sent at once is left out."""
    route = {"name": "all", "match": {"action": ["die", "start"]}, "to": ["ops", "audit"]}
    world, observer = World(Setup(route)), Observer()
    world.dispatcher.effect_observer = observer
    world.play([start(-1), die(0), start(0.1), die(0.2), start(0.3)], 200)
    world.play([die(200), event("kill", 201)], 210)
    kinds = [(action, [each.kind for each in done.values()]) for action, done in observer.seen]
    assert kinds == [
        ("start", [EffectKind.GROUPED]),
        ("die", [EffectKind.OPENED]),
        ("start", [EffectKind.COUNTED]),
        ("die", [EffectKind.COUNTED]),
        ("start", [EffectKind.COUNTED]),
        ("die", [EffectKind.REOPENED]),
        ("kill", []),
    ]
    effects = [done["ops"] for _, done in observer.seen if done]
    assert [each.total for each in effects] == [0, 1, 2, 3, 4, 5]
    assert len({each.incident for each in effects[1:]}) == 1
    assert {*observer.seen[1][1]} == {"ops"}


@pytest.mark.parametrize("is_watching", [False, True])
def test_the_same_happens_whether_anybody_watches(is_watching: bool) -> None:
    """Nothing is computed while nobody does."""
    world, observer = World(), Observer()
    observer.is_watching = is_watching
    world.dispatcher.effect_observer = observer
    world.play(crash_loop(deaths=5), 400)
    assert world.reported() == World().play(crash_loop(deaths=5), 400).reported()
    assert bool(observer.seen) is is_watching
