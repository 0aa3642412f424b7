"""A hub's engine of ``type: nats`` in a test's event loop, and what other hosts publish to it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import time_ns
from typing import Any

import msgspec

from relay.config import Route
from relay.config.nats_engine import NatsEngineConfig
from relay.core.counters import EngineCounters
from relay.core.event import HEARTBEAT, RELAY_ENGINE, Actor, Event, make_event_id, make_self_event
from relay.core.include import Included
from relay.incidents.incidents import Incidents, without_incidents
from relay.ingest.nats.session import NatsSession, NatsSpec
from relay.ingest.source import IngestContext
from relay.nats.connection import NatsConnection
from relay.nats.jetstream import (
    ConsumerConfig,
    ConsumerInfo,
    PubAck,
    StreamConfig,
    consumer_info,
    create_consumer,
    create_stream,
)
from relay.nats.message import encode_event, message_headers
from relay.nats.publisher import Publisher
from relay.nats.subjects import ALL_EVENTS, event_subject
from relay.routing.router import Router
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, Delivery
from tests.component.wait import wait_until
from tests.support.nats_keys import client_keys
from tests.support.nats_server import NatsServer

STREAM, CONSUMER, ENGINE = "RELAY", "HUB", "fleet"
ACK_WAIT_S, PRIORITY_TIMEOUT_S = 0.5, 1.0
SECOND_NS = 10**9

EVERYTHING = Route.model_validate({"name": "all", "to": ["ops"]})


@asynccontextmanager
async def connected(server: NatsServer, name: str = "admin") -> AsyncIterator[NatsConnection]:
    """A connection as ``name``."""
    connection = NatsConnection(name, client_keys(server, name=name))
    await connection.open()
    try:
        assert await connection.wait_open(10)
        yield connection
    finally:
        await connection.close()


async def make_stream(admin: NatsConnection, **config: Any) -> None:
    """Make the stream; ``config`` replaces keys of its configuration."""
    standard = StreamConfig(
        STREAM, [ALL_EVENTS], retention="workqueue", discard="new", duplicate_window=SECOND_NS // 10
    )
    await create_stream(admin, msgspec.structs.replace(standard, **config))


async def make_consumer(admin: NatsConnection, **config: Any) -> None:
    """Make the consumer, which pins a client; ``config`` replaces keys of its configuration."""
    standard = ConsumerConfig(
        durable_name=CONSUMER,
        ack_policy="explicit",
        ack_wait=int(ACK_WAIT_S * SECOND_NS),
        max_deliver=-1,
        max_ack_pending=1000,
        priority_policy="pinned_client",
        priority_groups=["hub"],
        priority_timeout=int(PRIORITY_TIMEOUT_S * SECOND_NS),
    )
    await create_consumer(admin, STREAM, msgspec.structs.replace(standard, **config))


async def ask_consumer(admin: NatsConnection) -> ConsumerInfo:
    """What the consumer has to deliver."""
    return await consumer_info(admin, STREAM, CONSUMER)


def make_death(number: int, container: str = "web", **fields: Any) -> Event:
    """The ``number``-th death of a container, as every host's engine ``local`` reports it."""
    actor = Actor(container, container, "bb:1", {"number": str(number)})
    event = Event(
        id=make_event_id("local", number, "container", "die", container, actor.attributes),
        engine="local",
        host="whoever",
        type="container",
        action="die",
        detail=None,
        scope="local",
        time_ns=number,
        actor=actor,
        exit_code=1,
    )
    return msgspec.structs.replace(event, **fields)


def make_heartbeat(number: int = 1) -> Event:
    """A heartbeat of the relay of a host."""
    return make_self_event(HEARTBEAT, engine=RELAY_ENGINE, host="whoever", time_ns=number)


async def publish(
    connection: NatsConnection,
    host: str,
    *events: Event,
    included: Included | None = None,
    with_id: bool = True,
) -> list[PubAck]:
    """Publish events as the relay of a host does. Without an id the stream takes each again."""
    publisher = Publisher(connection, STREAM)
    return [
        await publisher.publish(
            event_subject(host, event.type, event.action),
            encode_event(host, event, included),
            message_headers(host, event) if with_id else None,
        )
        for event in events
    ]


class Hub:
    """A session of the engine, and the store that it fills."""

    def __init__(self, outbox: Outbox, session: NatsSession, context: IngestContext) -> None:
        self.outbox = outbox
        self.session = session
        self.incidents = context.incidents
        self.changes: list[tuple[str, str, Mapping[str, str]]] = []
        self.results: list[CommitResult] = []

    async def deliveries(self, to: str = "ops") -> list[Delivery]:
        """Everything that waits for a destination, in the order of the commits."""
        found = (await self.outbox.fetch_due(to, 2**62, 10_000)).deliveries
        return sorted(found, key=lambda delivery: delivery.seq)

    async def events(self, to: str = "ops") -> list[Event]:
        """The events that wait for a destination; only the first of each subject is due."""
        waiting = await self.outbox.waiting(to, 10_000)
        return [delivery.notification.events[0] for delivery in waiting]

    async def wait_for(self, count: int, to: str = "ops") -> list[Event]:
        """Wait until so many events have come; return them."""
        async with asyncio.timeout(20):
            while len(found := await self.events(to)) < count:
                await asyncio.sleep(0.02)
        return found

    async def wait_until_acked(self, admin: NatsConnection) -> None:
        """Wait until the stream holds nothing that the hub has not acknowledged."""
        async with asyncio.timeout(20):
            while (await ask_consumer(admin)).lag:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running_hub(
    server: NatsServer,
    outbox: Outbox,
    routes: Sequence[Route] = (EVERYTHING,),
    incidents: Incidents | None = None,
    replaced: Mapping[str, Any] | None = None,
    **config: Any,
) -> AsyncIterator[Hub]:
    """Run a session of the engine for as long as the context lasts; it ends as in a reload.

    ``config`` are keys of the engine; those in ``replaced`` are not checked.
    """
    keys = {"type": "nats", "url": server.url, "stream": STREAM, "consumer": CONSUMER, **config}
    changes: list[tuple[str, str, Mapping[str, str]]] = []
    results: list[CommitResult] = []
    context = IngestContext(
        Router(routes),
        outbox,
        time_ns,
        results.append,
        lambda *change: changes.append(change),
        incidents or without_incidents(),
    )
    engine = NatsEngineConfig.model_validate(keys).model_copy(update=replaced)
    session = await NatsSpec(engine).open(ENGINE, context, EngineCounters())
    hub = Hub(outbox, session, context)
    hub.changes, hub.results = changes, results
    async with asyncio.TaskGroup() as tasks:
        worker = session.start(tasks, results.append)
        try:
            yield hub
        finally:
            session.end()
            await asyncio.wait({worker}, timeout=10)
            worker.cancel()


async def wait_until_open(hub: Hub) -> None:
    """Wait until the hub can pull."""
    await wait_until(lambda: hub.session.is_connected)
