"""Many containers of many projects fail at once: people get a few messages, programs everything."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from relay.destinations.catalog import parse_config
from tests.component.daemon import running_daemon
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import ChangeSignal
from tests.support.loopback import on_loopback

CONTAINERS = 600
MESSAGES_MAX = 10
"""The budget of a destination; a slow machine needs more than one message for a flood."""
INCIDENTS_MAX = 100
"""How many incidents a message lists."""

CONFIG = """
engines: {{here: {{url: "unix://{socket}", start_from: oldest}}}}
reconcile: {{every: 0s, on_reconnect: false}}
destinations:
  audit: {{type: http, url: "{url}/audit", batch: {{max: 100, wait: 50ms}}}}
  ops: {{type: http, url: "{url}/ops", notify: incidents, group_wait: 2s}}
routes:
  - {{name: died, match: {{type: container, action: die, cause: crashed}}, to: [audit, ops]}}
"""


class Receiver:
    """What both destinations got."""

    def __init__(self) -> None:
        self.audit: list[dict[str, Any]] = []
        self.ops: list[dict[str, Any]] = []
        self.changes = ChangeSignal()

    @property
    def reported(self) -> int:
        """How many events the messages about incidents stand for."""
        return sum(message["count"] for message in self.ops)

    def make_app(self) -> web.Application:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/{destination}", self._receive)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.json()
        if request.match_info["destination"] == "audit":
            self.audit += body
        else:
            self.ops.append(body)
        self.changes.notify()
        return web.Response()


def crash(engine: ScriptedEngine, names: Sequence[str]) -> None:
    """Containers die together, each of a project of its own."""
    lines = []
    for name in names:
        engine.run(name)
        engine.die(name, exit_code=3)
        attributes = {"exitCode": "3", "com.docker.compose.project": name}
        lines.append(engine.record(name, action="die", attributes=attributes))
    engine.send(*lines)


async def test_a_flood_makes_few_messages(engine: ScriptedEngine, tmp_path: Path) -> None:
    """Every death is counted once; a message lists 100 and says how many more there are (A18)."""
    receiver = Receiver()
    names = [f"c{number}" for number in range(CONTAINERS)]
    async with engine.serve(), on_loopback(receiver.make_app()) as url:
        text = CONFIG.format(url=url, socket=engine.socket)
        config = parse_config(text, file="test", environ={}, folder=tmp_path)
        async with running_daemon(config, tmp_path / "relay.db"):
            await engine.changes.wait_for(lambda: len(engine.streams) == 1)
            crash(engine, names)
            async with asyncio.timeout(60):
                while receiver.reported < CONTAINERS or len(receiver.audit) < CONTAINERS:
                    await asyncio.sleep(0.05)
    assert sorted(it["events"][0]["actor"]["name"] for it in receiver.audit) == sorted(names)
    assert receiver.reported == CONTAINERS
    assert len(receiver.ops) <= MESSAGES_MAX
    for message in receiver.ops:
        assert len(message["incidents"]) == min(INCIDENTS_MAX, message["count"])
        assert message["more"] == message["count"] - len(message["incidents"])
        assert len(message["events"]) <= 10
