"""A fleet in small: NATS servers, relays at the edges, hubs, and the receiver of the hubs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from relay.nats.connection import NatsConnection
from relay.nats.failure import RequestError
from relay.nats.jetstream import (
    ConsumerConfig,
    ConsumerInfo,
    JetStreamError,
    StreamConfig,
    StreamInfo,
    consumer_info,
    create_consumer,
    create_stream,
    stream_info,
)
from relay.nats.subjects import ALL_EVENTS
from tests.component.wait import ChangeSignal
from tests.support.fleet_ledger import Ledger
from tests.support.fleet_relays import START_TIMEOUT_S, Daemon, Edge
from tests.support.loopback import on_loopback
from tests.support.nats_keys import client_keys
from tests.support.nats_server import NatsServer

STREAM, CONSUMER, GROUP = "RELAY", "HUB", "hub"
STALL_S = 30.0
"""A fleet is stuck if nothing arrives for so long although something is missing."""
QUICK_RETRY = {"initial": "100ms", "max": "1s"}


def quiet_logs() -> None:
    """Log nothing in this process: a tool prints figures only."""
    # asyncio warns about streams that a relay closed.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def second_ns(seconds: float) -> int:
    """Return a duration as JetStream takes it."""
    return int(seconds * 1e9)


def stream_config(**given: Any) -> StreamConfig:
    """Return the stream of a fleet; ``given`` replaces what it has."""
    usual = {
        "name": STREAM,
        "subjects": [ALL_EVENTS],
        "retention": "workqueue",
        "discard": "new",
        "duplicate_window": second_ns(600),
        "compression": "s2",
    }
    return StreamConfig(**{**usual, **given})


def consumer_config(**given: Any) -> ConsumerConfig:
    """Return the hub's consumer; its times are shorter than those of a real fleet."""
    usual = {
        "durable_name": CONSUMER,
        "ack_policy": "explicit",
        "ack_wait": second_ns(2),
        "max_deliver": -1,
        "max_ack_pending": 1000,
        "priority_groups": [GROUP],
        "priority_policy": "pinned_client",
        "priority_timeout": second_ns(4),
    }
    return ConsumerConfig(**{**usual, **given})


@dataclass
class Hook:
    """What reached the receiver, and how it answers."""

    ledger: Ledger
    lives: Callable[[str], int]
    """Returns the number of a hub's current life."""
    status: int = 200
    documents: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """All documents that are not about a numbered event, each with the hub that sent it."""
    changes: ChangeSignal = field(default_factory=ChangeSignal)

    def application(self) -> web.Application:
        """Return the application to serve: ``/HUB`` for each hub, any path below it."""
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/{hub}", self._receive)
        app.router.add_post("/{hub}/{path:.*}", self._receive)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.Response(status=self.status)
        hub, document = request.match_info["hub"], await request.json()
        events: list[dict[str, Any]] = document.get("events", [])
        if (number := _number_of(events)) is not None:
            event = events[0]
            key = event["host"], event["actor"]["name"], number
            self.ledger.arrive(hub, self.lives(hub), key, document["id"])
        else:
            self.documents.append((hub, document))
        self.changes.notify()
        return web.Response()

    def events(self, action: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """Return the events without a number that arrived, by their fields."""
        found = [event for _, it in self.documents for event in it.get("events", ())]
        return [
            event
            for event in found
            if (action is None or event["action"] == action)
            and all(event.get(key) == value for key, value in fields.items())
        ]

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float = STALL_S) -> None:
        """Wait until a condition holds after something arrived. Raises TimeoutError."""
        await self.changes.wait_for(condition, timeout_s)


def _number_of(events: Sequence[dict[str, Any]]) -> int | None:
    """Return the number of the only event; None if it has none, or there are more."""
    if len(events) != 1:
        return None
    number = events[0]["actor"]["attributes"].get("number")
    return None if number is None else int(number)


