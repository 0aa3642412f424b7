"""What a whole relay says of itself over its socket."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from relay import __version__
from relay.admin.client import remote_desk
from relay.admin.control_socket import socket_path
from relay.core.status import EngineReport, Listening, Report
from tests.component.daemon import configured, running
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import PATIENCE_S
from tests.component.webhook import Webhook


async def reported(store: Path, holds: Callable[[Report], bool]) -> Report:
    """What is reported once it holds of it."""
    place = socket_path(store)
    async with asyncio.timeout(PATIENCE_S):
        while not place.exists():
            await asyncio.sleep(0.001)
        async with remote_desk(place) as desk:
            while not holds(found := await desk.report()):
                await asyncio.sleep(0.001)
    return found


async def test_streams(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, tmp_path: Path
) -> None:
    """Which are open, how far they were taken in, and how often they were opened again."""
    away = ScriptedEngine(tmp_path / "away.sock")
    engine.happen("a")
    async with engine.serving(), running(configured(url, engine, away), store):
        await webhook.wait_for(lambda whats: whats == ["a"])
        heard = EngineReport(
            engine.last_ns(), Listening(is_open=True, behind=0, gaps=0, reconnects=0)
        )
        found = await reported(store, lambda it: it.engines["engine-0"] == heard)
        unheard = EngineReport(None, Listening(is_open=False, behind=0, gaps=0, reconnects=0))
        assert found.engines["engine-1"] == unheard
        assert (found.version, found.store_failing) == (__version__, None)
        engine.streams[0].end()

        def again(report: Report) -> bool:
            listening = report.engines["engine-0"].listening
            return listening is not None and listening.is_open and listening.reconnects == 1

        await reported(store, again)
