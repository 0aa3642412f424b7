"""The sink: a webhook that costs almost nothing, and counts events and their latencies.

``python -m tools.bench.sink`` takes commands from `tools.bench.helper`.
"""

import asyncio
import re
import time
from enum import StrEnum

from tools.bench.helper import Command, serve_commands

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SENT = re.compile(rb'"sent": ?"(\d+)-(\d+)"')
"""The label of each event in a body; a body may hold many."""

_ACCEPTED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class SinkMode(StrEnum):
    """How the sink answers requests."""

    ACCEPT = "accept"
    HANG = "hang"
    """Not at all, until it accepts requests again."""
    REFUSE = "refuse"


class Sink:
    """Counts the events in requests, and answers them."""

    def __init__(self) -> None:
        self._mode = SinkMode.ACCEPT
        self._hanging: list[tuple[Connection, bytes]] = []
        self._changed = asyncio.Event()
        self._reset()

    async def serve(self) -> None:
        """Listen for requests, and run the commands of the benchmark."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]

        async def url() -> str:
            return f"http://{host}:{port}/hook"

        commands: dict[str, Command] = {
            "url": url,
            "set_mode": self.set_mode,
            "wait": self.wait,
            "reset": self.reset,
            "report": self.report,
        }
        await serve_commands(commands)

    async def set_mode(self, mode: str) -> int:
        """Switch to this mode; return when (monotonic, ns). ACCEPT answers requests that hang."""
        self._mode = SinkMode(mode)
        now_ns = time.monotonic_ns()
        if self._mode is SinkMode.ACCEPT:
            hanging, self._hanging = self._hanging, []
            for connection, body in hanging:
                if not connection.is_closed:
                    connection.answer(self.handle(connection, body))
        return now_ns

    async def wait(self, count: int, timeout_s: float = 600) -> bool:
        """Wait until this many events were accepted; return False if that takes too long."""
        self._wanted = count
        try:
            async with asyncio.timeout(timeout_s):
                while len(self._latencies_ns) < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def reset(self) -> bool:
        """Reset all counts."""
        self._reset()
        return True

    async def report(self) -> dict[str, object]:
        """Return the figures since the last reset; ``last_ns`` is of the monotonic clock."""
        latencies = sorted(self._latencies_ns.values())
        last = len(latencies) - 1
        return {
            "events": len(latencies),
            "repeated": self._repeated,
            "last_ns": self._last_ns,
            "p50_ms": latencies[last // 2] / 1e6 if latencies else None,
            "p99_ms": latencies[int(last * 0.99)] / 1e6 if latencies else None,
        }

    def handle(self, connection: "Connection", body: bytes) -> bytes | None:
        """Count the events of a request; return the answer, None for none yet."""
        if self._mode is SinkMode.HANG:
            self._hanging.append((connection, body))
            return None
        if self._mode is SinkMode.REFUSE:
            return _REFUSED
        self._last_ns = now_ns = time.monotonic_ns()
        for number, sent_ns in _SENT.findall(body):
            self._repeated += number in self._latencies_ns
            self._latencies_ns[number] = now_ns - int(sent_ns)
        if len(self._latencies_ns) >= self._wanted:
            self._changed.set()
        return _ACCEPTED

    def _reset(self) -> None:
        self._latencies_ns: dict[bytes, int] = {}
        self._repeated = 0
        self._last_ns = 0
        self._wanted = 0


class Connection(asyncio.Protocol):
    """A persistent connection. It reads only bodies with a Content-Length."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the connection is closed."""
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (place := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, place)
            end = place + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            body, self._buffer = self._buffer[place + 4 : end], self._buffer[end:]
            self.answer(self._sink.handle(self, body))

    def answer(self, answer: bytes | None) -> None:
        """Send the answer, if there is one."""
        if answer is not None and self._transport is not None:
            self._transport.write(answer)


async def _serve() -> None:
    await Sink().serve()


if __name__ == "__main__":
    asyncio.run(_serve())
