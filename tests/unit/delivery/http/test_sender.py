"""Sending over HTTP, to a server on loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from relay import __version__
from relay.core.exchange import Reason, Request, Response
from relay.delivery.http import connection
from relay.delivery.http.response import KEPT_BODY_BYTES
from relay.delivery.http.sender import open_http_sender
from relay.destinations.http import HttpDestination

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATH = "/services/s3cret"


def destination(**parts: object) -> HttpDestination:
    """A destination with one connection. Its URL does not matter: each request has its own."""
    entry = {"url": f"http://127.0.0.1{PATH}", "concurrency": 1, **parts}
    return HttpDestination.model_validate(entry)


TO = destination()


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Run a server with this handler; yields its URL, which has a secret in it."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url(PATH))


def without_headers(response: Response) -> Response:
    """The response without headers: a server dates its responses."""
    return replace(response, headers={})


async def send_to(handler: Handler, request: Request | None = None) -> Response:
    """Send a request to a server with this handler, and return the response."""
    async with serving(handler) as url, open_http_sender(TO) as http:
        headers = {} if request is None else request.headers
        return without_headers(await http.send(Request(b"{}", url, headers)))


@pytest.mark.parametrize("status", [200, 202, 400, 500, 503])
async def test_returns_the_response_as_it_is(status: int) -> None:
    """Whatever the status."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text="the answer")

    assert await send_to(handler) == Response(status, b"the answer")


async def test_follows_no_redirect() -> None:
    """A receiver must not choose where secrets are sent."""
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    assert (await send_to(handler)).status == 307
    assert paths == [PATH]


async def test_sends_the_body_and_the_headers() -> None:
    """The request's own and the user agent; a compressed response is not accepted."""
    requests: list[tuple[str, bytes, dict[str, str]]] = []

    async def handler(request: web.Request) -> web.Response:
        requests.append((request.method, await request.read(), dict(request.headers)))
        return web.Response()

    await send_to(handler, Request(b"", "", {"webhook-id": "ntf_1"}))
    ((method, body, headers),) = requests
    assert (method, body) == ("POST", b"{}")
    assert headers["webhook-id"] == "ntf_1"
    assert headers["User-Agent"] == f"relay/{__version__}"
    assert headers["Accept-Encoding"] == "identity"


async def test_keeps_no_cookie() -> None:
    """A request does not depend on earlier responses."""
    cookies: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "a=b"})

    async with serving(handler) as url, open_http_sender(TO) as http:
        for _ in range(2):
            await http.send(Request(b"", url))
    assert cookies == [None, None]


async def test_decompresses_nothing() -> None:
    """A few bytes cannot become many."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"not gzip at all", headers={"Content-Encoding": "gzip"})

    assert await send_to(handler) == Response(200, b"not gzip at all")


async def test_reads_only_the_beginning_of_a_body() -> None:
    """A body without an end is cut off, and the response counts."""

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 1000)

    assert await send_to(handler) == Response(200, b"x" * KEPT_BODY_BYTES)


async def test_the_rest_of_a_long_body_is_not_the_next_response() -> None:
    """Its connection is not used again."""
    bodies = iter([b"x" * (KEPT_BODY_BYTES + 1), b"short"])

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=next(bodies))

    async with serving(handler) as url, open_http_sender(TO) as http:
        await http.send(Request(b"", url))
        assert without_headers(await http.send(Request(b"", url))) == Response(200, b"short")


async def test_no_answer_in_time_is_a_timeout() -> None:
    """The receiver accepts the request and does not answer."""
    done = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await done.wait()
        return web.Response()

    impatient = destination(timeout={"connect": "50ms", "total": "50ms"})
    async with serving(handler) as url, open_http_sender(impatient) as http:
        response = await http.send(Request(b"", url))
        done.set()
    assert (response.status, response.failure) == (None, Reason.TIMEOUT)
    assert "s3cret" not in (response.error or "s3cret")


async def test_a_refused_connection_is_a_failed_connection() -> None:
    """The error is the system's text, without the URL."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}{PATH}"
        async with open_http_sender(TO) as http:
            response = await http.send(Request(b"", url))
    assert (response.status, response.failure) == (None, Reason.CONNECTION)
    assert response.error == "Connection refused"


async def test_a_broken_connection_is_a_failed_connection() -> None:
    """It was closed before a response."""

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    response = await send_to(handler)
    assert (response.status, response.failure) == (None, Reason.CONNECTION)
    assert "s3cret" not in (response.error or "s3cret")


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:1:1/s3cret", {}),
        ("s3cret", {}),
        ("ftp://127.0.0.1/s3cret", {}),
        ("http://127.0.0.1/", {"Authorization": "s3cret\r\nx"}),
    ],
)
async def test_what_cannot_be_sent_is_a_failure_without_a_secret(
    url: str, headers: dict[str, str]
) -> None:
    """The sender does not raise, and its error does not show the request."""
    async with open_http_sender(TO) as http:
        response = await http.send(Request(b"", url, headers))
    assert (response.status, response.failure) == (None, Reason.CONNECTION)
    assert "s3cret" not in (response.error or "s3cret")


async def test_a_body_that_breaks_off_does_not_change_the_status() -> None:
    """The status has said that the delivery was accepted."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"ok")
        assert request.transport is not None
        request.transport.close()
        return response

    assert (await send_to(handler)).status == 200


async def test_a_slow_body_does_not_change_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender does not wait for the rest."""
    monkeypatch.setattr(connection, "BODY_TIMEOUT_S", 0.05)
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"ok")
        await gone.wait()
        return response

    async with serving(handler) as url, open_http_sender(TO) as http:
        assert (await http.send(Request(b"{}", url, {}))).status == 200
        gone.set()
