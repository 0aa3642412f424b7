"""``relay check --connect`` at a hub, whose server, stream or consumer is not as it has to be."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.fleet import Fleet, second_ns
from tests.support.loopback import serve_connections
from tests.support.nats_server import NatsServer

NO_ACK = {
    "ack_policy": "none",
    "ack_wait": 0,
    "max_ack_pending": 0,
    "priority_policy": "",
    "priority_groups": None,
    "priority_timeout": 0,
}
"""A consumer that takes every message for processed as soon as it is sent."""


@asynccontextmanager
async def older(server: NatsServer, version: str) -> AsyncIterator[str]:
    """Serve as a server of another version, which is what it says first; yields the URL."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(65_536):
            writer.write(block)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_server = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            line = await behind.readline()
            writer.write(re.sub(rb'"version":"[^"]*"', b'"version":"%b"' % version.encode(), line))
            await asyncio.gather(copy(reader, to_server), copy(behind, writer))
        finally:
            to_server.close()

    async with serve_connections(handle) as place:
        yield f"nats://{place}"


async def check(fleet: Fleet, **keys: Any) -> tuple[int, str]:
    """Run the command of a hub; return its exit code and output, in one line."""
    hub = fleet.make_hub(**keys)
    code, output = await hub.command("check", "--connect")
    return code, " ".join(output.split())


async def test_all_is_right(fleet: Fleet) -> None:
    await fleet.make_stream({"max_bytes": 2**20})
    _, output = await check(fleet)
    assert "stream RELAY (1 copy), consumer HUB" in output, output
    assert "error" not in output


async def test_an_old_server(fleet: Fleet) -> None:
    await fleet.make_stream()
    async with older(fleet.servers[0], "2.10.29") as url:
        code, output = await check(fleet, url=url)
    assert code != 0
    assert "the server is nats-server 2.10.29: relay needs 2.11 or newer" in output, output


@pytest.mark.parametrize(
    ("stream", "consumer", "words"),
    [
        (
            {"retention": "limits", "discard": "old", "max_age": second_ns(3600)},
            {"max_deliver": 3, "ack_wait": second_ns(20)},
            [
                "retention limits",
                "discard old",
                "drops messages after 3600 s",
                "gives a message up after 3 deliveries (max_deliver)",
                "make priority_timeout twice ack_wait",
            ],
        ),
        ({"retention": "limits"}, NO_ACK, ["ack_policy none"]),
    ],
    ids=["many", "no ack"],
)
async def test_each_fault_is_named(
    fleet: Fleet, stream: Mapping[str, Any], consumer: Mapping[str, Any], words: Sequence[str]
) -> None:
    await fleet.make_stream(stream, consumer)
    code, output = await check(fleet)
    assert code != 0
    assert [it for it in words if it not in output] == [], output


async def test_no_stream(fleet: Fleet) -> None:
    code, output = await check(fleet)
    assert code != 0
    assert "there is no stream RELAY: relay fleet setup makes it" in output
