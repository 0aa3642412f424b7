"""Sends requests over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import aiohttp

from relay import __version__
from relay.errors import system_words
from relay.exchange import Reason, Request, Response

CONNECT_TIMEOUT_S = 5
TOTAL_TIMEOUT_S = 15
BODY_TIMEOUT_S = 3
"""How long an answer's body may take once its status is known."""
ANSWER_BYTES = 4096
"""How much of an answer is kept."""


class Sender(Protocol):
    """Sends a request and says what came of it; never raises for what a destination does."""

    async def send(self, request: Request) -> Response:
        """Send the request once."""
        ...


class HttpSender:
    """A `Sender` over one destination's own connections."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def send(self, request: Request) -> Response:
        """POST the request; redirects are not followed."""
        try:
            async with self._session.post(
                request.url, data=request.body, headers=request.headers, allow_redirects=False
            ) as answer:
                return Response(answer.status, await _head(answer))
        except TimeoutError:
            return Response(None, failure=Reason.TIMEOUT, error=f"no answer in {TOTAL_TIMEOUT_S} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Response(None, failure=Reason.CONNECTION, error=_words(error))


@asynccontextmanager
async def http_sender(connections: int) -> AsyncIterator[HttpSender]:
    """A sender with at most ``connections`` connections, kept alive between requests.

    Nothing is taken from the environment (no proxy, no netrc), no cookie is kept, and no answer is
    unpacked: a destination cannot make relay hold more than it sends.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=TOTAL_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": f"relay/{__version__}", "Accept-Encoding": "identity"},
    )
    async with session:
        yield HttpSender(session)


async def _head(answer: aiohttp.ClientResponse) -> bytes:
    """The first bytes of an answer.

    The status has said what became of the request, so a body that breaks off or drags on changes
    nothing; one that is too long, or too slow, costs the connection.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > ANSWER_BYTES:
                    answer.close()
                    break
    except (TimeoutError, aiohttp.ClientError, OSError):
        answer.close()
    return bytes(body[:ANSWER_BYTES])


def _words(error: Exception) -> str:
    """What failed, without the URL, which may be a secret."""
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=cause):
            return f"certificate not accepted: {cause}"
        case aiohttp.ClientConnectorError(os_error=cause):
            return system_words(cause)
        case aiohttp.ServerDisconnectedError():
            return "closed the connection without an answer"
        case OSError():
            return system_words(error)
        case _:
            return type(error).__name__
