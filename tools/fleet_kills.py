"""Kills in a fleet: ``python -m tools.fleet_kills [WHAT …] [--kills N] [--seed SEED]``.

Real relays at the edges publish to NATS servers under load, and hubs send everything to a receiver.
Meanwhile something is killed (SIGKILL) and started again, or hangs (SIGSTOP), several times; each
run kills something else: see `VICTIMS`.

Prints a line of JSON for each run. The exit code is 1 if anything was lost, arrived under two ids,
twice although no hub was killed in between, or out of order within a container from one hub.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.nats.failure import RequestError
from tests.support.fleet import Fleet, quiet_logs, running_fleet, second_ns
from tests.support.fleet_ledger import is_clean as ledger_is_clean
from tests.support.fleet_relays import Daemon
from tests.support.nats_server import NatsServer, running_servers

KILLS = 6
EDGES = 3
RATE = 150.0
"""So many events a second happen at all edges together."""
MAX_AHEAD = 150
"""If edges are killed, at most this many events of one have not arrived: its engine remembers
256."""
DEAD_S = (0.0, 1.5)
"""The bounds of the time until what was killed is started again."""
HANG_S = 8.0
"""Longer than relay waits for an answer, and than ``ack_wait``."""
ALIVE_S = (1.0, 3.0)
"""The bounds of the time between two kills."""
SETTLE_S = 60.0
"""Something is lost if nothing arrives for so long: longer than the longest wait of relay."""


@dataclass(frozen=True)
class Times:
    """The times of the consumer, in seconds."""

    ack_wait: float = 5.0
    priority_timeout: float = 10.0


@dataclass(frozen=True)
class Victim:
    """What is killed, and what a fleet needs for that."""

    kill: Callable[["Kills"], Awaitable[None]]
    servers: int = 1
    hubs: int = 1
    containers: int = 20
    """How many there are at each edge."""
    max_ahead: int = sys.maxsize
    """How many events of an edge may be on the way."""


@dataclass(frozen=True)
class Plan:
    """How a run is made."""

    kills: int = KILLS
    rate: float = RATE
    times: Times = Times()
    dead_s: tuple[float, float] = DEAD_S
    alive_s: tuple[float, float] = ALIVE_S
    seed: int = 1


class Kills:
    """One run: a load, and kills meanwhile."""

    def __init__(self, fleet: Fleet, victims: Sequence[Victim], plan: Plan) -> None:
        self._fleet = fleet
        self._victims = victims
        self._plan = plan
        self._rng = random.Random(plan.seed)

    async def run(self) -> int:
        """Run to the end; return how many messages the hubs have not acknowledged."""
        for number in range(EDGES):
            await self._fleet.add_edge(f"edge-{number}")
        for number in range(max(victim.hubs for victim in self._victims)):
            await self._fleet.add_hub(f"hub-{number}")
        load = asyncio.create_task(self._let_happen(), name="load")
        await self._fleet.hook.wait_for(lambda: bool(self._fleet.ledger.ids))
        for number in range(self._plan.kills):
            await asyncio.sleep(self._rng.uniform(*self._plan.alive_s))
            await self._victims[number % len(self._victims)].kill(self)
        await asyncio.sleep(self._plan.alive_s[0])
        load.cancel()
        await asyncio.wait([load])
        await self._fleet.wait_arrived(SETTLE_S)
        for daemon in [*self._fleet.edges.values(), *self._fleet.hubs.values()]:
            await daemon.wait_for(daemon.answers, "it did not get ready")
        return await self._fleet.wait_acked()

    async def kill_edge(self) -> None:
        """Kill one of the edges."""
        await self._restart(self._rng.choice(list(self._fleet.edges.values())))

    async def kill_hub(self) -> None:
        """Kill the only hub."""
        await self._restart(*self._fleet.hubs.values())

    async def kill_active_hub(self) -> None:
        """Kill the hub that gets the messages; it comes back when the other one has taken over."""
        ledger = self._fleet.ledger
        killed = ledger.last_hub
        await self._fleet.hubs[killed].kill()
        await self._fleet.hook.wait_for(lambda: ledger.last_hub != killed, SETTLE_S)
        await asyncio.sleep(self._rng.uniform(*self._plan.dead_s))
        await self._fleet.hubs[killed].start()

    async def hang_active_hub(self) -> None:
        """Let the hub that gets the messages hang until the other one has taken over."""
        ledger = self._fleet.ledger
        hung = ledger.last_hub
        self._fleet.hubs[hung].pause()
        await self._fleet.hook.wait_for(lambda: ledger.last_hub != hung, SETTLE_S)
        await asyncio.sleep(self._rng.uniform(*self._plan.dead_s))
        self._fleet.hubs[hung].resume()

    async def kill_server(self) -> None:
        """Kill one of the servers."""
        await self._restart_servers(self._rng.choice(self._fleet.servers))

    async def hang_server(self) -> None:
        """Let one of the servers hang: what was published to it gets no answer in time."""
        server = self._rng.choice(self._fleet.servers)
        server.pause()
        await asyncio.sleep(HANG_S)
        server.resume()

    async def kill_leader(self) -> None:
        """Kill the server that leads the stream."""
        async with asyncio.timeout(SETTLE_S):
            while (leader := await self._find_leader()) is None:
                await asyncio.sleep(0.1)
        await self._restart_servers(leader)

    async def kill_all_servers(self) -> None:
        """Kill all servers at once."""
        await self._restart_servers(*self._fleet.servers)

    async def _find_leader(self) -> NatsServer | None:
        try:
            cluster = (await self._fleet.stream_info()).cluster
        except RequestError:
            return None
        names = [server.folder.name for server in self._fleet.servers]
        if cluster is None or cluster.leader not in names:
            return None
        return self._fleet.servers[names.index(cluster.leader)]

    async def _restart(self, *daemons: Daemon) -> None:
        for daemon in daemons:
            await daemon.kill()
        await asyncio.sleep(self._rng.uniform(*self._plan.dead_s))
        for daemon in daemons:
            await daemon.start()

    async def _restart_servers(self, *servers: NatsServer) -> None:
        for server in servers:
            server.kill()
        await asyncio.sleep(self._rng.uniform(*self._plan.dead_s))
        for server in servers:
            server.launch()
        for server in servers:
            await asyncio.to_thread(server.wait_ready)

    async def _let_happen(self) -> None:
        """Let containers die, whatever is dead meanwhile."""
        edges, started_s, count = list(self._fleet.edges.values()), time.monotonic(), 0
        containers = max(victim.containers for victim in self._victims)
        max_ahead = min(victim.max_ahead for victim in self._victims)
        while True:
            due = int((time.monotonic() - started_s) * self._plan.rate)
            for _ in range(due - count):
                edge = self._rng.choice(edges)
                if self._fleet.ledger.missing_of(edge.host) < max_ahead:
                    edge.happen(f"web-{self._rng.randrange(containers)}")
            count = due
            await asyncio.sleep(0.02)


VICTIMS: Mapping[str, Victim] = {
    "edge": Victim(Kills.kill_edge, max_ahead=MAX_AHEAD),
    "hub": Victim(Kills.kill_hub),
    "server": Victim(Kills.kill_server),
    "active hub of two": Victim(Kills.kill_active_hub, hubs=2, containers=200),
    "active hub of two hangs": Victim(Kills.hang_active_hub, hubs=2, containers=200),
    "server hangs": Victim(Kills.hang_server),
    "leader of three": Victim(Kills.kill_leader, servers=3),
    "one of three": Victim(Kills.kill_server, servers=3),
    "all three": Victim(Kills.kill_all_servers, servers=3),
}
"""What is killed, by name. Everything is killed while the load goes on."""


async def measure(folder: Path, names: Sequence[str], plan: Plan) -> dict[str, Any]:
    """Kill these in turn; return all figures."""
    victims, started_s = [VICTIMS[name] for name in names], time.monotonic()
    count = max(victim.servers for victim in victims)
    consumer = {
        "ack_wait": second_ns(plan.times.ack_wait),
        "priority_timeout": second_ns(plan.times.priority_timeout),
    }
    with running_servers(folder / "nats", count=count) as servers:
        async with running_fleet(folder, servers) as fleet:
            await fleet.make_stream(consumer=consumer)
            left = await Kills(fleet, victims, plan).run()
            codes = [await it.stop() for it in [*fleet.edges.values(), *fleet.hubs.values()]]
            tracebacks = fleet.count_tracebacks()
    return {
        "killed": ", ".join(names),
        "kills": plan.kills,
        "seed": plan.seed,
        **fleet.ledger.verdict(),
        "gaps": len(fleet.hook.events("gap")),
        "left in the stream": left,
        "exit codes": codes,
        "tracebacks": tracebacks,
        "took_s": round(time.monotonic() - started_s, 1),
    }


def is_clean(verdict: Mapping[str, Any]) -> bool:
    """Return whether all promises were kept."""
    return (
        ledger_is_clean(verdict)
        and not verdict["gaps"]
        and not verdict["left in the stream"]
        and not any(verdict["exit codes"])
        and not verdict["tracebacks"]
    )


def main() -> int:
    """Run, print a line for each run, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help=f"{', '.join(VICTIMS)}; default: all of them")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    if unknown := set(given.what) - set(VICTIMS):
        parser.error(f"cannot kill {', '.join(sorted(unknown))}; can kill {', '.join(VICTIMS)}")
    quiet_logs()
    clean = True
    for name in given.what or VICTIMS:
        with tempfile.TemporaryDirectory(prefix="relay-") as folder:
            plan = Plan(given.kills, seed=given.seed)
            verdict = asyncio.run(measure(Path(folder), [name], plan))
        print(json.dumps(verdict), flush=True)
        clean = clean and is_clean(verdict)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
