"""Where commands ask a relay that runs: its desk, over HTTP, on a socket for its owner alone."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import structlog
from aiohttp import web

from relay.admin.api import Questions, api, application, json_answer
from relay.admin.health import Progress, watching
from relay.admin.operations import Desk
from relay.admin.server import serving, why_not
from relay.admin.tail import add_tail
from relay.admin.tap import Tap
from relay.config import UnixSocket
from relay.core.errors import RelayError

log = structlog.get_logger()


class ControlError(RelayError):
    """The socket cannot be had."""


def socket_path(store: Path) -> Path:
    """Where a relay with this store listens."""
    return Path(f"{store}.sock")


@asynccontextmanager
async def control(
    path: Path, desk: Desk, tap: Tap, progress: Callable[[], Progress]
) -> AsyncIterator[None]:
    """Answer commands at this socket as long as the context lasts. Raises `ControlError`.

    ``tap`` is where what the routes decide can be watched.
    """
    questions = Questions(desk.pending)
    async with AsyncExitStack() as opened:
        watch = await opened.enter_async_context(watching(progress))

        async def livez(_: web.Request) -> web.Response:
            said = {"live": not watch.found, "stuck": watch.found}
            return json_answer(said, 503 if watch.found else 200)

        answering = application([*api(desk, questions), web.get("/livez", livez)])
        add_tail(answering, tap)
        try:
            await opened.enter_async_context(serving(UnixSocket(path), answering))
        except OSError as error:
            raise ControlError(f"socket {path} cannot be had: {why_not(error)}") from error
        log.info("control.listening", at=str(path))
        with closing(questions):
            yield
