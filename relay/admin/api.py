"""The admin API: what commands can ask of a running daemon, as routes under ``/api/``.

There is one route for each operation, and one that streams live events for ``relay tail``. The same
routes are served on the control socket and at ``admin.listen``. Both bound what a client can cost:
the size of a request, the time its body may take, the length of an answer, and the number of
requests that wait for a store whose disk fails. A client that does not read its live events delays
nothing else: see `relay.admin.tap.Subscriber`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from types import NoneType
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from relay.admin.operation import Operation, Refused, RequestT, TooMany
from relay.admin.operations import (
    LIST_DEAD_LETTERS,
    LIST_WAITING,
    OPERATIONS,
    AdminOperations,
    NotReloaded,
)
from relay.admin.requests import DeadLettersRequest
from relay.admin.tap import (
    MAX_SUBSCRIBERS,
    EventTap,
    Subscriber,
    TapFilter,
    TooManySubscribers,
)
from relay.core.tasks import spawn

STORE_TIMEOUT_S = 3.0
"""How long a query may take before the store is probed, and how long the probe may take then. A
store that answers neither is failing."""

MAX_QUERIES = 16
"""At most this many queries wait for the store; while its disk fails they must not pile up."""

MAX_REQUEST_BYTES = 2**20
"""The longest request body: some 40,000 ids."""

BODY_TIMEOUT_S = 15.0
"""How long the body of a request may take to arrive."""

PAGE_BYTES = 4 * 2**20
"""A page (a list in an answer) ends with the item that makes it at least this long."""

_READ_SIZE = 20
"""How many dead letters are read from the store at a time."""

CLIENT_CHECK_S = 1.0
"""How often a stream of live events that has nothing to write checks whether its client is still
connected."""

FINAL_WRITE_S = 0.1
"""How long writing the last live events may take at shutdown. A client that reads has them at once.
"""

T = TypeVar("T")


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every answer that is not 200."""

    error: str


def build_application(
    routes: Iterable[web.RouteDef], middlewares: Iterable[Middleware] = ()
) -> web.Application:
    """Return an application that serves these routes and answers every error in JSON."""
    application = web.Application(
        client_max_size=MAX_REQUEST_BYTES,
        middlewares=[_errors_to_json, *middlewares, _read_body_first],
    )
    application.add_routes(routes)
    return application


def add_api_routes(
    application: web.Application,
    operations: AdminOperations,
    queries: "StoreQueries",
    tap: EventTap,
) -> None:
    """Add the routes of the admin API to an application."""
    application.add_routes(
        web.route(operation.method, operation.path, _make_handler(operation, operations, queries))
        for operation in OPERATIONS
    )
    _add_tail_route(application, tap)


def _make_handler(
    operation: Operation[Any, Any], operations: AdminOperations, queries: "StoreQueries"
) -> Handler:
    async def perform(request: Any) -> object:
        if operation is LIST_WAITING:
            waiting = await operations.list_waiting(request.destination, request.limit)
            return _Page(waiting).json
        if operation is LIST_DEAD_LETTERS:
            return await _dead_letters_page(operations, request)
        return await operations.call(operation, request)

    async def handle(request: web.Request) -> web.Response:
        decoded = await _decode_request(operation, request)
        if operation.uses_store:
            return json_response(await queries.run(operation.name, partial(perform, decoded)))
        return json_response(await perform(decoded))

    return handle


async def _decode_request(
    operation: Operation[RequestT, Any], request: web.Request
) -> RequestT | None:
    """Return what is requested; without a body it is in the path and the query."""
    if operation.request is NoneType:
        return None
    if operation.method == "POST":
        return msgspec.json.decode(await request.read(), type=operation.request)
    fields = {**request.query, **request.match_info}
    return msgspec.convert(fields, type=operation.request, strict=False)


async def _dead_letters_page(
    operations: AdminOperations, request: DeadLettersRequest
) -> msgspec.Raw:
    """Read a few dead letters at a time, because each may be long."""
    page, below = _Page(), request.below
    while not page.is_full and (limit := min(_READ_SIZE, request.limit - page.count)) > 0:
        found = await operations.list_dead_letters(request.selection, limit, below)
        if not found:
            break
        page.add(found)
        below = found[-1].number
    return page.json


