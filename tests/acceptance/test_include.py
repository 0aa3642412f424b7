"""Included content from real containers: log lines, health output, inspect fields."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Received, Receiver

LINES = """
for n in $(seq 30); do
  printf '\\033[1;31mout %d\\033[0m\\n' $n
  printf '\\033]0;title\\007err %d\\n' $n >&2
done
"""
"""Writes thirty lines each to standard output and standard error, with escape sequences."""

INCLUDE = {"logs": 5, "health": True, "inspect": ["RestartCount", "State.ExitCode", "State.Nope"]}


def write_include_config(folder: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Route crashes, failing health checks and removals, with everything that can be included."""
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(folder / "relay.db")},
        destinations={"hook": {"type": "http", "url": receiver.url("/hook")}},
        routes=[
            {
                "name": name,
                "match": {"type": "container", **match},
                "include": INCLUDE,
                "to": "hook",
            }
            for name, match in (
                ("crashed", {"action": "die", "cause": "crashed"}),
                ("unhealthy", {"health": "unhealthy"}),
                ("removed", {"action": "destroy"}),
            )
        ],
    )


@pytest.fixture
def relay(relay_folder: Path, engine: PrivateEngine, receiver: Receiver) -> RelayProcess:
    """A relay that is not started yet."""
    return RelayProcess(write_include_config(relay_folder, engine, receiver))


def wait_for_included(receiver: Receiver, route: str) -> dict[str, Any]:
    """Wait for the route's only notification; return its included content."""

    def sent(received: tuple[Received, ...]) -> list[dict[str, Any]]:
        return [it.json for it in received if it.json["route"] == route]

    (notification,) = sent(receiver.wait_for(lambda received: bool(sent(received))))
    included: dict[str, Any] = notification["included"]
    return included


def test_a_crash_includes_the_last_log_lines(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """It includes the last lines of both streams without colours, and the inspect fields."""
    with relay:
        relay.wait_for_log("engine.connected")
        engine.run("sh", "-c", LINES + "exit 3", name="loud")
        included = wait_for_included(receiver, "crashed")
    lines = included["logs"]
    assert len(lines) == 5
    for stream in ("out", "err"):  # the order between the two streams is not defined
        numbers = [int(line[4:]) for line in lines if line.startswith(stream)]
        assert numbers == list(range(31 - len(numbers), 31))
    assert all(re.fullmatch(r"(out|err) \d+", line) for line in lines)
    assert included["health"] is None
    assert included["inspect"] == {"RestartCount": 0, "State.ExitCode": 3, "State.Nope": None}
    assert included["missing"] is None


def test_a_failing_health_check(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """It includes the check's output and the inspect fields; the container has no log lines."""
    check = "--health-cmd=printf '\\033[1mno\\033[0m\\tanswer\\n'; exit 1"
    health = [check, "--health-interval=100ms", "--health-retries=1"]
    with relay:
        relay.wait_for_log("engine.connected")
        engine.run("sleep", "60", name="ill", options=health)
        included = wait_for_included(receiver, "unhealthy")
    assert included == {
        "logs": [],
        "health": "no  answer",
        "inspect": {"RestartCount": 0, "State.ExitCode": 0, "State.Nope": None},
        "missing": None,
    }


def test_a_container_with_a_terminal(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """The log of a container with a terminal has no frames; its lines are plain text too."""
    with relay:
        relay.wait_for_log("engine.connected")
        engine.run("sh", "-c", LINES + "exit 3", name="typed", options=["--tty"])
        included = wait_for_included(receiver, "crashed")
    assert included == {
        "logs": ["err 28", "out 29", "err 29", "out 30", "err 30"],
        "health": None,
        "inspect": {"RestartCount": 0, "State.ExitCode": 3, "State.Nope": None},
        "missing": None,
    }


def test_a_container_that_is_gone(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """The notification says that a container which removed itself cannot be inspected."""
    with relay:
        relay.wait_for_log("engine.connected")
        engine.run("sh", "-c", LINES + "exit 3", name="brief", options=["--rm"])
        included = wait_for_included(receiver, "removed")
    assert included == {
        "logs": None,
        "health": None,
        "inspect": {},
        "missing": "the container is gone",
    }


def test_a_log_that_cannot_be_read(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """The other content is included, and the notification says that the log is missing."""
    with relay:
        relay.wait_for_log("engine.connected")
        engine.run("sh", "-c", "exit 3", name="mute", options=["--log-driver=none"])
        included = wait_for_included(receiver, "crashed")
    assert included["inspect"]["State.ExitCode"] == 3
    assert included["logs"] is None
    assert included["missing"] == "its log driver cannot be read"
