"""What a service manager learns about relay."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.admin import health
from relay.admin.health import LivenessReport, ReloadStatus, StatusSnapshot
from relay.config import Config
from relay.core.errors import ConfigError
from relay.core.tasks import Shutdown
from relay.daemon import run
from relay.daemon.reload import ConfigSource
from relay.daemon.systemd import SystemdNotifier, notify_loop
from relay.delivery.client import ConsoleOutput
from relay.delivery.worker import DeliveryWorker
from relay.store.faults import StoreStatus
from tests.component.daemon import make_config
from tests.component.ingest import QUICK
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.component.webhook import Webhook

WATCHDOG_S = 0.06


class ServiceManager:
    """Receives notifications."""

    def __init__(self, path: Path) -> None:
        self.environ = {
            "NOTIFY_SOCKET": str(path),
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
        }
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.received: list[str] = []

    async def wait_for(self, *lines: str) -> None:
        """Wait for a message that has all these lines."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                message = (await loop.sock_recv(self.socket, 4096)).decode()
                self.received.append(message)
                if set(lines) <= set(message.split("\n")):
                    return

    def read_pending(self) -> list[str]:
        """Return the messages that were not received yet."""
        found: list[str] = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    """A service manager with a watchdog."""
    made = ServiceManager(tmp_path / "notify")
    with closing(made.socket):
        yield made


@asynccontextmanager
async def run_supervised(
    config: Config, store: Path, manager: ServiceManager, source: ConfigSource | None = None
) -> AsyncIterator[Shutdown]:
    shutdown = Shutdown()
    environ = {"HOME": "/", **manager.environ}
    environment = run.Environment(
        environ, ConsoleOutput(io.BytesIO(), colour=False), reconnect_policy=QUICK
    )
    async with asyncio.TaskGroup() as tasks:
        relay = tasks.create_task(run.run_daemon(config, store, environment, shutdown, source))
        yield shutdown
        shutdown.requested.set()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.wait([relay])


async def test_from_the_start_to_the_end(
    engine: ScriptedEngine, url: str, store: Path, manager: ServiceManager
) -> None:
    """READY comes before any engine is reached, then status and watchdog, then STOPPING."""
    async with run_supervised(make_config(url, engine), store, manager) as shutdown:
        await manager.wait_for("READY=1")
        await manager.wait_for("WATCHDOG=1")
        async with engine.serve():
            await manager.wait_for("STATUS=listening to 1 engine, nothing waits")
            shutdown.requested.set()
            await manager.wait_for("STOPPING=1")
    ready = [message for message in manager.received if "READY=1" in message]
    assert ready == ["READY=1\nSTATUS=listening to 0 of 1 engine (not to engine-0), nothing waits"]
    assert not any("WATCHDOG" in message for message in manager.read_pending())


async def test_reloads_are_notified(
    engine: ScriptedEngine, url: str, store: Path, manager: ServiceManager
) -> None:
    """Their beginning and their end, successful or not; then the status."""
    config, outcomes = make_config(url, engine), [True, False, True]

    def read() -> Config:
        if outcomes.pop():
            return config
        raise ConfigError([])

    source = ConfigSource(read)
    async with run_supervised(config, store, manager, source):
        await manager.wait_for("READY=1")
        while outcomes:
            source.requested.set()
            await manager.wait_for("RELOADING=1")
            await manager.wait_for("READY=1")
        await manager.wait_for("WATCHDOG=1")


async def test_a_dead_webhook_and_a_dead_engine_are_no_stall(
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    manager: ServiceManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """relay still makes progress if a delivery gets no answer and no engine can be reached."""
    monkeypatch.setattr(health, "STALLED_AFTER_S", 0.2)
    webhook.hold()
    engine.emit_deaths("a")
    async with run_supervised(make_config(url, engine), store, manager):
        async with engine.serve():
            await webhook.wait_for(lambda summaries: summaries == ["a"])
        elapsed_s = 0.0
        while elapsed_s < 0.5:  # longer than a round may take
            await manager.wait_for("WATCHDOG=1")
            elapsed_s += WATCHDOG_S / 3
        webhook.release()


async def test_a_worker_that_hangs_stops_the_watchdog(
    engine: ScriptedEngine,
    url: str,
    store: Path,
    manager: ServiceManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is named in the log, and no progress is notified."""
    monkeypatch.setattr(health, "STALLED_AFTER_S", 0.1)
    is_hanging, released = asyncio.Event(), asyncio.Event()

    fetch = DeliveryWorker._fetch

    async def hang(worker: DeliveryWorker) -> float:
        is_hanging.set()
        await released.wait()
        return await fetch(worker)

    monkeypatch.setattr(DeliveryWorker, "_fetch", hang)
    with capture_logs() as logs:
        async with run_supervised(make_config(url, engine), store, manager):
            await is_hanging.wait()
            async with asyncio.timeout(TIMEOUT_S):
                while not (stalled := [line for line in logs if line["event"] == "relay.stuck"]):
                    await asyncio.sleep(0.01)
            manager.read_pending()
            async with asyncio.timeout(TIMEOUT_S):
                while (
                    len([line for line in logs if line["event"] == "relay.stuck"])
                    < len(stalled) + 3
                ):
                    await asyncio.sleep(0.01)
            assert manager.read_pending() == []
            released.set()
            await manager.wait_for("WATCHDOG=1")
    assert stalled[0]["loops"][0].startswith("destination hook: nothing has moved for ")


async def test_ready_is_repeated_until_it_is_sent(manager: ServiceManager) -> None:
    """A manager whose queue is full gets it later."""
    snapshot = StatusSnapshot({}, {}, {}, StoreStatus(), {}, 0, ReloadStatus(0), 0)

    async def pending() -> dict[str, int]:
        return {}

    notifier = SystemdNotifier(manager.environ)
    while notifier.notify(STATUS="x" * 4000):
        pass
    async with asyncio.TaskGroup() as tasks:
        notifying = tasks.create_task(
            notify_loop(notifier, lambda: snapshot, lambda: LivenessReport({}, True, 0.0), pending)
        )
        await manager.wait_for("READY=1")
        notifying.cancel()
    notifier.close()
