"""Runs a whole daemon between scripted engines and a webhook."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from relay.config import Config
from relay.core.tasks import Shutdown
from relay.daemon import run
from relay.delivery.client import ConsoleOutput
from relay.destinations.catalog import parse_config
from tests.component.ingest import QUICK
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S

CONTAINER_ROUTE = "{name: containers, match: {type: container}, to: hook}"
SELF_EVENT_ROUTE = "{name: own, match: {type: relay}, to: hook}"


def make_config(
    url: str, *engines: ScriptedEngine, routes: str = CONTAINER_ROUTE, start_from: str = "oldest"
) -> Config:
    """Engines ``engine-0`` and so on, one destination, the routes."""
    listed = "\n".join(
        f'  engine-{number}: {{url: "unix://{engine.socket}", start_from: {start_from}}}'
        for number, engine in enumerate(engines)
    )
    text = f"""
engines:
{listed}
destinations:
  hook: {{type: http, url: "{url}"}}
routes: [{routes}]
"""
    return parse_config(text, file="test", environ={}, folder=Path("/"))


@asynccontextmanager
async def running_daemon(config: Config, store: Path) -> AsyncIterator[Shutdown]:
    """Run relay as long as the context lasts."""
    stop = Shutdown()
    environment = run.Environment(
        {"HOME": "/"}, ConsoleOutput(io.BytesIO(), colour=False), reconnect_policy=QUICK
    )
    async with asyncio.TaskGroup() as tasks:
        relay = tasks.create_task(run.run_daemon(config, store, environment, stop), name="daemon")
        yield stop
        stop.requested.set()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.wait([relay])
