"""Events of other things than containers, on a real engine: the message says the one fact."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import Binaries, PrivateEngine
from tests.support.receiver import Received, Receiver

SWARM_TIMEOUT_S = 60.0
"""An update fails after its monitored seconds, and a node is down after three heartbeats."""


@pytest.fixture
def swarm(binaries: Binaries) -> Iterator[tuple[PrivateEngine, PrivateEngine]]:
    """A manager and a worker on the loopback interface."""
    with PrivateEngine(binaries) as manager, PrivateEngine(binaries) as worker:
        leader, member = _free_addresses(2)
        manager.docker("swarm", "init", f"--advertise-addr={leader}", f"--listen-addr={leader}")
        token = manager.docker("swarm", "join-token", "--quiet", "worker")
        own = [f"--advertise-addr={member}", f"--listen-addr={member}"]
        worker.docker("swarm", "join", "--token", token, *own, leader)
        yield manager, worker


def _free_addresses(count: int) -> list[str]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listening in sockets:
            listening.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{it.getsockname()[1]}" for it in sockets]


def write_headline_config(folder: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Send the headline and the severity of every event that is not about a container's life."""
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(folder / "relay.db")},
        destinations={
            "hook": {
                "type": "http",
                "url": receiver.url("/hook"),
                "format": "template",
                "body": "{{ severity }}: {{ headline }}",
            }
        },
        routes=[
            {
                "name": "others",
                "match": {
                    "any": [{"type": ["node", "service", "network", "image"]}, {"action": "prune"}]
                },
                "to": "hook",
            }
        ],
    )


def wait_for_headlines(receiver: Receiver, *expected: str) -> None:
    """Wait until all these headlines have arrived."""

    def complete(received: tuple[Received, ...]) -> bool:
        return {it.json for it in received} >= set(expected)

    receiver.wait_for(complete, SWARM_TIMEOUT_S)


def test_what_happens_on_one_engine(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """The container of a network, what a prune reclaimed, a short digest."""
    with RelayProcess(write_headline_config(relay_folder, engine, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        engine.docker("network", "create", "n1")
        container = engine.run("sleep", "100", name="web")
        engine.docker("network", "disconnect", "none", "web")
        engine.docker("network", "connect", "n1", "web")
        engine.docker("network", "disconnect", "n1", "web")
        engine.docker("rm", "--force", "web")
        engine.run("sh", "-c", "head -c 2048000 /dev/zero >/big", name="done")
        engine.wait("done")
        engine.docker("container", "prune", "--force")
        engine.docker("network", "prune", "--force")
        engine.docker("tag", "bb:1", "bb:2")
        engine.docker("rmi", "bb:2")
        image = engine.docker("inspect", "--format={{.Id}}", "bb:1").removeprefix("sha256:")
        wait_for_headlines(
            receiver,
            "info: network n1 was created",
            f"info: network n1 was connected to container {container[:12]}",
            f"info: network n1 was disconnected from container {container[:12]}",
            "info: a prune of stopped containers reclaimed 2.048 MB",
            "info: a prune of unused networks ran",
            "info: image bb:2 was tagged",
            f"info: image {image[:12]} was untagged",
        )


def test_what_happens_in_a_swarm(
    swarm: tuple[PrivateEngine, PrivateEngine], receiver: Receiver, relay_folder: Path
) -> None:
    """A service without replicas, an update that fails, a node that is down: warnings."""
    manager, worker = swarm
    with RelayProcess(write_headline_config(relay_folder, manager, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        options = ["--no-resolve-image", "--detach"]
        watch = ["--update-failure-action=pause", "--update-monitor=2s"]
        manager.docker("service", "create", *options, *watch, "--name=svc", "bb:1", "sleep", "100")
        manager.docker("service", "scale", "--detach", "svc=0")
        manager.docker("service", "scale", "--detach", "svc=1")
        # the task of an image that is not there is rejected
        manager.docker("service", "update", *options, "--image=nope:1", "svc")
        wait_for_headlines(
            receiver,
            "info: service svc was created",
            "warning: service svc was scaled from 1 to 0 replicas",
            "info: service svc was scaled from 0 to 1 replicas",
            "warning: service svc has its update paused",
        )
        node = worker.docker("info", "--format={{.Swarm.NodeID}}")
        name = manager.docker("node", "inspect", "--format={{.Description.Hostname}}", node)
        manager.docker("node", "update", "--availability=drain", node)
        worker.kill()
        wait_for_headlines(
            receiver,
            f"info: node {name} was set to drain (was active)",
            f"warning: node {name} is down (was ready)",
        )
