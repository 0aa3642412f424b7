"""One engine's sessions: what happens if they fail again and again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from relay.ingest import runner
from relay.ingest.runner import EngineRunner

TIMEOUT_S = 10.0


class FakeSession:
    """A session that fails, unless its engine is well."""

    def __init__(self, engine: "FakeEngine") -> None:
        self._engine = engine
        self._ended = asyncio.Event()
        self.status = SimpleNamespace()

    @property
    def is_connected(self) -> bool:
        return self._engine.is_connected

    def start(self, tasks: asyncio.TaskGroup, _: object) -> None:
        tasks.create_task(self._run())

    async def _run(self) -> None:
        if not self._engine.is_well:
            raise OverflowError("too large")
        await self._ended.wait()

    def end(self) -> None:
        self._ended.set()


class FakeEngine:
    """Counts its sessions, and records what is emitted about it."""

    def __init__(self) -> None:
        self.is_well = False
        self.is_connected = True
        self.sessions = 0
        self.emitted: list[tuple[str, str, Mapping[str, str]]] = []

    async def open(self, *_: object) -> FakeSession:
        self.sessions += 1
        return FakeSession(self)

    def on_change(self, action: str, engine: str, attributes: Mapping[str, str]) -> None:
        self.emitted.append((action, engine, attributes))

    def actions(self) -> list[str]:
        return [action for action, _, _ in self.emitted]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Run the engine's sessions, with short waits, as long as the context lasts."""
    monkeypatch.setattr(runner, "RESTART_INITIAL_S", 0.001)
    monkeypatch.setattr(runner, "RESTART_MAX_S", 0.05)
    context: Any = SimpleNamespace(on_commit=None, on_engine_change=engine.on_change)
    spec: Any = engine
    engine_runner = EngineRunner("edge", spec, context)
    task = asyncio.create_task(engine_runner.run())
    yield
    engine_runner.stop()
    async with asyncio.timeout(TIMEOUT_S):
        await task


async def test_sessions_that_fail_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is lost once, and back once a session has lasted; then it can be lost again."""
    engine = FakeEngine()
    async with running(engine, monkeypatch):
        await until(lambda: engine.sessions > 3)
        reason = "its events cannot be processed (OverflowError); the log has the details"
        assert engine.emitted == [("engine_lost", "edge", {"reason": reason})]
        engine.is_well = True
        await until(lambda: engine.actions() == ["engine_lost", "engine_back"])
    assert float(engine.emitted[-1][2]["down_s"]) > 0


async def test_a_session_without_a_connection_is_no_recovery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It lasts because it receives nothing."""
    engine = FakeEngine()
    async with running(engine, monkeypatch):
        await until(lambda: engine.sessions > 1)
        engine.is_well, engine.is_connected = True, False
        await asyncio.sleep(0.2)
        assert engine.actions() == ["engine_lost"]
        engine.is_connected = True
        await until(lambda: engine.actions() == ["engine_lost", "engine_back"])


async def test_sessions_that_do_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is emitted about them."""
    engine = FakeEngine()
    engine.is_well = True
    async with running(engine, monkeypatch):
        await asyncio.sleep(0.2)
    assert (engine.sessions, engine.emitted) == (1, [])
