"""Sends requests over HTTP through a proxy.

Proxies are rare and need more of HTTP (CONNECT, authentication at the proxy), so this sender is
built on aiohttp and not on `Connection`. It keeps the same limits and gives the same reasons.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from relay import __version__
from relay.config import TimeoutConfig
from relay.core.errors import describe_os_error
from relay.core.exchange import Reason, Request, Response
from relay.delivery.http.connection import (
    BODY_TIMEOUT_S,
    PIECE_BYTES,
    InvalidHttpResponse,
    ServerDisconnected,
    cut_into_pieces,
)
from relay.delivery.http.message import ConnectTimeout, classify_error, read_limit, to_response
from relay.delivery.http.pool import create_ssl_context
from relay.delivery.http.resolver import NoAddress
from relay.delivery.redact import Redactor, collect_secrets
from relay.destinations.common.webhook import WebhookDestination


class ProxySender:
    """A `Sender` with its own connections to one destination's proxy."""

    def __init__(
        self, session: aiohttp.ClientSession, proxy: URL, destination: WebhookDestination
    ) -> None:
        self._session = session
        self._timeout = destination.timeout
        self._proxy = proxy
        self._redactor = Redactor(collect_secrets(destination))
        self._limit_headers = destination.limit_headers

    async def send(self, request: Request) -> Response:
        """Send the request. Redirects are not followed; the result holds no secret."""
        method, url, headers, body = request.method, request.url, request.headers, request.body
        del request
        data: bytes | AsyncIterator[memoryview] | None = body or None
        if len(body) > PIECE_BYTES:
            headers = {**headers, "Content-Length": str(len(body))}
            data = _stream(body)
        del body  # it must not stay in memory longer than it takes to send it
        try:
            async with self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                body = await _read_body(response, read_limit(self._redactor))
                return to_response(
                    response.status, response.headers, body, self._redactor, self._limit_headers
                )
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            failure, text = _classify_error(error, self._timeout)
            return Response(None, failure=failure, error=self._redactor.redact(text))


@asynccontextmanager
async def open_proxy_sender(destination: WebhookDestination) -> AsyncIterator[ProxySender]:
    """Open a sender to a destination with a proxy; promises the same as `open_http_sender`."""
    assert destination.proxy is not None
    ssl_context, timeout = create_ssl_context(destination.tls), destination.timeout
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=destination.concurrency, ssl=ssl_context),
        timeout=aiohttp.ClientTimeout(
            total=timeout.total.total_seconds(), sock_connect=timeout.connect.total_seconds()
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": f"relay/{__version__}", "Accept-Encoding": "identity"},
    )
    # aiohttp repeats a GET or a PUT by itself if the connection drops. That must not happen: relay
    # counts and schedules every attempt.
    session._retry_connection = False
    async with session:
        yield ProxySender(session, URL(destination.proxy.get_secret_value()), destination)


async def _stream(body: bytes) -> AsyncIterator[memoryview]:
    """Yield a long body in pieces; aiohttp takes the next one when the last is written."""
    for piece in cut_into_pieces([body]):
        yield piece


def _classify_error(error: Exception, timeout: TimeoutConfig) -> tuple[Reason, str]:
    """Return what `classify_error` does, with aiohttp's errors mapped to relay's own."""
    match error:
        case aiohttp.ClientHttpProxyError(status=status):
            return Reason.CONNECTION, f"the proxy answered {status}"
        case aiohttp.ClientProxyConnectionError(os_error=cause):
            return Reason.CONNECTION, f"the proxy cannot be reached: {describe_os_error(cause)}"
        case aiohttp.ConnectionTimeoutError():
            return classify_error(ConnectTimeout(), timeout)
        case aiohttp.ClientConnectorDNSError():
            return classify_error(NoAddress(error.host), timeout)
        case aiohttp.ClientConnectorCertificateError(certificate_error=cause):
            return classify_error(cause, timeout)
        case aiohttp.ClientConnectorError(os_error=cause):
            return classify_error(cause, timeout)
        case aiohttp.ServerDisconnectedError():
            return classify_error(ServerDisconnected(), timeout)
        case aiohttp.ClientResponseError():
            return classify_error(InvalidHttpResponse(), timeout)
        case _:
            return classify_error(error, timeout)


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the beginning of the body.

    If the body breaks off, is too slow or too long, the connection is closed, but the response
    counts: its status has arrived.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > max_bytes:
                    response.close()
                    break
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()
    return bytes(body[:max_bytes])
