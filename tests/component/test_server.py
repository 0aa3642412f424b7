"""Clients that are slow, or many, or do not read what they are given."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from relay.admin import api, server
from relay.admin.api import build_application
from relay.admin.server import serve
from relay.config import UnixSocket
from tests.component.wait import TIMEOUT_S

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def address(tmp_path: Path) -> UnixSocket:
    return UnixSocket(tmp_path / "it.sock")


async def well(_: web.Request) -> web.StreamResponse:
    return web.Response(text="well")


def make_application(answer: Answer = well) -> web.Application:
    return build_application([web.get("/", answer), web.post("/", answer)])


@asynccontextmanager
async def connected(address: UnixSocket) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_unix_connection(address.path)
    try:
        yield reader, writer
    finally:
        writer.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends the connection, soon enough."""
    async with asyncio.timeout(TIMEOUT_S):
        try:
            while await reader.read(2**16):
                pass
        except ConnectionError:
            pass
        return True


async def is_well(streams: Streams) -> bool:
    reader, writer = streams
    writer.write(GET)
    async with asyncio.timeout(TIMEOUT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        return head.startswith(b"HTTP/1.1 200 ") and await reader.readexactly(4) == b"well"


@pytest.mark.parametrize("begun", [b"", b"GET", GET[:-2], GET])
async def test_one_that_asks_nothing(
    address: UnixSocket, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is ended: at the begin, within a question's head, and behind an answer."""
    monkeypatch.setattr(server, "IDLE_TIMEOUT_S", 0.05)
    async with serve(address, make_application()), connected(address) as (reader, writer):
        writer.write(begun)
        assert await ended(reader)


async def test_one_that_asks_again(address: UnixSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is kept from question to question."""
    monkeypatch.setattr(server, "IDLE_TIMEOUT_S", 2.0)
    async with serve(address, make_application()), connected(address) as streams:
        for _ in range(3):
            assert await is_well(streams)


async def test_an_answer_that_takes_long(
    address: UnixSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may: only who asks nothing is idle."""
    monkeypatch.setattr(server, "IDLE_TIMEOUT_S", 0.5)

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.7)
        return web.Response(text="well")

    async with serve(address, make_application(slow)), connected(address) as streams:
        assert await is_well(streams)


async def test_one_that_takes_no_answer(
    address: UnixSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not read is not kept for ever."""
    monkeypatch.setattr(server, "IDLE_TIMEOUT_S", 0.2)

    async def long(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(2**24))

    before = asyncio.all_tasks()
    async with serve(address, make_application(long)), connected(address) as (_, writer):
        writer.write(GET)
        await writer.drain()
        async with asyncio.timeout(TIMEOUT_S):
            while not len(asyncio.all_tasks()) > len(before):
                await asyncio.sleep(0.001)
            while asyncio.all_tasks() != before:
                await asyncio.sleep(0.001)


async def test_a_question_that_does_not_come(
    address: UnixSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told so, and never gets to whoever answers."""
    monkeypatch.setattr(api, "BODY_TIMEOUT_S", 0.01)

    async def refuse(_: web.Request) -> web.StreamResponse:
        raise AssertionError("asked")

    async with serve(address, make_application(refuse)), connected(address) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1234")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert await ended(reader)


async def test_a_body_that_nobody_wants(
    address: UnixSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer does not wait for it."""
    monkeypatch.setattr(api, "BODY_TIMEOUT_S", 3600.0)
    async with serve(address, make_application()), connected(address) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1234")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_too_many(address: UnixSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one more, the one that has been idle for longest goes."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    async with (
        serve(address, make_application()),
        connected(address) as first,
        connected(address) as second,
    ):
        assert await is_well(second)
        assert await is_well(first)
        async with connected(address) as third:
            assert await is_well(third)
            assert await ended(second[0])
            assert await is_well(first)
        async with connected(address) as fourth:
            assert await is_well(fourth)
            assert await is_well(first)


async def test_none_but_busy_ones(address: UnixSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being answered is not ended for one more, which is refused; later there is room."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def wait(_: web.Request) -> web.StreamResponse:
        begun.set()
        await goes_on.wait()
        return web.Response(text="well")

    async with serve(address, make_application(wait)), connected(address) as busy:
        answered = asyncio.create_task(is_well(busy))
        await begun.wait()
        async with connected(address) as (reader, _):
            assert await ended(reader)
        goes_on.set()
        assert await answered
        async with connected(address) as later:
            assert await is_well(later)


async def test_what_is_no_http(address: UnixSocket) -> None:
    """It is told so, and others are answered."""
    async with serve(address, make_application()):
        async with connected(address) as (reader, writer):
            writer.write(b"\x16\x03\x01\x00\xee\x01\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.0 400 ")
            assert await ended(reader)
        async with connected(address) as streams:
            assert await is_well(streams)


async def test_a_head_without_end(address: UnixSocket) -> None:
    """No more of it than a bound is kept."""
    async with serve(address, make_application()), connected(address) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"a" * 2**16)
        assert (await reader.readline()).startswith(b"HTTP/1.0 400 ")


async def test_the_end(address: UnixSocket) -> None:
    """Connections that are idle do not hold it up, and nobody can connect afterwards."""
    async with connected_after(address) as (reader, _):
        assert await ended(reader)
    with pytest.raises(OSError, match="No such file"):
        await asyncio.open_unix_connection(address.path)


@asynccontextmanager
async def connected_after(address: UnixSocket) -> AsyncIterator[Streams]:
    """A connection to something that has ended."""
    ending = serve(address, make_application())
    await ending.__aenter__()
    async with connected(address) as streams:
        assert await is_well(streams)
        async with asyncio.timeout(TIMEOUT_S):
            await ending.__aexit__(None, None, None)
        yield streams
