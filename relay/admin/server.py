"""A bounded HTTP server, on a TCP port or a Unix socket.

aiohttp serves the requests. This module adds what it lacks: a limit on the number of connections,
and a timeout for connections that are idle. A server runs as long as its context lasts.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from relay.admin.unix_socket import bind_socket, remove_socket
from relay.config import TcpPort, UnixSocket

SHUTDOWN_TIMEOUT_S = 1.0
"""How long an answer that is under way may take when the server ends."""

MAX_CONNECTIONS = 64
"""At most this many connections are open. For one more, the one that has been idle longest is
closed."""

IDLE_TIMEOUT_S = 60.0
"""How long a connection may take to send a request; after an answer, that includes the time the
client needs to receive it."""


@asynccontextmanager
async def serve(
    address: TcpPort | UnixSocket | socket.socket, application: web.Application
) -> AsyncIterator[None]:
    """Serve at this address as long as the context lasts. Raises OSError if it cannot be opened.

    The address may be a Unix socket that is bound already.
    """
    connections = _ConnectionLimiter()
    application.middlewares.insert(0, connections.track_request)
    runner = web.AppRunner(
        application,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        lingering_time=SHUTDOWN_TIMEOUT_S,
    )
    await runner.setup()
    try:
        assert runner.server is not None
        make_handler = runner.server
        listener = await _start_listening(
            address, lambda: _LimitedConnection(make_handler(), connections)
        )
        try:
            yield
        finally:
            if isinstance(address, UnixSocket):
                remove_socket(address.path)
            listener.close()
    finally:
        await runner.cleanup()


async def _start_listening(
    address: TcpPort | UnixSocket | socket.socket, make_connection: Callable[[], asyncio.Protocol]
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    match address:
        case TcpPort():
            return await loop.create_server(make_connection, address.host, address.port)
        case UnixSocket():
            return await loop.create_unix_server(make_connection, sock=bind_socket(address.path))
        case _:
            return await loop.create_unix_server(make_connection, sock=address)


# limits on connections


class _ConnectionLimiter:
    """The open connections, bounded in number and in idle time; aiohttp bounds neither."""

    def __init__(self) -> None:
        self._open: dict[web.RequestHandler, asyncio.Transport] = {}
        self._idle: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        """The timer that closes each idle connection; the longest idle first."""

    def add(self, handler: web.RequestHandler, transport: asyncio.Transport) -> bool:
        """Add a connection, closing an idle one if needed. Returns False if all are busy."""
        if len(self._open) >= MAX_CONNECTIONS:
            if not self._idle:
                return False
            self._abort(next(iter(self._idle)))
        self._open[handler] = transport
        self._start_idle_timer(handler)
        return True

    def remove(self, handler: web.RequestHandler) -> None:
        """Remove a connection that is closed."""
        self._open.pop(handler, None)
        self._stop_idle_timer(handler)

    @web.middleware
    async def track_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a connection as busy while its request is handled, however long that takes."""
        self._stop_idle_timer(request.protocol)
        try:
            return await handler(request)
        finally:
            if request.protocol in self._open:
                self._start_idle_timer(request.protocol)

    def _start_idle_timer(self, handler: web.RequestHandler) -> None:
        loop = asyncio.get_running_loop()
        self._idle[handler] = loop.call_later(IDLE_TIMEOUT_S, self._abort, handler)

    def _stop_idle_timer(self, handler: web.RequestHandler) -> None:
        if timer := self._idle.pop(handler, None):
            timer.cancel()

    def _abort(self, handler: web.RequestHandler) -> None:
        transport = self._open[handler]
        self.remove(handler)
        transport.abort()  # close() would wait for a client that does not read


class _LimitedConnection(asyncio.Protocol):
    """Registers a connection with the limiter, and passes everything on to aiohttp's handler."""

    def __init__(self, handler: web.RequestHandler, connections: _ConnectionLimiter) -> None:
        self._handler = handler
        self._connections = connections
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # uvloop's class does not derive from it
        self._is_open = self._connections.add(self._handler, stream)
        if self._is_open:
            self._handler.connection_made(stream)
        else:
            stream.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_open:
            self._connections.remove(self._handler)
            self._handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_open:
            self._handler.data_received(data)

    def eof_received(self) -> None:
        self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()
