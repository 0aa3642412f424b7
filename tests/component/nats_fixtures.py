"""Connections and streams of a real NATS server for component tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from relay.nats.connection import NatsConnection
from relay.nats.jetstream import ConsumerConfig, StreamConfig, create_consumer, create_stream
from relay.nats.puller import Puller
from tests.support.nats_keys import client_keys
from tests.support.nats_server import NatsServer

SECOND_NS = 10**9


def stream_config(**changes: Any) -> StreamConfig:
    """Return the configuration of a stream as a fleet needs it."""
    values: dict[str, Any] = {
        "name": "RELAY",
        "subjects": ("relay.events.>",),
        "retention": "workqueue",
        "discard": "new",
        "max_bytes": 2**24,
        "duplicate_window": 600 * SECOND_NS,
        **changes,
    }
    return StreamConfig(**values)


def consumer_config(**changes: Any) -> ConsumerConfig:
    """Return the configuration of a consumer as a fleet needs it, with short times."""
    values: dict[str, Any] = {
        "durable_name": "HUB",
        "ack_policy": "explicit",
        "ack_wait": 1 * SECOND_NS,
        "max_deliver": -1,
        "max_ack_pending": 1000,
        "priority_policy": "pinned_client",
        "priority_groups": ("hub",),
        "priority_timeout": 2 * SECOND_NS,
        **changes,
    }
    return ConsumerConfig(**values)


@asynccontextmanager
async def connected(*servers: NatsServer | str, **keys: Any) -> AsyncIterator[NatsConnection]:
    """Connect as an account; fails if that takes longer than a few seconds."""
    connection = NatsConnection("test", client_keys(*servers, **keys))
    await connection.open()
    try:
        assert await connection.wait_open(10), connection.problem
        yield connection
    finally:
        await connection.close()


async def reopened(connection: NatsConnection, count: int = 2) -> None:
    """Wait until a connection was opened so many times."""
    async with asyncio.timeout(10):
        while connection.opened_count < count or not connection.is_connected:
            await asyncio.sleep(0.01)


async def all_acknowledged(puller: Puller) -> None:
    """Wait until the server has taken every acknowledgement."""
    async with asyncio.timeout(10):
        while (await puller.consumer_info()).lag:
            await asyncio.sleep(0.01)


async def make_stream(server: NatsServer, **keys: Any) -> None:
    """Make the stream RELAY and its consumer HUB."""
    async with connected(server, **keys) as admin:
        await create_stream(admin, stream_config())
        await create_consumer(admin, "RELAY", consumer_config())
