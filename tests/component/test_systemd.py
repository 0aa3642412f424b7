"""What a service manager hears of relay."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.admin import health
from relay.admin.health import LivenessReport
from relay.admin.status import ReloadStatus, StatusSnapshot
from relay.config import Config
from relay.core.errors import ConfigError
from relay.core.shutdown import Shutdown
from relay.daemon import run
from relay.daemon.reload import ConfigSource
from relay.daemon.systemd import SystemdNotifier, notify_loop
from relay.delivery.client import ConsoleOutput
from relay.store.faults import StoreStatus
from tests.component.daemon import make_config
from tests.component.ingest import QUICK
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.component.webhook import Webhook

WATCHDOG_S = 0.06


class Supervisor:
    """Hears what is told."""

    def __init__(self, path: Path) -> None:
        self.environ = {
            "NOTIFY_SOCKET": str(path),
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
        }
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.heard: list[str] = []

    async def hear(self, *lines: str) -> None:
        """Wait until a message comes that has all these lines."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                message = (await loop.sock_recv(self.socket, 4096)).decode()
                self.heard.append(message)
                if set(lines) <= set(message.split("\n")):
                    return

    def rest(self) -> list[str]:
        """What was told and not heard yet."""
        found: list[str] = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """One that wants to hear of progress."""
    made = Supervisor(tmp_path / "notify")
    with closing(made.socket):
        yield made


@asynccontextmanager
async def supervised(
    config: Config, store: Path, supervisor: Supervisor, source: ConfigSource | None = None
) -> AsyncIterator[Shutdown]:
    stop = Shutdown()
    environ = {"HOME": "/", **supervisor.environ}
    environment = run.Environment(
        environ, ConsoleOutput(io.BytesIO(), colour=False), reconnect_policy=QUICK
    )
    async with asyncio.TaskGroup() as tasks:
        relay = tasks.create_task(run.run_daemon(config, store, environment, stop, source))
        yield stop
        stop.requested.set()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.wait([relay])


async def test_from_the_start_to_the_end(
    engine: ScriptedEngine, url: str, store: Path, supervisor: Supervisor
) -> None:
    """Ready before any engine is there; then what it does and that it goes on; its end."""
    async with supervised(make_config(url, engine), store, supervisor) as stop:
        await supervisor.hear("READY=1")
        await supervisor.hear("WATCHDOG=1")
        async with engine.serve():
            await supervisor.hear("STATUS=listening to 1 engine, nothing waits")
            stop.requested.set()
            await supervisor.hear("STOPPING=1")
    told = [message for message in supervisor.heard if "READY=1" in message]
    assert told == ["READY=1\nSTATUS=listening to 0 of 1 engine (not to engine-0), nothing waits"]
    assert not any("WATCHDOG" in message for message in supervisor.rest())


async def test_a_reload_is_told(
    engine: ScriptedEngine, url: str, store: Path, supervisor: Supervisor
) -> None:
    """Its beginning and its end, whatever comes of it; then what relay does."""
    config, outcomes = make_config(url, engine), [True, False, True]

    def read() -> Config:
        if outcomes.pop():
            return config
        raise ConfigError([])

    source = ConfigSource(read)
    async with supervised(config, store, supervisor, source):
        await supervisor.hear("READY=1")
        while outcomes:
            source.requested.set()
            await supervisor.hear("RELOADING=1")
            await supervisor.hear("READY=1")
        await supervisor.hear("WATCHDOG=1")


async def test_a_dead_webhook_and_a_dead_engine_stop_no_beat(
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    supervisor: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a delivery that gets no answer and no engine there, relay still makes progress."""
    monkeypatch.setattr(health, "STALLED_AFTER_S", 0.2)
    webhook.hold()
    engine.emit_deaths("a")
    async with supervised(make_config(url, engine), store, supervisor):
        async with engine.serve():
            await webhook.wait_for(lambda summaries: summaries == ["a"])
        beats_s = 0.0
        while beats_s < 0.5:  # longer than a round may take
            await supervisor.hear("WATCHDOG=1")
            beats_s += WATCHDOG_S / 3
        webhook.release()


async def test_a_lane_that_hangs_stops_the_beat(
    engine: ScriptedEngine,
    url: str,
    store: Path,
    supervisor: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once its round lasts too long it is named in the log, and no progress is told."""
    monkeypatch.setattr(health, "STALLED_AFTER_S", 0.1)
    hung, free = asyncio.Event(), asyncio.Event()

    async def hang(_: object) -> None:
        hung.set()
        await free.wait()

    monkeypatch.setattr("relay.delivery.worker.DeliveryWorker._expire_old", hang)
    with capture_logs() as logs:
        async with supervised(make_config(url, engine), store, supervisor):
            await hung.wait()
            async with asyncio.timeout(TIMEOUT_S):
                while not (stuck := [it for it in logs if it["event"] == "relay.stuck"]):
                    await asyncio.sleep(0.01)
            supervisor.rest()
            async with asyncio.timeout(TIMEOUT_S):
                while len([it for it in logs if it["event"] == "relay.stuck"]) < len(stuck) + 3:
                    await asyncio.sleep(0.01)
            assert supervisor.rest() == []
            free.set()
            await supervisor.hear("WATCHDOG=1")
    assert stuck[0]["loops"][0].startswith("destination hook: nothing has moved for ")


async def test_ready_is_repeated_until_there_is_room(supervisor: Supervisor) -> None:
    """A manager that does not read at the moment gets it later."""
    vitals = StatusSnapshot({}, {}, {}, StoreStatus(), {}, 0, ReloadStatus(0), 0)

    async def pending() -> dict[str, int]:
        return {}

    manager = SystemdNotifier(supervisor.environ)
    while manager.notify(STATUS="x" * 4000):
        pass
    async with asyncio.TaskGroup() as tasks:
        attending = tasks.create_task(
            notify_loop(manager, lambda: vitals, lambda: LivenessReport({}, True, 0.0), pending)
        )
        await supervisor.hear("READY=1")
        attending.cancel()
    manager.close()
