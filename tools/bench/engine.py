"""The benchmark's engine: as much of the Docker API as the candidates need, on a Unix socket.

``python -m tools.bench.engine SOCKET`` takes commands from `tools.bench.helper`. Events are
created before they are sent, so that sending one costs almost nothing.
"""

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from email.utils import formatdate
from itertools import count as count_up
from itertools import islice
from pathlib import Path
from selectors import SelectSelector
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from tools.bench.containers import Containers
from tools.bench.events import Event, Kind, Order, add_time, events
from tools.bench.helper import Command, serve_commands

HISTORY = 256
"""How many events an engine remembers (moby, ``daemon/events/events.go``)."""

BLOCK = 64
"""How many events of a flood are written to the socket at once."""

WRITE_BUFFER_BYTES = 256 * 1024
"""A flood waits while this much has not been read."""


Sources = dict[tuple[str, str, int], Iterator[Event]]
"""The events of each kind, order and padding; each command takes the next ones."""


class PreparedEvent(NamedTuple):
    """An event without its time."""

    event: Event
    head: bytes
    """The start of its chunk: Docker flushes after each event, so each is one chunk."""

    def chunk(self, time_ns: int) -> bytes:
        """Return the whole chunk."""
        return add_time(self.head, time_ns) + b"\r\n"


class Engine:
    """An engine with containers, a history like moby's, and any number of streams."""

    def __init__(self) -> None:
        self._numbers = count_up()
        self._sources: Sources = {}
        self._prepared: list[PreparedEvent] = []
        self._containers = Containers()
        self._history: deque[tuple[int, bytes]] = deque(maxlen=HISTORY)
        self._streams: set[asyncio.StreamWriter] = set()
        self._opened_ns: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._last_ns = 0

    async def serve(self, socket: Path) -> None:
        """Serve the API, and run the commands of the benchmark."""
        await asyncio.start_unix_server(self._handle_client, socket)
        commands: dict[str, Command] = {
            "stream": self.stream,
            "prepare": self.prepare,
            "flood": self.flood,
            "pace": self.pace,
        }
        await serve_commands(commands)

    async def stream(self) -> int:
        """Wait until a stream is open; return when the first was opened (ns since 1970)."""
        return await asyncio.shield(self._opened_ns)

    async def prepare(self, count: int, kind: str, order: str, padding: int = 0) -> int:
        """Add events to those of the next `flood` or `pace`; return how many these are."""
        key = kind, order, padding
        if key not in self._sources:
            source = events(Kind(kind), Order(order), self._numbers, padding=padding)
            self._sources[key] = source
        self._prepared += map(_prepare, islice(self._sources[key], count))
        return len(self._prepared)

    async def flood(self) -> int:
        """Send the prepared events as fast as they are read; return when (ns since 1970)."""
        started_ns, prepared, self._prepared = time.time_ns(), self._prepared, []
        for first in range(0, len(prepared), BLOCK):
            self._send(prepared[first : first + BLOCK])
            for writer in tuple(self._streams):
                with suppress(ConnectionError):  # the client is gone; `_handle_client` ends it
                    await writer.drain()
            await asyncio.sleep(0)  # so that other requests are answered
        return started_ns

    async def pace(self, per_s: float) -> int:
        """Send the prepared events at this rate, one by one; return how many these were."""
        prepared, self._prepared = self._prepared, []
        started_s = time.monotonic()
        for number, each in enumerate(prepared):
            await asyncio.sleep(started_s + number / per_s - time.monotonic())
            self._send([each])
        return len(prepared)

    def _send(self, prepared: list[PreparedEvent]) -> None:
        """Give each event a time of its own, and write them to the streams."""
        chunks = []
        for each in prepared:
            self._last_ns = time_ns = max(time.time_ns(), self._last_ns + 1)
            self._containers.apply(each.event, time_ns)
            chunk = each.chunk(time_ns)
            self._history.append((time_ns, chunk))
            chunks.append(chunk)
        block = b"".join(chunks)
        for writer in self._streams:
            writer.write(block)

    async def _handle_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                url = urlsplit(head.split(b" ", 2)[1].decode())
                if url.path.endswith("/events"):
                    self._answer_events(parse_qs(url.query), writer)
                else:
                    writer.write(self._answer(url.path.split("/")))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._streams.discard(writer)
            writer.close()

    def _answer_events(self, query: dict[str, list[str]], writer: asyncio.StreamWriter) -> None:
        writer.write(_head("Transfer-Encoding: chunked"))
        if "since" in query:
            since_ns, until_ns = (
                _time_ns(query["since"]),
                _time_ns(query.get("until", ["9999999999"])),
            )
            past = (chunk for time_ns, chunk in self._history if since_ns <= time_ns <= until_ns)
            writer.write(b"".join(past))
        if "until" in query:
            writer.write(b"0\r\n\r\n")
            return
        writer.transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self._streams.add(writer)
        if not self._opened_ns.done():
            self._opened_ns.set_result(time.time_ns())

    def _answer(self, path: list[str]) -> bytes:
        match path:
            case [*_, "_ping"]:
                return _plain(b"OK", "Api-Version: 1.45")
            case [*_, "version"]:
                return _json({"ApiVersion": "1.45", "MinAPIVersion": "1.24"})
            case [*_, "info"]:
                return _json({"ID": "bench", "Name": "node-1"})
            case [*_, "containers", "json"]:
                return _json(self._containers.list_all())
            case [*_, "containers", container_id, "json"]:
                if found := self._containers.inspect(container_id):
                    return _json(found)
        return _json({"message": "No such container"}, status="404 Not Found")


def _prepare(event: Event) -> PreparedEvent:
    head = event.head()
    size = len(add_time(head, time.time_ns()))  # times have the same length until 2286
    return PreparedEvent(event, b"%x\r\n%s" % (size, head))


def _time_ns(values: list[str]) -> int:
    """Parse a time as the engine does: seconds, a point, nine digits."""
    seconds, _, nanos = values[0].partition(".")
    return int(seconds) * 10**9 + int(nanos.ljust(9, "0"))


def _json(content: object, *, status: str = "200 OK") -> bytes:
    return _plain(json.dumps(content).encode(), status=status)


def _plain(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return _head(f"Content-Length: {len(body)}", *headers, status=status) + body


def _head(*headers: str, status: str = "200 OK") -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Date: {formatdate(usegmt=True)}", *headers)
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode()


async def _serve() -> None:
    await Engine().serve(Path(sys.argv[1]))


if __name__ == "__main__":
    # select(2) waits for microseconds; epoll_wait(2), the default, wakes up to a millisecond late
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(SelectSelector())) as runner:
        runner.run(_serve())
