"""Services of a Swarm whose tasks cannot start: the manager knows why, and sends no event."""

import time
from pathlib import Path

import pytest

from tests.acceptance.test_start_failed import (
    failures,
    wait_for_failures,
    write_failures_config,
)
from tests.support.daemon import RelayProcess
from tests.support.docker import PrivateEngine
from tests.support.receiver import Receiver
from tests.support.sandboxed_engine import IMAGE

WORKS_TIMEOUT_S = 30.0


@pytest.fixture
def manager(each_docker: PrivateEngine) -> PrivateEngine:
    """An engine that manages a Swarm of one node."""
    local = "127.0.0.1"
    each_docker.docker("swarm", "init", f"--advertise-addr={local}", f"--listen-addr={local}")
    return each_docker


def create_service(engine: PrivateEngine, name: str, *arguments: str) -> None:
    options = ["--detach", "--no-resolve-image", "--network=host", f"--name={name}"]
    engine.docker("service", "create", *options, *arguments)


def wait_until_running(engine: PrivateEngine, name: str) -> None:
    """Wait until a task of the service runs."""
    deadline = time.monotonic() + WORKS_TIMEOUT_S
    while "Running" not in engine.docker("service", "ps", "--format={{.CurrentState}}", name):
        assert time.monotonic() < deadline, engine.docker("service", "ps", "--no-trunc", name)
        time.sleep(0.2)


def test_services_that_cannot_start(
    manager: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """Each is reported once, however often Swarm tries; one that crashes or runs is not."""
    source = manager.folder / "source"
    bind = f"--mount=type=bind,source={source},target=/data"
    with RelayProcess(write_failures_config(relay_folder, manager, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        create_service(manager, "no-folder", bind, IMAGE, "sleep", "1000")
        create_service(manager, "no-command", IMAGE, "nosuch")
        create_service(manager, "no-image", "nosuch:1")
        create_service(manager, "crashes", IMAGE, "sh", "-c", "sleep 1; exit 3")
        create_service(manager, "works", IMAGE, "sleep", "1000")
        found = wait_for_failures(receiver, "no-folder", "no-command", "no-image")
        source.mkdir()
        wait_until_running(manager, "no-folder")
        time.sleep(12)  # one more comparison, in which the others still fail
        assert failures(receiver) == found
        assert relay.terminate() == 0
    assert found.keys() == {"no-folder", "no-command", "no-image"}
    assert str(source) in found["no-folder"]
    assert '"nosuch"' in found["no-command"]
    assert "nosuch:1" in found["no-image"]
