"""What relay answers over HTTP: whether it lives, whether it is ready, its metrics, its desk."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from time import time_ns

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from relay.admin.api import (
    ErrorAnswer,
    StoreQueries,
    build_application,
    build_routes,
    json_response,
)
from relay.admin.auth import Denial, Permission, RequestIdentity, build_policy
from relay.admin.health import LivenessReport, StallDetector, run_stall_detector
from relay.admin.operations import AdminOperations
from relay.admin.server import describe_bind_error, serve
from relay.admin.status import StatusSnapshot, not_ready_reasons
from relay.admin.tail import add_tail_route
from relay.admin.tap import EventTap
from relay.config import AdminConfig
from relay.core.errors import RelayError
from relay.store.records import Backlog

log = structlog.get_logger()

BACKLOG_TIMEOUT_S = 1.0
"""How long a scrape waits for the store."""

_PERMISSIONS = {
    "/livez": Permission.PUBLIC,
    "/readyz": Permission.PUBLIC,
    "/metrics": Permission.READ,
}
"""By path. Every other one, which there may be one day, takes trust."""


class AdminListenerError(RelayError):
    """``admin.listen`` cannot be had."""


@asynccontextmanager
async def serve_admin(
    config: Callable[[], AdminConfig],
    desk: AdminOperations,
    tap: EventTap,
    vitals: Callable[[], StatusSnapshot],
    progress: Callable[[], LivenessReport],
) -> AsyncIterator[None]:
    """Answer as long as the context lasts. Raises `AdminListenerError`.

    ``config`` gives what is in force; where it listens is what it was at first.
    """
    place = config().listen
    questions, depth = StoreQueries(desk.pending), _BacklogProbe(desk.backlog)
    async with AsyncExitStack() as opened:
        watch = await opened.enter_async_context(run_stall_detector(progress))
        answers = [*_daemon_routes(config, vitals, depth, watch), *build_routes(desk, questions)]
        answering = build_application(answers, [_check_access(config)])
        add_tail_route(answering, tap)
        try:
            await opened.enter_async_context(serve(place, answering))
        except OSError as error:
            raise AdminListenerError(
                f"admin.listen {place} cannot be had: {describe_bind_error(error)}"
            ) from error
        log.info("admin.listening", at=str(place))
        warn_if_token_missing(config())
        with closing(questions), closing(depth):
            yield


def warn_if_token_missing(config: AdminConfig) -> None:
    """Say so where relay has to refuse what is asked of it."""
    if build_policy(config).lacks_required_token:
        log.warning(
            "admin.without_token",
            at=str(config.listen),
            refused="/metrics and /api/",
            remedy="set admin.token_file",
        )


def _daemon_routes(
    config: Callable[[], AdminConfig],
    vitals: Callable[[], StatusSnapshot],
    depth: "_BacklogProbe",
    watch: StallDetector,
) -> list[web.RouteDef]:
    """The routes by which relay is asked for itself."""
    # a relay that answers nobody is smaller by Prometheus's client
    from relay.admin.metrics import CONTENT_TYPE, render_metrics  # noqa: PLC0415

    def verdict(request: web.Request, word: str, wrong: list[str], key: str) -> web.Response:
        said: dict[str, object] = {word: not wrong}
        if wrong and build_policy(config()).may_read(_request_identity(request)):
            said[key] = wrong
        return web.json_response(said, status=503 if wrong else 200)

    async def livez(request: web.Request) -> web.Response:
        return verdict(request, "live", watch.stalled, "stuck")

    async def readyz(request: web.Request) -> web.Response:
        return verdict(request, "ready", not_ready_reasons(vitals(), time_ns()), "not")

    async def metrics(_: web.Request) -> web.Response:
        seen = vitals()
        waiting = None if seen.store.reason else await depth.get()
        return web.Response(
            body=render_metrics(seen, waiting), headers={"Content-Type": CONTENT_TYPE}
        )

    return [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)]


def _check_access(config: Callable[[], AdminConfig]) -> Middleware:
    """Lets through what is not refused; no body is read before."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        need = _PERMISSIONS.get(resource.canonical if resource else "", Permission.FULL)
        refusal = build_policy(config()).check(need, _request_identity(request))
        return await handler(request) if refusal is None else _denial_response(refusal)

    return guard


def _denial_response(refusal: Denial) -> web.Response:
    answer = json_response(ErrorAnswer(refusal.value), 403)
    match refusal:  # RFC 6750, section 3
        case Denial.TOKEN_MISSING:
            challenge = 'Bearer realm="relay"'
        case Denial.TOKEN_WRONG:
            challenge = 'Bearer realm="relay", error="invalid_token"'
        case _:
            return answer
    answer.set_status(401)
    answer.headers["WWW-Authenticate"] = challenge
    return answer


def _request_identity(request: web.Request) -> RequestIdentity:
    hosts = request.headers.getall("Host", [])
    return RequestIdentity(
        hosts[0] if len(hosts) == 1 else None,
        "Origin" in request.headers,
        request.headers.get("Sec-Fetch-Site"),
        request.headers.getall("Authorization", []),
    )


class _BacklogProbe:
    """Asks the store what waits: one question at a time, so that none heap up."""

    def __init__(self, ask: Callable[[], Awaitable[Mapping[str, Backlog]]]) -> None:
        """``ask`` tells what waits, by destination."""
        self._ask = ask
        self._asking: asyncio.Future[Mapping[str, Backlog]] | None = None

    async def get(self) -> Mapping[str, Backlog] | None:
        """The answer; None if it does not come within `ANSWER_S`."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())
        await asyncio.wait({self._asking}, timeout=BACKLOG_TIMEOUT_S)
        return self._asking.result() if self._asking.done() else None

    def close(self) -> None:
        """Wait no longer."""
        if self._asking is not None:
            self._asking.cancel()
