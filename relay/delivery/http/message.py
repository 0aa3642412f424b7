"""What a request is on the wire (RFC 9112), and what is kept of the response to it.

A request becomes bytes: its URL, headers and body. Of a response a limited part is kept, without
secrets. If there is none, `classify_error` says why.
"""

import ssl
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from aiohttp import BasicAuth
from yarl import URL

from relay import __version__
from relay.config import TimeoutConfig
from relay.core.errors import describe_os_error
from relay.core.exchange import Reason, Request, Response
from relay.delivery.http.connection import InvalidHttpResponse, ServerDisconnected
from relay.delivery.http.resolver import NoAddress
from relay.delivery.redact import Redactor

HEAD_CACHE_SIZE = 16
"""How many beginnings of heads are kept for one URL: they differ by the names of the headers."""

JOINED_MAX_BYTES = 65_536
"""Up to this length a body is sent together with its head, in one packet if it is short."""

KEPT_BODY_BYTES = 4096
"""How much of the body of a response is kept."""

KEPT_HEADER_CHARS = 100
"""How much of each kept header is kept."""

_DEFAULT_HEADERS = {
    "user-agent": f"User-Agent: relay/{__version__}",
    "accept": "Accept: */*",
    "accept-encoding": "Accept-Encoding: identity",
}
"""Header lines that are sent unless the request has its own. Responses must not be compressed:
relay does not decompress them."""

_KEPT_HEADERS = ("retry-after", "date")
"""The headers that are kept of every response, in addition to ``limit_headers``."""


class ConnectTimeout(TimeoutError):
    """No connection was established within ``timeout.connect``."""


class Origin(NamedTuple):
    """Where to connect."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None
    """None for a connection without TLS."""


class RequestTarget:
    """The parts of a URL that are sent in the head of a request."""

    def __init__(self, path: str, default_headers: Mapping[str, str]) -> None:
        """``default_headers`` are lines by lower-case name."""
        self._path = path
        self._default_headers = default_headers
        self.begin_head = lru_cache(HEAD_CACHE_SIZE)(self._begin_head)

    def _begin_head(self, method: str, names: tuple[str, ...]) -> str:
        """Return the first line and the default headers, except those in ``names``."""
        overridden = {name.lower() for name in names}
        lines = [line for name, line in self._default_headers.items() if name not in overridden]
        first_line = f"{method} {self._path} HTTP/1.1"
        if any(char in first_line for char in "\r\n\0"):
            raise ValueError("the URL or the method contains a line break")
        return "\r\n".join([first_line, *lines])


def parse_origin(url: URL, get_ssl_context: Callable[[], ssl.SSLContext]) -> Origin:
    """Return where to connect for a URL. Raises `ValueError` unless it is http(s) with a host."""
    if url.scheme not in ("http", "https") or not url.raw_host or url.port is None:
        raise ValueError("not a URL with http:// or https:// and a host")
    ssl_context = get_ssl_context() if url.scheme == "https" else None
    return Origin(url.raw_host, url.port, ssl_context)


def parse_target(url: URL) -> RequestTarget:
    """Return what the head of each request to a URL contains."""
    default_headers = {"host": f"Host: {url.host_port_subcomponent}", **_DEFAULT_HEADERS}
    if (basic_auth := BasicAuth.from_url(url)) is not None:
        default_headers["authorization"] = f"Authorization: {basic_auth.encode()}"
    return RequestTarget(url.raw_path_qs, default_headers)


def serialize(request: Request, target: RequestTarget) -> list[bytes]:
    """Return the request as bytes: in one part, or head and body apart so as not to copy the body.

    Raises `ValueError` if a header contains a line break.
    """
    lines = [target.begin_head(request.method, tuple(request.headers))]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if request.body or request.method != "GET":
        lines.append(f"Content-Length: {len(request.body)}")
    head = "\r\n".join(lines)
    breaks = lines[0].count("\n") + len(lines) - 1
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
        raise ValueError("a header contains a line break")
    encoded = f"{head}\r\n\r\n".encode()
    if len(request.body) > JOINED_MAX_BYTES:
        return [encoded, request.body]
    return [encoded + request.body]


def read_limit(redactor: Redactor) -> int:
    """Return how many bytes of a body are read: more than are kept.

    A secret that begins before the cut must be read to its end, because a part of it would not be
    recognized.
    """
    return KEPT_BODY_BYTES + redactor.lookahead_bytes


def to_response(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    redactor: Redactor,
    limit_headers: Iterable[str] = (),
) -> Response:
    """Return the response without secrets. The keys of ``headers`` are in lower case.

    ``limit_headers`` are the headers to keep for `DestinationConfig.parse_response`.
    """
    kept = (*_KEPT_HEADERS, *limit_headers)
    if body:
        text = redactor.redact(body.decode(errors="surrogateescape"))
        body = text.encode(errors="surrogateescape")[:KEPT_BODY_BYTES]
    location = headers.get("location", "")
    return Response(
        status,
        body,
        error=_describe_redirect(location) if location and 300 <= status < 400 else None,
        headers={name: headers[name][:KEPT_HEADER_CHARS] for name in kept if name in headers},
    )


def classify_error(error: Exception, timeout: TimeoutConfig) -> tuple[Reason, str]:
    """Return why a request got no response, as a reason and as a text for the log.

    The text never holds the URL, which may be secret.
    """
    match error:
        case ConnectTimeout():
            return Reason.TIMEOUT, f"no connection in {timeout.connect.total_seconds():g} s"
        case TimeoutError(errno=None):
            return Reason.TIMEOUT, f"no answer in {timeout.total.total_seconds():g} s"
        case NoAddress():
            return Reason.NAME_NOT_FOUND, f"the name {error.host!r} has no address"
        case ssl.SSLCertVerificationError():
            return Reason.TLS, f"certificate not accepted: {error}"
        case ssl.SSLError():
            return Reason.TLS, describe_os_error(error)
        case OSError():
            return Reason.CONNECTION, describe_os_error(error)
        case ServerDisconnected() | InvalidHttpResponse():
            return Reason.CONNECTION, str(error)
        case _:
            return Reason.CONNECTION, type(error).__name__


def _describe_redirect(location: str) -> str:
    """Return where a redirect leads: the origin only, since path and query may be secret."""
    try:
        url = URL(location)
        target = (
            str(url.origin()) if url.host else f"{url.scheme}:" if url.scheme else "the same server"
        )
    except ValueError:
        target = "an invalid URL"
    return f"a redirect to {target}, which is not followed"
