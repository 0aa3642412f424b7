"""Log lines that are included with a death: those before it, never those of the next life."""

from pathlib import Path
from typing import Any

from tests.support.daemon import RelayProcess, write_config
from tests.support.receiver import Receiver
from tests.support.sandboxed_engine import SandboxedEngine

LINES = 5
LIVES = """
life=$(($(cat /life 2>/dev/null || echo 0) + 1)); echo $life >/life
for n in 1 2 3 4 5 6 7; do echo boot $life $n; done
[ $life -gt {deaths} ] && exec sleep 1000
sleep 0.2; echo fatal $life >&2; exit 3
"""
"""Writes more boot lines than are included, and dies this many times."""


def write_logs_config(folder: Path, engine: SandboxedEngine, receiver: Receiver) -> Path:
    """Route deaths, with their last lines."""
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(folder / "relay.db")},
        destinations={"hook": {"type": "http", "url": receiver.url("/hook")}},
        routes=[
            {
                "name": "died",
                "match": {"type": "container", "action": "die", "cause": "crashed"},
                "include": {"logs": LINES},
                "to": "hook",
            }
        ],
    )


def run_lives(engine: SandboxedEngine, name: str, *, deaths: int, options: list[str]) -> None:
    """Start a container, and return when it has died so often and runs again."""
    script = LIVES.format(deaths=deaths)
    engine.run("sh", "-c", script, name=name, options=["--restart=always", *options])
    engine.wait_for_log_line(name, f"boot {deaths + 1} 7")


def included_logs(receiver: Receiver, deaths: int) -> list[list[str]]:
    """Wait for so many notifications; return the lines of each, without a terminal's line ends."""
    received = receiver.wait_for(lambda received: len(received) >= deaths)
    included: list[dict[str, Any]] = [request.json["included"] for request in received]
    assert [it["missing"] for it in included] == [None] * deaths
    return [it["logs"] for it in included]


def last_lines(life: int) -> list[str]:
    """The lines that a life ends with."""
    return [*(f"boot {life} {n}" for n in (4, 5, 6, 7)), f"fatal {life}"]


def test_a_container_that_has_started_again(
    each_engine: tuple[str, SandboxedEngine], receiver: Receiver, relay_folder: Path
) -> None:
    """relay was away, so the boot lines of the next life are long there when it asks."""
    kind, engine = each_engine
    config = write_logs_config(relay_folder, engine, receiver)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        assert relay.terminate() == 0
    run_lives(engine, "web", deaths=1, options=[])
    run_lives(engine, "terminal", deaths=1, options=["--tty"])
    driver = "k8s-file" if kind.startswith("podman") else "local"
    run_lives(engine, "driver", deaths=1, options=[f"--log-driver={driver}"])
    with RelayProcess(config) as relay:
        lines = included_logs(receiver, 3)
        relay.terminate()
    engine.remove_containers()
    assert lines == [last_lines(1)] * 3


def test_a_container_that_starts_again_and_again(
    each_engine: tuple[str, SandboxedEngine], receiver: Receiver, relay_folder: Path
) -> None:
    """Each death comes with the lines of its own life."""
    _, engine = each_engine
    with RelayProcess(write_logs_config(relay_folder, engine, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        run_lives(engine, "web", deaths=3, options=[])
        lines = included_logs(receiver, 3)
        relay.terminate()
    engine.remove_containers()
    assert lines == [last_lines(life) for life in (1, 2, 3)]
