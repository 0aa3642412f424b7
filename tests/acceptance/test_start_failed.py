"""Services that cannot start again: the engine sends no event, and relay reports each once."""

import shutil
import time
from pathlib import Path
from typing import Any

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Receiver
from tests.support.sandboxed_engine import SandboxedEngine

FOUND_TIMEOUT_S = 45.0
"""relay looks at most every 10 seconds, and Podman's containers have 10 seconds to start again."""


def write_failures_config(folder: Path, engine: SandboxedEngine, receiver: Receiver) -> Path:
    """Route starts that failed, and compare as often as relay does."""
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(folder / "relay.db")},
        reconcile={"every": "10s"},
        destinations={"hook": {"type": "http", "url": receiver.url("/hook")}},
        routes=[{"name": "failed", "match": {"action": "start_failed"}, "to": "hook"}],
    )


def run_with_bind(engine: SandboxedEngine, name: str, source: Path, *command: str) -> None:
    """Start a service that needs a folder of the host."""
    source.mkdir()
    mount = f"--mount=type=bind,source={source},target=/data"
    engine.run(*command, name=name, options=["--restart=always", mount])


def failures(receiver: Receiver) -> dict[str, str]:
    """Return the error of each reported failure by the container's name; each came once."""
    events: list[dict[str, Any]] = [
        event for request in receiver.received for event in request.json["events"]
    ]
    names = [event["actor"]["name"] for event in events]
    assert len(names) == len(set(names)), names
    assert {event["origin"] for event in events} <= {"inferred"}
    return {event["actor"]["name"]: event["actor"]["attributes"]["error"] for event in events}


def wait_for_failures(receiver: Receiver, *names: str) -> dict[str, str]:
    """Wait until these have been reported, and a little for others."""
    deadline = time.monotonic() + FOUND_TIMEOUT_S
    while not failures(receiver).keys() >= set(names) and time.monotonic() < deadline:
        time.sleep(0.2)
    return failures(receiver)


def test_a_service_whose_folder_is_gone(
    each_engine: tuple[str, SandboxedEngine], receiver: Receiver, relay_folder: Path
) -> None:
    """It is reported with the engine's error; one that runs, or that somebody stopped, is not."""
    name, engine = each_engine
    source = engine.folder / "source"
    with RelayProcess(write_failures_config(relay_folder, engine, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        run_with_bind(engine, "bound", source, "sh", "-c", "sleep 1; exit 3")
        for service in ("stopped", "steady"):
            engine.run("sleep", "1000", name=service, options=["--restart=always"])
        engine.docker("stop", "--time=0", "stopped")
        shutil.rmtree(source)
        found = wait_for_failures(receiver, "bound")
        assert relay.terminate() == 0
    engine.remove_containers()
    assert found.keys() == {"bound"}
    expected = "not started again" if name.startswith("podman") else str(source)
    assert expected in found["bound"]


def test_a_service_that_fails_after_the_engines_restart(
    each_docker: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """It ran until the engine ended; its folder is gone when the engine is back."""
    engine = each_docker
    source = engine.folder / "source"
    with RelayProcess(write_failures_config(relay_folder, engine, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        run_with_bind(engine, "bound", source, "sleep", "1000")
        engine.run("sleep", "1000", name="by-hand", options=["--restart=unless-stopped"])
        engine.docker("stop", "--time=0", "by-hand")
        engine.stop()
        shutil.rmtree(source)
        engine.start()
        found = wait_for_failures(receiver, "bound")
        source.mkdir()
        engine.docker("start", "bound")
        assert relay.terminate() == 0
    assert found.keys() == {"bound"}
    assert str(source) in found["bound"]
