"""Where commands ask a relay that runs: its desk, over HTTP, on a socket for its owner alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from relay import __version__
from relay.desk import Desk, UnknownDestination
from relay.errors import RelayError
from relay.ops.streaming import add_tail
from relay.ops.unix_socket import bound, remove, why_not
from relay.store.outbox import Selection
from relay.tap import Tap

log = structlog.get_logger()

ANSWER_S = 3.0
"""How long the store may say nothing, and then to another question; after that it is failing."""

CLOSE_S = 1.0
"""How long an answer that is under way may take at the end."""

AT_ONCE = 16
"""So many questions may wait for the store, so that none heap up while it fails."""

QUESTION_BYTES = 2**20
"""The longest question: some 40,000 ids."""

PAGE = 500
"""The most deliveries or dead letters in one answer."""

PAGE_BYTES = 4 * 2**20
"""An answer ends with the one that makes it as long as this."""

_PIECE = 20
"""So many dead letters are read at once."""

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""What the store can compare with its own."""
Most = Annotated[int, Meta(ge=1, le=PAGE)]


class ControlError(RelayError):
    """The socket cannot be had."""


class SelectionAsked(Selection, frozen=True, forbid_unknown_fields=True):
    """A `Selection` that comes from outside."""

    ids: tuple[Number | str, ...] | None = None
    since_ns: Number | None = None


class LettersAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `Desk.dead_letters`; none in the answer means that there are no more."""

    selection: SelectionAsked
    most: Most
    below: Number | None = None


class WaitingAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `Desk.waiting`."""

    destination: str | None
    most: Most


class EnableAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `Desk.enable`."""

    destination: str


class Greeting(msgspec.Struct, frozen=True):
    """Who answers, and what time it is for the deliveries."""

    version: str
    now_ns: int


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    error: str


def socket_path(store: Path) -> Path:
    """Where a relay with this store listens."""
    return Path(f"{store}.sock")


@asynccontextmanager
async def control(path: Path, desk: Desk, tap: Tap | None = None) -> AsyncIterator[None]:
    """Answer commands at this socket as long as the context lasts. Raises `ControlError`.

    ``tap`` is where what the routes decide can be watched.
    """
    questions = _Questions(desk.pending)
    runner = web.AppRunner(
        _application(desk, questions, tap or Tap()),
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


def _application(desk: Desk, questions: "_Questions", tap: Tap) -> web.Application:
    """POST is for what has an effect, or says in its body what is meant."""

    async def greet(_: web.Request) -> web.Response:
        return _json(Greeting(__version__, await desk.now_ns()))

    async def conditions(_: web.Request) -> web.Response:
        return _json(await desk.conditions())

    async def enable(request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read(), type=EnableAsked)
        return _json(await desk.enable(asked.destination))

    async def report(_: web.Request) -> web.Response:
        return _json(await desk.report())

    async def backlog(_: web.Request) -> web.Response:
        return _json(await questions.ask(desk.backlog))

    async def pending(_: web.Request) -> web.Response:
        return _json(await questions.ask(desk.pending))

    def answers(kind: type[T], answer: Callable[[T], Coroutine[Any, Any, object]]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            asked = msgspec.json.decode(await request.read(), type=kind)
            return _json(await questions.ask(partial(answer, asked)))

        return handle

    application = web.Application(client_max_size=QUESTION_BYTES, middlewares=[_failures_in_words])
    application.add_routes(
        [
            web.get("/api/", greet),
            web.get("/api/conditions", conditions),
            web.post("/api/enable", enable),
            web.get("/api/report", report),
            web.get("/api/backlog", backlog),
            web.get("/api/pending", pending),
            web.post("/api/waiting", answers(WaitingAsked, partial(_waiting, desk))),
            web.post("/api/dead", answers(LettersAsked, partial(_letters, desk))),
            web.post("/api/dead/tally", answers(SelectionAsked, desk.tally)),
            web.post("/api/dead/replay", answers(SelectionAsked, desk.replay)),
            web.post("/api/dead/drop", answers(SelectionAsked, desk.drop)),
        ]
    )
    add_tail(application, tap)
    return application


async def _waiting(desk: Desk, asked: WaitingAsked) -> msgspec.Raw:
    page = _Page()
    page.add(await desk.waiting(asked.destination, asked.most))
    return page.json


async def _letters(desk: Desk, asked: LettersAsked) -> msgspec.Raw:
    """A few at a time, however long each may be."""
    page, below = _Page(), asked.below
    while not page.is_full and (most := min(_PIECE, asked.most - page.count)) > 0:
        found = await desk.dead_letters(asked.selection, most, below)
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


class _Questions:
    """What waits for the store, which says nothing as long as it fails."""

    def __init__(self, probe: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """``probe`` asks the store something that it answers soon, if at all."""
        self._probe = probe
        self._probing: asyncio.Future[object] | None = None
        self._open: set[asyncio.Future[Any]] = set()

    async def ask(self, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer, however long it takes while the store answers others.

        Raises `_Unanswered` where it does not. It may be answered, and so done, all the same later.
        """
        if len(self._open) >= AT_ONCE:
            raise _Unanswered(f"{AT_ONCE} questions wait for its store")
        asking = asyncio.ensure_future(question())
        self._open.add(asking)
        asking.add_done_callback(self._open.discard)
        while not await _is_done(asking):
            if not await self._others_are_answered():
                raise _Unanswered(f"its store has not answered for {ANSWER_S:g} s")
        if asking.cancelled():
            raise _Unanswered("it is ending")
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


class _Unanswered(Exception):
    """The store says nothing; in words, why no more is waited for."""


async def _is_done(asking: asyncio.Future[Any]) -> bool:
    await asyncio.wait({asking}, timeout=ANSWER_S)
    return asking.done()


@web.middleware
async def _failures_in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return _json(Failure(str(error)), 400)
    except web.HTTPClientError as error:
        return _json(Failure(error.reason), error.status)
    except UnknownDestination as error:
        return _json(Failure(str(error)), 422)
    except _Unanswered as error:
        return _json(Failure(str(error)), 503)


def _json(answer: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(answer), status=status, content_type="application/json"
    )
