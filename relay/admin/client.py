"""The desk of a relay that runs, as commands see it."""

import errno
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec

from relay.admin.api import PAGE_SIZE, DaemonInfo, ErrorAnswer
from relay.admin.operations import NotReloaded, OperationError, ReplayResult, UnknownDestination
from relay.admin.server import socket_address
from relay.admin.tap import QUEUE_BYTES, EventsSkipped, TapFilter, TappedEvent
from relay.core.errors import describe_os_error
from relay.core.framing import RecordSplitter
from relay.core.status import DaemonStatus, DestinationStatus
from relay.store.records import Backlog, DeadLetter, Selection, WaitingDelivery

ANSWER_TIMEOUT_S = 10.0
"""How long a relay may take to say something: longer than it gives its store."""

DEAD_LETTERS_TIMEOUT_S = 600.0
"""How long it may be at work on dead letters; there can be a million."""

RELOAD_TIMEOUT_S = 120.0
"""How long a reload may take, with one that is under way before it."""

MAX_LINE_BYTES = 2 * QUEUE_BYTES
"""Longer than any line that a relay sends."""

T = TypeVar("T")


class NoDaemon(OperationError):
    """There is no relay at the socket."""


class RequestFailed(OperationError):
    """A relay is there and does not do what it was asked."""


@asynccontextmanager
async def connect_to_daemon(path: Path) -> AsyncIterator["RemoteOperations"]:
    """The desk of the relay that listens at this socket.

    Raises `NoDaemon`, and `RequestFailed`, as every call of the desk may.
    """
    with ExitStack() as opened:
        try:
            short = opened.enter_context(socket_address(path))
        except OSError as error:
            raise _connection_error(path, error) from error
        connector = aiohttp.UnixConnector(short)
        async with aiohttp.ClientSession("http://relay", connector=connector) as session:
            desk = RemoteOperations(session, path)
            await desk.now_ns()
            yield desk


