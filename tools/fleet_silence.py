"""A rack dies: ``python -m tools.fleet_silence [HOSTS] [--dead N]``.

Simulated hosts send heartbeats to a NATS server. Then many of them die at once, and come back after
their hub has noticed. People get one message about the deaths, and one about the returns, however
many hosts it was.

Prints the result. The exit code is 1 if there was another number of messages, or if one has other
hosts than those that died. All times are real: it takes two minutes.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.fleet import STREAM, Fleet, quiet_logs, running_fleet
from tests.support.fleet_relays import Daemon
from tests.support.nats_server import running_server
from tools.bench.helper import Helper

HOSTS, DEAD = 40, 30
SILENT_AFTER_S = 30
"""The least that relay takes."""
HEARTBEAT_S = 10.0
RESOLVE_AFTER_S = 10
QUIET_S = 20.0
"""After the first message about something there may be no other one for so long."""
TIMEOUT_S = 2.0 * (SILENT_AFTER_S + RESOLVE_AFTER_S)


class Rack:
    """Hosts that die at once, and the messages about them."""

    def __init__(self, fleet: Fleet, helper: Helper, hosts: int, dead: int) -> None:
        self._fleet = fleet
        self._helper = helper
        self._names = [f"host-{number:03}" for number in range(hosts)]
        self.dead = self._names[:dead]

    async def run(self) -> dict[str, object]:
        """Let the hosts die and come back; return all figures."""
        await self._start_hub()
        urls = [server.url for server in self._fleet.servers]
        await self._ask(
            "connect", names=self._names, urls=urls, stream=STREAM, heartbeat_s=HEARTBEAT_S
        )
        await asyncio.sleep(3 * HEARTBEAT_S)  # the hub knows how often each is heard
        await self._ask("kill", names=self.dead)
        lost = await self._collect("lost", "firing")
        await self._ask("revive", names=self.dead)
        back = await self._collect("back", "resolved")
        return {**lost, **back}

    async def _start_hub(self) -> Daemon:
        config = self._fleet.hub_config(silent_after=f"{SILENT_AFTER_S}s")
        hook = config["destinations"]["hook"]
        hook |= {"notify": "incidents", "resolve_after": f"{RESOLVE_AFTER_S}s"}
        people = {**hook, "format": "template", "body": {"headline": "{{ headline }}"}}
        match = {"type": "relay", "action": ["engine_lost", "engine_back"]}
        hub = await self._fleet.add_hub(
            "hub",
            {
                **config,
                "destinations": {"hook": hook, "people": people},
                "routes": [{"name": "hosts", "match": match, "to": ["hook", "people"]}],
            },
        )
        await hub.wait_ready()
        return hub

    async def _collect(self, what: str, status: str) -> dict[str, object]:
        """Wait for the messages about something, and describe them."""
        received, started_s = self._fleet.hook.documents, time.monotonic()
        first = len(received)
        await self._fleet.hook.wait_for(lambda: len(received) > first, TIMEOUT_S)
        took_s = time.monotonic() - started_s
        await asyncio.sleep(QUIET_S)
        documents = [document for _, document in received[first:]]
        messages = [document for document in documents if "incidents" in document]
        said = [document["headline"] for document in documents if "headline" in document]
        return {
            f"{what}: messages": len(messages),
            f"{what}: after_s": round(took_s, 1),
            f"{what}: hosts": count_hosts(messages, self.dead, status),
            f"{what}: people read": said,
        }

    async def _ask(self, do: str, **given: object) -> Any:
        return await asyncio.to_thread(partial(self._helper.ask, do, **given))


def count_hosts(messages: Sequence[Mapping[str, Any]], dead: Sequence[str], status: str) -> int:
    """Return how many hosts the messages are about; -1 if these are not the dead ones."""
    incidents = [it for message in messages for it in message["incidents"]]
    named = sorted(it["host"] for it in incidents if it["status"] == status)
    return len(named) if named == sorted(dead) else -1


async def measure(folder: Path, hosts: int, dead: int) -> dict[str, object]:
    """Run once; return all figures."""
    with running_server(folder / "nats") as server, Helper("tools.fleet_hosts") as helper:
        async with running_fleet(folder, [server]) as fleet:
            await fleet.make_stream()
            figures = await Rack(fleet, helper, hosts, dead).run()
    return {"hosts": hosts, "dead": dead, **figures, "tracebacks": fleet.count_tracebacks()}


def is_clean(verdict: Mapping[str, object]) -> bool:
    """Return whether all promises were kept."""
    return not verdict["tracebacks"] and all(
        verdict[f"{what}: messages"] == 1 and verdict[f"{what}: hosts"] == verdict["dead"]
        for what in ("lost", "back")
    )


def main() -> int:
    """Run, print the result, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hosts", nargs="?", type=int, default=HOSTS)
    parser.add_argument("--dead", type=int, default=DEAD)
    given = parser.parse_args()
    quiet_logs()
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        verdict = asyncio.run(measure(Path(folder), given.hosts, given.dead))
    print(json.dumps(verdict))
    return 0 if is_clean(verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
