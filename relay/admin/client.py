"""The client of the admin API: the operations of a running daemon, over its control socket."""

import errno
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import NoneType
from urllib.parse import quote

import aiohttp
import msgspec

from relay import __version__
from relay.admin.api import ErrorAnswer
from relay.admin.operation import AnswerT, Operation, OperationError, Refused, RequestT
from relay.admin.operations import AdminOperations, NotReloaded
from relay.admin.requests import PAGE_SIZE
from relay.admin.tap import QUEUE_BYTES, EventsSkipped, TapFilter, TappedEvent
from relay.admin.unix_socket import socket_address
from relay.core.errors import describe_os_error
from relay.core.framing import RecordSplitter
from relay.store.records import DeadLetter, Selection, WaitingDelivery

ANSWER_TIMEOUT_S = 10.0
"""How long a daemon may take to answer: longer than it waits for its store."""

MAX_LINE_BYTES = 2 * QUEUE_BYTES
"""The limit of a line of live events: longer than any line that a daemon sends."""


class NoDaemon(OperationError):
    """No relay listens at the socket."""


class RequestFailed(OperationError):
    """A relay listens at the socket, but did not perform the operation."""


@asynccontextmanager
async def connect_to_daemon(path: Path) -> AsyncIterator["RemoteOperations"]:
    """Connect to the relay that listens at this socket.

    Raises `NoDaemon` and `RequestFailed`, as every operation may.
    """
    with ExitStack() as resources:
        try:
            address = resources.enter_context(socket_address(path))
        except OSError as error:
            raise _connection_error(path, error) from error
        connector = aiohttp.UnixConnector(address)
        async with aiohttp.ClientSession("http://relay", connector=connector) as session:
            operations = RemoteOperations(session, path)
            await operations.now_ns()
            yield operations


class RemoteOperations(AdminOperations):
    """Asks a running daemon to perform the operations."""

    def __init__(self, session: aiohttp.ClientSession, path: Path) -> None:
        """``session`` leads to the relay that listens at ``path``."""
        self._session = session
        self._path = path

    async def call(self, operation: Operation[RequestT, AnswerT], request: RequestT) -> AnswerT:
        """Send the operation to the daemon and return its answer."""
        method, path = operation.method, operation.path
        body = msgspec.json.encode(request) if method == "POST" else None
        if method != "POST" and request is not None:
            path = _put_in_url(path, request)
        timeout_s = operation.timeout_s or ANSWER_TIMEOUT_S
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.request(method, path, data=body, timeout=timeout) as response:
                status, content = response.status, await response.read()
        except aiohttp.ClientConnectorError as error:
            raise _connection_error(self._path, error.os_error) from error
        except TimeoutError as error:
            raise self._error(f"has not answered for {timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise self._error(f"broke off: {error}") from error
        return self._decode(status, content, operation.answer)

    async def list_waiting(self, destination: str | None, limit: int) -> list[WaitingDelivery]:
        """Return one page: at most `PAGE_SIZE` deliveries, and fewer if they are long."""
        return await super().list_waiting(destination, min(limit, PAGE_SIZE))

    async def list_dead_letters(
        self, selection: Selection, limit: int, below: int | None = None
    ) -> list[DeadLetter]:
        """Return dead letters, from as many pages as are needed."""
        found: list[DeadLetter] = []
        while (missing := limit - len(found)) > 0:
            page = await super().list_dead_letters(selection, min(missing, PAGE_SIZE), below)
            if not page:
                break
            found += page
            below = page[-1].number
        return found

    @asynccontextmanager
    async def tail(
        self, tap_filter: TapFilter
    ) -> AsyncIterator[AsyncIterator[TappedEvent | EventsSkipped]]:
        """Yield events and the decisions of the routes as they happen, until the daemon ends."""
        query = {"all": "1"} if tap_filter.include_unrouted else {}
        query |= {"engine": tap_filter.engine} if tap_filter.engine is not None else {}
        query |= {"host": tap_filter.host} if tap_filter.host is not None else {}
        unlimited = aiohttp.ClientTimeout(total=None)
        try:
            async with self._session.get("/api/tail", params=query, timeout=unlimited) as response:
                if response.status != 200:
                    self._decode(response.status, await response.read(), NoneType)
                yield self._read_lines(response.content)
        except aiohttp.ClientConnectorError as error:
            raise _connection_error(self._path, error.os_error) from error
        except aiohttp.ClientError as error:
            raise self._error(f"broke off: {error}") from error

    async def _read_lines(
        self, content: aiohttp.StreamReader
    ) -> AsyncIterator[TappedEvent | EventsSkipped]:
        splitter = RecordSplitter(MAX_LINE_BYTES)
        with suppress(aiohttp.ClientError):  # a daemon that was killed does not end its response
            async for chunk in content.iter_any():
                for line in splitter.feed(chunk):
                    try:
                        yield msgspec.json.decode(line, type=TappedEvent | EventsSkipped)
                    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                        raise self._error(f"sent a line that cannot be read: {error}") from error

    def _decode(self, status: int, content: bytes, answer: type[AnswerT]) -> AnswerT:
        try:
            if status == 200:
                return msgspec.json.decode(content, type=answer)
            message = msgspec.json.decode(content, type=ErrorAnswer).error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._error(f"sent an answer that cannot be read ({status}): {error}") from error
        match status:
            case 404:
                raise self._error(
                    "does not know this request: it runs another version than this command "
                    f"({__version__}), so restart it"
                )
            case 409:
                raise NotReloaded(message)
            case 422:
                raise Refused(message)
            case 429:
                raise self._error(f"says: {message}")
            case 503:
                raise self._error(f"says: {message}; a change that was requested may still follow")
            case _:
                raise self._error(f"does not accept this command ({status}): {message}")

    def _error(self, what: str) -> RequestFailed:
        return RequestFailed(f"the relay that listens at {self._path} {what}")


def _put_in_url(path: str, request: object) -> str:
    """Return the path with the fields of a request that it names, and with the others as query.

    Fields that are None are left out.
    """
    fields = {
        name: quote(value if isinstance(value, str) else msgspec.json.encode(value), safe="")
        for name, value in msgspec.to_builtins(request).items()
        if value is not None
    }
    query = "&".join(f"{name}={text}" for name, text in fields.items() if f"{{{name}}}" not in path)
    return path.format(**fields) + (f"?{query}" if query else "")


def _connection_error(path: Path, error: OSError) -> OperationError:
    reason = describe_os_error(OSError(error.errno, ""))
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ECONNREFUSED | errno.ENAMETOOLONG:
            return NoDaemon(f"nobody listens at {path}: {reason}")
        case errno.EACCES:
            return RequestFailed(f"socket {path}: {reason}: run this as the user that runs relay")
        case _:
            return RequestFailed(f"socket {path}: {reason}")
