"""The benchmark's engine: as much of the Docker API as the candidates need, on a Unix socket.

``python -m tools.bench.engine SOCKET`` takes commands from `tools.bench.helper`.
"""

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tools.bench.events import Kind, line
from tools.bench.helper import serve_commands

HISTORY = 256
"""How many events an engine remembers (moby, ``daemon/events/events.go``)."""

BLOCK = 64
"""How many events of a flood are written to the socket at once."""

Filters = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class SentEvent:
    """An event that happened."""

    kind: Kind
    time_ns: int
    line: bytes

    def passes(self, filters: Filters) -> bool:
        """Return whether ``GET /events`` with these filters shows the event."""
        event = json.loads(self.line)
        action = event["Action"]
        attributes = event["Actor"]["Attributes"]
        labels = {*attributes, *(f"{name}={value}" for name, value in attributes.items())}
        return (
            event["Type"] in filters.get("type", [event["Type"]])
            and bool({action, action.partition(":")[0]} & set(filters.get("event", [action])))
            and labels >= set(filters.get("label", []))
        )


class Engine:
    """An engine with a history like moby's, and any number of streams."""

    def __init__(self) -> None:
        self._history: deque[SentEvent] = deque(maxlen=HISTORY)
        self._streams: dict[asyncio.StreamWriter, frozenset[Kind]] = {}
        self._opened = asyncio.Event()
        self._last_ns = 0

    async def serve(self, socket: Path) -> None:
        """Serve the API, and run the commands of the benchmark."""
        await asyncio.start_unix_server(self._handle_client, socket)
        await serve_commands({"stream": self.stream, "flood": self.flood, "pace": self.pace})

    async def stream(self) -> bool:
        """Wait until a stream is open."""
        await self._opened.wait()
        return True

    async def flood(self, count: int, kind: str, first: int = 0) -> int:
        """Send events as fast as they are read; return when the first was sent (monotonic, ns)."""
        started_ns = time.monotonic_ns()
        for number in range(first, first + count, BLOCK):
            numbers = range(number, min(number + BLOCK, first + count))
            self._send([self._event(Kind(kind), each) for each in numbers])
            for writer in tuple(self._streams):
                await writer.drain()
            await asyncio.sleep(0)  # so that other requests are answered
        return started_ns

    async def pace(self, count: int, per_s: float) -> bool:
        """Send events at this rate, one by one.

        It sleeps outside the event loop, which would wake it up to a millisecond too late.
        """
        started_s = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, started_s + number / per_s - time.monotonic()))
            self._send([self._event(Kind.WANTED, number)])
            await asyncio.sleep(0)
        return True

    def _event(self, kind: Kind, number: int) -> SentEvent:
        self._last_ns = time_ns = max(time.time_ns(), self._last_ns + 1)
        return SentEvent(kind, time_ns, line(kind, number, time.monotonic_ns(), time_ns))

    def _send(self, events: list[SentEvent]) -> None:
        self._history.extend(events)
        for writer, kinds in self._streams.items():
            writer.write(b"".join(_chunk(each.line) for each in events if each.kind in kinds))

    async def _handle_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                target = head.split(b" ", 2)[1].decode()
                url = urlsplit(target)
                query = parse_qs(url.query)
                if url.path.endswith("/events") and "until" not in query:
                    self._open(query, writer)
                else:
                    writer.write(self._answer(url.path, query))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._streams.pop(writer, None)
            writer.close()

    def _open(self, query: dict[str, list[str]], writer: asyncio.StreamWriter) -> None:
        filters = _filters(query)
        past = [_chunk(each.line) for each in self._replay(query)]
        writer.write(_head("Transfer-Encoding: chunked") + b"".join(past))
        kinds = (kind for kind in Kind if SentEvent(kind, 0, line(kind, 0, 0, 0)).passes(filters))
        self._streams[writer] = frozenset(kinds)
        self._opened.set()

    def _answer(self, path: str, query: dict[str, list[str]]) -> bytes:
        match path.rpartition("/")[2]:
            case "_ping":
                return _plain(b"OK", "Api-Version: 1.45")
            case "version":
                return _plain(b'{"ApiVersion":"1.45","MinAPIVersion":"1.24"}')
            case "info":
                return _plain(b'{"ID":"bench","Name":"node-1"}')
            case "events":
                return _plain(b"".join(each.line for each in self._replay(query)))
            case "json" if path.endswith("/containers/json"):
                return _plain(b"[]")
            case _:
                return _plain(b'{"message":"No such container"}', status="404 Not Found")

    def _replay(self, query: dict[str, list[str]]) -> Iterator[SentEvent]:
        if "since" not in query:
            return
        since_ns, until_ns = _time(query["since"]), _time(query.get("until", ["9999999999"]))
        filters = _filters(query)
        for each in self._history:
            if since_ns <= each.time_ns <= until_ns and each.passes(filters):
                yield each


def _filters(query: dict[str, list[str]]) -> Filters:
    """Return the filters. Older clients send mappings instead of lists: their keys count."""
    given = json.loads(query.get("filters", ["{}"])[0])
    return {name: list(wanted) for name, wanted in given.items()}


def _time(values: list[str]) -> int:
    """Parse a time as the engine does: seconds, a point, nine digits."""
    seconds, _, nanos = values[0].partition(".")
    return int(seconds) * 10**9 + int(nanos.ljust(9, "0"))


def _chunk(content: bytes) -> bytes:
    """Return an event as one chunk: Docker flushes after each event."""
    return b"%x\r\n%s\r\n" % (len(content), content)


def _plain(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return _head(f"Content-Length: {len(body)}", *headers, status=status) + body


def _head(*headers: str, status: str = "200 OK") -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Date: {formatdate(usegmt=True)}", *headers)
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode()


if __name__ == "__main__":
    asyncio.run(Engine().serve(Path(sys.argv[1])))
