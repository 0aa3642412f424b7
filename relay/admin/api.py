"""What commands ask of a relay that runs, as the routes of an HTTP application: its desk."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from msgspec import Meta

from relay import __version__
from relay.admin.operations import AdminOperations, NotReloaded, UnknownDestination
from relay.store.records import Selection

STORE_TIMEOUT_S = 3.0
"""How long the store may say nothing, and then to another question; after that it is failing."""

MAX_QUERIES = 16
"""So many questions may wait for the store, so that none heap up while it fails."""

MAX_REQUEST_BYTES = 2**20
"""The longest question: some 40,000 ids."""

BODY_TIMEOUT_S = 15.0
"""How long a question may take to come."""

PAGE_SIZE = 500
"""The most deliveries or dead letters in one answer."""

PAGE_BYTES = 4 * 2**20
"""An answer ends with the one that makes it as long as this."""

_READ_SIZE = 20
"""So many dead letters are read at once."""

T = TypeVar("T")
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""What the store can compare with its own."""
PageLimit = Annotated[int, Meta(ge=1, le=PAGE_SIZE)]


class SelectionRequest(Selection, frozen=True, forbid_unknown_fields=True):
    """A `Selection` that comes from outside."""

    ids: tuple[Number | str, ...] | None = None
    since_ns: Number | None = None


class DeadLettersRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `AdminOperations.list_dead_letters`; none in the answer means that there are no more."""

    selection: SelectionRequest
    most: PageLimit
    below: Number | None = None


class WaitingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `AdminOperations.list_waiting`."""

    destination: str | None
    most: PageLimit


class EnableRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `AdminOperations.enable`."""

    destination: str


class DaemonInfo(msgspec.Struct, frozen=True):
    """Who answers, and what time it is for the deliveries."""

    version: str
    now_ns: int


class ErrorAnswer(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    error: str


def build_routes(desk: AdminOperations, questions: "StoreQueries") -> list[web.RouteDef]:
    """The routes by which a desk is asked.

    POST is for what has an effect, or says in its body what is meant.
    """
    ask = questions.run

    def stored(kind: type[T], answer: Callable[[T], Coroutine[Any, Any, object]]) -> Handler:
        """Answers what is asked of the store."""
        return _heard(kind, lambda asked: ask(partial(answer, asked)))

    return [
        web.get("/api/", _told(partial(_greeting, desk))),
        web.get("/api/conditions", _told(desk.destination_status)),
        web.post(
            "/api/enable", _heard(EnableRequest, lambda asked: desk.enable(asked.destination))
        ),
        web.post("/api/reload", _told(desk.reload)),
        web.get("/api/report", _told(desk.daemon_status)),
        web.get("/api/backlog", _told(partial(ask, desk.backlog))),
        web.get("/api/pending", _told(partial(ask, desk.pending))),
        web.post("/api/waiting", stored(WaitingRequest, partial(_waiting, desk))),
        web.post("/api/dead", stored(DeadLettersRequest, partial(_letters, desk))),
        web.post("/api/dead/tally", stored(SelectionRequest, desk.count_dead_letters)),
        web.post("/api/dead/replay", stored(SelectionRequest, desk.replay_dead_letters)),
        web.post("/api/dead/drop", stored(SelectionRequest, desk.drop_dead_letters)),
    ]


def _told(answer: Callable[[], Awaitable[object]]) -> Handler:
    """Answers what needs no words of the one who asks."""

    async def handle(_: web.Request) -> web.Response:
        return json_response(await answer())

    return handle


def _heard(kind: type[T], answer: Callable[[T], Awaitable[object]]) -> Handler:
    """Answers what is said in the body."""

    async def handle(request: web.Request) -> web.Response:
        return json_response(await answer(msgspec.json.decode(await request.read(), type=kind)))

    return handle


async def _greeting(desk: AdminOperations) -> DaemonInfo:
    return DaemonInfo(__version__, await desk.now_ns())


def build_application(
    routes: Iterable[web.RouteDef], middlewares: Iterable[Middleware] = ()
) -> web.Application:
    """What answers these routes, and says in words why where it does not."""
    made = web.Application(
        client_max_size=MAX_REQUEST_BYTES,
        middlewares=[_errors_to_json, *middlewares, _read_body_first],
    )
    made.add_routes(routes)
    return made


async def _waiting(desk: AdminOperations, asked: WaitingRequest) -> msgspec.Raw:
    page = _Page()
    page.add(await desk.list_waiting(asked.destination, asked.most))
    return page.json


async def _letters(desk: AdminOperations, asked: DeadLettersRequest) -> msgspec.Raw:
    """A few at a time, however long each may be."""
    page, below = _Page(), asked.below
    while not page.is_full and (most := min(_READ_SIZE, asked.most - page.count)) > 0:
        found = await desk.list_dead_letters(asked.selection, most, below)
        if not found:
            break
        page.add(found)
        below = found[-1].number
    return page.json


class _Page:
    """A list that ends with the item that makes it as long as an answer may be."""

    def __init__(self) -> None:
        self._items: list[bytes] = []
        self._size = 0

    @property
    def count(self) -> int:
        return len(self._items)

    @property
    def is_full(self) -> bool:
        return self._size >= PAGE_BYTES

    @property
    def json(self) -> msgspec.Raw:
        return msgspec.Raw(b"[" + b",".join(self._items) + b"]")

    def add(self, items: Iterable[msgspec.Struct]) -> None:
        for item in items:
            if self.is_full:
                return
            self._items.append(msgspec.json.encode(item))
            self._size += len(self._items[-1])


class StoreQueries:
    """What waits for the store, which says nothing as long as it fails."""

    def __init__(self, probe: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """``probe`` asks the store something that it answers soon, if at all."""
        self._probe = probe
        self._probing: asyncio.Future[object] | None = None
        self._open: set[asyncio.Future[Any]] = set()

    async def run(self, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer, however long it takes while the store answers others.

        Raises `_StoreUnresponsive` where it does not. It may be answered, and so done, all the same later.
        """
        if len(self._open) >= MAX_QUERIES:
            raise _StoreUnresponsive(f"{MAX_QUERIES} questions wait for its store")
        asking = asyncio.ensure_future(question())
        self._open.add(asking)
        asking.add_done_callback(self._open.discard)
        while not await _is_done(asking):
            if not await self._others_are_answered():
                raise _StoreUnresponsive(f"its store has not answered for {STORE_TIMEOUT_S:g} s")
        if asking.cancelled():
            raise _StoreUnresponsive("it is ending")
        return asking.result()

    def close(self) -> None:
        """Wait no longer."""
        for asking in (*self._open, self._probing):
            if asking is not None:
                asking.cancel()

    async def _others_are_answered(self) -> bool:
        if self._probing is None or self._probing.done():
            self._probing = asyncio.ensure_future(self._probe())
        return await _is_done(self._probing)


class _StoreUnresponsive(Exception):
    """The store says nothing; in words, why no more is waited for."""


async def _is_done(asking: asyncio.Future[Any]) -> bool:
    await asyncio.wait({asking}, timeout=STORE_TIMEOUT_S)
    return asking.done()


@web.middleware
async def _read_body_first(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Have the whole question before it is dealt with; aiohttp would wait for it for ever.

    What may be asked without a token has no body, and none is waited for.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            if request.method == "POST":
                await request.read()
    except TimeoutError:
        return json_response(
            ErrorAnswer(f"the question has not come within {BODY_TIMEOUT_S:g} s"), 408
        )
    return await handler(request)


@web.middleware
async def _errors_to_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return json_response(ErrorAnswer(str(error)), 400)
    except web.HTTPClientError as error:
        return json_response(ErrorAnswer(error.reason), error.status)
    except NotReloaded as error:
        return json_response(ErrorAnswer(str(error)), 409)
    except UnknownDestination as error:
        return json_response(ErrorAnswer(str(error)), 422)
    except _StoreUnresponsive as error:
        return json_response(ErrorAnswer(str(error)), 503)


def json_response(answer: object, status: int = 200) -> web.Response:
    """An answer of this, in JSON."""
    return web.Response(
        body=msgspec.json.encode(answer), status=status, content_type="application/json"
    )