@dataclass
class Fleet:
    """Servers, edges and hubs that run."""

    folder: Path
    servers: Sequence[NatsServer]
    url: str
    """Where the receiver listens."""
    ledger: Ledger
    hook: Hook
    admin_keys: dict[str, Any] = field(default_factory=dict)
    """The login of the administrator; none by default."""
    edges: dict[str, Edge] = field(default_factory=dict)
    hubs: dict[str, Daemon] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def nats_keys(self) -> dict[str, object]:
        """The keys of a connection without a login."""
        return {"url": [server.url for server in self.servers], "stream": STREAM}

    def edge_config(self, host: str, **keys: object) -> dict[str, Any]:
        """Return the destination and routes of an edge; ``keys`` are added to the destination."""
        fleet = {"type": "nats", **self.nats_keys, "as": host, "retry": QUICK_RETRY, **keys}
        return {
            "destinations": {"fleet": fleet},
            "routes": [
                {"name": "containers", "match": {"type": "container"}, "to": "fleet"},
                {"name": "own", "match": {"type": "relay"}, "to": "fleet"},
            ],
        }

    def hub_config(self, name: str = "hub", **keys: object) -> dict[str, Any]:
        """Return the engine, destination and routes of a hub; ``keys`` are added to the engine."""
        engine = {"type": "nats", **self.nats_keys, "consumer": CONSUMER, **keys}
        hook = {"type": "http", "url": f"{self.url}/{name}", "retry": QUICK_RETRY}
        return {
            "engines": {"fleet": engine},
            "destinations": {"hook": hook},
            "routes": [
                {"name": "containers", "match": {"type": "container"}, "to": "hook"},
                {"name": "own", "match": {"type": "relay"}, "to": "hook"},
            ],
        }

    def make_edge(
        self,
        host: str,
        config: Mapping[str, object] | None = None,
        *,
        engine_name: str = "local",
        **keys: object,
    ) -> Edge:
        """Make an edge without starting it.

        ``config`` replaces sections of its configuration, ``keys`` are those of its destination.
        """
        parts = {**self.edge_config(host, **keys), **(config or {})}
        self.edges[host] = Edge(self.folder / host, host, self.ledger, parts, engine_name)
        return self.edges[host]

    async def add_edge(
        self, host: str, config: Mapping[str, object] | None = None, **given: Any
    ) -> Edge:
        """Make an edge, and start it; see `make_edge`."""
        made = self.make_edge(host, config, **given)
        await self.stack.enter_async_context(made.engine.serve())
        self.stack.push_async_callback(made.kill)
        await made.start()
        return made

    def make_hub(
        self, name: str = "hub", config: Mapping[str, object] | None = None, **keys: object
    ) -> Daemon:
        """Make a hub without starting it.

        ``config`` replaces sections of its configuration, ``keys`` are those of its engine.
        """
        parts = {**self.hub_config(name, **keys), **(config or {})}
        self.hubs[name] = Daemon(self.folder / name, parts)
        return self.hubs[name]

    async def add_hub(
        self, name: str = "hub", config: Mapping[str, object] | None = None, **keys: object
    ) -> Daemon:
        """Make a hub, and start it; see `make_hub`."""
        made = self.make_hub(name, config, **keys)
        self.stack.push_async_callback(made.kill)
        await made.start()
        return made

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[NatsConnection]:
        """Connect as whoever administers the servers does."""
        keys = client_keys(*self.servers, name="admin", **self.admin_keys)
        connection = NatsConnection("admin", keys)
        await connection.open()
        try:
            assert await connection.wait_open(START_TIMEOUT_S), connection.problem
            yield connection
        finally:
            await connection.close()

    async def make_stream(
        self, stream: Mapping[str, Any] | None = None, consumer: Mapping[str, Any] | None = None
    ) -> None:
        """Make the stream and the consumer, as soon as the servers have elected a leader."""
        replicas = {"num_replicas": len(self.servers)}
        async with self.admin() as admin, asyncio.timeout(START_TIMEOUT_S):
            while True:
                try:
                    await create_stream(admin, stream_config(**{**replicas, **(stream or {})}))
                    await create_consumer(admin, STREAM, consumer_config(**(consumer or {})))
                except RequestError as error:
                    if isinstance(error, JetStreamError) and len(self.servers) == 1:
                        raise  # it refuses what it is asked for
                    await asyncio.sleep(0.2)
                else:
                    return

    async def stream_info(self) -> StreamInfo:
        """Return what the stream holds."""
        async with self.admin() as admin:
            return await stream_info(admin, STREAM)

    async def consumer_info(self) -> ConsumerInfo:
        """Return what the consumer has to deliver."""
        async with self.admin() as admin:
            return await consumer_info(admin, STREAM, CONSUMER)

    async def wait_acked(self) -> int:
        """Wait until the stream is empty; return how many messages are left if it does not get so.

        A message leaves a work queue when the hub has acknowledged it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                while (await self.stream_info()).state.messages:
                    await asyncio.sleep(0.2)
        return (await self.stream_info()).state.messages

    async def wait_arrived(self, stall_s: float = STALL_S) -> None:
        """Wait until all that was made has arrived, or nothing arrives for so long."""
        with suppress(TimeoutError):
            while missing := self.ledger.missing:
                await self.hook.wait_for(lambda: self.ledger.missing < missing, stall_s)

    def count_tracebacks(self) -> int:
        """Return how many tracebacks are in the logs of all relays."""
        return sum(each.count_tracebacks() for each in [*self.edges.values(), *self.hubs.values()])


@asynccontextmanager
async def running_fleet(folder: Path, servers: Sequence[NatsServer]) -> AsyncIterator[Fleet]:
    """Serve the receiver, and end all relays with the context. The servers run already."""
    ledger, hubs = Ledger(), dict[str, Daemon]()
    hook = Hook(ledger, lambda name: hubs[name].lives if name in hubs else 0)
    async with on_loopback(hook.application()) as url, AsyncExitStack() as stack:
        yield Fleet(folder, servers, url, ledger, hook, hubs=hubs, stack=stack)
