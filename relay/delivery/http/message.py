"""What a request is on the wire (RFC 9112): its URL, headers and body become bytes.

The path and the query of a URL are sent as they were written: they may be signed, and what another
notation of them means is for the receiver to say.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from aiohttp import BasicAuth
from yarl import URL

from relay import __version__
from relay.core.exchange import Request
from relay.destinations.common.webhook import path_and_query

HEAD_CACHE_SIZE = 16
"""How many beginnings of heads are kept for one URL: they differ by the names of the headers."""

JOINED_MAX_BYTES = 65_536
"""Up to this length a body is sent together with its head, in one packet if it is short."""

_DEFAULT_HEADERS = {
    "user-agent": f"User-Agent: relay/{__version__}",
    "accept": "Accept: */*",
    "accept-encoding": "Accept-Encoding: identity",
}
"""Header lines that are sent unless the request has its own. Responses must not be compressed:
relay does not decompress them."""


class Origin(NamedTuple):
    """Where to connect."""

    host: str
    port: int
    uses_tls: bool


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


def parse_origin(text: str) -> Origin:
    """Return where to connect for a URL. Raises `ValueError` unless it is http(s) with a host."""
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.raw_host or url.port is None:
        raise ValueError("not a URL with http:// or https:// and a host")
    return Origin(url.raw_host, url.port, url.scheme == "https")


def parse_target(text: str) -> RequestTarget:
    """Return what the head of each request to a URL contains."""
    url = URL(text)
    default_headers = {"host": f"Host: {url.host_port_subcomponent}", **_DEFAULT_HEADERS}
    if (basic_auth := BasicAuth.from_url(url)) is not None:
        default_headers["authorization"] = f"Authorization: {basic_auth.encode()}"
    return RequestTarget(path_and_query(text), default_headers)


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
