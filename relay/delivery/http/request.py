"""A request as the bytes that go over a connection (RFC 9112)."""

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
"""What is sent where the request does not say otherwise; an answer is never to be packed."""


class Origin(NamedTuple):
    """Where connections lead."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None
    """Whom to trust; None for no TLS."""


class RequestTarget(NamedTuple):
    """What a URL says of the request itself."""

    path: str
    default_headers: dict[str, str]
    """Header lines, by their names in small letters."""


def parse_origin(url: URL, get_ssl_context: Callable[[], ssl.SSLContext]) -> Origin:
    """Where a URL is reached. Raises `ValueError` for what is no URL of the web."""
    if url.scheme not in ("http", "https") or not url.raw_host or url.port is None:
        raise ValueError("no URL with http:// or https:// and a host")
    return Origin(url.raw_host, url.port, get_ssl_context() if url.scheme == "https" else None)


def parse_target(url: URL) -> RequestTarget:
    """What goes into the head of each request for a URL."""
    defaults = {"host": f"Host: {url.host_port_subcomponent}", **_DEFAULT_HEADERS}
    if (basic_auth := BasicAuth.from_url(url)) is not None:
        defaults["authorization"] = f"Authorization: {basic_auth.encode()}"
    return RequestTarget(url.raw_path_qs, defaults)


def serialize(request: Request, target: RequestTarget) -> bytes:
    """The request. Raises `ValueError` for a header that would break out of its line."""
    overridden = target.default_headers.keys() & {name.lower() for name in request.headers}
    lines = [f"{request.method} {target.path} HTTP/1.1"]
    lines += [line for name, line in target.default_headers.items() if name not in overridden]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if request.body or request.method != "GET":
        lines.append(f"Content-Length: {len(request.body)}")
    head = "\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
        raise ValueError("a header holds a line break")
    return f"{head}\r\n\r\n".encode() + request.body
