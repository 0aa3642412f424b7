"""The built-in configuration, the example and that of the container report the same deaths."""

import json
from pathlib import Path

import pytest

from relay.config import Route
from relay.destinations.catalog import default_config, load_config, parse_config
from relay.ingest.docker.buffer import Connection, Record
from relay.ingest.docker.pipeline import EventPipeline
from relay.routing.router import Router

TOP = Path(__file__).parents[3]
NOW_NS = 1795420000_000000000
CONNECTION = Connection("here", "node-1", opened_ns=0, since_ns=0)

Step = tuple[str, float, dict[str, str]]
"""An action, its second, and its attributes beside the name."""

START: Step = ("start", 0.0, {})
OOM: Step = ("oom", 1.0, {})


def container_routes() -> tuple[Route, ...]:
    """The routes of the container's configuration, without its secret."""
    text = (TOP / "deploy/container/config/config.yaml").read_text()
    inline = text.replace("url_file: /run/secrets/slack_url", "url: https://hooks.example.com/x")
    return tuple(parse_config(inline, file="config.yaml", environ={}, folder=TOP).routes)


ENVIRONMENT = {"SLACK_WEBHOOK_URL": "https://hooks.example.com/x", "AUDIT_TOKEN": "t"}
SHIPPED = {
    "built-in": lambda: default_config().routes,
    "example": lambda: load_config(TOP / "config.example.yaml", ENVIRONMENT).routes,
    "container": container_routes,
}


def reported(routes: tuple[Route, ...], *steps: Step) -> list[str]:
    """Return the action and the route of every notification for these events of a container."""
    pipeline = EventPipeline("here", "oldest", Router(routes))
    pipeline.since_ns(NOW_NS)
    records = [
        Record(
            CONNECTION,
            json.dumps(
                {
                    "Type": "container",
                    "Action": action,
                    "timeNano": NOW_NS + int(second * 1e9),
                    "Actor": {"ID": "c", "Attributes": {"name": "web", **attributes}},
                }
            ).encode(),
        )
        for action, second, attributes in steps
    ]
    notifications = [each for each, _ in pipeline.process(records, NOW_NS, {}).notifications]
    return [f"{each.events[0].action} {each.route}" for each in notifications]


def died(second: float, exit_code: int) -> Step:
    """A death with this exit code."""
    return "die", second, {"exitCode": str(exit_code)}


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_reported(name: str) -> None:
    """Crashes and OOM kills, in either order, and an OOM kill that the container survives."""
    routes = tuple(SHIPPED[name]())
    assert reported(routes, START, died(1, 3)) == ["die died"]
    assert reported(routes, START, OOM, died(1.1, 137)) == ["oom died", "die died"]
    assert reported(routes, START, died(0.9, 137), OOM) == ["die died", "oom died"]
    assert reported(routes, START, OOM) == ["oom died"]
    assert reported(routes, START, OOM, died(480, 139)) == ["oom died", "die died"]
    assert reported(routes, START, ("stop", 1.0, {}), died(2, 137)) == []
    assert reported(routes, START, ("kill", 1.0, {"signal": "3"}), died(60, 1)) == ["die died"]
    assert reported(routes, START, died(1, 0)) == []


def test_those_with_a_file_include_a_bounded_log() -> None:
    """Files say it in a comment beside it; without a file no message has a log."""
    logs = {
        kind: {route.name: route.include.logs for route in routes() if route.include.logs}
        for kind, routes in SHIPPED.items()
    }
    assert logs == {"built-in": {}, "example": {"died": 20}, "container": {"died": 20}}
    for path in ("config.example.yaml", "deploy/container/config/config.yaml"):
        before, _, _ = (TOP / path).read_text().partition("include: {logs: 20}")
        assert "Logs can hold secrets" in before
    proxy = (TOP / "deploy/container/compose.yaml").read_text()
    assert "ALLOW_LOGS: 1\n" in proxy
