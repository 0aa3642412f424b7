"""What relay answers over HTTP: whether it lives, whether it is ready, its metrics, its desk."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from time import time_ns

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from relay.admin.api import Failure, Questions, api, application, json_answer
from relay.admin.auth import Asked, Need, Refusal, access
from relay.admin.health import Progress, Watch, watching
from relay.admin.operations import Desk
from relay.admin.server import serving, why_not
from relay.admin.status import Vitals, lacks
from relay.admin.tail import add_tail
from relay.admin.tap import Tap
from relay.config import AdminConfig
from relay.core.errors import RelayError
from relay.store.records import Backlog

log = structlog.get_logger()

ANSWER_S = 1.0
"""How long a scrape waits for the store."""

_NEEDS = {"/livez": Need.NOTHING, "/readyz": Need.NOTHING, "/metrics": Need.SIGHT}
"""By path. Every other one, which there may be one day, takes trust."""


class AdminError(RelayError):
    """``admin.listen`` cannot be had."""


@asynccontextmanager
async def admin(
    config: Callable[[], AdminConfig],
    desk: Desk,
    tap: Tap,
    vitals: Callable[[], Vitals],
    progress: Callable[[], Progress],
) -> AsyncIterator[None]:
    """Answer as long as the context lasts. Raises `AdminError`.

    ``config`` gives what is in force; where it listens is what it was at first.
    """
    place = config().listen
    questions, depth = Questions(desk.pending), _Depth(desk.backlog)
    async with AsyncExitStack() as opened:
        watch = await opened.enter_async_context(watching(progress))
        answers = [*_own(config, vitals, depth, watch), *api(desk, questions)]
        answering = application(answers, [_guard(config)])
        add_tail(answering, tap)
        try:
            await opened.enter_async_context(serving(place, answering))
        except OSError as error:
            raise AdminError(f"admin.listen {place} cannot be had: {why_not(error)}") from error
        log.info("admin.listening", at=str(place))
        warn_if_closed(config())
        with closing(questions), closing(depth):
            yield


def warn_if_closed(config: AdminConfig) -> None:
    """Say so where relay has to refuse what is asked of it."""
    if access(config).is_closed:
        log.warning(
            "admin.without_token",
            at=str(config.listen),
            refused="/metrics and /api/",
            remedy="set admin.token_file",
        )


def _own(
    config: Callable[[], AdminConfig],
    vitals: Callable[[], Vitals],
    depth: "_Depth",
    watch: Watch,
) -> list[web.RouteDef]:
    """The routes by which relay is asked for itself."""
    # a relay that answers nobody is smaller by Prometheus's client
    from relay.admin.metrics import CONTENT_TYPE, exposition  # noqa: PLC0415

    def verdict(request: web.Request, word: str, wrong: list[str], key: str) -> web.Response:
        said: dict[str, object] = {word: not wrong}
        if wrong and access(config()).may_see(_asked(request)):
            said[key] = wrong
        return web.json_response(said, status=503 if wrong else 200)

    async def livez(request: web.Request) -> web.Response:
        return verdict(request, "live", watch.found, "stuck")

    async def readyz(request: web.Request) -> web.Response:
        return verdict(request, "ready", lacks(vitals(), time_ns()), "not")

    async def metrics(_: web.Request) -> web.Response:
        seen = vitals()
        waiting = None if seen.store.reason else await depth.get()
        return web.Response(body=exposition(seen, waiting), headers={"Content-Type": CONTENT_TYPE})

    return [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)]


def _guard(config: Callable[[], AdminConfig]) -> Middleware:
    """Lets through what is not refused; no body is read before."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        need = _NEEDS.get(resource.canonical if resource else "", Need.TRUST)
        refusal = access(config()).refusal(need, _asked(request))
        return await handler(request) if refusal is None else _refused(refusal)

    return guard


def _refused(refusal: Refusal) -> web.Response:
    answer = json_answer(Failure(refusal.value), 403)
    match refusal:  # RFC 6750, section 3
        case Refusal.MISSING:
            challenge = 'Bearer realm="relay"'
        case Refusal.WRONG:
            challenge = 'Bearer realm="relay", error="invalid_token"'
        case _:
            return answer
    answer.set_status(401)
    answer.headers["WWW-Authenticate"] = challenge
    return answer


def _asked(request: web.Request) -> Asked:
    hosts = request.headers.getall("Host", [])
    return Asked(
        hosts[0] if len(hosts) == 1 else None,
        "Origin" in request.headers,
        request.headers.get("Sec-Fetch-Site"),
        request.headers.getall("Authorization", []),
    )


class _Depth:
    """Asks the store what waits: one question at a time, so that none heap up."""

    def __init__(self, ask: Callable[[], Awaitable[Mapping[str, Backlog]]]) -> None:
        """``ask`` tells what waits, by destination."""
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
