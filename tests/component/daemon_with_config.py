"""Runs a whole daemon with a configuration file that it can reload."""

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
from relay.config import Config, LogLevel
from relay.core.tasks import Shutdown
from relay.daemon import run
from relay.daemon.reload import ConfigSource
from relay.delivery.client import ConsoleOutput
from relay.destinations.catalog import load_config
from relay.store.outbox import open_outbox
from relay.store.records import Selection
from tests.component.ingest import QUICK
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S

CONTAINERS = {"name": "containers", "match": {"type": "container"}}
ConfigParts = dict[str, Any]
"""Sections of a configuration."""


def http_destination(url: str, **more: object) -> ConfigParts:
    return {"type": "http", "url": url, **more}


def engine_config(engine: ScriptedEngine, **more: object) -> ConfigParts:
    """Return an engine's configuration: its events come from the oldest one on."""
    return {"url": f"unix://{engine.socket}", "start_from": "oldest", **more}


class DaemonWithConfig:
    """A daemon, its configuration file and its store."""

    def __init__(self, folder: Path, engine: ScriptedEngine) -> None:
        self.store = folder / "relay.db"
        self.file = folder / "config.yaml"
        self.stop = Shutdown()
        self.environ: dict[str, str] = {"HOME": "/"}
        self.source: ConfigSource | None = ConfigSource(self._read)
        """None for a daemon without a file."""
        self.read: Callable[[], Config] = self._load
        """Reads the file; a test can replace it."""
        self.log_levels: list[LogLevel] = []
        """The levels that reloads have set."""
        self._engine = engine

    def write(self, **parts: Any) -> None:
        """Write the file.

        The default is one engine, and a route for all container events to all destinations.
        """
        usual = {
            "engines": {"here": engine_config(self._engine)},
            "reconcile": {"every": "0s", "on_reconnect": False},
            "routes": [{**CONTAINERS, "to": [*parts["destinations"]]}],
        }
        self.file.write_text(yaml.safe_dump({**usual, **parts}, sort_keys=False))

    async def reload(self, **parts: Any) -> Sequence[str]:
        """Write the file and reload it."""
        self.write(**parts)
        async with self.operations() as operations:
            return await operations.reload()

    def operations(self) -> AbstractAsyncContextManager[RemoteOperations]:
        """Connect as commands do."""
        return connect_to_daemon(socket_path(self.store))

    @asynccontextmanager
    async def running(self, **parts: Any) -> AsyncIterator[Shutdown]:
        """Write the file and run relay as long as the context lasts."""
        if parts:
            self.write(**parts)
        environment = run.Environment(
            self.environ,
            ConsoleOutput(io.BytesIO(), colour=False),
            reconnect_policy=QUICK,
            set_log_level=self.log_levels.append,
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
        """Request a reload, as SIGHUP does."""
        assert self.source is not None
        self.source.requested.set()

    async def wait_until_settled(self) -> None:
        """Return once no delivery waits."""
        await self.wait_until_stored(0)

    async def wait_until_stored(self, count: int) -> None:
        """Return once this many deliveries wait."""
        async with asyncio.timeout(TIMEOUT_S), self.operations() as operations:
            while sum((await operations.pending()).values()) != count:
                await asyncio.sleep(0.005)

    async def dead_letters(self) -> list[tuple[str, str, str]]:
        """Return the destination, container and reason of each dead letter, oldest first.

        The daemon must have ended.
        """
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
        return load_config(self.file, self.environ)


async def scrape_metrics(admin: Path) -> dict[str, float]:
    """Return the samples that relay shows at this socket."""
    connector = aiohttp.UnixConnector(str(admin))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/metrics") as answer,
    ):
        text = await answer.text()
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in samples}
