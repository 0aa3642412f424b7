"""Sends requests over HTTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache

from yarl import URL

from relay.core.exchange import Reached, Request, Response, Sender
from relay.core.tls import ClientTls
from relay.delivery.http.connection import (
    Connection,
    InvalidHttpResponse,
    RawResponse,
    ServerDisconnected,
)
from relay.delivery.http.message import (
    Origin,
    RequestTarget,
    parse_origin,
    parse_target,
    serialize,
)
from relay.delivery.http.pool import ConnectionPool
from relay.delivery.http.proxy import open_proxy_sender
from relay.delivery.http.response import ResponseReader, classify_error
from relay.destinations.common.webhook import WebhookDestination

URL_CACHE_SIZE = 16
"""How many parsed URLs a sender caches. Most destinations have one URL."""


class HttpSender:
    """A `Sender` with its own connections to one destination.

    It does only what deliveries need, which costs half of what a general HTTP client costs.
    """

    def __init__(self, destination: WebhookDestination) -> None:
        """Raises `TlsError`."""
        self._timeout = destination.timeout
        self._total_s = destination.timeout.total.total_seconds()
        self._reader = ResponseReader(destination)
        self._pool = ConnectionPool(
            ClientTls(destination.tls),
            self._timeout.connect.total_seconds(),
            self._reader.max_body_bytes,
        )
        self._parse_cached = lru_cache(URL_CACHE_SIZE)(_parse_url)
        self._loop = asyncio.get_running_loop()

    async def send(self, request: Request) -> Response:
        """Send the request. Redirects are not followed; the result holds no secret."""
        deadline_s = self._loop.time() + self._total_s
        try:
            origin, target = self._parse_cached(request.url)
            parts = serialize(request, target)
            del request  # the body must not stay in memory longer than it takes to send it
            response = await self._exchange(origin, parts, deadline_s)
        except (
            TimeoutError,
            OSError,
            ValueError,
            InvalidHttpResponse,
            ServerDisconnected,
        ) as error:
            return self._reader.failed(*classify_error(error, self._timeout))
        return self._reader.read(response.status, _lowercase_headers(response), response.body)

    async def _exchange(self, origin: Origin, parts: list[bytes], deadline_s: float) -> RawResponse:
        """Send a request over an idle connection, or a new one.

        A receiver may close an idle connection at the moment at which relay uses it. If nothing of
        a response has arrived then, the request is sent once more over a new connection: the
        receiver did not fail, so this is no attempt of its own. A long request is not kept for
        that.
        """
        is_long = len(parts) > 1
        connection = self._pool.take_idle(origin, is_long=is_long)
        if connection is not None:
            again = [] if is_long else list(parts)
            try:
                return await self._exchange_over(connection, origin, parts, deadline_s)
            except (ServerDisconnected, ConnectionError, ssl.SSLError):
                if not again or connection.is_answered:
                    raise
            parts = again
        connection = await self._pool.connect(origin, deadline_s)
        return await self._exchange_over(connection, origin, parts, deadline_s)

    async def _exchange_over(
        self, connection: Connection, origin: Origin, parts: list[bytes], deadline_s: float
    ) -> RawResponse:
        response = await connection.send_request(parts, deadline_s)
        self._pool.give_back(origin, connection)
        return response

    def close(self) -> None:
        """Close the connections. No request may be open."""
        self._pool.close()


@asynccontextmanager
async def open_http_sender(destination: WebhookDestination) -> AsyncIterator[Sender]:
    """Open a sender that keeps its connections alive between requests.

    It takes nothing from the environment (no proxy, no netrc), keeps no cookies and decompresses no
    response, so that a few bytes of a response cannot become many. Raises `TlsError`.
    """
    if destination.proxy is not None:
        async with open_proxy_sender(destination) as proxy_sender:
            yield proxy_sender
        return
    sender = HttpSender(destination)
    try:
        yield sender
    finally:
        sender.close()


async def reach_over_http(destination: WebhookDestination) -> Reached:
    """Connect to the destination's server or, if there is one, to its proxy; send nothing."""
    proxy, timeout = destination.proxy, destination.timeout
    text = destination.endpoint if proxy is None else proxy.get_secret_value()
    pool = ConnectionPool(
        ClientTls(destination.tls), timeout.connect.total_seconds(), max_body_bytes=0
    )
    try:
        origin = parse_origin(text)
        deadline_s = asyncio.get_running_loop().time() + timeout.total.total_seconds()
        connection = await pool.connect(origin, deadline_s)
        connection.close()
    except (OSError, ValueError) as error:
        _, reason = classify_error(error, timeout)
        return Reached(reason, is_reached=False)
    url = URL(text)
    what = f"{url.scheme}://{url.host_port_subcomponent}"
    if proxy is None:
        return Reached(f"reached ({what})", is_reached=True)
    return Reached(
        f"its proxy is reached ({what}); what is beyond it is not tried", is_reached=True
    )


def _parse_url(url: str) -> tuple[Origin, RequestTarget]:
    return parse_origin(url), parse_target(url)


def _lowercase_headers(response: RawResponse) -> dict[str, str]:
    """Return the headers by lower-case name. If one is repeated, the first counts."""
    return {
        name.decode("latin-1").lower(): value.decode(errors="surrogateescape")
        for name, value in reversed(response.headers)
    }
