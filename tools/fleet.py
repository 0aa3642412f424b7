"""A thousand hosts: ``python -m tools.fleet [HOSTS] [--rate R] [--seconds S] [--away S] …``.

One process connects to a NATS server once for each host, and publishes what the relays of these
hosts would. A few real relays publish, too. A hub, which is the real daemon, sends everything to a
receiver. In the middle of the load the server is killed, and started again after a while.

Prints the result. The exit code is 1 if anything was lost, arrived under two ids, twice or out of
order within a container, if a host was not back in time, or if the server took too much memory.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.fleet import STREAM, Fleet, quiet_logs, running_fleet
from tests.support.fleet_ledger import is_clean as ledger_is_clean
from tests.support.fleet_relays import Edge
from tests.support.nats_server import NatsServer, running_server
from tools.bench.helper import Helper
from tools.bench.process import cpu_s, peak_mb, rss_mb
from tools.fleet_hosts import CONTAINER

HOSTS = 1_000
RATE = 500.0
"""So many events a second happen at all hosts together."""
SECONDS = 20.0
AWAY_S = 8.0
MAX_BACK_S = 15.0
"""All hosts are connected again at most this long after the server has started."""
MAX_SERVER_MB = 200.0
HEARTBEAT_S = 30.0
"""How often each host says that it is alive."""
REAL_EDGES = 2
REAL_RATE = 5.0
"""So many events a second happen at each real edge: those of 50 containers with health checks."""
POLL_S = 0.2


@dataclass(frozen=True)
class Load:
    """What happens at the hosts, and for how long the server is away."""

    hosts: int = HOSTS
    rate: float = RATE
    seconds: float = SECONDS
    away_s: float = AWAY_S
    seed: int = 1


class Run:
    """One run: the load, and the server's absence in the middle of it."""

    def __init__(self, fleet: Fleet, helper: Helper, load: Load) -> None:
        self._fleet = fleet
        self._helper = helper
        self._load = load
        self.figures: dict[str, Any] = {}

    async def __call__(self) -> None:
        """Run to the end; `figures` has the result."""
        names = [f"host-{number:04}" for number in range(self._load.hosts)]
        urls = [server.url for server in self._fleet.servers]
        connected_s = await self._ask(
            "connect", names=names, urls=urls, stream=STREAM, heartbeat_s=HEARTBEAT_S
        )
        edges = [await self._fleet.add_edge(f"edge-{n}") for n in range(REAL_EDGES)]
        hub = await self._fleet.add_hub()
        await hub.wait_ready()
        started_s, hub_cpu_s = time.monotonic(), cpu_s(hub.pid)
        await self._ask("start", rate=self._load.rate, seed=self._load.seed)
        tasks = [asyncio.create_task(self._let_happen(edge), name=edge.host) for edge in edges]
        await asyncio.sleep(self._load.seconds / 4)
        await self._take_server_away()
        await asyncio.sleep(max(0.0, self._load.seconds - (time.monotonic() - started_s)))
        made: dict[str, int] = await self._ask("stop")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._fleet.ledger.expect({(host, CONTAINER): count for host, count in made.items()})
        stopped_s = time.monotonic()
        await self._fleet.wait_arrived()
        state = await self._ask("state")
        self.figures |= {
            "all connected after_s": round(connected_s, 1),
            "published twice": state["duplicates"],
            "drained after_s": round(time.monotonic() - stopped_s, 1),
            "server_mb": round(peak_mb(self._fleet.servers[0].pid), 1),
            "hub_mb": round(rss_mb(hub.pid), 1),
            "hub_cpu_us an event": round(
                (cpu_s(hub.pid) - hub_cpu_s) / max(1, self._fleet.ledger.made.total()) * 1e6
            ),
        }

    async def _take_server_away(self) -> None:
        (server,) = self._fleet.servers
        server.kill()
        await asyncio.sleep(self._load.away_s)
        away = await self._ask("state")
        await asyncio.to_thread(server.start)
        ready_s = time.monotonic()
        while (state := await self._ask("state"))["open"] < self._load.hosts:
            if time.monotonic() - ready_s > 4 * MAX_BACK_S:
                break
            await asyncio.sleep(POLL_S)
        self.figures |= {
            "connected while it was away": away["open"],
            "waiting when it was back": away["made"] - away["acked"],
            "all back after_s": round(state["last opened"] - ready_s, 1),
            "back": state["open"],
        }

    async def _let_happen(self, edge: Edge) -> None:
        rng = random.Random(f"{self._load.seed} {edge.host}")
        while True:
            edge.happen(f"web-{rng.randrange(10)}")
            await asyncio.sleep(rng.expovariate(REAL_RATE))

    async def _ask(self, do: str, **given: object) -> Any:
        return await asyncio.to_thread(partial(self._helper.ask, do, **given))


async def measure(folder: Path, load: Load) -> dict[str, Any]:
    """Run once; return all figures."""
    started_s = time.monotonic()
    with ExitStack() as stack:
        server: NatsServer = stack.enter_context(running_server(folder / "nats"))
        helper = stack.enter_context(Helper("tools.fleet_hosts"))
        async with running_fleet(folder, [server]) as fleet:
            await fleet.make_stream()
            run = Run(fleet, helper, load)
            await run()
            left = await fleet.wait_acked()
            codes = [await it.stop() for it in [*fleet.edges.values(), *fleet.hubs.values()]]
            tracebacks = fleet.count_tracebacks()
    return {
        "hosts": load.hosts,
        "real edges": REAL_EDGES,
        "seed": load.seed,
        **fleet.ledger.verdict(),
        **run.figures,
        "left in the stream": left,
        "exit codes": codes,
        "tracebacks": tracebacks,
        "took_s": round(time.monotonic() - started_s, 1),
    }


def is_clean(verdict: Mapping[str, Any]) -> bool:
    """Return whether all promises were kept."""
    return (
        ledger_is_clean(verdict)
        and verdict["connected while it was away"] == 0
        and verdict["back"] == verdict["hosts"]
        and verdict["all back after_s"] < MAX_BACK_S
        and verdict["server_mb"] < MAX_SERVER_MB
        and not any(verdict["exit codes"])
        and not verdict["left in the stream"]
        and not verdict["tracebacks"]
    )


def main() -> int:
    """Run, print the result, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hosts", nargs="?", type=int, default=HOSTS)
    parser.add_argument("--rate", type=float, default=RATE, help="events a second, of all hosts")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--away", type=float, default=AWAY_S, help="seconds without the server")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    quiet_logs()
    load = Load(given.hosts, given.rate, given.seconds, given.away, given.seed)
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        verdict = asyncio.run(measure(Path(folder), load))
    print(json.dumps(verdict))
    return 0 if is_clean(verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
