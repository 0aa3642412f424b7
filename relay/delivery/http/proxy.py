"""Sends requests over HTTP by way of a proxy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from relay import __version__
from relay.config import TimeoutConfig, WebDestination
from relay.core.errors import system_words
from relay.core.exchange import Reason, Request, Response
from relay.delivery.http.connection import BODY_S, ClosedUnanswered, NotHttp
from relay.delivery.http.errors import failed
from relay.delivery.http.pool import ConnectTimeout
from relay.delivery.http.resolver import NoAddress
from relay.delivery.http.response import most_read, received
from relay.delivery.http.tls import trust
from relay.delivery.redact import Scrubber, secrets_of


class ProxiedSender:
    """A `Sender` over one destination's own connections to its proxy."""

    def __init__(self, session: aiohttp.ClientSession, proxy: URL, to: WebDestination) -> None:
        self._session = session
        self._timeout = to.timeout
        self._proxy = proxy
        self._scrub = Scrubber(secrets_of(to))

    async def send(self, request: Request) -> Response:
        """Send the request; redirects are not followed, and no secret comes back in the answer."""
        try:
            async with self._session.request(
                request.method,
                request.url,
                data=request.body or None,
                headers=request.headers,
                proxy=self._proxy,
                allow_redirects=False,
            ) as answer:
                body = await _head(answer, most_read(self._scrub))
                return received(answer.status, answer.headers, body, self._scrub)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            failure, words = _failed(error, self._timeout)
            return Response(None, failure=failure, error=self._scrub.clean(words))


@asynccontextmanager
async def proxied_sender(to: WebDestination, proxy: URL) -> AsyncIterator[ProxiedSender]:
    """A sender that promises what `http_sender` does. Raises `TlsError`."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=to.concurrency, ssl=trust(to.tls)),
        timeout=aiohttp.ClientTimeout(
            total=to.timeout.total.total_seconds(),
            sock_connect=to.timeout.connect.total_seconds(),
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": f"relay/{__version__}", "Accept-Encoding": "identity"},
    )
    # aiohttp would send a GET or a PUT twice by itself: tries are counted, and have their schedule
    session._retry_connection = False
    async with session:
        yield ProxiedSender(session, proxy, to)


def _failed(error: Exception, timeout: TimeoutConfig) -> tuple[Reason, str]:
    """See `relay.delivery.http.errors.failed`; what the library says is put as relay says it."""
    match error:
        case aiohttp.ClientHttpProxyError(status=status):
            return Reason.CONNECTION, f"the proxy answered {status}"
        case aiohttp.ClientProxyConnectionError(os_error=cause):
            return Reason.CONNECTION, f"the proxy cannot be reached: {system_words(cause)}"
        case aiohttp.ConnectionTimeoutError():
            return failed(ConnectTimeout(), timeout)
        case aiohttp.ClientConnectorDNSError():
            return failed(NoAddress(error.host), timeout)
        case aiohttp.ClientConnectorCertificateError(certificate_error=cause):
            return failed(cause, timeout)
        case aiohttp.ClientConnectorError(os_error=cause):
            return failed(cause, timeout)
        case aiohttp.ServerDisconnectedError():
            return failed(ClosedUnanswered(), timeout)
        case aiohttp.ClientResponseError():
            return failed(NotHttp(), timeout)
        case _:
            return failed(error, timeout)


async def _head(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """The first bytes of an answer.

    The status has said what became of the request, so a body that breaks off or drags on changes
    nothing; one that is too long, or too slow, costs the connection.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > most:
                    answer.close()
                    break
    except (TimeoutError, aiohttp.ClientError, OSError):
        answer.close()
    return bytes(body[:most])
