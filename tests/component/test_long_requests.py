"""Long requests: they arrive whole, and take little memory while and after they are sent."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from relay.core.exchange import Request, Response
from relay.delivery.http.connection import PIECE_BYTES, Connection
from relay.delivery.http.sender import open_http_sender
from relay.destinations.http import HttpDestination
from relay.store.outbox import open_outbox
from tests.component.delivery_worker import (
    Clock,
    ScriptedDestination,
    enqueue,
    make_worker,
    run_workers,
    sample_notification,
    wait_until_empty,
)
from tests.support.loopback import serve_connections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
LONG = os.urandom(4 * 2**20)


class Body(bytes):
    """A body that reports when nothing refers to it any longer."""

    on_released: Callable[[], None]

    def __del__(self) -> None:
        self.on_released()


def make_body(on_released: Callable[[], None]) -> Body:
    body = Body(LONG)
    body.on_released = on_released
    return body


class Server:
    """Reads requests whole, and answers when it is allowed to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.received = asyncio.Event()
        self.answering = asyncio.Event()
        self.url = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length:")[2].split()[0])
            self.bodies.append(await reader.readexactly(size))
            self.received.set()
            await self.answering.wait()
            writer.write(OK)


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    async with serve_connections(server.accept) as address:
        server.url = f"http://{address}/"
        yield server


def destination(server: Server, *, by_proxy: bool) -> HttpDestination:
    """A destination at the server; as a proxy it is asked for the same."""
    if by_proxy:
        return HttpDestination.model_validate({"url": "http://a.example/", "proxy": server.url})
    return HttpDestination.model_validate({"url": server.url})


@pytest.mark.parametrize("by_proxy", [False, True])
async def test_a_long_request_arrives_whole_and_the_connection_is_reused(by_proxy: bool) -> None:
    """Its pieces are in order, and the next request follows them."""
    async with serving() as server:
        server.answering.set()
        to = destination(server, by_proxy=by_proxy)
        async with open_http_sender(to) as http:
            for body in (LONG, b"short", LONG[:-1]):
                assert (await http.send(Request(body, to.endpoint))).status == 200
        assert server.bodies == [LONG, b"short", LONG[:-1]]


@pytest.mark.parametrize("by_proxy", [False, True])
async def test_a_body_is_released_when_it_is_sent(by_proxy: bool) -> None:
    """It takes no memory while relay waits for the answer."""
    released = asyncio.Event()
    async with serving() as server:
        to = destination(server, by_proxy=by_proxy)
        async with open_http_sender(to) as http:
            sending = asyncio.ensure_future(
                http.send(Request(make_body(released.set), to.endpoint))
            )
            await server.received.wait()
            await released.wait()
            assert not sending.done()
            server.answering.set()
            assert (await sending).status == 200


async def open_connection(address: str) -> Connection:
    host, _, port = address.partition(":")
    loop = asyncio.get_running_loop()
    _, made = await loop.create_connection(lambda: Connection(100), host, int(port))
    return made


async def test_a_destination_that_does_not_read_costs_one_piece() -> None:
    """The transport gets one piece at a time, and copies at most that."""
    stalled = asyncio.Event()

    async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stalled.wait()

    async with serve_connections(never_read) as address:
        made = await open_connection(address)
        loop = asyncio.get_running_loop()
        parts = [b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", LONG * 4]
        sending = asyncio.ensure_future(made.send_request(parts, loop.time() + 60))
        transport = made._transport
        while not made._is_paused:
            await asyncio.sleep(0)
        assert transport is not None
        assert parts == []
        assert transport.get_write_buffer_size() < 2 * PIECE_BYTES
        made.close()
        with suppress(Exception):
            await sending
        stalled.set()


async def test_an_answer_before_the_request_is_sent_counts() -> None:
    """As with 413: the rest is not sent, and the connection is not used again."""
    opened = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.Event().wait()

    async with serve_connections(refuse) as address:
        to = HttpDestination.model_validate({"url": f"http://{address}/"})
        async with open_http_sender(to) as http:
            for count in (1, 2):
                request = Request(LONG * 4, to.endpoint)
                assert (await http.send(request)).status == 413
                assert opened == count


async def test_a_connection_that_breaks_while_a_long_request_is_sent() -> None:
    """The attempt fails, and the body is released."""
    released = asyncio.Event()

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with serve_connections(reset) as address:
        to = HttpDestination.model_validate({"url": f"http://{address}/"})
        async with open_http_sender(to) as http:
            response = await http.send(Request(make_body(released.set), to.endpoint))
        assert response.status is None
        await released.wait()


class ForgetfulDestination(ScriptedDestination):
    """Keeps nothing of a request, as a sender that has written it."""

    async def send(self, request: Request) -> Response:
        sending = super().send(Request(b"", headers=request.headers))
        del request
        return await sending


async def test_a_worker_keeps_no_body_that_was_sent() -> None:
    """However long the answer takes."""
    released, to = asyncio.Event(), ForgetfulDestination()
    to.open.clear()
    async with open_outbox(None) as outbox:
        worker = make_worker(outbox, to, Clock())
        worker.set_renderer(lambda _: Request(make_body(released.set)))
        await enqueue(outbox, sample_notification(1))
        async with run_workers(worker):
            await to.wait_for_count(1)
            await released.wait()
            assert await outbox.pending() == {"hook": 1}
            to.open.set()
            await wait_until_empty(outbox)
