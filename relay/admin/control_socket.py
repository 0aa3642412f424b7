"""The control socket: a Unix socket next to the store, where commands reach the running daemon.

Only the user that runs relay can connect, so requests need no token. The socket exists as long as
the daemon runs. A daemon that cannot open it runs without it, and commands cannot reach it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import structlog
from aiohttp import web

from relay.admin.api import StoreQueries, build_application, build_routes, json_response
from relay.admin.health import LivenessReport, run_stall_detector
from relay.admin.operations import AdminOperations
from relay.admin.server import describe_bind_error, serve
from relay.admin.tail import add_tail_route
from relay.admin.tap import EventTap
from relay.config import UnixSocket
from relay.core.errors import RelayError

log = structlog.get_logger()


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
    queries = StoreQueries(operations.pending)
    async with AsyncExitStack() as resources:
        detector = await resources.enter_async_context(run_stall_detector(liveness))

        async def livez(_: web.Request) -> web.Response:
            body = {"live": not detector.stalled, "stuck": detector.stalled}
            return json_response(body, 503 if detector.stalled else 200)

        routes = [*build_routes(operations, queries), web.get("/livez", livez)]
        application = build_application(routes)
        add_tail_route(application, tap)
        try:
            await resources.enter_async_context(serve(UnixSocket(path), application))
        except OSError as error:
            raise ControlSocketError(
                f"socket {path} cannot be opened: {describe_bind_error(error)}"
            ) from error
        log.info("control.listening", at=str(path))
        with closing(queries):
            yield
