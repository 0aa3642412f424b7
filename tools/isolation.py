"""Measures whether failing destinations slow a healthy one: ``python -m tools.isolation [PAIRS]``.

Runs relay with one healthy destination, then with two more: one that never answers, and one that
answers 429 with ``Retry-After: 3``. All get every event. Prints the latencies from the engine to
the healthy destination, and the ratio for each pair of runs.
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
    """Three receivers: a healthy one, one that hangs, and one that asks for pauses."""

    def __init__(self, changes: ChangeSignal) -> None:
        self.latencies_ms: list[float] = []
        """Latencies at the healthy one."""
        self.attempts = {"hanging": 0, "busy": 0}
        """How many attempts the others received."""
        self._changes = changes
        self._stopped = asyncio.Event()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port; gives the URL to which a receiver's name is appended."""
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
    """Measure the latency at the healthy destination, with these destinations configured."""
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
    """Measure pair by pair, and print the ratios."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS
    ratios = []
    for _ in range(pairs):
        results = []
        for names in (["healthy"], ["healthy", "hanging", "busy"]):
            with tempfile.TemporaryDirectory(prefix="relay-") as folder:
                results.append(asyncio.run(measure(Path(folder), names)))
        alone, with_neighbours = results
        ratios.append(float(str(with_neighbours["p50_ms"])) / float(str(alone["p50_ms"])))
        print(json.dumps({"alone": alone, "with neighbours": with_neighbours}))
    summary = [round(ratio, 2) for ratio in sorted(ratios)]
    print(f"p50 with neighbours / alone: {summary}, median {statistics.median(summary)}")


if __name__ == "__main__":
    main()
