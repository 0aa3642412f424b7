"""A bounded HTTP server, on a TCP port or a Unix socket.

aiohttp serves the requests. This module adds what it lacks: a limit on the number of connections, a
timeout for connections that are idle, and answers and log lines that quote nothing of a request
that cannot be parsed: the part that is wrong may be a token. A server runs as long as its context
lasts.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from relay.admin.unix_socket import bind_socket, remove_socket
from relay.config import TcpPort, UnixSocket

log = structlog.get_logger()

SHUTDOWN_TIMEOUT_S = 1.0
"""How long an answer that is under way may take when the server ends."""

MAX_CONNECTIONS = 64
"""At most this many connections are open. For one more, the one that has been idle longest is
closed. A connection is idle until a whole request has arrived."""

MAX_BUSY = 48
"""At most so many requests are answered at a time, not counting probes. So there is always an idle
connection to close for a probe."""

IDLE_TIMEOUT_S = 60.0
"""How long a connection may take to send a request; after an answer, that includes the time the
client needs to receive it."""

LOG_BAD_REQUESTS_EVERY_S = 60.0
"""At most one line is logged in this time about requests that cannot be parsed."""

BAD_REQUEST = "this is not a valid HTTP/1.1 request"


@asynccontextmanager
async def serve(
    address: TcpPort | UnixSocket | socket.socket,
    application: web.Application,
    probes: Collection[str] = (),
) -> AsyncIterator[None]:
    """Serve at this address as long as the context lasts. Raises OSError if it cannot be opened.

    The address may be a Unix socket that is bound already. ``probes`` are the paths of requests
    that are answered however many others are under way; they are answered at once.
    """
    connections, bad_requests = _ConnectionLimiter(probes), _BadRequests()
    application.middlewares.insert(0, connections.restart_idle_timer)
    application.middlewares.append(connections.mark_busy)
    runner = web.AppRunner(
        application, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_TIMEOUT_S
    )
    await runner.setup()
    try:
        assert runner.server is not None
        server = runner.server
        listener = await _start_listening(
            address, lambda: _Connection(server, connections, bad_requests)
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
            bound = bind_socket(address.path)
            return await loop.create_unix_server(make_connection, sock=bound)
        case _:
            return await loop.create_unix_server(make_connection, sock=address)


# limits on connections


class _ConnectionLimiter:
    """The open connections, bounded in number and in idle time; aiohttp bounds neither."""

    def __init__(self, probes: Collection[str]) -> None:
        self._probes = probes
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
    async def mark_busy(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a connection as busy while its request is handled, however long that takes.

        The innermost middleware: by then the request is allowed, and its body has arrived. So
        clients that do not finish their requests cannot keep others out.
        """
        busy = len(self._open) - len(self._idle)
        if busy >= MAX_BUSY and request.path not in self._probes:
            raise web.HTTPTooManyRequests(reason=f"{busy} requests are being answered already")
        self._stop_idle_timer(request.protocol)
        return await handler(request)

    @web.middleware
    async def restart_idle_timer(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Count a connection as idle from its answer on. The outermost middleware."""
        try:
            return await handler(request)
        finally:
            if request.protocol in self._open:
                self._stop_idle_timer(request.protocol)
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


class _BadRequests:
    """Logs that requests cannot be parsed, and nothing of what they hold."""

    def __init__(self) -> None:
        self._logged_s: float | None = None
        self._unlogged = 0

    def record(self, client: str | None) -> None:
        """Log a bad request, or count it if another one was logged a moment ago."""
        now_s = asyncio.get_running_loop().time()
        if self._logged_s is not None and now_s < self._logged_s + LOG_BAD_REQUESTS_EVERY_S:
            self._unlogged += 1
            return
        log.warning("admin.bad_request", client=client, not_logged=self._unlogged or None)
        self._logged_s, self._unlogged = now_s, 0


class _Connection(web.RequestHandler):
    """A connection that is registered with the limiter."""

    __slots__ = ("_bad_requests", "_connections", "_is_open")

    def __init__(
        self, server: web.Server, connections: _ConnectionLimiter, bad_requests: _BadRequests
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # as `web.AppRunner` passes it
            lingering_time=SHUTDOWN_TIMEOUT_S,
        )
        self._connections = connections
        self._bad_requests = bad_requests
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # uvloop's class does not derive from it
        self._is_open = self._connections.add(self, stream)
        if self._is_open:
            super().connection_made(stream)
        else:
            stream.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._is_open:
            self._connections.remove(self)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_open:
            super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that cannot be parsed; aiohttp's answer and log line would quote it."""
        if isinstance(exc, ConnectionError) and self.transport is None:
            raise exc  # the client is gone, or was closed for another one: nothing failed
        if not _is_parse_error(exc):
            return super().handle_error(request, status, exc, message)
        self._bad_requests.record(request.remote)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        response = web.json_response({"error": BAD_REQUEST}, status=400)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log an error, unless it quotes a body that cannot be parsed."""
        if _is_parse_error(kw.get("exc_info")):
            self._bad_requests.record(None)
        else:
            super().log_exception(*args, **kw)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; that of an error which no middleware saw may quote a header."""
        if isinstance(resp, web.HTTPException):
            resp = web.json_response({"error": resp.reason}, status=resp.status)
        return await super().finish_response(request, resp, start_time)


def _is_parse_error(error: object) -> bool:
    return isinstance(error, HttpProcessingError | web.RequestPayloadError)
