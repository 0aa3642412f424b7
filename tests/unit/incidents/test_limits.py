"""What is bounded: incidents, groups, what is kept of an event, questions to engines, messages."""

import pytest

from relay.core.include import FACTS_ONLY, Included
from relay.incidents import state as states
from relay.incidents.inquiry import Answer, Inquiry
from relay.incidents.intake import TOO_MUCH_IS_KEPT
from relay.incidents.stored_event import MAX_EVENT_BYTES
from tests.unit.incidents.events import die, start
from tests.unit.incidents.world import DIED, Setup, World


def test_an_engine_is_not_asked_too_often() -> None:
    """Twenty times a minute."""
    world = World(Setup({**DIED, "include": {"logs": 5}}))
    deaths = [die(0, f"web-{n}") for n in range(100)]
    routed = [(each, world.setup.router.route(each)) for each in deaths]
    assert len(world.dispatcher.take(routed, world.now).inquiries) == 20


def test_too_many_incidents(monkeypatch: pytest.MonkeyPatch) -> None:
    """A further problem is a plain event, and the message says so; remembered ones go first."""
    monkeypatch.setattr(states, "MAX_INCIDENTS", 3)
    world = World().play(
        [die(0, "a"), start(0.1, "a"), *(die(100 + n, name) for n, name in enumerate("bcde"))], 200
    )
    subjects = {incident.name for incident in world.dispatcher.list_incidents()}
    assert subjects == {"b", "c", "d"}
    (overflow,) = [message for message in world.messages() if message.update.overflow]
    assert (overflow.update.reason, overflow.severity, overflow.update.names) == (
        "events",
        "critical",
        ("e",),
    )
    world.check_balance()


def test_a_forgotten_incident_leaves_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else ten thousand names in an hour would leave as many groups until the next start."""
    monkeypatch.setattr(states, "MAX_INCIDENTS", 3)
    crashes = [
        event
        for n in range(20)
        for event in (die(200 * n, f"name-{n}"), start(200 * n + 0.1, f"name-{n}"))
    ]
    world = World().play(crashes, 4200)
    assert len(world.dispatcher.list_incidents()) == 3
    assert len(world.dispatcher.export().groups) == 3


def test_too_much_is_included(monkeypatch: pytest.MonkeyPatch) -> None:
    """What engines answered counts as memory, too; the message says that something is missing."""
    monkeypatch.setattr(states, "KEPT_BYTES", 10_000)
    world = World(Setup({**DIED, "include": {"logs": 5}})).play([die(0, "a"), die(0.1, "b")], 1)
    logs = Included(logs=("x" * 10_000,))
    for incident in world.dispatcher.list_incidents():
        inquiry = Inquiry(incident.id, incident.last.decode(), FACTS_ONLY)
        world.store.apply(world.dispatcher.put_answer(inquiry, Answer(logs), world.now))
    first, second = (each.included for each in world.dispatcher.list_incidents())
    assert first == logs
    assert second is not None
    assert (second.logs, second.missing) == (None, TOO_MUCH_IS_KEPT)


def test_too_many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further ones share the destination's common group."""
    monkeypatch.setattr(states, "MAX_GROUPS", 5)
    route = {"name": "all", "match": {}, "to": ["ops"]}
    world = World(Setup(route)).play([start(0, f"name-{n}") for n in range(100)], 2)
    assert len(world.dispatcher.export().groups) == 6
    world.run(300)
    assert sum(message.count for message in world.messages()) == 100
    assert max(len(message.update.names) for message in world.messages()) == 25
    world.check_balance()


def test_long_names_and_many_labels() -> None:
    """An event is trimmed; its incident still is that of its name, and survives a reload."""
    labels = {f"label-{n}": "x" * 1000 for n in range(100)}
    name = "n" * 64 * 2**10
    world = World()
    events = [die(n, name, labels=labels, id_="i" * 64) for n in range(3)]
    world.play(events, 10)
    (incident,) = world.dispatcher.list_incidents()
    assert incident.total == 3
    assert len(incident.name) <= 200
    assert len(incident.first.content) < MAX_EVENT_BYTES
    match = {"action": "die", "label": {"label-1": "x*"}}
    setup = Setup({**DIED, "match": match})
    unwatched, changes = world.dispatcher.reload(setup.policies, setup.router, world.now)
    world.store.apply(changes)
    assert unwatched == 0
    world.restart()


@pytest.mark.parametrize(("count", "messages"), [(3, 3), (4, 1)])
def test_more_than_three_groups_are_a_storm(count: int, messages: int) -> None:
    """They are reported together when the first is due; three are reported one by one."""
    world = World().play([die(n / 2, f"name-{n}") for n in range(count)], 50)
    assert len(world.reported()) == messages
    assert world.reported()[0][0] == 3.0
