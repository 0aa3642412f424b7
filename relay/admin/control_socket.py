"""The control socket: a Unix socket next to the store, where commands reach the running daemon.

Only the user that runs relay can connect, so requests need no token. The socket exists as long as
the daemon runs. A daemon that cannot open it runs without it, and commands cannot reach it.

Most daemons are never asked anything. Therefore the HTTP server is imported and started when the
first client connects: aiohttp's server takes some 2 MB and 50 ms.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from relay.admin.health import LivenessReport, StallDetector, run_stall_detector
from relay.admin.operations import AdminOperations
from relay.admin.tap import EventTap
from relay.admin.unix_socket import bind_socket, describe_bind_error, remove_socket
from relay.core.errors import RelayError
from relay.core.tasks import import_in_thread, spawn

log = structlog.get_logger()

BACKLOG = 100
"""How many clients may wait until the server has started; asyncio's default."""


class ControlSocketError(RelayError):
    """The socket cannot be opened."""


def socket_path(store: Path) -> Path:
    """Return the path of the control socket of a daemon with this store."""
    return Path(f"{store}.sock")


@asynccontextmanager
async def serve_control_socket(
    path: Path, operations: AdminOperations, tap: EventTap, liveness: Callable[[], LivenessReport]
) -> AsyncIterator[None]:
    """Serve the admin API at this socket as long as the context lasts.

    Raises `ControlSocketError`.
    """
    try:
        bound = bind_socket(path)
    except OSError as error:
        raise ControlSocketError(
            f"socket {path} cannot be opened: {describe_bind_error(error)}"
        ) from error
    with bound:
        bound.listen(BACKLOG)
        log.info("control.listening", at=str(path))
        async with run_stall_detector(liveness) as detector:
            serving = spawn(_serve_on_demand(bound, operations, tap, detector), "control socket")
            try:
                yield
            finally:
                remove_socket(path)
                serving.cancel()
                await asyncio.wait({serving})


async def _serve_on_demand(
    bound: socket.socket, operations: AdminOperations, tap: EventTap, detector: StallDetector
) -> None:
    """Wait until a client connects; then serve it and all that follow, until cancelled."""
    loop, connected = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(bound, connected.set)
    try:
        await connected.wait()
    finally:
        loop.remove_reader(bound)
    # in a thread, so that events do not wait for the import
    await import_in_thread("relay.admin.http")
    from relay.admin.http import serve_control_api  # noqa: PLC0415

    async with serve_control_api(bound, operations, tap, detector):
        await asyncio.Event().wait()
