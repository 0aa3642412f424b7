"""The HTTP server with clients that are slow, many, or do not read their answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from relay.admin import api, server
from relay.admin.api import build_application
from relay.admin.server import serve
from relay.config import UnixSocket
from tests.component.wait import TIMEOUT_S

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UNFINISHED = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1234"


@pytest.fixture
def address(tmp_path: Path) -> UnixSocket:
    return UnixSocket(tmp_path / "it.sock")


async def answer_well(_: web.Request) -> web.StreamResponse:
    return web.Response(text="well")


def make_application(answer: Answer = answer_well) -> web.Application:
    return build_application([web.get("/", answer), web.post("/", answer)])


@asynccontextmanager
async def connect(address: UnixSocket) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_unix_connection(address.path)
    try:
        yield reader, writer
    finally:
        writer.close()


async def is_ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side closes the connection soon."""
    async with asyncio.timeout(TIMEOUT_S):
        try:
            while await reader.read(2**16):
                pass
        except ConnectionError:
            pass
        return True


async def gets_answer(streams: Streams, request: bytes = GET) -> bool:
    reader, writer = streams
    writer.write(request)
    async with asyncio.timeout(TIMEOUT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        return head.startswith(b"HTTP/1.1 200 ") and await reader.readexactly(4) == b"well"


@pytest.mark.parametrize("begun", [b"", b"GET", GET[:-2], GET])
async def test_an_idle_connection_is_closed(
    address: UnixSocket, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a request, within its head, and after an answer."""
    monkeypatch.setattr(server, "IDLE_TIMEOUT_S", 0.05)
    async with serve(address, make_application()), connect(address) as (reader, writer):
        writer.write(begun)
        assert await is_ended(reader)


async def test_a_connection_in_use_is_kept(
    address: UnixSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept from one request to the next."""
    monkeypatch.setattr(server, "IDLE_TIMEOUT_S", 2.0)
    async with serve(address, make_application()), connect(address) as streams:
        for _ in range(3):
            assert await gets_answer(streams)


async def test_a_slow_answer(address: UnixSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that waits for its answer is not idle."""
    monkeypatch.setattr(server, "IDLE_TIMEOUT_S", 0.5)

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.7)
        return web.Response(text="well")

    async with serve(address, make_application(slow)), connect(address) as streams:
        assert await gets_answer(streams)


async def test_a_client_that_does_not_read(
    address: UnixSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not read is not kept for ever."""
    monkeypatch.setattr(server, "IDLE_TIMEOUT_S", 0.2)

    async def long(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(2**24))

    before = asyncio.all_tasks()
    async with serve(address, make_application(long)), connect(address) as (_, writer):
        writer.write(GET)
        await writer.drain()
        async with asyncio.timeout(TIMEOUT_S):
            while not len(asyncio.all_tasks()) > len(before):
                await asyncio.sleep(0.001)
            while asyncio.all_tasks() != before:
                await asyncio.sleep(0.001)


async def test_a_body_that_does_not_arrive(
    address: UnixSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says so (408), and the handler is not called."""
    monkeypatch.setattr(api, "BODY_TIMEOUT_S", 0.01)

    async def refuse(_: web.Request) -> web.StreamResponse:
        raise AssertionError("asked")

    async with serve(address, make_application(refuse)), connect(address) as (reader, writer):
        writer.write(UNFINISHED)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert await is_ended(reader)


async def test_a_body_of_a_get_request(
    address: UnixSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer does not wait for it."""
    monkeypatch.setattr(api, "BODY_TIMEOUT_S", 3600.0)
    async with serve(address, make_application()), connect(address) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1234")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_too_many_connections(address: UnixSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection that has been idle longest is closed for a new one."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    async with (
        serve(address, make_application()),
        connect(address) as first,
        connect(address) as second,
    ):
        assert await gets_answer(second)
        assert await gets_answer(first)
        async with connect(address) as third:
            assert await gets_answer(third)
            assert await is_ended(second[0])
            assert await gets_answer(first)
        async with connect(address) as fourth:
            assert await gets_answer(fourth)
            assert await gets_answer(first)


async def test_too_many_busy_connections(
    address: UnixSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No busy connection is closed. Others have to wait until one is free, but no probe has to."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(server, "MAX_BUSY", 1)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def wait(_: web.Request) -> web.StreamResponse:
        begun.set()
        await goes_on.wait()
        return web.Response(text="well")

    async def probe(_: web.Request) -> web.StreamResponse:
        return web.Response(text="well")

    application = make_application(wait)
    application.router.add_get("/livez", probe)
    async with serve(address, application, ["/livez"]), connect(address) as busy:
        answered = asyncio.create_task(gets_answer(busy))
        await begun.wait()
        for _ in range(4):
            async with connect(address) as (reader, writer):
                writer.write(GET)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 429 ")
                assert b"1 requests are being answered already" in await reader.readuntil(b"}")
            async with connect(address) as probing:
                assert await gets_answer(probing, GET.replace(b"/", b"/livez", 1))
        goes_on.set()
        assert await answered
        async with connect(address) as later:
            assert await gets_answer(later)


async def test_unfinished_requests_keep_nobody_out(
    address: UnixSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection whose body has not arrived is closed for a new one, the oldest first."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 4)
    async with AsyncExitStack() as clients:
        await clients.enter_async_context(serve(address, make_application()))
        unfinished = []
        for _ in range(20):
            reader, writer = await clients.enter_async_context(connect(address))
            writer.write(UNFINISHED)
            unfinished.append(reader)
        with capture_logs() as logs:
            assert await gets_answer(await clients.enter_async_context(connect(address)))
            assert await is_ended(unfinished[0])
    assert not logs


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cr3t\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer s3cr3t\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: s3cr3t" + b"x" * 9_000 + b"\r\n\r\n",
        b"GET /s3cr3t" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / s3cr3t\r\nHost: a\r\n\r\n",
        b"s3cr3t\x01 / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: s3cr3t\r\nContent-Length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\ns3cr3t\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\ns3cr3t",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\ns3cr3t\r\n",
    ],
)
async def test_nothing_quotes_a_bad_request(
    address: UnixSocket, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the answer nor the log: the part that is wrong may be a token."""
    with capture_logs() as logs:
        async with serve(address, make_application()), connect(address) as (reader, writer):
            writer.write(request_)
            async with asyncio.timeout(TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write_eof()
                body = await reader.read()
    assert head.split()[1] in (b"200", b"400", b"417")
    assert b"s3cr3t" not in head + body
    assert "s3cr3t" not in caplog.text
    assert "s3cr3t" not in str(logs)


async def test_bad_requests_are_logged_now_and_then(
    address: UnixSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for many, which says how many there were."""

    async def send_bad_request() -> None:
        async with connect(address) as (reader, writer):
            writer.write(b"nonsense\r\n\r\n")
            assert await is_ended(reader)

    with capture_logs() as logs:
        async with serve(address, make_application()):
            for _ in range(3):
                await send_bad_request()
            monkeypatch.setattr(server, "LOG_BAD_REQUESTS_EVERY_S", 0.0)
            await send_bad_request()
    assert [(line["event"], line["not_logged"]) for line in logs] == [
        ("admin.bad_request", None),
        ("admin.bad_request", 2),
    ]


async def test_not_http(address: UnixSocket) -> None:
    """The client gets an error, and other clients are answered."""
    async with serve(address, make_application()):
        async with connect(address) as (reader, writer):
            writer.write(b"\x16\x03\x01\x00\xee\x01\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.0 400 ")
            assert await is_ended(reader)
        async with connect(address) as streams:
            assert await gets_answer(streams)


async def test_an_endless_head(address: UnixSocket) -> None:
    """The server reads it up to a limit only."""
    async with serve(address, make_application()), connect(address) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"a" * 2**16)
        assert (await reader.readline()).startswith(b"HTTP/1.0 400 ")


async def test_close(address: UnixSocket) -> None:
    """Idle connections do not hold it up, and nobody can connect afterwards."""
    async with connect_and_close(address) as (reader, _):
        assert await is_ended(reader)
    with pytest.raises(OSError, match="No such file"):
        await asyncio.open_unix_connection(address.path)


@asynccontextmanager
async def connect_and_close(address: UnixSocket) -> AsyncIterator[Streams]:
    """Connect to a server that then ends."""
    ending = serve(address, make_application())
    await ending.__aenter__()
    async with connect(address) as streams:
        assert await gets_answer(streams)
        async with asyncio.timeout(TIMEOUT_S):
            await ending.__aexit__(None, None, None)
        yield streams
