"""The connections to one destination.

Opening a connection costs a round trip or more, and with TLS a handshake. So a connection that has
read a complete response is kept and used again. The pool opens a connection only if none is idle,
so there are never more connections than requests that were open at once, whose number
``concurrency`` limits. An idle connection closes itself (see `Connection`); the pool ends with its
destination's client. `create_ssl_context` makes what connections with TLS need.
"""

import asyncio
import ssl
from collections import defaultdict
from functools import cache, partial

from aiohappyeyeballs import start_connection

from relay.config import TlsConfig
from relay.core.errors import RelayError, describe_os_error
from relay.delivery.http.connection import Connection
from relay.delivery.http.message import ConnectTimeout, Origin
from relay.delivery.http.resolver import Resolver

HAPPY_EYEBALLS_DELAY_S = 0.25
"""How long the first address of a host is tried alone (RFC 8305, section 5)."""


class ConnectionPool:
    """Sends requests over idle connections, and opens new ones if there are none."""

    def __init__(self, connect_timeout_s: float, max_body_bytes: int) -> None:
        """``max_body_bytes`` is how much of the body of a response is returned."""
        self._connect_timeout_s = connect_timeout_s
        self._max_body_bytes = max_body_bytes
        self._resolver = Resolver()
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection whose response was read, if it is still open."""
        if connection.is_open:
            self._idle[origin].append(connection)

    def close(self) -> None:
        """Close all connections. No request may be open."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def take_idle(self, origin: Origin) -> Connection | None:
        """Return the connection that was used last: it is the least likely to be closed."""
        idle = self._idle[origin]
        while idle:
            if (connection := idle.pop()).is_open:
                return connection
        return None

    async def connect(self, origin: Origin, deadline_s: float) -> Connection:
        """Open a connection. ``deadline_s`` is in the loop's time.

        Raises `NoAddress`, `ConnectTimeout`, `TimeoutError`, `OSError` and `ssl.SSLError`.
        """
        connect_by_s = asyncio.get_running_loop().time() + self._connect_timeout_s
        try:
            async with asyncio.timeout_at(min(deadline_s, connect_by_s)):
                return await self._connect(origin)
        except TimeoutError as error:
            if error.errno is not None:  # the operating system's timeout (ETIMEDOUT)
                raise
            raise (ConnectTimeout() if connect_by_s <= deadline_s else TimeoutError()) from None

    async def _connect(self, origin: Origin) -> Connection:
        socket = await start_connection(
            await self._resolver.resolve(origin.host, origin.port),
            happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S,
            interleave=1,
        )
        _, connection = await asyncio.get_running_loop().create_connection(
            partial(Connection, self._max_body_bytes),
            sock=socket,
            ssl=origin.ssl_context,
            server_hostname=None if origin.ssl_context is None else origin.host.rstrip("."),
        )
        return connection


class TlsError(RelayError):
    """The files of a destination's ``tls`` cannot be used."""


def create_ssl_context(files: TlsConfig | None) -> ssl.SSLContext:
    """Return a context with these files; with None, one with the system's certificate authorities.

    Raises `TlsError`.
    """
    if files is None:
        return _system_context()
    file = files.ca_file
    try:
        context = ssl.create_default_context(cafile=file)
        if files.cert_file is not None:
            file = files.cert_file
            # A key that has a passphrase is refused because of the empty password. Without one,
            # OpenSSL would ask for the passphrase on the terminal and wait.
            context.load_cert_chain(files.cert_file, files.key_file, password="")
    except (OSError, ValueError) as error:
        text = describe_os_error(error) if isinstance(error, OSError) else str(error)
        raise TlsError(f"{file}: cannot be used for TLS: {text}") from error
    return _with_alpn(context)


@cache
def _system_context() -> ssl.SSLContext:
    """Return a context that destinations without ``tls`` share: each takes time and memory."""
    return _with_alpn(ssl.create_default_context())


def _with_alpn(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["http/1.1"])
    return context
