"""How long a healthy destination waits for its neighbours: ``python -m tools.isolation [PAIRS]``.

relay is run in turn with one healthy destination, and with two more: one that never answers, and
one that answers 429 with ``Retry-After: 3``. All get every event. Printed are the times from an
event's being sent by the engine to its arrival at the healthy one, and their ratios pair by pair.
"""

import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time_ns

from aiohttp import web

from tests.component.scripted_engine import ScriptedEngine, Stream
from tests.component.wait import ChangeSignal
from tests.support.daemon import run_relay, write_config
from tests.support.loopback import on_loopback
from tools.flaky import death

PAIRS = 3
EVENTS = 2_000
RATE = 200
"""Events a second."""


class Neighbours:
    """The three receivers."""

    def __init__(self, changes: ChangeSignal) -> None:
        self.latencies_ms: list[float] = []
        """At the healthy one."""
        self.attempts = {"hanging": 0, "busy": 0}
        """How many attempts the others have seen."""
        self._changes = changes
        self._stopped = asyncio.Event()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port; gives the URL before a receiver's name."""
        app = web.Application()
        app.router.add_post("/healthy", self._healthy)
        app.router.add_post("/hanging", self._hanging)
        app.router.add_post("/busy", self._busy)
        async with on_loopback(app) as url:
            try:
                yield url
            finally:
                self._stopped.set()

    async def _healthy(self, request: web.Request) -> web.Response:
        now_ns = time_ns()
        (event,) = (await request.json())["events"]
        self.latencies_ms.append((now_ns - event["time_ns"]) / 1e6)
        self._changes.notify()
        return web.Response()

    async def _hanging(self, _: web.Request) -> web.Response:
        self.attempts["hanging"] += 1
        await self._stopped.wait()
        return web.Response()

    async def _busy(self, _: web.Request) -> web.Response:
        self.attempts["busy"] += 1
        return web.Response(status=429, headers={"Retry-After": "3"})


async def measure(folder: Path, names: list[str]) -> dict[str, object]:
    """The latency at the healthy one, with these destinations."""
    changes = ChangeSignal()
    engine, neighbours = ScriptedEngine(folder / "engine.sock"), Neighbours(changes)
    opened: asyncio.Queue[Stream] = asyncio.Queue()
    engine.on_stream = opened.put_nowait
    async with neighbours.serving() as url, engine.serve():
        config = write_config(
            folder,
            engines={"here": {"url": f"unix://{engine.socket}"}},
            store={"path": str(folder / "relay.db")},
            reconcile={"every": "0s", "on_reconnect": False},
            destinations={name: {"type": "http", "url": f"{url}/{name}"} for name in names},
            routes=[{"name": "all", "match": {"type": "container"}, "to": names}],
        )
        async with run_relay(config):
            stream = await opened.get()
            for number in range(EVENTS):
                stream.write(death(time_ns(), number))
                await asyncio.sleep(1 / RATE)
            await changes.wait_for(lambda: len(neighbours.latencies_ms) >= EVENTS)
    latencies = sorted(neighbours.latencies_ms)
    return {
        "events": EVENTS,
        "p50_ms": round(statistics.median(latencies), 2),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)], 2),
        **({"attempts at the others": neighbours.attempts} if len(names) > 1 else {}),
    }


def main() -> None:
    """Measure pair by pair."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS
    ratios = []
    for _ in range(pairs):
        found = []
        for names in (["healthy"], ["healthy", "hanging", "busy"]):
            with tempfile.TemporaryDirectory(prefix="relay-") as folder:
                found.append(asyncio.run(measure(Path(folder), names)))
        alone, among = found
        ratios.append(float(str(among["p50_ms"])) / float(str(alone["p50_ms"])))
        print(json.dumps({"alone": alone, "among": among}))
    summary = [round(ratio, 2) for ratio in sorted(ratios)]
    print(f"p50 among / alone: {summary}, median {statistics.median(summary)}")


if __name__ == "__main__":
    main()
