"""A real Podman's health checks: relay reports changes, and names them as with Docker."""

from collections.abc import Sequence
from pathlib import Path

from tests.support.daemon import RelayProcess, write_config
from tests.support.podman import PodmanEngine
from tests.support.receiver import Received, Receiver

CHECKS = 3
"""How often the same result is checked: Podman 4.3 reports the result of the check before."""


def check(engine: PodmanEngine, *, healthy: bool) -> None:
    """Run the health check several times with this result.

    Podman has them run by systemd's timers, which a test need not have.
    """
    engine.docker("exec", "web", *(["touch", "/ok"] if healthy else ["rm", "-f", "/ok"]))
    for _ in range(CHECKS):
        engine.get("/v4.0.0/libpod/containers/web/healthcheck")


def routes(received: Sequence[Received]) -> list[str]:
    """Return the routes of the notifications."""
    return [request.json["route"] for request in received]


def test_changes_of_health_are_reported(
    podman: PodmanEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """Each once, and again after a restart."""
    config = write_config(
        relay_folder,
        engines={"here": {"url": podman.url}},
        store={"path": str(relay_folder / "relay.db")},
        destinations={"hook": {"type": "http", "url": receiver.url(), "concurrency": 1}},
        routes=[
            {"name": "sick", "match": {"action": "health_status: unhealthy"}, "to": "hook"},
            {"name": "well", "match": {"health": "healthy"}, "to": "hook"},
            {"name": "checked", "match": {"action": "health_status"}, "to": "hook"},
            {"name": "ended", "match": {"action": "remove"}, "to": "hook"},
        ],
    )
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        options = ["--health-cmd=test -e /ok", "--health-interval=1h", "--health-retries=1"]
        podman.run("sleep", "600", name="web", options=options)
        for healthy in (False, True, False):
            check(podman, healthy=healthy)
        podman.docker("restart", "--time=0", "web")
        check(podman, healthy=False)
        podman.docker("rm", "--force", "web")
        receiver.wait_for(lambda received: "ended" in routes(received))
        assert relay.terminate() == 0
    assert routes(receiver.received) == ["sick", "well", "sick", "sick", "ended"]
