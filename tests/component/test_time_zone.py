"""A daemon in a time zone, and a reload that changes it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from relay.admin.operations import DAEMON_INFO
from tests.component.daemon_with_config import DaemonWithConfig
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.support.loopback import on_loopback


@asynccontextmanager
async def chat() -> AsyncIterator[tuple[str, asyncio.Queue[dict[str, Any]]]]:
    """Serve a chat on a free port; yields its URL and the messages that it gets."""
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        await messages.put(await request.json())
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_post("/hook", receive)
    async with on_loopback(app) as url:
        yield f"{url}/hook", messages


async def test_a_reload_changes_the_zone_of_the_next_message(tmp_path: Path) -> None:
    """Of messages, templates for people, and of what commands show."""
    engine = ScriptedEngine(tmp_path / "engine.sock")
    daemon = DaemonWithConfig(tmp_path, engine)

    async def find_times(container: str) -> tuple[str, str]:
        engine.emit_deaths(container)
        async with asyncio.timeout(TIMEOUT_S):
            message = await messages.get()
        (time,) = (it for it in message["attachments"][0]["fields"] if it["title"] == "Time")
        return time["value"], message["text"]

    async with engine.serve(), chat() as (url, messages):
        ops = {"type": "mattermost", "url": url, "notify": "events", "title": "{{ event.time }}"}
        parts: dict[str, Any] = {"destinations": {"ops": ops}}
        async with daemon.running(**parts):
            value, title = await find_times("a")
            assert value.endswith("Z`")
            assert "Z" in title
            assert await daemon.reload(**parts, time_zone="Asia/Kathmandu") == ["time_zone changed"]
            value, title = await find_times("b")
            assert value.endswith(" UTC+05:45`")
            assert "+05:45" in title
            async with daemon.operations() as operations:
                assert (await operations.call(DAEMON_INFO, None)).time_zone == "Asia/Kathmandu"
            await daemon.reload(**parts)
            value, title = await find_times("c")
            assert value.endswith("Z`")
