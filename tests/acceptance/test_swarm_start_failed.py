"""Services of a Swarm whose tasks cannot start: the manager knows why, and sends no event."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_start_failed import (
    failures,
    wait_for_failures,
    write_failures_config,
)
from tests.support.daemon import RelayProcess
from tests.support.docker import PrivateEngine, find_binaries
from tests.support.engines import RELEASES, find
from tests.support.receiver import Receiver
from tests.support.sandboxed_engine import IMAGE, EngineError

WORKS_TIMEOUT_S = 30.0


@pytest.fixture(params=["docker-20.10", *(release.name for release in RELEASES)])
def manager(request: pytest.FixtureRequest) -> Iterator[PrivateEngine]:
    """An engine that manages a Swarm of one node; skipped if it is not there."""
    release = next((it for it in RELEASES if it.name == request.param), None)
    try:
        binaries = find_binaries(find(release) if release else None)
    except EngineError as missing:
        pytest.skip(str(missing))
    with PrivateEngine(binaries) as engine:
        engine.docker("swarm", "init", "--advertise-addr=127.0.0.1", "--listen-addr=127.0.0.1")
        yield engine


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
