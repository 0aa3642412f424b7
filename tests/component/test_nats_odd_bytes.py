"""What a host may publish with its account, and no relay would: none of it stops a hub."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from relay.nats.client import MAX_HEADER_BYTES
from relay.nats.connection import NatsConnection
from relay.nats.puller import Puller
from relay.store.outbox import open_outbox
from relay.store.records import Selection
from tests.component.nats_hub import (
    CONSUMER,
    STREAM,
    connected,
    make_consumer,
    make_death,
    make_stream,
    publish,
    running_hub,
)
from tests.support.nats_keys import client_keys
from tests.support.nats_server import NatsServer, running_server

SUBJECT = b"relay.events.web-1.container.die"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server with JetStream."""
    with running_server(tmp_path / "nats") as running:
        yield running


def put(subject: bytes, body: bytes) -> bytes:
    """A message without headers, as it is on the wire."""
    return b"PUB %s %d\r\n%s\r\n" % (subject, len(body), body)


def put_with_headers(headers: bytes, body: bytes, subject: bytes = SUBJECT) -> bytes:
    """A message with headers, as it is on the wire."""
    size = len(headers) + len(body)
    return b"HPUB %s %d %d\r\n%s%s\r\n" % (subject, len(headers), size, headers, body)


def send_raw(server: NatsServer, *lines: bytes) -> None:
    """Send lines of the protocol, and wait until the server has taken them."""
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as peer:
        peer.sendall(b'CONNECT {"verbose":false,"headers":true}\r\n' + b"".join(lines))
        peer.sendall(b"PING\r\n")
        received = b""
        while b"PONG" not in received:
            received += peer.recv(65_536)


ODD = {
    "a subject that is no UTF-8": put(b"relay.events.web-1.\xff\xfe.die", b"{}"),
    "a vertical tab": put(b"relay.events.web-1.a\x0bb.die", b"{}"),
    "a form feed": put(b"relay.events.web-1.a\x0c1.die", b"{}"),
    "a vertical tab, with headers": put_with_headers(
        b"NATS/1.0\r\nA: b\r\n\r\n", b"{}", b"relay.events.web-1.a\x0bb.die"
    ),
    "a NUL": put(b"relay.events.web-1.a\x00b.die", b"{}"),
    "a status that is no UTF-8": put_with_headers(b"NATS/1.0 \xff\xff\xff\r\n\r\n", b"{}"),
    "a description that is no UTF-8": put_with_headers(b"NATS/1.0 503 \xff\r\n\r\n", b"{}"),
    "a status of the server": put_with_headers(b"NATS/1.0 409 Consumer Deleted\r\n\r\n", b"{}"),
    "headers that end at once": put_with_headers(b"NATS/1.0", b"{}"),
    "headers of one byte": put_with_headers(b"X", b"{}"),
    "the id of another pin": put_with_headers(b"NATS/1.0\r\nNats-Pin-Id: x\r\n\r\n", b"{}"),
}


NO_PIN = {"priority_policy": "", "priority_groups": None, "priority_timeout": 0}
"""A consumer that adds no header to what it delivers."""


@pytest.mark.parametrize("consumer", [{}, NO_PIN], ids=["pinned", "not pinned"])
async def test_odd_messages_become_dead_letters(
    server: NatsServer, tmp_path: Path, consumer: Mapping[str, object]
) -> None:
    """The event behind them comes, over the same connection."""
    async with connected(server) as admin, open_outbox(tmp_path / "hub.db") as outbox:
        await make_stream(admin)
        await make_consumer(admin, **consumer)
        send_raw(server, *ODD.values())
        await publish(admin, "web-2", make_death(1))
        async with running_hub(server, outbox) as hub:
            (event,) = await hub.wait_for(1)
            await hub.wait_until_acked(admin)
            dead = await outbox.dead_letters(Selection(), len(ODD) + 1)
            reconnects = hub.session.counters.reconnects
    assert event.host == "web-2"
    assert len(dead) == len(ODD)
    assert reconnects == 0


async def test_long_headers_are_not_read(server: NatsServer) -> None:
    """A stream takes 64 KiB of them with each message."""
    async with connected(server) as admin:
        await make_stream(admin)
        await make_consumer(admin)
        lines = b"".join(b"%x:\r\n" % number for number in range(9_000))
        send_raw(server, put_with_headers(b"NATS/1.0\r\n" + lines + b"\r\n", b"{}"))
        connection = NatsConnection("hub", client_keys(server, name="hub"))
        puller = Puller(connection, STREAM, CONSUMER)
        await connection.open()
        try:
            (message,) = await puller.pull(10, 10)
        finally:
            await connection.close()
    assert len(lines) > MAX_HEADER_BYTES
    assert (dict(message.headers), message.body) == ({}, b"{}")
