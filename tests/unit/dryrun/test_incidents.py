"""Incidents on the clock of the events."""

from typing import Any

import pytest

from relay.core.event import Event
from relay.core.incident import Audience
from relay.dryrun.incidents import PlannedNotification, SimulatedIncidents
from relay.incidents.dispatcher import MAX_CHECKS, Dispatcher
from tests.unit.incidents.events import die, event, own, seconds, start
from tests.unit.incidents.world import DIED, Setup, World

YEAR = 365 * 86_400.0
ALERTS = Setup({**DIED, "to": ["alerts"]}, audiences={"alerts": Audience.ALERTS})
PAGER = Setup({**DIED, "to": ["pager"]}, audiences={"pager": Audience.PAGER})


def simulate(
    *events: Event, setup: Setup | None = None
) -> tuple[SimulatedIncidents, list[PlannedNotification]]:
    """Take events and run on; return all that is sent."""
    setup = setup or Setup()
    incidents = SimulatedIncidents(setup.policies, setup.router, "here")
    planned = [each for it in events for each in incidents.take(it, setup.router.route(it))]
    return incidents, planned + incidents.finish()


def reported(planned: list[PlannedNotification]) -> list[tuple[float, str, int]]:
    """The time in seconds, the reason if there is one, and the count of each notification."""
    return [
        (
            seconds(each.at_ns),
            "" if each.notification.update is None else each.notification.update.reason.value,
            each.notification.count,
        )
        for each in planned
    ]


def test_it_ends_when_nothing_but_reminders_is_due() -> None:
    """Reminders of what stays down go on for days: nobody waits for them."""
    assert reported(simulate(die(0))[1]) == [(3.0, "opened", 1)]
    ended = simulate(die(0), start(10))[1]
    assert reported(ended) == [(3.0, "opened", 1), (73.0, "resolved", 0)]


def test_no_events() -> None:
    """Nothing is reported, and nothing is due."""
    assert simulate()[1] == []


def test_the_clock_is_never_turned_back() -> None:
    """An event with an earlier time happens now."""
    _, planned = simulate(die(100, "web-1"), die(50, "web-2", project="shop"), start(200, "web-1"))
    assert reported(planned)[:2] == [(103.0, "opened", 1), (103.0, "opened", 1)]
    times = [each.at_ns for each in planned]
    assert times == sorted(times)


def test_destinations_have_their_order() -> None:
    """What is sent to several at the same time is in the order of the configuration."""
    audiences = {"b": Audience.PEOPLE, "a": Audience.PEOPLE}
    route = {**DIED, "to": ["a", "b"]}
    _, planned = simulate(die(0), setup=Setup(route, audiences=audiences))
    assert [each.destinations for each in planned] == [("b",), ("a",)]


def test_many_incidents_at_once() -> None:
    """More than the dispatcher checks in one step."""
    count = 2 * MAX_CHECKS + 1
    names = [f"web-{number}" for number in range(count)]
    events = [*(die(0, name) for name in names), *(start(1, name) for name in names)]
    assert reported(simulate(*events)[1]) == [(3.0, "opened", count), (64.0, "resolved", 0)]


def test_decades_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert is repeated every four minutes for as long as it is open: nobody waits for that."""
    calls = 0
    due = Dispatcher.due

    def count_calls(dispatcher: Dispatcher, now: Any) -> Any:
        nonlocal calls
        calls += 1
        return due(dispatcher, now)

    monkeypatch.setattr(Dispatcher, "due", count_calls)
    events = (die(0), event("pull", 50 * YEAR, type_="image"), start(50 * YEAR + 1))
    _, planned = simulate(*events, setup=ALERTS)
    assert reported(planned) == [(0.0, "opened", 1), (50 * YEAR + 61, "resolved", 0)]
    assert calls < 7 * 24 * 60 / 4 + 100


def test_a_destination_that_fails() -> None:
    """Whether it works again is up to the events, although it is sent messages meanwhile."""
    routes = ({**DIED, "to": ["hook"]}, {"name": "own", "match": {"type": "relay"}, "to": ["ops"]})
    setup = Setup(*routes, audiences={"hook": Audience.PEOPLE, "ops": Audience.PEOPLE})
    failing = own("destination_failing", 0, destination="hook")
    _, planned = simulate(failing, die(1), setup=setup)
    assert [each.destinations for each in planned] == [("ops",), ("hook",)]
    recovered = own("destination_recovered", 100, destination="hook")
    _, planned = simulate(failing, die(1), recovered, setup=setup)
    assert planned[-1].notification.status == "resolved"


def test_where_all_events_are() -> None:
    """Reported, held or waiting: none is lost."""
    incidents, _ = simulate(die(0), start(1), die(2), setup=PAGER)
    totals = incidents.count_totals()
    assert (totals.held, totals.waiting) == ({}, 1)


@pytest.mark.parametrize("setup", [Setup(), PAGER])
def test_it_is_what_the_daemon_does(setup: Setup) -> None:
    """A dispatcher with a store sends the same messages at the same times."""
    events = [
        each for number in range(10) for each in (die(180 * number), start(180 * number + 0.1))
    ]
    (to,) = [name for name in setup.policies.destinations if name in ("ops", "pager")]
    _, planned = simulate(*events, setup=setup)
    world = World(setup).play(events, 8000)
    assert reported(planned) == [(t, reason, count) for t, _, reason, count in world.reported(to)]
    assert [each.notification.id for each in planned] == [each.id for each in world.messages(to)]
