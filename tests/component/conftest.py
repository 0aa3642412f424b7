from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from relay.admin.client import connect_to_daemon
from relay.admin.control_socket import serve_control_socket, socket_path
from relay.admin.operations import AdminOperations, DaemonHooks, LocalOperations
from relay.admin.tap import EventTap
from relay.incidents.incidents import without_incidents
from relay.ingest.docker import reconciler
from relay.store import acks
from relay.store.outbox import Outbox, open_outbox
from tests.component.admin_samples import DAEMON_STATUS, DESTINATION_STATUS, NOW_NS
from tests.component.daemon_with_config import DaemonWithConfig
from tests.component.delivery_worker import Clock, VirtualTime
from tests.component.scripted_engine import ScriptedEngine
from tests.component.webhook import Webhook
from tests.support.idle import idle


@pytest.fixture
def engine(tmp_path: Path) -> ScriptedEngine:
    """An engine that is not there yet."""
    return ScriptedEngine(tmp_path / "engine.sock")


@pytest_asyncio.fixture
async def daemon(tmp_path: Path, engine: ScriptedEngine) -> AsyncIterator[DaemonWithConfig]:
    """A daemon whose engine can be reached."""
    async with engine.serve():
        yield DaemonWithConfig(tmp_path, engine)


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event is on its way from a scripted engine that a test did not send."""
    monkeypatch.setattr(reconciler, "EVENT_GRACE_S", 0.001)


@pytest.fixture(autouse=True)
def no_ack_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome of an attempt is committed without waiting for others."""
    monkeypatch.setattr(acks, "ACK_LINGER_S", 0)


@pytest.fixture(autouse=True)
def no_reconcile_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """The containers can be reconciled as often as a test likes."""
    monkeypatch.setattr(reconciler, "MIN_INTERVAL_S", 0)
    monkeypatch.setattr(reconciler, "MIN_INTERVAL_RECONNECTED_S", 0)


@pytest.fixture
async def webhook() -> Webhook:
    return Webhook()


@pytest.fixture
async def url(webhook: Webhook) -> AsyncIterator[str]:
    """Where the webhook listens."""
    async with webhook.serving() as url:
        yield url


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
async def outbox() -> AsyncIterator[Outbox]:
    async with open_outbox(None) as outbox:
        yield outbox


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def virtual_time(outbox: Outbox, clock: Clock) -> VirtualTime:
    """Moves the clock of the destination ``hook``."""
    return VirtualTime(outbox, clock)


@pytest.fixture
def enabled() -> list[str]:
    """The destinations that were enabled."""
    return []


@pytest.fixture
def local_operations(outbox: Outbox, enabled: list[str]) -> LocalOperations:
    """The operations of a daemon with two destinations, one of them stopped."""

    def enable(name: str) -> bool:
        enabled.append(name)
        return DESTINATION_STATUS[name].stopped

    async def reload() -> Sequence[str]:
        return ["routes"]

    hooks = DaemonHooks(
        lambda: DESTINATION_STATUS, enable, lambda: DAEMON_STATUS, reload, without_incidents()
    )
    return LocalOperations(outbox, lambda: DESTINATION_STATUS, lambda: NOW_NS, hooks)


@pytest.fixture
def tap() -> EventTap:
    return EventTap()


@pytest.fixture
def control_socket(tmp_path: Path) -> Path:
    return socket_path(tmp_path / "relay.db")


@pytest_asyncio.fixture(params=["local", "remote"])
async def operations(
    request: pytest.FixtureRequest, local_operations: LocalOperations, control_socket: Path
) -> AsyncIterator[AdminOperations]:
    """The operations, performed locally and over the control socket."""
    if request.param == "local":
        yield local_operations
    else:
        async with (
            serve_control_socket(control_socket, local_operations, EventTap(), idle),
            connect_to_daemon(control_socket) as remote_operations,
        ):
            yield remote_operations
