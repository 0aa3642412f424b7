"""Listen addresses: a TCP port or a Unix socket."""

import re
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

_INVALID_CHARACTERS = re.compile(r"[^\x21-\x7e]|@")
MAX_PATH_BYTES = 107
"""The longest path that fits into a socket address, without the NUL at its end: unix(7)."""


class TcpPort(msgspec.Struct, frozen=True):
    """A TCP port on one of the machine's addresses."""

    host: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it. Decided by the text of the host, without DNS."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixSocket(msgspec.Struct, frozen=True):
    """A Unix socket in the file system."""

    path: Path

    @property
    def is_local(self) -> bool:
        """Always True: only this machine can reach it."""
        return True

    def __str__(self) -> str:
        return f"unix:{self.path}"


def is_loopback(host: str) -> bool:
    """Whether ``host`` (without brackets) is a loopback address or ``localhost``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_listen_address(text: str) -> TcpPort | UnixSocket:
    """Parse ``127.0.0.1:9321``, ``[::1]:9321`` or ``unix:/run/relay.sock``.

    Raises `ValueError`; its message continues a sentence that starts with the value, and does not
    contain the value.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        check_socket_path(path)
        if path.startswith("/") and not path.endswith("/") and path.isprintable():
            return UnixSocket(Path(path))
    elif port := _parse_tcp_port(text):
        return port
    raise ValueError("is neither HOST:PORT, as in 127.0.0.1:9321, nor unix:/PATH")


def check_socket_path(path: str) -> None:
    """Raise `ValueError` for a path that is too long for the address of a socket."""
    if len(path.encode(errors="replace")) > MAX_PATH_BYTES:
        raise ValueError(f"is too long: a socket's path may have {MAX_PATH_BYTES} bytes")


def _parse_tcp_port(text: str) -> TcpPort | None:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or not port or parts.netloc != text or _INVALID_CHARACTERS.search(text):
        return None
    return TcpPort(host, port)