class _Page:
    """A JSON list that ends with the item that makes it `PAGE_BYTES` long."""

    def __init__(self, items: Iterable[msgspec.Struct] = ()) -> None:
        self._items: list[bytes] = []
        self._size = 0
        self.add(items)

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


def _add_tail_route(application: web.Application, tap: EventTap) -> None:
    """Add ``GET /api/tail``, which streams what the routes decide as lines of JSON.

    ``?all=1`` includes events that no route sends anywhere, ``?engine=NAME`` shows only those of
    one engine, ``?host=GLOB`` only those of some hosts. The streams end with the application.
    """
    streams: dict[asyncio.Task[object], Subscriber] = {}

    async def tail(request: web.Request) -> web.StreamResponse:
        tap_filter = TapFilter(
            request.query.get("all") == "1", request.query.get("engine"), request.query.get("host")
        )
        task = asyncio.current_task()
        assert task is not None
        try:
            with tap.subscribe(tap_filter) as subscriber:
                streams[task] = subscriber
                response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
                await response.prepare(request)
                while chunk := await _next_chunk(subscriber, request):
                    await response.write(chunk)
                return response
        except TooManySubscribers:
            reason = f"{MAX_SUBSCRIBERS} commands watch it already: end one of them"
            raise web.HTTPTooManyRequests(reason=reason) from None
        finally:
            streams.pop(task, None)

    async def end_streams(_: web.Application) -> None:
        for subscriber in streams.values():
            subscriber.close()
        if streams:
            await asyncio.wait(streams, timeout=FINAL_WRITE_S)
        for task in tuple(streams):
            task.cancel()

    application.router.add_get("/api/tail", tail)
    application.on_shutdown.append(end_streams)


async def _next_chunk(subscriber: Subscriber, request: web.Request) -> bytes:
    """Return the next lines; empty at the end, or if the client has disconnected."""
    while request.transport is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLIENT_CHECK_S):
                return await subscriber.read()
    return b""


class StoreQueries:
    """Runs queries that wait for the store, and gives up on them when the store stops answering.

    A query may take as long as it needs while the store answers: deleting a million dead letters
    takes minutes. A store whose disk fails does not answer at all. Therefore a query that waits is
    accompanied by a probe, which the store answers quickly unless it is failing.
    """

    def __init__(self, probe: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """``probe`` is a query that a working store answers quickly."""
        self._probe = probe
        self._probing: asyncio.Task[object] | None = None
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, name: str, query: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the answer of the query, however long it takes, if the store answers others.

        Raises `_StoreUnresponsive` if the store answers none. The query is not cancelled then, so
        it may still take effect later.
        """
        if len(self._running) >= MAX_QUERIES:
            raise _StoreUnresponsive(f"{MAX_QUERIES} requests already wait for its store")
        task = spawn(query(), f"admin query: {name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        while not await _finishes_in_time(task):
            if self._probing is None or self._probing.done():
                self._probing = spawn(self._probe(), "admin query: probe")
            if not await _finishes_in_time(self._probing):
                raise _StoreUnresponsive(f"its store has not answered for {STORE_TIMEOUT_S:g} s")
        if task.cancelled():
            raise _StoreUnresponsive("it is stopping")
        return task.result()

    def close(self) -> None:
        """Cancel all queries that are not answered yet."""
        for task in (*self._running, self._probing):
            if task is not None:
                task.cancel()


class _StoreUnresponsive(Exception):
    """The wait for a query was given up; the message says why."""


async def _finishes_in_time(task: asyncio.Task[Any]) -> bool:
    await asyncio.wait({task}, timeout=STORE_TIMEOUT_S)
    return task.done()


@web.middleware
async def _read_body_first(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the whole body before the handler runs, in limited time; aiohttp would wait for ever.

    Only POST requests need their body. The check of the token comes before this middleware, so no
    body of a denied request is read.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            if request.method == "POST":
                await request.read()
    except TimeoutError:
        message = f"the body of the request has not arrived within {BODY_TIMEOUT_S:g} s"
        return json_response(ErrorAnswer(message), 408)
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
    except Refused as error:
        return json_response(ErrorAnswer(str(error)), 422)
    except TooMany as error:
        return json_response(ErrorAnswer(str(error)), 429)
    except _StoreUnresponsive as error:
        return json_response(ErrorAnswer(str(error)), 503)


def json_response(body: object, status: int = 200) -> web.Response:
    """Return a response with this body, encoded as JSON."""
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )
