"""What relay answers about itself over HTTP: whether it lives, whether it is ready, its metrics."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from time import time_ns

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from relay.config import TcpPort, UnixSocket
from relay.errors import RelayError
from relay.ops.metrics import exposition
from relay.ops.unix_socket import bound, remove, why_not
from relay.ops.vitals import Vitals, lacks
from relay.store.outbox import Backlog

log = structlog.get_logger()

ANSWER_S = 1.0
"""How long a scrape waits for the store."""

CLOSE_S = 1.0
"""How long an answer that is under way may take at the end."""

Ask = Callable[[], Awaitable[Mapping[str, Backlog]]]
"""What waits, by destination."""


class AdminError(RelayError):
    """``admin.listen`` cannot be had."""


@asynccontextmanager
async def admin(
    place: TcpPort | UnixSocket, vitals: Callable[[], Vitals], backlog: Ask
) -> AsyncIterator[None]:
    """Answer at this place as long as the context lasts. Raises `AdminError`."""
    depth = _Depth(backlog)
    runner = web.AppRunner(
        _application(vitals, depth), access_log=None, handle_signals=False, shutdown_timeout=CLOSE_S
    )
    await runner.setup()
    try:
        await _listen(runner, place)
        log.info("admin.listening", at=str(place))
        try:
            yield
        finally:
            if isinstance(place, UnixSocket):
                remove(place.path)
    finally:
        depth.close()
        await runner.cleanup()


def _application(vitals: Callable[[], Vitals], depth: "_Depth") -> web.Application:
    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def readyz(_: web.Request) -> web.Response:
        missing = lacks(vitals(), time_ns())
        if missing:
            return web.json_response({"ready": False, "not": missing}, status=503)
        return web.json_response({"ready": True})

    async def metrics(_: web.Request) -> web.Response:
        seen = vitals()
        waiting = None if seen.store.reason else await depth.get()
        return web.Response(
            body=exposition(seen, waiting), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    application = web.Application()
    application.add_routes(
        [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)]
    )
    return application


class _Depth:
    """Asks the store what waits: one question at a time, so that none heap up."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._asking: asyncio.Future[Mapping[str, Backlog]] | None = None

    async def get(self) -> Mapping[str, Backlog] | None:
        """The answer; None if it does not come within `ANSWER_S`."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())
        await asyncio.wait({self._asking}, timeout=ANSWER_S)
        return self._asking.result() if self._asking.done() else None

    def close(self) -> None:
        """Wait no longer."""
        if self._asking is not None:
            self._asking.cancel()


async def _listen(runner: web.AppRunner, place: TcpPort | UnixSocket) -> None:
    try:
        match place:
            case TcpPort():
                await web.TCPSite(runner, place.host, place.port).start()
            case UnixSocket():
                await web.SockSite(runner, bound(place.path)).start()
    except OSError as error:
        raise AdminError(f"admin.listen {place} cannot be had: {why_not(error)}") from error
