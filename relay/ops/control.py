"""Where commands ask a relay that runs: its desk, over HTTP, on a socket for its owner alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from aiohttp import web

from relay.desk import Desk
from relay.errors import RelayError
from relay.ops.api import Questions, api, application
from relay.ops.unix_socket import bound, remove, why_not

log = structlog.get_logger()

CLOSE_S = 1.0
"""How long an answer that is under way may take at the end."""


class ControlError(RelayError):
    """The socket cannot be had."""


def socket_path(store: Path) -> Path:
    """Where a relay with this store listens."""
    return Path(f"{store}.sock")


@asynccontextmanager
async def control(path: Path, desk: Desk) -> AsyncIterator[None]:
    """Answer commands at this socket as long as the context lasts. Raises `ControlError`."""
    questions = Questions(desk.pending)
    runner = web.AppRunner(
        application(api(desk, questions)),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=CLOSE_S,
    )
    await runner.setup()
    try:
        try:
            await web.SockSite(runner, bound(path)).start()
        except OSError as error:
            raise ControlError(f"socket {path} cannot be had: {why_not(error)}") from error
        log.info("control.listening", at=str(path))
        try:
            yield
        finally:
            remove(path)
    finally:
        questions.close()
        await runner.cleanup()
