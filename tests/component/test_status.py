"""The status of a whole daemon, over its control socket."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from relay import __version__
from relay.admin.client import connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.core.status import DaemonStatus, EngineStatus, StreamStatus
from tests.component.daemon import make_config, running_daemon
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.component.webhook import Webhook


async def wait_for_status(store: Path, holds: Callable[[DaemonStatus], bool]) -> DaemonStatus:
    """Return the status once the condition holds for it."""
    control_socket = socket_path(store)
    async with asyncio.timeout(TIMEOUT_S):
        while not control_socket.exists():
            await asyncio.sleep(0.001)
        async with connect_to_daemon(control_socket) as operations:
            while not holds(found := await operations.daemon_status()):
                await asyncio.sleep(0.001)
    return found


async def test_streams(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, tmp_path: Path
) -> None:
    """The status shows which streams are open, their positions, and how often they reconnected."""
    away = ScriptedEngine(tmp_path / "away.sock")
    engine.emit_deaths("a")
    async with engine.serve(), running_daemon(make_config(url, engine, away), store):
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        connected = EngineStatus(
            engine.last_event_ns(), StreamStatus(is_open=True, behind=0, gaps=0, reconnects=0)
        )
        found = await wait_for_status(store, lambda status: status.engines["engine-0"] == connected)
        never_connected = EngineStatus(
            None, StreamStatus(is_open=False, behind=0, gaps=0, reconnects=0)
        )
        assert found.engines["engine-1"] == never_connected
        assert (found.version, found.store_failing) == (__version__, None)
        engine.streams[0].end()

        def is_reconnected(status: DaemonStatus) -> bool:
            stream = status.engines["engine-0"].stream
            return stream is not None and stream.is_open and stream.reconnects == 1

        await wait_for_status(store, is_reconnected)
