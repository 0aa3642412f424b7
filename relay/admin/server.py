"""An HTTP application at a place, safe from clients that are slow or many."""

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
"""How long an answer that is under way may take at the end."""

MAX_CONNECTIONS = 64
"""So many at once. For one more, the one that is idle for longest is closed."""

IDLE_TIMEOUT_S = 60.0
"""How long a connection may take to bring a question; behind an answer, to take that as well."""


@asynccontextmanager
async def serve(place: TcpPort | UnixSocket, application: web.Application) -> AsyncIterator[None]:
    """Answer at this place as long as the context lasts. Raises OSError where it cannot be had."""
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
        handler = runner.server
        listener = await _start_listening(place, lambda: _LimitedConnection(handler(), connections))
        try:
            yield
        finally:
            if isinstance(place, UnixSocket):
                remove_socket(place.path)
            listener.close()
    finally:
        await runner.cleanup()


async def _start_listening(
    place: TcpPort | UnixSocket, connection: Callable[[], asyncio.Protocol]
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    match place:
        case TcpPort():
            return await loop.create_server(connection, place.host, place.port)
        case UnixSocket():
            return await loop.create_unix_server(connection, sock=bind_socket(place.path))


class _ConnectionLimiter:
    """Those that are open, none of which is idle for ever; aiohttp bounds neither."""

    def __init__(self) -> None:
        self._open: dict[web.RequestHandler, asyncio.Transport] = {}
        self._idle: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        """With what ends each; the one that is idle for longest first."""

    def add(self, handler: web.RequestHandler, transport: asyncio.Transport) -> bool:
        """Whether there is room for it, or room was made."""
        if len(self._open) >= MAX_CONNECTIONS:
            if not self._idle:
                return False
            self._abort(next(iter(self._idle)))
        self._open[handler] = transport
        self._start_idle_timer(handler)
        return True

    def remove(self, handler: web.RequestHandler) -> None:
        """It is no more."""
        self._open.pop(handler, None)
        self._stop_idle_timer(handler)

    @web.middleware
    async def track_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What is being answered is not idle, however long it takes."""
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
        transport.abort()  # to close it would wait for a client that takes nothing


class _LimitedConnection(asyncio.Protocol):
    """Tells of its begin and its end; aiohttp does the rest."""

    def __init__(self, handler: web.RequestHandler, connections: _ConnectionLimiter) -> None:
        self._handler = handler
        self._connections = connections
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)  # no loop has to derive its own from that
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


MAX_ADDRESS_BYTES = 107
"""So many bytes of a path fit into an address, beside the NUL at its end: unix(7)."""


def bind_socket(path: Path) -> socket.socket:
    """A socket at this path, for its owner alone; raises OSError.

    One that nobody listens at is left over from a relay that was killed: it is removed.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            _check_stale(path)
            path.unlink()
    fresh = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        with socket_address(path) as short:
            fresh.bind(short)
    except OSError:
        fresh.close()
        raise
    finally:
        os.umask(before)
    return fresh


def remove_socket(path: Path) -> None:
    """At the end, so that nobody takes it for one that is listened at."""
    path.unlink(missing_ok=True)


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """What to bind or connect to for this path, as long as the context lasts; raises OSError.

    A path that is too long for an address leads through its folder, which is opened (proc(5)).
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = f"/proc/self/fd/{folder}/{path.name}"
        if len(os.fsencode(short)) > MAX_ADDRESS_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        yield short
    finally:
        os.close(folder)


def describe_bind_error(error: OSError) -> str:
    """Why something cannot listen at a place, for a person."""
    if error.errno == errno.EADDRINUSE:
        return "it is taken by another program or, as a path, by a file: free it, or set another"
    return describe_os_error(error)


def _check_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe, socket_address(path) as short:
        probe.setblocking(False)
        try:
            probe.connect(short)
        except ConnectionRefusedError:
            return
        except BlockingIOError:
            pass  # whoever listens has no time
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
