"""The desk of a relay that runs, as commands see it."""

import errno
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec

from relay.admin.api import PAGE, Failure, Greeting
from relay.admin.operations import DeskError, NotReloaded, Replayed, UnknownDestination
from relay.admin.server import address
from relay.admin.tap import QUEUE_BYTES, Lost, Seen, Wish
from relay.core.errors import system_words
from relay.core.framing import Framer
from relay.core.status import Condition, Report
from relay.store.records import Backlog, DeadLetter, Selection, Waiting

ANSWER_S = 10.0
"""How long a relay may take to say something: longer than it gives its store."""

WORK_S = 600.0
"""How long it may be at work on dead letters; there can be a million."""

RELOAD_S = 120.0
"""How long a reload may take, with one that is under way before it."""

LINE_BYTES = 2 * QUEUE_BYTES
"""Longer than any line that a relay sends."""

T = TypeVar("T")


class NobodyListens(DeskError):
    """There is no relay at the socket."""


class NoAnswer(DeskError):
    """A relay is there and does not do what it was asked."""


@asynccontextmanager
async def remote_desk(path: Path) -> AsyncIterator["RemoteDesk"]:
    """The desk of the relay that listens at this socket.

    Raises `NobodyListens`, and `NoAnswer`, as every call of the desk may.
    """
    with ExitStack() as opened:
        try:
            short = opened.enter_context(address(path))
        except OSError as error:
            raise _unreachable(path, error) from error
        connector = aiohttp.UnixConnector(short)
        async with aiohttp.ClientSession("http://relay", connector=connector) as session:
            desk = RemoteDesk(session, path)
            await desk.now_ns()
            yield desk


class RemoteDesk:
    """A `relay.admin.operations.Desk`."""

    def __init__(self, session: aiohttp.ClientSession, path: Path) -> None:
        """``session`` leads to the relay that listens at ``path``."""
        self._session = session
        self._path = path

    async def now_ns(self) -> int:
        """See `Desk.now_ns`."""
        return (await self._get("/api/", Greeting)).now_ns

    async def conditions(self) -> Mapping[str, Condition]:
        """See `Desk.conditions`."""
        return await self._get("/api/conditions", dict[str, Condition])

    async def report(self) -> Report:
        """See `Desk.report`."""
        return await self._get("/api/report", Report)

    async def backlog(self) -> Mapping[str, Backlog]:
        """See `Desk.backlog`."""
        return await self._get("/api/backlog", dict[str, Backlog])

    async def pending(self) -> Mapping[str, int]:
        """See `Desk.pending`."""
        return await self._get("/api/pending", dict[str, int])

    async def waiting(self, destination: str | None, most: int) -> list[Waiting]:
        """See `Desk.waiting`; at most `PAGE`, and fewer if they are long."""
        asked = {"destination": destination, "most": min(most, PAGE)}
        return await self._post("/api/waiting", asked, list[Waiting])

    async def dead_letters(
        self, selection: Selection, most: int, below: int | None = None
    ) -> list[DeadLetter]:
        """See `Desk.dead_letters`."""
        found: list[DeadLetter] = []
        while (left := most - len(found)) > 0:
            asked = {"selection": selection, "most": min(left, PAGE), "below": below}
            page = await self._post("/api/dead", asked, list[DeadLetter])
            if not page:
                break
            found += page
            below = page[-1].number
        return found

    async def tally(self, selection: Selection) -> Mapping[str, int]:
        """See `Desk.tally`."""
        return await self._post("/api/dead/tally", selection, dict[str, int], WORK_S)

    async def replay(self, selection: Selection) -> Replayed:
        """See `Desk.replay`."""
        return await self._post("/api/dead/replay", selection, Replayed, WORK_S)

    async def drop(self, selection: Selection) -> int:
        """See `Desk.drop`."""
        return await self._post("/api/dead/drop", selection, int, WORK_S)

    async def enable(self, destination: str) -> bool:
        """See `Desk.enable`."""
        return await self._post("/api/enable", {"destination": destination}, bool)

    async def reload(self) -> Sequence[str]:
        """See `Desk.reload`."""
        return await self._post("/api/reload", None, list[str], RELOAD_S)

    @asynccontextmanager
    async def tail(self, wish: Wish) -> AsyncIterator[AsyncIterator[Seen | Lost]]:
        """What the relay decides from now on, until it ends."""
        asked = {"all": "1"} if wish.everything else {}
        asked |= {"engine": wish.engine} if wish.engine is not None else {}
        whole = aiohttp.ClientTimeout(total=None)
        try:
            async with self._session.get("/api/tail", params=asked, timeout=whole) as answer:
                if answer.status != 200:
                    self._read((answer.status, await answer.read()), Failure)
                yield self._lines(answer.content)
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(self._path, error.os_error) from error
        except aiohttp.ClientError as error:
            raise self._failure(f"broke off: {error}") from error

    async def _lines(self, content: aiohttp.StreamReader) -> AsyncIterator[Seen | Lost]:
        framer = Framer(LINE_BYTES)
        with suppress(aiohttp.ClientError):  # a relay that was killed says no goodbye
            async for chunk in content.iter_any():
                for line in framer.feed(chunk):
                    try:
                        yield msgspec.json.decode(line, type=Seen | Lost)
                    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                        raise self._failure(f"says what is not understood: {error}") from error

    async def _get(self, path: str, kind: type[T]) -> T:
        return self._read(await self._exchange("GET", path, None, ANSWER_S), kind)

    async def _post(
        self, path: str, asked: object, kind: type[T], timeout_s: float = ANSWER_S
    ) -> T:
        body = msgspec.json.encode(asked)
        return self._read(await self._exchange("POST", path, body, timeout_s), kind)

    async def _exchange(
        self, method: str, path: str, body: bytes | None, timeout_s: float
    ) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.request(method, path, data=body, timeout=timeout) as answer:
                return answer.status, await answer.read()
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(self._path, error.os_error) from error
        except TimeoutError as error:
            raise self._failure(f"has not answered for {timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise self._failure(f"broke off: {error}") from error

    def _read(self, answer: tuple[int, bytes], kind: type[T]) -> T:
        status, content = answer
        try:
            if status == 200:
                return msgspec.json.decode(content, type=kind)
            words = msgspec.json.decode(content, type=Failure).error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._failure(f"answers what is not understood ({status}): {error}") from error
        match status:
            case 409:
                raise NotReloaded(words)
            case 422:
                raise UnknownDestination(words)
            case 429:
                raise self._failure(f"says: {words}")
            case 503:
                raise self._failure(f"says: {words}; if it was to do something, it still may")
            case _:
                raise self._failure(f"does not take this command ({status}): {words}")

    def _failure(self, what: str) -> NoAnswer:
        return NoAnswer(f"the relay that listens at {self._path} {what}")


def _unreachable(path: Path, error: OSError) -> DeskError:
    words = system_words(OSError(error.errno, ""))
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ECONNREFUSED | errno.ENAMETOOLONG:
            return NobodyListens(f"nobody listens at {path}: {words}")
        case errno.EACCES:
            return NoAnswer(f"socket {path}: {words}: run this as the user that runs relay")
        case _:
            return NoAnswer(f"socket {path}: {words}")
