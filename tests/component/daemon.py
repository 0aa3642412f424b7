"""All of relay between scripted engines and a webhook."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from relay.config import Config, parse
from relay.core.shutdown import Stop
from relay.daemon import run
from relay.delivery.client import Terminal
from tests.component.ingest import QUICK
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import PATIENCE_S

CONTAINERS = "{name: containers, match: {type: container}, to: hook}"
OWN = "{name: own, match: {type: relay}, to: hook}"


def configured(
    url: str, *engines: ScriptedEngine, routes: str = CONTAINERS, start_from: str = "oldest"
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
    return parse(text, file="test", environ={}, folder=Path("/"))


@asynccontextmanager
async def running(config: Config, store: Path) -> AsyncIterator[Stop]:
    """Run relay; afterwards tell it to stop and wait until it has."""
    stop = Stop()
    world = run.Surroundings({"HOME": "/"}, Terminal(io.BytesIO(), colour=False), pace=QUICK)
    async with asyncio.TaskGroup() as tasks:
        relay = tasks.create_task(run.run(config, store, world, stop))
        yield stop
        stop.asked.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait([relay])
