from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from relay.admin.client import remote_desk
from relay.admin.control_socket import control, socket_path
from relay.admin.operations import Desk, OwnDesk, Running
from relay.admin.tap import Tap
from relay.delivery import acks
from relay.ingest.docker import reconciler
from relay.store.outbox import SqliteOutbox, open_outbox
from tests.component.admin_samples import CONDITIONS, NOW_NS, REPORT
from tests.component.delivery_worker import Clock, Hours
from tests.component.scripted_engine import ScriptedEngine
from tests.component.webhook import Webhook
from tests.support.idle import idle


@pytest.fixture
def engine(tmp_path: Path) -> ScriptedEngine:
    """An engine that is not there yet."""
    return ScriptedEngine(tmp_path / "engine.sock")


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scripted engine has no event on its way that a test did not send."""
    monkeypatch.setattr(reconciler, "GRACE_S", 0.001)


@pytest.fixture(autouse=True)
def no_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """What became of an attempt waits for nothing on its way into the store."""
    monkeypatch.setattr(acks, "GATHER_S", 0)


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be looked at as often as a test likes."""
    monkeypatch.setattr(reconciler, "APART_S", 0)
    monkeypatch.setattr(reconciler, "APART_RECONNECTED_S", 0)


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
async def outbox() -> AsyncIterator[SqliteOutbox]:
    async with open_outbox(None) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hours(outbox: SqliteOutbox, clock: Clock) -> Hours:
    return Hours(outbox, clock)


@pytest.fixture
def enabled() -> list[str]:
    """The destinations that were enabled."""
    return []


@pytest.fixture
def own(outbox: SqliteOutbox, enabled: list[str]) -> OwnDesk:
    """The desk of a relay that runs, with two destinations, one of them stopped."""

    def enable(name: str) -> bool:
        enabled.append(name)
        return CONDITIONS[name].stopped

    async def reload() -> Sequence[str]:
        return ["routes"]

    running = Running(lambda: CONDITIONS, enable, lambda: REPORT, reload)
    return OwnDesk(outbox, lambda: CONDITIONS, lambda: NOW_NS, running)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return socket_path(tmp_path / "relay.db")


@pytest_asyncio.fixture(params=["own", "remote"])
async def desk(request: pytest.FixtureRequest, own: OwnDesk, place: Path) -> AsyncIterator[Desk]:
    """The desk, directly and over the socket."""
    if request.param == "own":
        yield own
    else:
        async with control(place, own, Tap(), idle), remote_desk(place) as theirs:
            yield theirs
