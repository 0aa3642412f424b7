"""The connections to one destination: opened when they are needed, kept while they are."""

import asyncio
from collections import defaultdict
from functools import partial

from aiohappyeyeballs import start_connection

from relay.delivery.http.connection import Answered, Connection
from relay.delivery.http.request import Origin
from relay.delivery.http.resolver import Names

SECOND_ADDRESS_S = 0.25
"""How long one address of a host is tried alone (RFC 8305, section 5)."""


class ConnectTimeout(TimeoutError):
    """There was no connection in time."""


class Connections:
    """Opens one where none is idle; there are as many as requests were under way at once."""

    def __init__(self, connect_s: float, most: int) -> None:
        """``connect_s`` is how long opening one may take, ``most`` what is kept of a body."""
        self._connect_s = connect_s
        self._most = most
        self._names = Names()
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)

    async def ask(self, origin: Origin, request: bytes, until_s: float) -> Answered:
        """The answer to a request.

        Raises what `Connection.ask` does, `NoAddress`, `ConnectTimeout` and `ssl.SSLError`.
        """
        connection = self._taken(origin) or await self._opened(origin, until_s)
        answered = await connection.ask(request, until_s)
        if connection.is_open:
            self._idle[origin].append(connection)
        return answered

    def close(self) -> None:
        """End those that are idle; nothing is under way any more."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def _taken(self, origin: Origin) -> Connection | None:
        """The one that was used last, since it is the least likely to be closed."""
        idle = self._idle[origin]
        while idle:
            if (connection := idle.pop()).is_open:
                return connection
        return None

    async def _opened(self, origin: Origin, until_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        connect_by_s = loop.time() + self._connect_s
        try:
            async with asyncio.timeout_at(min(until_s, connect_by_s)):
                return await self._open(origin)
        except TimeoutError as error:
            if error.errno is not None:  # it is the system that has waited long enough
                raise
            raise (ConnectTimeout() if connect_by_s <= until_s else TimeoutError()) from None

    async def _open(self, origin: Origin) -> Connection:
        connected = await start_connection(
            await self._names.find(origin.host, origin.port),
            happy_eyeballs_delay=SECOND_ADDRESS_S,
            interleave=1,
        )
        _, connection = await asyncio.get_running_loop().create_connection(
            partial(Connection, self._most),
            sock=connected,
            ssl=origin.trust,
            server_hostname=None if origin.trust is None else origin.host.rstrip("."),
        )
        return connection
