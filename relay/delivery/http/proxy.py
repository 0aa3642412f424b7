"""Sends requests over HTTP through a proxy.

Proxies are rare and need more of HTTP (CONNECT, authentication at the proxy), so this sender is
built on aiohttp and not on `Connection`. It keeps the same limits and gives the same reasons.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from relay import __version__
from relay.config import TimeoutConfig
from relay.core.descriptors import SHORTAGES, check_descriptors
from relay.core.errors import describe_os_error
from relay.core.exchange import Reason, Request, Response
from relay.core.tls import ClientTls
from relay.delivery.http.connection import (
    BODY_TIMEOUT_S,
    PIECE_BYTES,
    InvalidHttpResponse,
    ServerDisconnected,
    cut_into_pieces,
)
from relay.delivery.http.resolver import NoAddress
from relay.delivery.http.response import ConnectTimeout, ResponseReader, classify_error
from relay.delivery.http.shortage import ShortageWait
from relay.destinations.common.webhook import WebhookDestination, path_and_query

MIN_TIMEOUT_S = 0.001
"""The shortest timeout of a request: aiohttp understands 0 as no timeout at all."""


class _Resolver(aiohttp.ThreadedResolver):
    """Looks up the proxy's name. Raises `OSError` if there is no file descriptor for that."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            return await super().resolve(host, port, family)
        except OSError:
            check_descriptors()
            raise


class _Trace:
    """What aiohttp reports of one request."""

    is_reused = False
    """Whether the connection was used before."""


class ProxySender:
    """A `Sender` with its own connections to one destination's proxy."""

    def __init__(
        self, session: aiohttp.ClientSession, proxy: URL, destination: WebhookDestination
    ) -> None:
        self._session = session
        self._timeout = destination.timeout
        self._proxy = proxy
        self._tls = ClientTls(destination.tls)
        self._reader = ResponseReader(destination)
        self._shortage = ShortageWait()

    async def send(self, request: Request) -> Response:
        """Send the request. Redirects are not followed; the result holds no secret."""
        deadline_s = asyncio.get_running_loop().time() + self._timeout.total.total_seconds()
        if len(request.body) > PIECE_BYTES:
            sending = self._send_once(request, deadline_s, _Trace())
        else:
            sending = self._send_short(request, deadline_s)
        del request  # the body must not stay in memory longer than it takes to send it
        try:
            return await sending
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            return self._reader.failed(*_classify_error(error, self._timeout))

    async def _send_short(self, request: Request, deadline_s: float) -> Response:
        """Send a request that is kept, so that it can be sent again: see `HttpSender`."""
        while True:
            trace = _Trace()
            try:
                return await self._shortage.until_possible(
                    partial(self._send_once, request, deadline_s, trace), deadline_s
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not trace.is_reused:
                    raise
                # The connection is closed now, so each repetition uses another one.

    async def _send_once(self, request: Request, deadline_s: float, trace: _Trace) -> Response:
        method, url, headers, body = request.method, request.url, request.headers, request.body
        del request
        data: bytes | AsyncIterator[memoryview] | None = body or None
        if len(body) > PIECE_BYTES:
            headers = {**headers, "Content-Length": str(len(body))}
            data = _stream(body)
        del body
        left_s = deadline_s - asyncio.get_running_loop().time()
        async with self._session.request(
            method,
            _as_written(url),
            data=data,
            headers=headers,
            proxy=self._proxy,
            ssl=self._tls.context(),
            timeout=aiohttp.ClientTimeout(
                total=max(left_s, MIN_TIMEOUT_S),
                sock_connect=self._timeout.connect.total_seconds(),
            ),
            allow_redirects=False,
            trace_request_ctx=trace,
        ) as response:
            body = await _read_body(response, self._reader.max_body_bytes)
            return self._reader.read(response.status, _lowercase_headers(response), body)


@asynccontextmanager
async def open_proxy_sender(destination: WebhookDestination) -> AsyncIterator[ProxySender]:
    """Open a sender to a destination with a proxy; promises the same as `open_http_sender`."""
    assert destination.proxy is not None
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=destination.concurrency, resolver=_Resolver()),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": f"relay/{__version__}", "Accept-Encoding": "identity"},
        trace_configs=[trace],
    )
    # aiohttp repeats a GET or a PUT by itself if the connection drops. That must not happen: relay
    # counts and schedules every attempt.
    session._retry_connection = False
    async with session:
        yield ProxySender(session, URL(destination.proxy.get_secret_value()), destination)


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.is_reused = True


def _as_written(text: str) -> URL:
    """Return a URL whose path and query aiohttp sends as they were written."""
    url = URL(text)
    path, _, query = path_and_query(text).partition("?")
    return URL.build(
        scheme=url.scheme,
        authority=url.raw_authority,
        path=path,
        query_string=query,
        encoded=True,
    )


def _lowercase_headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in reversed(list(response.headers.items()))}


async def _stream(body: bytes) -> AsyncIterator[memoryview]:
    """Yield a long body in pieces; aiohttp takes the next one when the last is written."""
    for piece in cut_into_pieces([body]):
        yield piece


def _classify_error(error: Exception, timeout: TimeoutConfig) -> tuple[Reason, str]:
    """Return what `classify_error` does, with aiohttp's errors mapped to relay's own."""
    match error:
        case OSError(errno=code) if code in SHORTAGES:
            return classify_error(error, timeout)
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
