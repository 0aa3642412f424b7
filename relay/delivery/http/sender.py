"""Sends requests over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Protocol

from yarl import URL

from relay.core.exchange import Request, Response
from relay.delivery.http.connection import InvalidHttpResponse, RawResponse, ServerDisconnected
from relay.delivery.http.message import (
    Origin,
    RequestTarget,
    classify_error,
    parse_origin,
    parse_target,
    read_limit,
    serialize,
    to_response,
)
from relay.delivery.http.pool import ConnectionPool, create_ssl_context
from relay.delivery.http.proxy import open_proxy_sender
from relay.delivery.redact import Redactor, collect_secrets
from relay.destinations.common.webhook import WebhookDestination

URL_CACHE_SIZE = 16
"""How many parsed URLs a sender caches. Most destinations have one URL."""


class Sender(Protocol):
    """Sends a request and returns the result; never raises for what a destination does."""

    async def send(self, request: Request) -> Response:
        """Send the request once."""
        ...


class HttpSender:
    """A `Sender` with its own connections to one destination.

    It does only what deliveries need, which costs half of what a general HTTP client costs.
    """

    def __init__(self, destination: WebhookDestination) -> None:
        """Raises `TlsError`."""
        self._timeout = destination.timeout
        self._total_s = destination.timeout.total.total_seconds()
        tls = destination.tls
        self._ssl_context = None if tls is None else create_ssl_context(tls)
        self._redactor = Redactor(collect_secrets(destination))
        self._limit_headers = destination.limit_headers
        self._pool = ConnectionPool(
            self._timeout.connect.total_seconds(), read_limit(self._redactor)
        )
        self._parse_cached = lru_cache(URL_CACHE_SIZE)(self._parse_url)
        self._loop = asyncio.get_running_loop()

    async def send(self, request: Request) -> Response:
        """Send the request. Redirects are not followed; the result holds no secret."""
        deadline_s = self._loop.time() + self._total_s
        try:
            origin, target = self._parse_cached(request.url)
            parts = serialize(request, target)
            del request  # the body must not stay in memory longer than it takes to send it
            connection = self._pool.take_idle(origin)
            if connection is None:
                connection = await self._pool.connect(origin, deadline_s)
            response = await connection.send_request(parts, deadline_s)
            self._pool.give_back(origin, connection)
        except (
            TimeoutError,
            OSError,
            ValueError,
            InvalidHttpResponse,
            ServerDisconnected,
        ) as error:
            failure, text = classify_error(error, self._timeout)
            return Response(None, failure=failure, error=self._redactor.redact(text))
        headers = _lowercase_headers(response)
        return to_response(
            response.status, headers, response.body, self._redactor, self._limit_headers
        )

    def close(self) -> None:
        """Close the connections. No request may be open."""
        self._pool.close()

    def _parse_url(self, text: str) -> tuple[Origin, RequestTarget]:
        url = URL(text)
        origin = parse_origin(url, lambda: self._ssl_context or create_ssl_context(None))
        return origin, parse_target(url)


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


def _lowercase_headers(response: RawResponse) -> dict[str, str]:
    """Return the headers by lower-case name. If one is repeated, the first counts."""
    return {
        name.decode("latin-1").lower(): value.decode(errors="surrogateescape")
        for name, value in reversed(response.headers)
    }
