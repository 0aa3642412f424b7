"""Power cuts of NATS servers: ``python -m tools.fleet_power_cut [ROUNDS] [--servers N]`` (as root).

The stores of all servers lie on a disk whose power can fail, as in `tools.power_cut`. Real relays
at the edges publish until the stream has everything, so that their own stores are empty; then the
power fails. In half of the rounds the hub has not run meanwhile, so everything is in the stream
alone. The servers are killed, the disk is mounted again, and servers and hub start. Whatever a
server had confirmed has to reach the receiver.

By default the servers sync as ``deploy/fleet/nats-server.conf`` says, which is ``always``. With
``--sync 2m``, nats-server's own default, what they confirmed is lost.

Prints a line of JSON for each round, and a summary. The exit code is 1 if anything was lost,
arrived under two ids, twice or out of order within a container; and 2 if there can be no such disk
here.
"""

import argparse
import asyncio
import json
import os
import random
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay.nats.jetstream import JetStreamError
from tests.support.fleet import Fleet, quiet_logs, running_fleet
from tests.support.fleet_ledger import is_clean
from tests.support.fleet_relays import Daemon, Edge
from tests.support.nats_server import NatsServer, running_servers
from tools.power_cut import Disk, DiskUnavailable

ROUNDS = 20
EDGES = 2
CONTAINERS = 20
MAX_EVENTS = 300
"""At most so many events happen in a round, and as many again while the power fails."""
PUBLISHED_S = 30.0
"""So long the edges may take until the stream has everything."""
STALL_S = 20.0
"""Something is lost if nothing arrives for so long."""
SHIPPED = Path(__file__).resolve().parent.parent / "deploy" / "fleet" / "nats-server.conf"


class PowerCuts:
    """Cuts the power of the servers again and again."""

    def __init__(self, fleet: Fleet, disk: Disk, seed: int, stall_s: float) -> None:
        self._fleet = fleet
        self._disk = disk
        self._rng = random.Random(seed)
        self._stall_s = stall_s

    async def run(self, rounds: int) -> list[dict[str, object]]:
        """Return the figures of each round; stop at the first one that lost something."""
        edges = [await self._fleet.add_edge(f"edge-{number}") for number in range(EDGES)]
        hub = await self._fleet.add_hub()
        await hub.wait_ready()
        found: list[dict[str, object]] = []
        for number in range(1, rounds + 1):
            found.append({"round": number, **await self._run_round(edges, hub)})
            if self._fleet.ledger.missing or found[-1]["stream"] == "is gone":
                break
        return found

    async def _run_round(self, edges: Sequence[Edge], hub: Daemon) -> dict[str, object]:
        with_hub = self._rng.random() < 0.5
        is_written_back = self._rng.random() < 0.5
        if not with_hub:
            await hub.kill()
        count = self._rng.randint(1, MAX_EVENTS)
        messages = await self._publish(edges, count)
        if is_written_back:
            self._disk.write_back_some(self._rng)
        self._happen(edges, count)
        await asyncio.sleep(self._rng.uniform(0, 0.2))
        self._disk.cut_power()
        for server in self._fleet.servers:
            server.kill()
        self._disk.restore_power()
        for server in self._fleet.servers:
            server.launch()
        for server in self._fleet.servers:
            await asyncio.to_thread(server.wait_ready)
        if not with_hub:
            await hub.start()
        await self._fleet.wait_arrived(self._stall_s)
        return {
            "hub": "runs" if with_hub else "is dead",
            "written back": is_written_back,
            "in the stream": messages,
            "lost": self._fleet.ledger.missing,
            "stream": "is there" if await self._has_stream() else "is gone",
        }

    async def _has_stream(self) -> bool:
        try:
            await self._fleet.stream_info()
        except JetStreamError:
            return False
        return True

    async def _publish(self, edges: Sequence[Edge], count: int) -> int:
        """Let events happen until the stream has all of them; return how many it holds."""
        before = (await self._fleet.stream_info()).state
        self._happen(edges, count)
        async with asyncio.timeout(PUBLISHED_S):
            while True:
                state = (await self._fleet.stream_info()).state
                stored = state.last_seq - before.last_seq
                if stored >= count and all(edge.is_settled() for edge in edges):
                    return state.messages
                await asyncio.sleep(0.05)

    def _happen(self, edges: Sequence[Edge], count: int) -> None:
        for _ in range(count):
            self._rng.choice(edges).happen(f"web-{self._rng.randrange(CONTAINERS)}")


def shipped_sync() -> str:
    """Return the ``sync_interval`` of the shipped configuration of a server."""
    found = re.search(r"^ *sync_interval: *(\S+)", SHIPPED.read_text(), re.MULTILINE)
    assert found is not None, f"{SHIPPED} has no sync_interval"
    return found[1]


def put_store_on(disk: Disk, server: NatsServer) -> None:
    """Let a server that does not run keep its store on the disk."""
    target = disk.path / server.folder.name
    target.mkdir()
    (server.folder / "store").symlink_to(target)


async def measure(
    folder: Path,
    rounds: int,
    seed: int,
    *,
    servers: int = 1,
    sync: str | None = None,
    stall_s: float = STALL_S,
) -> tuple[list[dict[str, object]], dict[str, Any]]:
    """Return the figures of each round, and a summary. Raises `DiskUnavailable`.

    ``sync`` replaces the ``sync_interval`` of the shipped configuration.
    """
    if sync is None:
        sync = shipped_sync()
    disk = Disk(folder / "disk.img", folder / "disk")

    def prepare(server: NatsServer) -> None:
        put_store_on(disk, server)
        os.sync()

    with (
        disk.mounted(),
        running_servers(
            folder / "nats", count=servers, jetstream=f"sync_interval: {sync}", prepare=prepare
        ) as running,
    ):
        async with running_fleet(folder, running) as fleet:
            await fleet.make_stream()
            found = await PowerCuts(fleet, disk, seed, stall_s).run(rounds)
            is_lost = fleet.ledger.missing or found[-1]["stream"] == "is gone"
            left = None if is_lost else await fleet.wait_acked()
    return found, {
        "seed": seed,
        "servers": servers,
        "sync_interval": sync,
        "power cuts": len(found),
        **fleet.ledger.verdict(),
        "left in the stream": left,
        "tracebacks": fleet.count_tracebacks(),
    }


def main() -> int:
    """Run, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS)
    parser.add_argument("--servers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--sync", help="sync_interval of the servers; default: as shipped")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    quiet_logs()
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        run = measure(
            Path(folder), given.rounds, given.seed, servers=given.servers, sync=given.sync
        )
        try:
            found, summary = asyncio.run(run)
        except DiskUnavailable as error:
            print(f"fleet_power_cut: nothing was tested: {error}", file=sys.stderr)
            return 2
    for each in [*found, summary]:
        print(json.dumps(each))
    return 0 if is_clean(summary) and summary["left in the stream"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