class RemoteOperations:
    """A `relay.admin.operations.AdminOperations`."""

    def __init__(self, session: aiohttp.ClientSession, path: Path) -> None:
        """``session`` leads to the relay that listens at ``path``."""
        self._session = session
        self._path = path

    async def now_ns(self) -> int:
        """See `AdminOperations.now_ns`."""
        return (await self._get("/api/", DaemonInfo)).now_ns

    async def destination_status(self) -> Mapping[str, DestinationStatus]:
        """See `AdminOperations.destination_status`."""
        return await self._get("/api/conditions", dict[str, DestinationStatus])

    async def daemon_status(self) -> DaemonStatus:
        """See `AdminOperations.daemon_status`."""
        return await self._get("/api/report", DaemonStatus)

    async def backlog(self) -> Mapping[str, Backlog]:
        """See `AdminOperations.backlog`."""
        return await self._get("/api/backlog", dict[str, Backlog])

    async def pending(self) -> Mapping[str, int]:
        """See `AdminOperations.pending`."""
        return await self._get("/api/pending", dict[str, int])

    async def list_waiting(self, destination: str | None, most: int) -> list[WaitingDelivery]:
        """See `AdminOperations.list_waiting`; at most `PAGE_SIZE`, and fewer if they are long."""
        asked = {"destination": destination, "most": min(most, PAGE_SIZE)}
        return await self._post("/api/waiting", asked, list[WaitingDelivery])

    async def list_dead_letters(
        self, selection: Selection, most: int, below: int | None = None
    ) -> list[DeadLetter]:
        """See `AdminOperations.list_dead_letters`."""
        found: list[DeadLetter] = []
        while (left := most - len(found)) > 0:
            asked = {"selection": selection, "most": min(left, PAGE_SIZE), "below": below}
            page = await self._post("/api/dead", asked, list[DeadLetter])
            if not page:
                break
            found += page
            below = page[-1].number
        return found

    async def count_dead_letters(self, selection: Selection) -> Mapping[str, int]:
        """See `AdminOperations.count_dead_letters`."""
        return await self._post(
            "/api/dead/tally", selection, dict[str, int], DEAD_LETTERS_TIMEOUT_S
        )

    async def replay_dead_letters(self, selection: Selection) -> ReplayResult:
        """See `AdminOperations.replay_dead_letters`."""
        return await self._post("/api/dead/replay", selection, ReplayResult, DEAD_LETTERS_TIMEOUT_S)

    async def drop_dead_letters(self, selection: Selection) -> int:
        """See `AdminOperations.drop_dead_letters`."""
        return await self._post("/api/dead/drop", selection, int, DEAD_LETTERS_TIMEOUT_S)

    async def enable(self, destination: str) -> bool:
        """See `AdminOperations.enable`."""
        return await self._post("/api/enable", {"destination": destination}, bool)

    async def reload(self) -> Sequence[str]:
        """See `AdminOperations.reload`."""
        return await self._post("/api/reload", None, list[str], RELOAD_TIMEOUT_S)

    @asynccontextmanager
    async def tail(
        self, wish: TapFilter
    ) -> AsyncIterator[AsyncIterator[TappedEvent | EventsSkipped]]:
        """What the relay decides from now on, until it ends."""
        asked = {"all": "1"} if wish.include_unrouted else {}
        asked |= {"engine": wish.engine} if wish.engine is not None else {}
        whole = aiohttp.ClientTimeout(total=None)
        try:
            async with self._session.get("/api/tail", params=asked, timeout=whole) as answer:
                if answer.status != 200:
                    self._decode((answer.status, await answer.read()), ErrorAnswer)
                yield self._read_lines(answer.content)
        except aiohttp.ClientConnectorError as error:
            raise _connection_error(self._path, error.os_error) from error
        except aiohttp.ClientError as error:
            raise self._error(f"broke off: {error}") from error

    async def _read_lines(
        self, content: aiohttp.StreamReader
    ) -> AsyncIterator[TappedEvent | EventsSkipped]:
        framer = RecordSplitter(MAX_LINE_BYTES)
        with suppress(aiohttp.ClientError):  # a relay that was killed says no goodbye
            async for chunk in content.iter_any():
                for line in framer.feed(chunk):
                    try:
                        yield msgspec.json.decode(line, type=TappedEvent | EventsSkipped)
                    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                        raise self._error(f"says what is not understood: {error}") from error

    async def _get(self, path: str, kind: type[T]) -> T:
        return self._decode(await self._request("GET", path, None, ANSWER_TIMEOUT_S), kind)

    async def _post(
        self, path: str, asked: object, kind: type[T], timeout_s: float = ANSWER_TIMEOUT_S
    ) -> T:
        body = msgspec.json.encode(asked)
        return self._decode(await self._request("POST", path, body, timeout_s), kind)

    async def _request(
        self, method: str, path: str, body: bytes | None, timeout_s: float
    ) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.request(method, path, data=body, timeout=timeout) as answer:
                return answer.status, await answer.read()
        except aiohttp.ClientConnectorError as error:
            raise _connection_error(self._path, error.os_error) from error
        except TimeoutError as error:
            raise self._error(f"has not answered for {timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise self._error(f"broke off: {error}") from error

    def _decode(self, answer: tuple[int, bytes], kind: type[T]) -> T:
        status, content = answer
        try:
            if status == 200:
                return msgspec.json.decode(content, type=kind)
            words = msgspec.json.decode(content, type=ErrorAnswer).error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._error(f"answers what is not understood ({status}): {error}") from error
        match status:
            case 409:
                raise NotReloaded(words)
            case 422:
                raise UnknownDestination(words)
            case 429:
                raise self._error(f"says: {words}")
            case 503:
                raise self._error(f"says: {words}; if it was to do something, it still may")
            case _:
                raise self._error(f"does not take this command ({status}): {words}")

    def _error(self, what: str) -> RequestFailed:
        return RequestFailed(f"the relay that listens at {self._path} {what}")


def _connection_error(path: Path, error: OSError) -> OperationError:
    words = describe_os_error(OSError(error.errno, ""))
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ECONNREFUSED | errno.ENAMETOOLONG:
            return NoDaemon(f"nobody listens at {path}: {words}")
        case errno.EACCES:
            return RequestFailed(f"socket {path}: {words}: run this as the user that runs relay")
        case _:
            return RequestFailed(f"socket {path}: {words}")
