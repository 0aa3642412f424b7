"""Sends requests over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Protocol

from yarl import URL

from relay.config import WebDestination
from relay.core.exchange import Request, Response
from relay.delivery.http.connection import Answered, ClosedUnanswered, NotHttp
from relay.delivery.http.errors import failed
from relay.delivery.http.pool import Connections
from relay.delivery.http.proxy import proxied_sender
from relay.delivery.http.request import Origin, Target, origin, target, written
from relay.delivery.http.response import most_read, received
from relay.delivery.http.tls import trust
from relay.delivery.redact import Scrubber, secrets_of

URLS = 16
"""Of so many URLs it is remembered what they say; most destinations have one."""


class Sender(Protocol):
    """Sends a request and says what came of it; never raises for what a destination does."""

    async def send(self, request: Request) -> Response:
        """Send the request once."""
        ...


class HttpSender:
    """A `Sender` over one destination's own connections.

    A client that does no more than this costs half of what a general one does.
    """

    def __init__(self, to: WebDestination) -> None:
        """Raises `TlsError`."""
        self._timeout = to.timeout
        self._total_s = to.timeout.total.total_seconds()
        self._trust = None if to.tls is None else trust(to.tls)
        self._scrub = Scrubber(secrets_of(to))
        self._connections = Connections(to.timeout.connect.total_seconds(), most_read(self._scrub))
        self._place = lru_cache(URLS)(self._find)
        self._loop = asyncio.get_running_loop()

    async def send(self, request: Request) -> Response:
        """Send the request; redirects are not followed, and no secret comes back in the answer."""
        until_s = self._loop.time() + self._total_s
        try:
            there, asked = self._place(request.url)
            answered = await self._connections.ask(there, written(request, asked), until_s)
        except (TimeoutError, OSError, ValueError, NotHttp, ClosedUnanswered) as error:
            failure, words = failed(error, self._timeout)
            return Response(None, failure=failure, error=self._scrub.clean(words))
        return received(answered.status, _named(answered), answered.body, self._scrub)

    def close(self) -> None:
        """End the connections; no request is under way any more."""
        self._connections.close()

    def _find(self, url: str) -> tuple[Origin, Target]:
        place = URL(url)
        return origin(place, lambda: self._trust or trust(None)), target(place)


@asynccontextmanager
async def http_sender(to: WebDestination) -> AsyncIterator[Sender]:
    """A sender with as many connections as deliveries, kept alive between requests.

    Nothing is taken from the environment (no proxy, no netrc), no cookie is kept, and no answer is
    unpacked: a destination cannot make relay hold more than it sends. Raises `TlsError`.
    """
    if to.proxy is not None:
        async with proxied_sender(to, URL(to.proxy.get_secret_value())) as sender:
            yield sender
        return
    direct = HttpSender(to)
    try:
        yield direct
    finally:
        direct.close()


def _named(answered: Answered) -> dict[str, str]:
    """Its headers by names in small letters; of several with one name the first."""
    return {
        name.decode("latin-1").lower(): value.decode(errors="surrogateescape")
        for name, value in reversed(answered.headers)
    }
