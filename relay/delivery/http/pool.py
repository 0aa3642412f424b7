"""The connections to one destination.

Opening a connection costs a round trip or more, and with TLS a handshake. So a connection that has
read a complete response is kept and used again. The pool opens a connection only if none is idle,
so there are never more connections than requests that were open at once, whose number
``concurrency`` limits. An idle connection closes itself (see `Connection`); the pool ends with its
destination's client.
"""

import asyncio
from collections import defaultdict
from functools import partial

from relay.core.tls import ClientTls
from relay.delivery.http.connection import Connection
from relay.delivery.http.message import Origin
from relay.delivery.http.resolver import Resolver
from relay.delivery.http.response import ConnectTimeout
from relay.delivery.http.shortage import ShortageWait

MAX_IDLE_FOR_LONG_S = 1.0
"""How long a connection may have been idle to be used for a long request. No receiver that keeps
connections closes them so soon."""


class ConnectionPool:
    """Keeps idle connections, and opens new ones."""

    def __init__(self, tls: ClientTls, connect_timeout_s: float, max_body_bytes: int) -> None:
        """``max_body_bytes`` is how much of the body of a response is returned."""
        self._tls = tls
        self._shortage = ShortageWait()
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

    def take_idle(self, origin: Origin, *, is_long: bool) -> Connection | None:
        """Return the connection that was used last: it is the least likely to be closed.

        For a long request, only one that was used a moment ago: a long request is not kept, so it
        could not be sent again if the receiver closed the connection now.
        """
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if is_long and connection.idle_s > MAX_IDLE_FOR_LONG_S:
                connection.close()
            elif connection.is_open:
                return connection
        return None

    async def connect(self, origin: Origin, deadline_s: float) -> Connection:
        """Open a connection. ``deadline_s`` is in the loop's time.

        Raises `NoAddress`, `ConnectTimeout`, `TimeoutError`, `OSError` and `ssl.SSLError`.
        """
        return await self._shortage.until_possible(
            lambda: self._connect_in_time(origin, deadline_s), deadline_s
        )

    async def _connect_in_time(self, origin: Origin, deadline_s: float) -> Connection:
        connect_by_s = asyncio.get_running_loop().time() + self._connect_timeout_s
        try:
            async with asyncio.timeout_at(min(deadline_s, connect_by_s)):
                return await self._connect(origin)
        except TimeoutError as error:
            if error.errno is not None:  # the operating system's timeout (ETIMEDOUT)
                raise
            raise (ConnectTimeout() if connect_by_s <= deadline_s else TimeoutError()) from None

    async def _connect(self, origin: Origin) -> Connection:
        ssl_context = self._tls.context() if origin.uses_tls else None
        _, connection = await asyncio.get_running_loop().create_connection(
            partial(Connection, self._max_body_bytes),
            sock=await self._resolver.connect(origin.host, origin.port),
            ssl=ssl_context,
            server_hostname=None if ssl_context is None else origin.host.rstrip("."),
        )
        return connection
