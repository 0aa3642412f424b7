"""What relay serves over HTTP, at ``admin.listen`` and at the control socket.

Both serve ``/livez`` and the admin API. ``admin.listen`` serves ``/readyz`` and ``/metrics``, too,
and checks who asks; only the user that runs relay can connect to the control socket.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from time import time_ns
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from relay.admin.api import (
    ErrorAnswer,
    StoreQueries,
    add_api_routes,
    build_application,
    json_response,
)
from relay.admin.auth import (
    Denial,
    Permission,
    RequestIdentity,
    build_policy,
    warn_if_token_missing,
)
from relay.admin.health import (
    LivenessReport,
    StallDetector,
    StatusSnapshot,
    describe_backlogs,
    not_ready_reasons,
    run_stall_detector,
)
from relay.admin.operations import AdminOperations
from relay.admin.server import serve
from relay.admin.tap import EventTap
from relay.admin.unix_socket import describe_bind_error
from relay.config import AdminConfig
from relay.core.errors import RelayError
from relay.core.tasks import import_in_thread, spawn
from relay.incidents.view import IncidentCounts
from relay.store.records import Backlog

log = structlog.get_logger()

BACKLOG_TIMEOUT_S = 1.0
"""How long ``/metrics`` waits for the store to count what waits."""

_PERMISSIONS = {
    "/livez": Permission.PUBLIC,
    "/readyz": Permission.PUBLIC,
    "/metrics": Permission.READ,
}
"""By path. Every other path requires `Permission.FULL`, also one that is added later."""

_PROBES = ("/livez", "/readyz")


class AdminListenerError(RelayError):
    """``admin.listen`` cannot be opened."""


@asynccontextmanager
async def serve_admin(
    config: Callable[[], AdminConfig],
    operations: AdminOperations,
    tap: EventTap,
    snapshot: Callable[[], StatusSnapshot],
    liveness: Callable[[], LivenessReport],
    count_incidents: Callable[[], IncidentCounts] = IncidentCounts,
) -> AsyncIterator[None]:
    """Serve as long as the context lasts. Raises `AdminListenerError`.

    ``config`` returns the configuration in force: a reload may change the token. The address never
    changes; a reload that changes it opens another listener (see `relay.admin.listener`).
    """
    address = config().listen
    queries, backlog = StoreQueries(operations.pending), _BacklogProbe(operations.backlog)
    async with AsyncExitStack() as resources:
        detector = await resources.enter_async_context(run_stall_detector(liveness))
        routes = _daemon_routes(config, snapshot, backlog, detector, count_incidents)
        application = build_application(routes, [_check_access(config)])
        add_api_routes(application, operations, queries, tap)
        try:
            await resources.enter_async_context(serve(address, application, _PROBES))
        except OSError as error:
            raise AdminListenerError(
                f"admin.listen {address} cannot be opened: {describe_bind_error(error)}"
            ) from error
        log.info("admin.listening", at=str(address))
        warn_if_token_missing(config())
        with closing(queries), closing(backlog):
            yield


@asynccontextmanager
async def serve_control_api(
    bound: socket.socket, operations: AdminOperations, tap: EventTap, detector: StallDetector
) -> AsyncIterator[None]:
    """Serve at the control socket, which is bound already, as long as the context lasts."""
    queries = StoreQueries(operations.pending)

    async def livez(_: web.Request) -> web.Response:
        body = {"live": not detector.stalled, "stuck": detector.stalled}
        return json_response(body, 503 if detector.stalled else 200)

    application = build_application([web.get("/livez", livez)])
    add_api_routes(application, operations, queries, tap)
    async with serve(bound, application, _PROBES):
        with closing(queries):
            yield


def _daemon_routes(
    config: Callable[[], AdminConfig],
    snapshot: Callable[[], StatusSnapshot],
    backlog: "_BacklogProbe",
    detector: StallDetector,
    count_incidents: Callable[[], IncidentCounts],
) -> list[web.RouteDef]:
    """Return the routes for health checks and Prometheus."""

    def health_response(
        request: web.Request, key: str, problems: list[str], details: Mapping[str, object]
    ) -> web.Response:
        body: dict[str, object] = {key: not problems}
        if any(details.values()) and build_policy(config()).may_read(_request_identity(request)):
            body |= {name: value for name, value in details.items() if value}
        return web.json_response(body, status=503 if problems else 200)

    async def livez(request: web.Request) -> web.Response:
        return health_response(request, "live", detector.stalled, {"stuck": detector.stalled})

    async def readyz(request: web.Request) -> web.Response:
        current = snapshot()
        reasons = not_ready_reasons(current, time_ns())
        details = {"not": reasons, "streams": describe_backlogs(current)}
        return health_response(request, "ready", reasons, details)

    async def metrics(_: web.Request) -> web.Response:
        # Prometheus's client takes 1 MB and 20 ms: it is imported when somebody asks for metrics
        await import_in_thread("relay.admin.metrics")
        from relay.admin.metrics import CONTENT_TYPE, render_metrics  # noqa: PLC0415

        current = snapshot()
        pending = None if current.store.reason else await backlog.get()
        body = render_metrics(current, pending, count_incidents())
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    return [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)]


def _check_access(config: Callable[[], AdminConfig]) -> Middleware:
    """Return a middleware that answers denied requests itself, before their body is read."""

    @web.middleware
    async def check_access(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        path = resource.canonical if resource else ""
        permission = _PERMISSIONS.get(path, Permission.FULL)
        denial = build_policy(config()).check(permission, _request_identity(request))
        return await handler(request) if denial is None else _denial_response(denial)

    return check_access


def _denial_response(denial: Denial) -> web.Response:
    response = json_response(ErrorAnswer(denial.value), 403)
    match denial:  # RFC 6750, section 3
        case Denial.TOKEN_MISSING:
            challenge = 'Bearer realm="relay"'
        case Denial.TOKEN_WRONG:
            challenge = 'Bearer realm="relay", error="invalid_token"'
        case _:
            return response
    response.set_status(401)
    response.headers["WWW-Authenticate"] = challenge
    return response


def _request_identity(request: web.Request) -> RequestIdentity:
    hosts = request.headers.getall("Host", [])
    return RequestIdentity(
        hosts[0] if len(hosts) == 1 else None,
        "Origin" in request.headers,
        request.headers.get("Sec-Fetch-Site"),
        request.headers.getall("Authorization", []),
    )


class _BacklogProbe:
    """Asks the store for its backlog, one query at a time, so that queries do not pile up."""

    def __init__(self, query: Callable[[], Coroutine[Any, Any, Mapping[str, Backlog]]]) -> None:
        self._query = query
        self._running: asyncio.Task[Mapping[str, Backlog]] | None = None

    async def get(self) -> Mapping[str, Backlog] | None:
        """Return the backlog by destination; None if the store takes over `BACKLOG_TIMEOUT_S`."""
        if self._running is None or self._running.done():
            self._running = spawn(self._query(), "metrics: backlog")
        await asyncio.wait({self._running}, timeout=BACKLOG_TIMEOUT_S)
        return self._running.result() if self._running.done() else None

    def close(self) -> None:
        """Cancel a query that is not answered yet."""
        if self._running is not None:
            self._running.cancel()
