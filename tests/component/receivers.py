"""Receivers on real sockets that behave as a test says, and requests to them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from relay.config import RetryConfig
from relay.core.exchange import Outcome, Request, Response
from relay.delivery.http.sender import open_http_sender
from relay.delivery.retry import Attempt, classify
from relay.destinations.http import HttpDestination
from tests.support.loopback import serve_connections

SECRET = "canary-in-the-path"
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SHORT_TIMEOUTS = {"connect": "500ms", "total": "500ms"}
OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that reads a request and then calls ``behave``; yields its address."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await behave(reader, writer)

    async with serve_connections(accept, tls) as address:
        yield address


def destination(url: str, **parts: object) -> HttpDestination:
    """A destination that waits for half a second at most."""
    return HttpDestination.model_validate({"url": url, "timeout": SHORT_TIMEOUTS, **parts})


async def send_once(url: str, **parts: object) -> Response:
    """Send one request, and return the result."""
    async with open_http_sender(destination(url, **parts)) as http:
        return await http.send(Request(b"{}", url))


def classify_first(response: Response) -> Outcome:
    """What becomes of a delivery whose first attempt got this response."""
    return classify(response, Attempt(0, 0.0, 0.5), RetryConfig())


async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept the request."""
    writer.write(OK + b"Content-Length: 2\r\n\r\nok")
    await writer.drain()
