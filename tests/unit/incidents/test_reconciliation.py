"""What a reconciliation shows is evidence, like events."""

from typing import Any

import pytest

from relay.core.incident import Condition, Resolution
from relay.incidents.observation import Observation, ObservedContainer
from tests.unit.incidents.events import crash_loop, die, event, health, ns, own, start
from tests.unit.incidents.world import Setup, World


def seen(name: str = "web-1", **fields: Any) -> ObservedContainer:
    """A container as a reconciliation shows it."""
    fields = {"is_running": True, "started_ns": ns(0.1), **fields}
    id_ = fields.pop("id_", f"id-of-{name}")
    return ObservedContainer(id_, name, {}, **fields)


def observation(t: float, *containers: ObservedContainer) -> Observation:
    """A reconciliation of everything."""
    return Observation("here", ns(t), containers)


def test_a_service_that_can_start_again() -> None:
    """Swarm sends no event about it: it is no longer among the services that cannot start."""
    route = {"name": "services", "match": {"type": "service"}, "to": ["ops"]}
    failed = event("start_failed", 0, "web", id_="svc1", type_="service")
    world = World(Setup(route)).play([failed], 100)
    world.observe(observation(100, seen(name="svc", id_="svc1")))  # still listed
    assert [reason for _, _, reason, _ in world.reported()] == ["opened"]
    world.observe(observation(160))
    world.observe(observation(170))
    world.run(300)
    assert world.reported()[1:] == [(223.0, "resolved", "resolved", 0)]
    assert world.messages()[1].update.incidents[0].resolution is Resolution.RECOVERED


def test_a_reconciliation_finds_a_recovery() -> None:
    """A start that nobody heard counts since it happened."""
    world = World().play([die(0)], 100)
    world.observe(observation(100, seen(started_ns=ns(30))))
    world.run(200)
    assert world.reported()[1:] == [(103.0, "resolved", "resolved", 0)]


def test_a_reconciliation_finds_that_a_container_is_gone() -> None:
    """It counts as removed from then on."""
    world = World().play([die(0)], 100)
    world.observe(observation(100))
    world.run(300)
    assert world.reported()[1:] == [(163.0, "resolved", "resolved", 0)]
    assert world.messages()[1].update.incidents[0].resolution is Resolution.REMOVED


def test_a_reconciliation_older_than_what_is_known_says_nothing() -> None:
    """The container died after it was inspected."""
    world = World().play([die(10)], 20)
    world.observe(observation(9, seen(started_ns=ns(-5))))
    world.run(300)
    assert len(world.reported()) == 1


def test_a_reconciliation_shows_that_a_restart_policy_has_given_up() -> None:
    """What was reported as restarting is reported to stay down at once."""
    loop = [each for each in crash_loop() if each.time_ns < ns(26)]
    world = World().play(loop, 30)
    world.observe(observation(30, seen("other"), seen(is_running=False, will_restart=False)))
    world.run(200)
    assert [each[:3] for each in world.reported()[1:]] == [(63.05, "firing", "stays_down")]
    assert world.messages()[1].update.incidents[0].condition is Condition.DOWN


def test_an_old_container_of_the_same_name_says_nothing() -> None:
    """A task of a swarm that was replaced is still listed."""
    world = World().play([die(0), start(5, id_="new"), own("gap", 10)], 20)
    old = ObservedContainer("old", "web-1", {}, is_running=False, will_restart=False)
    world.observe(observation(20, old))
    world.run(500)
    assert world.reported() == [(3.0, "firing", "opened", 1)]
    new = ObservedContainer("new", "web-1", {}, is_running=True, started_ns=ns(5))
    world.observe(observation(500, old, new))
    world.run(600)
    assert world.reported()[1:] == [(503.0, "resolved", "resolved", 0)]


@pytest.mark.parametrize(("state", "resolved_at"), [("healthy", 163.0), ("starting", None)])
def test_a_reconciliation_shows_health(state: str, resolved_at: float | None) -> None:
    """A container that was restarted is well once its health check says so."""
    match = {"any": [{"health": "unhealthy"}, {"action": "die"}]}
    world = World(Setup({"name": "ill", "match": match, "to": ["ops"]}))
    world.play([health(0, "unhealthy"), die(1), start(2)], 100)
    world.observe(observation(100, seen(started_ns=ns(2), health=state)))
    world.run(1000)
    resolved = [t for t, status, *_ in world.reported() if status == "resolved"]
    assert resolved == ([] if resolved_at is None else [resolved_at])


def test_after_a_gap_only_knowledge_resolves() -> None:
    """Until a reconciliation shows what happened, the state is unknown."""
    world = World().play([die(0), start(0.1), own("gap", 10)], 500)
    assert world.reported() == [(3.0, "firing", "opened", 1)]
    world.run(86_500)
    (reminded,) = world.messages()[1].update.incidents
    assert reminded.condition is Condition.UNKNOWN
    assert reminded.unknown_since_ns == ns(10)
    world.observe(observation(86_500, seen()))
    world.run(86_600)
    assert world.reported()[2:] == [(86_503.0, "resolved", "resolved", 0)]
