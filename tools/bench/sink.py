"""The sink: a webhook that costs next to nothing, and counts what came and when.

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

_TAKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class SinkMode(StrEnum):
    """What it does with requests."""

    TAKE = "take"
    HANG = "hang"
    """Nothing, until it takes them again."""
    REFUSE = "refuse"


class Sink:
    """What came, and what is done with it."""

    def __init__(self) -> None:
        self._mood = SinkMode.TAKE
        self._hanging: list[tuple[Connection, bytes]] = []
        self._news = asyncio.Event()
        self._forget()

    async def serve(self) -> None:
        """Listen, and run the commands of the benchmark."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]

        async def url() -> str:
            return f"http://{host}:{port}/hook"

        commands: dict[str, Command] = {
            "url": url,
            "be": self.be,
            "wait": self.wait,
            "forget": self.forget,
            "report": self.report,
        }
        await serve_commands(commands)

    async def be(self, mood: str) -> int:
        """Be in this mood; what hangs is taken when it is to take. Returns when, in ns."""
        self._mood = SinkMode(mood)
        now_ns = time.monotonic_ns()
        if self._mood is SinkMode.TAKE:
            hanging, self._hanging = self._hanging, []
            for connection, body in hanging:
                if not connection.is_closed:
                    connection.answer(self.take(connection, body))
        return now_ns

    async def wait(self, count: int, timeout_s: float = 600) -> bool:
        """Wait until so many events were taken; False if they were not in this time."""
        self._wanted = count
        try:
            async with asyncio.timeout(timeout_s):
                while len(self._latencies_ns) < count:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def forget(self) -> bool:
        """Begin to count anew."""
        self._forget()
        return True

    async def report(self) -> dict[str, object]:
        """What was taken since then, with times in nanoseconds of the monotonic clock."""
        latencies = sorted(self._latencies_ns.values())
        most = len(latencies) - 1
        return {
            "events": len(latencies),
            "again": self._again,
            "last_ns": self._last_ns,
            "p50_ms": latencies[most // 2] / 1e6 if latencies else None,
            "p99_ms": latencies[int(most * 0.99)] / 1e6 if latencies else None,
        }

    def take(self, connection: "Connection", body: bytes) -> bytes | None:
        """The answer to a request; None where there is none, now."""
        if self._mood is SinkMode.HANG:
            self._hanging.append((connection, body))
            return None
        if self._mood is SinkMode.REFUSE:
            return _REFUSED
        self._last_ns = now_ns = time.monotonic_ns()
        for number, sent_ns in _SENT.findall(body):
            self._again += number in self._latencies_ns
            self._latencies_ns[number] = now_ns - int(sent_ns)
        if len(self._latencies_ns) >= self._wanted:
            self._news.set()
        return _TAKEN

    def _forget(self) -> None:
        self._latencies_ns: dict[bytes, int] = {}
        self._again = 0
        self._last_ns = 0
        self._wanted = 0


class Connection(asyncio.Protocol):
    """One client's, kept alive. It knows no bodies but those with a length."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held = b""
        self._transport: asyncio.Transport | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the client is gone."""
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (place := self._held.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._held, 0, place)
            end = place + 4 + (int(length[1]) if length else 0)
            if len(self._held) < end:
                return
            body, self._held = self._held[place + 4 : end], self._held[end:]
            self.answer(self._sink.take(self, body))

    def answer(self, answer: bytes | None) -> None:
        """Send the answer, if there is one."""
        if answer is not None and self._transport is not None:
            self._transport.write(answer)


async def _serve() -> None:
    await Sink().serve()


if __name__ == "__main__":
    asyncio.run(_serve())
