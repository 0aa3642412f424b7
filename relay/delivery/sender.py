"""Sends requests over HTTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import aiohttp
from yarl import URL

from relay import __version__
from relay.config import TlsConfig, WebDestination
from relay.delivery.failure import elsewhere, failed
from relay.delivery.scrub import Scrubber, secrets_of
from relay.errors import RelayError, system_words
from relay.exchange import Request, Response

BODY_TIMEOUT_S = 3
"""How long an answer's body may take once its status is known."""
ANSWER_BYTES = 4096
"""How much of an answer is kept."""
HEADER_CHARS = 100
"""How much of a header of it."""

_OF_LIMITS = ("retry-after", "date", "x-ratelimit-remaining", "x-ratelimit-reset-after")


class TlsError(RelayError):
    """The files of a destination's ``tls`` cannot be used."""


class Sender(Protocol):
    """Sends a request and says what came of it; never raises for what a destination does."""

    async def send(self, request: Request) -> Response:
        """Send the request once."""
        ...


class HttpSender:
    """A `Sender` over one destination's own connections."""

    def __init__(self, session: aiohttp.ClientSession, to: WebDestination) -> None:
        self._session = session
        self._timeout = to.timeout
        self._proxy = None if to.proxy is None else URL(to.proxy.get_secret_value())
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
                return await self._read(answer)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            failure, words = failed(error, self._timeout)
            return Response(None, failure=failure, error=self._scrub.clean(words))

    async def _read(self, answer: aiohttp.ClientResponse) -> Response:
        # a secret that the end of what is kept would cut in two is read to its own end
        body = await _head(answer, ANSWER_BYTES + self._scrub.reach)
        text = self._scrub.clean(body.decode(errors="surrogateescape"))
        location = answer.headers.get("Location", "")
        return Response(
            answer.status,
            text.encode(errors="surrogateescape")[:ANSWER_BYTES],
            error=elsewhere(location) if location and 300 <= answer.status < 400 else None,
            headers={
                name: answer.headers[name][:HEADER_CHARS]
                for name in _OF_LIMITS
                if name in answer.headers
            },
        )


@asynccontextmanager
async def http_sender(to: WebDestination) -> AsyncIterator[HttpSender]:
    """A sender with as many connections as deliveries, kept alive between requests.

    Nothing is taken from the environment (no proxy, no netrc), no cookie is kept, and no answer is
    unpacked: a destination cannot make relay hold more than it sends. Raises `TlsError`.
    """
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
        yield HttpSender(session, to)


def trust(files: TlsConfig | None) -> ssl.SSLContext | bool:
    """Whom to trust, and who relay is; True for what the system trusts. Raises `TlsError`."""
    if files is None:
        return True
    file = files.ca_file
    try:
        context = ssl.create_default_context(cafile=file)
        if files.cert_file is not None:
            file = files.cert_file
            # a key with a passphrase is refused: nobody could be asked for it
            context.load_cert_chain(files.cert_file, files.key_file, password="")
    except (OSError, ValueError) as error:
        words = system_words(error) if isinstance(error, OSError) else str(error)
        raise TlsError(f"{file}: cannot be used for TLS: {words}") from error
    return context


async def _head(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """The first bytes of an answer.

    The status has said what became of the request, so a body that breaks off or drags on changes
    nothing; one that is too long, or too slow, costs the connection.
    """
    if answer.content.at_eof():  # most say nothing
        return b""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > most:
                    answer.close()
                    break
    except (TimeoutError, aiohttp.ClientError, OSError):
        answer.close()
    return bytes(body[:most])
