"""Events of a Swarm, which each of its managers reports."""

import msgspec
import pytest

from relay.config import Route
from relay.ingest import shared_events
from relay.ingest.docker.buffer import Connection
from relay.ingest.docker.pipeline import EventPipeline
from relay.ingest.shared_events import SharedEvents
from relay.routing.router import Router
from tests.unit.ingest.docker.pipeline import NOW_NS, process, records

MANAGERS = ("manager-1", "manager-2", "manager-3")


def record(action: str, time_ns: int, scope: str = "swarm", service: str = "svc1") -> bytes:
    """What one manager sends of a service."""
    actor = {"ID": service, "Attributes": {"name": "api"}}
    event = {"Type": "service", "Action": action, "Actor": actor, "scope": scope}
    return msgspec.json.encode({**event, "timeNano": time_ns, "time": time_ns // 10**9})


def pipelines() -> dict[str, EventPipeline]:
    """The engines of one relay, each a manager."""
    shared, found = SharedEvents(), {}
    for name in MANAGERS:
        router = Router([Route.model_validate({"name": "all", "to": ["ops"]})])
        found[name] = pipeline = EventPipeline(name, "oldest", router)
        pipeline.shared_events = shared
        pipeline.since_ns(NOW_NS)
    return found


def sent(engines: dict[str, EventPipeline], *contents: list[bytes]) -> list[tuple[str, str]]:
    """Who sent what: each engine processes its records."""
    found = []
    for (name, pipeline), content in zip(engines.items(), contents, strict=True):
        connection = Connection(name, name, opened_ns=NOW_NS, since_ns=0)
        commit = process(pipeline, records(content, connection))
        assert commit.checkpoint is not None
        found += [(name, each.events[0].action) for each, _ in commit.notifications]
    return found


def test_three_managers() -> None:
    """The first one's event is sent. The managers have different times for a removal only."""
    engines = pipelines()
    created = [record("create", NOW_NS)]
    assert sent(engines, created, created, created) == [("manager-1", "create")]
    updated = [record("update", NOW_NS + 5), record("update", NOW_NS + 6)]
    assert sent(engines, [], updated, updated) == 2 * [("manager-2", "update")]
    removed = [[record("remove", NOW_NS + 10 + number)] for number in range(3)]
    assert sent(engines, *removed) == [("manager-1", "remove")]


def test_other_events_are_not_shared() -> None:
    """Each engine has its own, even if they look the same."""
    own = [record("create", NOW_NS, scope="local")]
    assert len(sent(pipelines(), own, own, own)) == 3


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_events, "MAX_EVENTS", 10)
    engines = pipelines()
    many = [record("create", NOW_NS + number, service=f"svc{number}") for number in range(100)]
    assert len(sent(engines, many, many[95:], [])) == 100
    assert len(engines["manager-1"].shared_events._engines) == 10
