"""The connections to one destination: opened when they are needed, kept while they are."""

import asyncio
from collections import defaultdict
from functools import partial

from aiohappyeyeballs import start_connection

from relay.delivery.http.connection import Connection, RawResponse
from relay.delivery.http.request import Origin
from relay.delivery.http.resolver import Resolver

HAPPY_EYEBALLS_DELAY_S = 0.25
"""How long one address of a host is tried alone (RFC 8305, section 5)."""


class ConnectTimeout(TimeoutError):
    """There was no connection in time."""


class ConnectionPool:
    """Opens one where none is idle; there are as many as requests were under way at once."""

    def __init__(self, connect_timeout_s: float, max_body_bytes: int) -> None:
        """``connect_s`` is how long opening one may take, ``most`` what is kept of a body."""
        self._connect_timeout_s = connect_timeout_s
        self._max_body_bytes = max_body_bytes
        self._resolver = Resolver()
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)

    async def send_request(self, origin: Origin, request: bytes, deadline_s: float) -> RawResponse:
        """The answer to a request.

        Raises what `Connection.send_request` does, `NoAddress`, `ConnectTimeout` and `ssl.SSLError`.
        """
        connection = self._take_idle(origin) or await self._connect_in_time(origin, deadline_s)
        response = await connection.send_request(request, deadline_s)
        if connection.is_open:
            self._idle[origin].append(connection)
        return response

    def close(self) -> None:
        """End those that are idle; nothing is under way any more."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def _take_idle(self, origin: Origin) -> Connection | None:
        """The one that was used last, since it is the least likely to be closed."""
        idle = self._idle[origin]
        while idle:
            if (connection := idle.pop()).is_open:
                return connection
        return None

    async def _connect_in_time(self, origin: Origin, deadline_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        connect_by_s = loop.time() + self._connect_timeout_s
        try:
            async with asyncio.timeout_at(min(deadline_s, connect_by_s)):
                return await self._connect(origin)
        except TimeoutError as error:
            if error.errno is not None:  # it is the system that has waited long enough
                raise
            raise (ConnectTimeout() if connect_by_s <= deadline_s else TimeoutError()) from None

    async def _connect(self, origin: Origin) -> Connection:
        connected = await start_connection(
            await self._resolver.resolve(origin.host, origin.port),
            happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S,
            interleave=1,
        )
        _, connection = await asyncio.get_running_loop().create_connection(
            partial(Connection, self._max_body_bytes),
            sock=connected,
            ssl=origin.ssl_context,
            server_hostname=None if origin.ssl_context is None else origin.host.rstrip("."),
        )
        return connection
