"""Where commands ask a relay that runs: its desk, over HTTP, on a socket for its owner alone."""

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
    """The socket cannot be had."""


def socket_path(store: Path) -> Path:
    """Where a relay with this store listens."""
    return Path(f"{store}.sock")


@asynccontextmanager
async def serve_control_socket(
    path: Path, desk: AdminOperations, tap: EventTap, progress: Callable[[], LivenessReport]
) -> AsyncIterator[None]:
    """Answer commands at this socket as long as the context lasts. Raises `ControlSocketError`.

    ``tap`` is where what the routes decide can be watched.
    """
    questions = StoreQueries(desk.pending)
    async with AsyncExitStack() as opened:
        watch = await opened.enter_async_context(run_stall_detector(progress))

        async def livez(_: web.Request) -> web.Response:
            said = {"live": not watch.stalled, "stuck": watch.stalled}
            return json_response(said, 503 if watch.stalled else 200)

        answering = build_application([*build_routes(desk, questions), web.get("/livez", livez)])
        add_tail_route(answering, tap)
        try:
            await opened.enter_async_context(serve(UnixSocket(path), answering))
        except OSError as error:
            raise ControlSocketError(
                f"socket {path} cannot be had: {describe_bind_error(error)}"
            ) from error
        log.info("control.listening", at=str(path))
        with closing(questions):
            yield
