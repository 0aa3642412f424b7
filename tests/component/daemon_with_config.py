"""All of relay with a configuration file that it can be told to read again."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from relay.admin.client import RemoteOperations, connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.config import Config, load
from relay.core.shutdown import Shutdown
from relay.daemon import run
from relay.daemon.reload import ConfigSource
from relay.delivery.client import ConsoleOutput
from relay.store.outbox import open_outbox
from relay.store.records import Selection
from tests.component.ingest import QUICK
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S

CONTAINERS = {"name": "containers", "match": {"type": "container"}}
ConfigParts = dict[str, Any]
"""Of a configuration."""


def http_destination(url: str, **more: object) -> ConfigParts:
    return {"type": "http", "url": url, **more}


def engine_config(engine: ScriptedEngine, **more: object) -> ConfigParts:
    """As an engine that is heard from its oldest event on, and asked nothing beside."""
    return {"url": f"unix://{engine.socket}", "start_from": "oldest", **more}


class DaemonWithConfig:
    """One relay, its file and its store."""

    def __init__(self, folder: Path, engine: ScriptedEngine) -> None:
        self.store = folder / "relay.db"
        self.file = folder / "config.yaml"
        self.stop = Shutdown()
        self.environ: dict[str, str] = {"HOME": "/"}
        self.source: ConfigSource | None = ConfigSource(self._read)
        """None for a relay without a file."""
        self.read: Callable[[], Config] = self._load
        """How the file is read."""
        self._engine = engine

    def write(self, **parts: Any) -> None:
        """Let the file say this; one engine, and all about containers to all destinations, where
        it says nothing of them."""
        usual = {
            "engines": {"here": engine_config(self._engine)},
            "reconcile": {"every": "0s", "on_reconnect": False},
            "routes": [{**CONTAINERS, "to": [*parts["destinations"]]}],
        }
        self.file.write_text(yaml.safe_dump({**usual, **parts}, sort_keys=False))

    async def reload(self, **parts: Any) -> Sequence[str]:
        """Let the file say this, and have it read again."""
        self.write(**parts)
        async with self.operations() as operations:
            return await operations.reload()

    def operations(self) -> AbstractAsyncContextManager[RemoteOperations]:
        """What commands ask."""
        return connect_to_daemon(socket_path(self.store))

    @asynccontextmanager
    async def running(self, **parts: Any) -> AsyncIterator[Shutdown]:
        """Run relay with a file that says this; afterwards stop it and wait until it has."""
        if parts:
            self.write(**parts)
        environment = run.Environment(
            self.environ, ConsoleOutput(io.BytesIO(), colour=False), reconnect_policy=QUICK
        )
        config = self._load()
        async with asyncio.TaskGroup() as tasks:
            running = run.run_daemon(config, self.store, environment, self.stop, self.source)
            relay = tasks.create_task(running)
            await self._wait_until_listening(relay)
            yield self.stop
            self.stop.requested.set()
            async with asyncio.timeout(TIMEOUT_S):
                await asyncio.wait([relay])

    def request_reload(self) -> None:
        """Have the file read again, as SIGHUP does."""
        assert self.source is not None
        self.source.requested.set()

    async def wait_until_settled(self) -> None:
        """Return once nothing waits for any destination."""
        async with asyncio.timeout(TIMEOUT_S), self.operations() as operations:
            while await operations.pending():
                await asyncio.sleep(0.005)

    async def dead_letters(self) -> list[tuple[str, str, str]]:
        """Of relays that are no more: the destination, the container and the reason of each dead
        letter, the oldest first."""
        async with open_outbox(self.store) as outbox:
            found = await outbox.dead_letters(Selection(), 1000)
        return [
            (each.destination, str(each.notification.events[0].actor.name), each.reason)
            for each in reversed(found)
        ]

    async def _wait_until_listening(self, relay: asyncio.Task[None]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not (socket_path(self.store).exists() or relay.done()):
                await asyncio.sleep(0.005)

    def _read(self) -> Config:
        return self.read()

    def _load(self) -> Config:
        return load(self.file, self.environ)


async def scrape_metrics(admin: Path) -> dict[str, float]:
    """The samples that relay shows at this socket."""
    connector = aiohttp.UnixConnector(str(admin))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/metrics") as answer,
    ):
        text = await answer.text()
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in samples}
