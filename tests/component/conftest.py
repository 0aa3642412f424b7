from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.engine import reconcile
from tests.component.scripted_engine import ScriptedEngine
from tests.component.webhook import Webhook


@pytest.fixture
def engine(tmp_path: Path) -> ScriptedEngine:
    """An engine that is not there yet."""
    return ScriptedEngine(tmp_path / "engine.sock")


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scripted engine has no event on its way that a test did not send."""
    monkeypatch.setattr(reconcile, "GRACE_S", 0.001)


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be looked at as often as a test likes."""
    monkeypatch.setattr(reconcile, "APART_S", 0)
    monkeypatch.setattr(reconcile, "APART_RECONNECTED_S", 0)


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
