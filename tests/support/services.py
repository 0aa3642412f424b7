"""Services of a compose project on a real engine, which fail on request."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from tests.support.sandboxed_engine import EAT_MEMORY, IMAGE, SandboxedEngine

ON_ORDER = "read code </data/order; exit $code"
"""Runs until `Services.crash` is called."""

UNTIL_CURED = "test -e /data/cured && exec sleep 1000000; exit 3"
"""Crashes at once, as often as it is started, until `Services.cure` is called."""

OUT_OF_MEMORY_ONCE = f"test -e /data/cured && exec sleep 1000000; touch /data/cured; {EAT_MEMORY}"
"""Is killed for memory the first time, and runs the second time."""

STEADY = "exec sleep 1000000"

ALWAYS = ("--restart=always",)

HEALTH_CHECK = (
    "--health-cmd=test -e /data/healthy",
    "--health-interval=1s",
    "--health-retries=1",
)
"""Healthy as long as `Services.set_healthy` says so."""

ORDER_TIMEOUT_S = 60.0


class Services:
    """The services of one compose project; each has one container, ``PROJECT-SERVICE-1``."""

    def __init__(self, engine: SandboxedEngine, project: str) -> None:
        self.engine = engine
        self.project = project

    def name(self, service: str) -> str:
        """The container's name."""
        return f"{self.project}-{service}-1"

    def run(self, service: str, script: str = ON_ORDER, options: Sequence[str] = ALWAYS) -> None:
        """Start a service, which runs a shell's script."""
        self.engine.run(
            *("sh", "-c", script),
            name=self.name(service),
            labels=self._labels(service),
            options=[*self._mount(service), *options],
        )

    def crash(self, *services: str, code: int = 3) -> None:
        """Let services crash that run `ON_ORDER`, all at the same moment; they wait for it."""
        deadline = time.monotonic() + ORDER_TIMEOUT_S
        orders = []
        for service in services:
            path = self._folder(service) / "order"
            while (order := _open_order(path)) is None:
                assert time.monotonic() < deadline, f"{self.name(service)} does not run"
                time.sleep(0.02)
            orders.append(order)
        for order in orders:
            os.write(order, f"{code}\n".encode())
            os.close(order)

    def cure(self, service: str) -> None:
        """Let a service that runs `UNTIL_CURED` run from its next start on."""
        (self._folder(service) / "cured").touch()

    def set_healthy(self, service: str, healthy: bool) -> None:
        """Let the service's health checks succeed, or fail."""
        path = self._folder(service) / "healthy"
        if healthy:
            path.touch()
        else:
            path.unlink(missing_ok=True)

    def remove(self, service: str) -> None:
        """Remove the service's container."""
        self.engine.docker("rm", "--force", self.name(service))

    def recreate(self, service: str, script: str = STEADY) -> None:
        """Replace the container as ``docker compose up --force-recreate`` does.

        The new one is made under another name, the old one is stopped and removed, and the new one
        gets its name and is started last.
        """
        name = self.name(service)
        temporary = f"{self.engine.inspect(name)['Id'][:12]}_{name}"
        marks = [f"--label={key}={value}" for key, value in self._labels(service).items()]
        options = ["--network=none", f"--name={temporary}", *marks, *self._mount(service)]
        self.engine.docker("create", *options, *ALWAYS, IMAGE, "sh", "-c", script)
        self.engine.docker("stop", "--time=0", name)
        self.engine.docker("rm", name)
        self.engine.docker("rename", temporary, name)
        self.engine.docker("start", name)

    def wait_until_up(self, service: str, timeout_s: float = 90.0) -> float:
        """Wait until a service has run for a second; return when it was started, in Unix time.

        Docker's delays between two restarts grow to a minute.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.engine.inspect(self.name(service))["State"]
            started_s = _parse_time(found["StartedAt"])
            if found["Status"] == "running" and time.time() > started_s + 1:
                return started_s
            assert time.monotonic() < deadline, f"{self.name(service)} does not come up: {found}"
            time.sleep(0.1)

    def wait_for_health(self, service: str, health: str, timeout_s: float = 60.0) -> None:
        """Wait until the container's health is this."""
        deadline = time.monotonic() + timeout_s
        while (found := self.engine.inspect(self.name(service))["State"]["Health"]["Status"]) != (
            health
        ):
            assert time.monotonic() < deadline, f"{self.name(service)} is {found}, not {health}"
            time.sleep(0.05)

    def wait_for_restarts(self, service: str, number: int, timeout_s: float = 60.0) -> None:
        """Wait until the container was restarted so often, and waits for its next restart."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.engine.inspect(self.name(service))
            if found["RestartCount"] >= number and found["State"]["Status"] == "restarting":
                return
            assert time.monotonic() < deadline, f"not {number} restarts: {found['State']}"
            time.sleep(0.05)

    def _labels(self, service: str) -> Mapping[str, str]:
        return {
            "com.docker.compose.project": self.project,
            "com.docker.compose.service": service,
            "com.docker.compose.container-number": "1",
        }

    def _folder(self, service: str) -> Path:
        return self.engine.folder / "services" / self.project / service

    def _mount(self, service: str) -> list[str]:
        folder = self._folder(service)
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.mkfifo(folder / "order")
        return [f"--mount=type=bind,source={folder},target=/data"]


def _open_order(path: Path) -> int | None:
    """Open the pipe that a service reads; None as long as it does not."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # ENXIO: nobody reads
        return None


def _parse_time(written: str) -> float:
    """Parse the engine's time, which has nanoseconds."""
    return datetime.fromisoformat(f"{written[:19]}+00:00").timestamp() + float(f"0{written[19:-1]}")
