"""Serializes a request: its URL, headers and body as the bytes that are sent (RFC 9112)."""

import ssl
from collections.abc import Callable
from typing import NamedTuple

from aiohttp import BasicAuth
from yarl import URL

from relay import __version__
from relay.core.exchange import Request

_DEFAULT_HEADERS = {
    "user-agent": f"User-Agent: relay/{__version__}",
    "accept": "Accept: */*",
    "accept-encoding": "Accept-Encoding: identity",
}
"""Header lines that are sent unless the request has its own. Responses must not be compressed:
relay does not decompress them."""


class ConnectTimeout(TimeoutError):
    """No connection was established within ``timeout.connect``."""


class Origin(NamedTuple):
    """Where to connect."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None
    """None for a connection without TLS."""


class RequestTarget(NamedTuple):
    """The parts of a URL that are sent in the head of a request."""

    path: str
    default_headers: dict[str, str]
    """Header lines by lower-case name."""


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


def serialize(request: Request, target: RequestTarget) -> bytes:
    """Return the request as bytes. Raises `ValueError` if a header contains a line break."""
    overridden = target.default_headers.keys() & {name.lower() for name in request.headers}
    lines = [f"{request.method} {target.path} HTTP/1.1"]
    lines += [line for name, line in target.default_headers.items() if name not in overridden]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if request.body or request.method != "GET":
        lines.append(f"Content-Length: {len(request.body)}")
    head = "\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
        raise ValueError("a header contains a line break")
    return f"{head}\r\n\r\n".encode() + request.body
