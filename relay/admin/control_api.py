"""What relay serves at the control socket: the admin API and ``/livez``."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from aiohttp import web

from relay.admin.api import StoreQueries, build_application, build_routes, json_response
from relay.admin.health import StallDetector
from relay.admin.operations import AdminOperations
from relay.admin.server import serve
from relay.admin.tail import add_tail_route
from relay.admin.tap import EventTap


@asynccontextmanager
async def serve_control_api(
    bound: socket.socket, operations: AdminOperations, tap: EventTap, detector: StallDetector
) -> AsyncIterator[None]:
    """Serve at a socket that is bound already, as long as the context lasts."""
    queries = StoreQueries(operations.pending)

    async def livez(_: web.Request) -> web.Response:
        body = {"live": not detector.stalled, "stuck": detector.stalled}
        return json_response(body, 503 if detector.stalled else 200)

    application = build_application([*build_routes(operations, queries), web.get("/livez", livez)])
    add_tail_route(application, tap)
    async with serve(bound, application):
        with closing(queries):
            yield
