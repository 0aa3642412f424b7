"""A bounded HTTP server, on a TCP port or a Unix socket.

aiohttp serves the requests. This module adds what it lacks: a limit on the number of connections, a
timeout for connections that are idle, and Unix sockets that only their owner can use, at paths of
any length. A server runs as long as its context lasts.
"""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from relay.config import TcpPort, UnixSocket
from relay.core.errors import describe_os_error

SHUTDOWN_TIMEOUT_S = 1.0
"""How long an answer that is under way may take when the server ends."""

MAX_CONNECTIONS = 64
"""At most this many connections are open. For one more, the one that has been idle longest is
closed."""

IDLE_TIMEOUT_S = 60.0
"""How long a connection may take to send a request; after an answer, that includes the time the
client needs to receive it."""

MAX_ADDRESS_BYTES = 107
"""The longest path that fits into a socket address, without the NUL at its end: unix(7)."""


@asynccontextmanager
async def serve(address: TcpPort | UnixSocket, application: web.Application) -> AsyncIterator[None]:
    """Serve at this address as long as the context lasts. Raises OSError if it cannot be opened."""
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
                # before the listener is closed, so that the file is never a stale socket
                address.path.unlink(missing_ok=True)
            listener.close()
    finally:
        await runner.cleanup()


async def _start_listening(
    address: TcpPort | UnixSocket, make_connection: Callable[[], asyncio.Protocol]
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    match address:
        case TcpPort():
            return await loop.create_server(make_connection, address.host, address.port)
        case UnixSocket():
            return await loop.create_unix_server(make_connection, sock=bind_socket(address.path))


def describe_bind_error(error: OSError) -> str:
    """Return the reason why an address cannot be opened, and what to do about it."""
    if error.errno == errno.EADDRINUSE:
        return "it is taken by another program or, as a path, by a file: free it, or set another"
    return describe_os_error(error)


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


# Unix sockets


def bind_socket(path: Path) -> socket.socket:
    """Return a socket bound to this path, which only its owner can use. Raises OSError.

    A socket at which no process listens was left by a relay that was killed: it is replaced.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            _check_stale(path)
            path.unlink()
    new_socket = socket.socket(socket.AF_UNIX)
    umask = os.umask(0o177)  # bind() creates the file, which must be private from the start
    try:
        with socket_address(path) as address:
            new_socket.bind(address)
    except OSError:
        new_socket.close()
        raise
    finally:
        os.umask(umask)
    return new_socket


def _check_stale(path: Path) -> None:
    """Raise OSError if a process listens at this socket."""
    with socket.socket(socket.AF_UNIX) as probe, socket_address(path) as address:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            return
        except BlockingIOError:
            pass  # a process listens there, and its queue is full
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield the address to bind or connect to for this path. Raises OSError.

    A path that is too long for a socket address is replaced with a short one through its folder,
    which is open as long as the context lasts (``/proc/self/fd``: proc(5)).
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        address = f"/proc/self/fd/{folder}/{path.name}"
        if len(os.fsencode(address)) > MAX_ADDRESS_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        yield address
    finally:
        os.close(folder)
