"""What a route includes beside the event: logs, health and inspect fields of real containers."""

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
"""Thirty lines to each of standard output and error, in colour and with a title."""

INCLUDE = {"logs": 5, "health": True, "inspect": ["RestartCount", "State.ExitCode", "State.Nope"]}


def config(folder: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Crashes, failing health checks and removals, with everything that can be included."""
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
    """One that is not started yet."""
    return RelayProcess(config(relay_folder, engine, receiver))


def find_notification(receiver: Receiver, route: str) -> dict[str, Any]:
    """What the route's one notification includes."""

    def sent(received: tuple[Received, ...]) -> list[dict[str, Any]]:
        return [it.json for it in received if it.json["route"] == route]

    (notification,) = sent(receiver.wait_for(lambda received: bool(sent(received))))
    included: dict[str, Any] = notification["included"]
    return included


def test_a_crash_tells_what_led_to_it(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """The last lines of both streams without colours, and the fields."""
    with relay:
        relay.wait_for_log("engine.connected")
        engine.run("sh", "-c", LINES + "exit 3", name="loud")
        included = find_notification(receiver, "crashed")
    lines = included["logs"]
    assert len(lines) == 5
    for stream in ("out", "err"):  # which come in no order of their own
        numbers = [int(line[4:]) for line in lines if line.startswith(stream)]
        assert numbers == list(range(31 - len(numbers), 31))
    assert all(re.fullmatch(r"(out|err) \d+", line) for line in lines)
    assert included["health"] is None
    assert included["inspect"] == {"RestartCount": 0, "State.ExitCode": 3, "State.Nope": None}
    assert included["missing"] is None


def test_a_failing_health_check(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """What it printed, and the fields of a container that runs on; it has no log lines."""
    check = "--health-cmd=printf '\\033[1mno\\033[0m\\tanswer\\n'; exit 1"
    health = [check, "--health-interval=100ms", "--health-retries=1"]
    with relay:
        relay.wait_for_log("engine.connected")
        engine.run("sleep", "60", name="ill", options=health)
        included = find_notification(receiver, "unhealthy")
    assert included == {
        "logs": [],
        "health": "no  answer",
        "inspect": {"RestartCount": 0, "State.ExitCode": 0, "State.Nope": None},
        "missing": None,
    }


def test_a_container_with_a_terminal(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """Its log has no frames, and comes out as plain."""
    with relay:
        relay.wait_for_log("engine.connected")
        engine.run("sh", "-c", LINES + "exit 3", name="typed", options=["--tty"])
        included = find_notification(receiver, "crashed")
    assert included == {
        "logs": ["err 28", "out 29", "err 29", "out 30", "err 30"],
        "health": None,
        "inspect": {"RestartCount": 0, "State.ExitCode": 3, "State.Nope": None},
        "missing": None,
    }


def test_a_container_that_is_gone(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """One that removed itself has nothing to tell, and the notification says so."""
    with relay:
        relay.wait_for_log("engine.connected")
        engine.run("sh", "-c", LINES + "exit 3", name="brief", options=["--rm"])
        included = find_notification(receiver, "removed")
    assert included == {
        "logs": None,
        "health": None,
        "inspect": {},
        "missing": "the container is gone",
    }


def test_a_log_that_cannot_be_read(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """What can be included is included all the same."""
    with relay:
        relay.wait_for_log("engine.connected")
        engine.run("sh", "-c", "exit 3", name="mute", options=["--log-driver=none"])
        included = find_notification(receiver, "crashed")
    assert included["inspect"]["State.ExitCode"] == 3
    assert included["logs"] is None
    assert included["missing"] == "its log driver cannot be read"
