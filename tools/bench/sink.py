"""The sink: a webhook that costs almost nothing, and records which event arrived when.

``python -m tools.bench.sink`` takes commands from `tools.bench.helper`. An event is identified by
its time, which is in the requests of relay and in those of the script; requests to different paths
are different deliveries. All times are in nanoseconds since 1970, on the clock of the engine.
"""

import asyncio
import re
import sys
import time
from enum import StrEnum

from tools.bench.helper import Command, serve_commands

SLOW_S = 1.0

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TIME = re.compile(rb'"time(?:_ns|Nano)": ?(\d{19})')
"""The time of each event in a body; a body may hold many."""

_ACCEPTED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class SinkMode(StrEnum):
    """How the sink answers requests."""

    ACCEPT = "accept"
    HANG = "hang"
    """Not at all, until it accepts requests again."""
    SLOW = "slow"
    """It accepts each after `SLOW_S`."""


class Sink:
    """Records the events in requests, and answers them."""

    def __init__(self) -> None:
        self._mode = SinkMode.ACCEPT
        self._hanging: list[tuple[Connection, bytes, bytes]] = []
        self._reached = asyncio.Event()
        self._arrivals_ns: dict[bytes, int] = {}
        self._repeated = 0
        self._wanted = sys.maxsize

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
        """Switch to this mode; return when. ACCEPT answers requests that hang."""
        self._mode = SinkMode(mode)
        now_ns = time.time_ns()
        if self._mode is SinkMode.ACCEPT:
            hanging, self._hanging = self._hanging, []
            for connection, path, body in hanging:
                if not connection.is_closed:
                    self.handle(connection, path, body)
        return now_ns

    async def wait(self, count: int, timeout_s: float = 600) -> bool:
        """Wait until this many events arrived; return False if that takes too long."""
        self._wanted = count
        self._reached.clear()
        if len(self._arrivals_ns) < count:
            try:
                await asyncio.wait_for(self._reached.wait(), timeout_s)
            except TimeoutError:
                return False
        return True

    async def reset(self) -> bool:
        """Forget what arrived."""
        self._arrivals_ns.clear()
        self._repeated = 0
        return True

    async def report(self) -> dict[str, object]:
        """Return the figures since the last reset."""
        latencies_ns = sorted(
            arrived_ns - int(key.rpartition(b" ")[2])
            for key, arrived_ns in self._arrivals_ns.items()
        )
        return {
            "events": len(latencies_ns),
            "repeated": self._repeated,
            "last_ns": max(self._arrivals_ns.values(), default=0),
            "p50_ms": _percentile_ms(latencies_ns, 0.5),
            "p99_ms": _percentile_ms(latencies_ns, 0.99),
        }

    def handle(self, connection: "Connection", path: bytes, body: bytes) -> None:
        """Record the events of a request, and answer it, now or later."""
        if self._mode is SinkMode.HANG:
            self._hanging.append((connection, path, body))
            return
        now_ns, arrivals_ns = time.time_ns(), self._arrivals_ns
        for event_ns in _TIME.findall(body):
            key = path + event_ns
            if key in arrivals_ns:
                self._repeated += 1
            else:
                arrivals_ns[key] = now_ns
        if self._mode is SinkMode.SLOW:
            asyncio.get_running_loop().call_later(SLOW_S, connection.answer, _ACCEPTED)
        else:
            connection.answer(_ACCEPTED)
        if len(arrivals_ns) >= self._wanted:
            self._reached.set()


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
        unread = self._buffer + data if self._buffer else data
        while (head_end := unread.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(unread, 0, head_end)
            end = head_end + 4 + (int(length[1]) if length else 0)
            if len(unread) < end:
                break
            path = unread[: unread.index(b" HTTP") + 1]
            body, unread = unread[head_end + 4 : end], unread[end:]
            self._sink.handle(self, path, body)
        self._buffer = unread

    def answer(self, answer: bytes) -> None:
        """Send the answer unless the connection is closed."""
        if self._transport is not None:
            self._transport.write(answer)


def _percentile_ms(sorted_ns: list[int], part: float) -> float | None:
    return sorted_ns[int((len(sorted_ns) - 1) * part)] / 1e6 if sorted_ns else None


async def _serve() -> None:
    await Sink().serve()


if __name__ == "__main__":
    asyncio.run(_serve())
