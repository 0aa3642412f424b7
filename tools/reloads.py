"""Reloads under load: ``python -m tools.reloads [RELOADS] [--seed SEED]``.

An engine sends deaths as fast as they arrive, while relay reloads its configuration again and
again, by SIGHUP and by its API. Each configuration differs: the order and titles of the routes, the
path and limits of the steady destination, the host name of the engine, and which extra destinations
there are (some hang, fail or answer 410). Every tenth one is invalid. The seed decides all of this.

Prints what arrived at the steady destination, which is always configured, and the resources of the
process at the start, after a tenth of the reloads, and at the end. The exit code is 1 if anything
was lost, arrived out of order within a container, arrived under two ids or again although no answer
was lost, or if relay uses more resources at the end than at the start.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from relay.admin.client import RemoteOperations, connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.admin.operations import NotReloaded
from relay.store.records import Selection
from tests.component.daemon_with_config import scrape_metrics
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import ChangeSignal
from tests.support.daemon import run_relay
from tests.support.loopback import on_loopback
from tools.flaky import CONTAINERS, Answer, DeliveryLog

RELOADS = 1_000
MAX_AHEAD = 200
"""At most this many events are sent that have not arrived yet; the engine remembers 256."""

TIMEOUT_S = 60.0
CONNECTIONS = 10
"""relay may keep this many connections open, to destinations and to clients of its API."""
LOOKUP_THREADS = 4
"""This many threads are started for name lookups, and stay."""
WARM_UP_MIB = 60
"""How much more memory relay uses once all code has run. It is the same after a hundred reloads
and after thousands."""
EXTRAS = ("hanging", "failing", "gone", "well", "better")
CHANCES = {Answer.ACCEPT: 95.0, Answer.FAIL: 3.0, Answer.RESET: 1.0, Answer.RESET_ACCEPTED: 1.0}


class Receivers:
    """The steady destination, at any path below ``/steady``, and the extra destinations."""

    def __init__(self, seed: int, log: DeliveryLog, changes: ChangeSignal) -> None:
        self._seed = seed
        self._log = log
        self._changes = changes
        self._stopped = asyncio.Event()
        self.accepted: Counter[tuple[str, str]] = Counter()
        """What the extra destinations accepted, by destination and the notification's id."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port; gives the URL without a path."""
        app = web.Application()
        app.router.add_post("/steady/{path}", self._steady)
        app.router.add_post("/{name}", self._extra)
        async with on_loopback(app) as url:
            try:
                yield url
            finally:
                self._stopped.set()

    async def _steady(self, request: web.Request) -> web.Response:
        (event,) = (await request.json())["events"]
        number = int(event["actor"]["attributes"]["number"])
        self._log.attempts[number] += 1
        rng = random.Random(f"{self._seed} {number} {self._log.attempts[number]}")
        (answer,) = rng.choices(list(CHANCES), list(CHANCES.values()))
        self._log.record(number, request.headers["webhook-id"], answer)
        self._changes.notify()
        match answer:
            case Answer.ACCEPT:
                return web.Response()
            case Answer.FAIL:
                return web.Response(status=500)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _extra(self, request: web.Request) -> web.Response:
        match name := request.match_info["name"]:
            case "well" | "better":
                self.accepted[name, request.headers["webhook-id"]] += 1
            case "hanging":
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), 1)
            case "failing":
                return web.Response(status=500)
            case "gone":
                return web.Response(status=410)
        return web.Response()


@dataclass(frozen=True)
class Files:
    """Makes relay's configuration file, a different one each time."""

    path: Path
    admin: Path
    engine: Path
    url: str

    def first(self) -> str:
        """Return the first configuration, which is also the last."""
        return yaml.safe_dump(
            self._sections(self._steady("0"), {}, [{"name": "all", "to": "steady"}], {}),
            sort_keys=False,
        )

    def make(self, number: int, rng: random.Random) -> str:
        """Return the ``number``-th configuration; every tenth is invalid."""
        names = rng.sample(EXTRAS, rng.randrange(len(EXTRAS) + 1))
        extras = {name: self._extra(name, rng) for name in names}
        steady = self._steady(
            str(rng.randrange(3)),
            concurrency=rng.choice([1, 8, 32]),
            timeout={"connect": "2s", "total": rng.choice(["2s", "3s"])},
        )
        routes: list[dict[str, object]] = [
            {"name": "all", "title": f"words {rng.randrange(5)}", "to": ["steady", *names]},
            {"name": "more", "match": {"action": "die"}, "to": ["steady"]},
        ]
        routes += [{"name": f"to-{name}", "to": name} for name in names]
        rng.shuffle(routes)
        host = {"host": f"node-{rng.randrange(3)}"} if rng.random() < 0.5 else {}
        parts = self._sections(steady, extras, routes, host)
        if rng.random() < 0.3:
            parts["heartbeat"] = {"every": f"{rng.randrange(1, 4)}h"}
        if number % 10 == 0:
            parts["routes"].append({"name": "broken", "to": "nowhere"})
        return yaml.safe_dump(parts, sort_keys=False)

    def write(self, text: str) -> None:
        """Replace the file atomically."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)

    def _steady(self, path: str, **more: object) -> dict[str, object]:
        retry = {"initial": "20ms", "max": "200ms"}
        return {"type": "http", "url": f"{self.url}/steady/{path}", "retry": retry, **more}

    def _extra(self, name: str, rng: random.Random) -> dict[str, object]:
        more = {"rate_limit": "50/s"} if rng.random() < 0.3 else {}
        total_s = rng.randrange(1, 4) + (20 if name in ("well", "better") else 0)
        timeout = {"connect": "1s", "total": f"{total_s}s"}
        return {"type": "http", "url": f"{self.url}/{name}", "timeout": timeout, **more}

    def _sections(
        self,
        steady: Mapping[str, object],
        extras: Mapping[str, object],
        routes: list[dict[str, object]],
        engine: Mapping[str, object],
    ) -> dict[str, Any]:
        return {
            "engines": {"here": {"url": f"unix://{self.engine}", **engine}},
            "store": {"path": str(self.path.parent / "relay.db")},
            "admin": {"listen": f"unix:{self.admin}"},
            "reconcile": {"every": "0s", "on_reconnect": False},
            "destinations": {"steady": steady, **extras},
            "routes": routes,
        }


class Flood:
    """Sends deaths of containers, at most `MAX_AHEAD` ahead of what has arrived."""

    def __init__(self, engine: ScriptedEngine, log: DeliveryLog, changes: ChangeSignal) -> None:
        self.made = 0
        self._engine = engine
        self._log = log
        self._changes = changes

    async def run(self) -> None:
        """Send deaths until cancelled."""
        while True:
            count = len(self._log.accepted) + MAX_AHEAD - self.made
            self._engine.send(*(self._death() for _ in range(count)))
            await self._changes.wait_for(partial(self._log.has_more_than, len(self._log.accepted)))

    async def wait_until_arrived(self) -> None:
        """Wait until all have arrived, or none has arrived for a while."""
        with suppress(TimeoutError):
            while len(self._log.accepted) < self.made:
                await self._changes.wait_for(
                    partial(self._log.has_more_than, len(self._log.accepted))
                )

    def _death(self) -> bytes:
        number, self.made = self.made, self.made + 1
        attributes = {"exitCode": "3", "number": str(number)}
        return self._engine.record(f"web-{number % CONTAINERS}", attributes=attributes)


class Commands:
    """Tells relay to reload, by a signal or by its API, and waits until it has."""

    def __init__(self, pid: int, operations: RemoteOperations, admin: Path) -> None:
        self._pid = pid
        self._operations = operations
        self._admin = admin

    async def count(self) -> tuple[int, int]:
        """Return how many reloads succeeded, and how many failed."""
        metrics = await scrape_metrics(self._admin)
        outcomes = ("success", "failure")
        succeeded, failed = (
            int(metrics[f'relay_config_reloads_total{{outcome="{it}"}}']) for it in outcomes
        )
        return succeeded, failed

    async def reload(self, rng: random.Random) -> None:
        """Reload once; several signals at once may cause two reloads."""
        if rng.random() < 0.5:
            with suppress(NotReloaded):
                await self._operations.reload()
            return
        before = sum(await self.count())
        for _ in range(rng.choice([1, 1, 1, 5])):
            os.kill(self._pid, signal.SIGHUP)
        async with asyncio.timeout(TIMEOUT_S):
            while sum(await self.count()) == before:
                await asyncio.sleep(0.002)


@dataclass(frozen=True)
class Resources:
    """Resources of a process."""

    fds: int
    threads: int
    rss_kib: int


def read_resources(pid: int) -> Resources:
    """Return the resources that the process uses now."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in status)
    fds = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Resources(fds, int(fields["Threads"]), int(fields["VmRSS"].split()[0]))


async def dead_letters(operations: RemoteOperations) -> set[tuple[str, str]]:
    """Return destination and notification id of each dead letter."""
    found: set[tuple[str, str]] = set()
    below: int | None = None
    while page := await operations.list_dead_letters(Selection(), 100, below):
        found |= {(letter.destination, letter.notification.id) for letter in page}
        below = page[-1].number
    return found


async def measure(folder: Path, reloads: int, seed: int) -> dict[str, object]:
    """Run relay under load until it has reloaded this often; return all figures."""
    log, changes, rng = DeliveryLog(), ChangeSignal(), random.Random(seed)
    engine = ScriptedEngine(folder / "engine.sock")
    started_s = time.monotonic()
    receivers = Receivers(seed, log, changes)
    async with receivers.serving() as url, engine.serve():
        files = Files(folder / "config.yaml", folder / "admin.sock", engine.socket, url)
        files.write(files.first())
        flood = Flood(engine, log, changes)
        async with run_relay(files.path) as relay:
            await engine.changes.wait_for(lambda: len(engine.streams) == 1)
            samples = [read_resources(relay.pid)]
            async with connect_to_daemon(socket_path(folder / "relay.db")) as operations:
                commands = Commands(relay.pid, operations, files.admin)
                flooding = asyncio.create_task(flood.run())
                await changes.wait_for(partial(log.has_more_than, MAX_AHEAD))
                number = 0
                while (count := sum(await commands.count())) < reloads:
                    if len(samples) == 1 and count >= reloads // 10:
                        samples.append(read_resources(relay.pid))
                    number += 1
                    files.write(files.make(number, rng))
                    await commands.reload(rng)
                    assert not flooding.done(), flooding
                flooding.cancel()
                await flood.wait_until_arrived()
                files.write(files.first())
                await operations.reload()
                async with asyncio.timeout(TIMEOUT_S):
                    while await operations.pending():
                        await asyncio.sleep(0.05)
                done, failed = await commands.count()
                samples.append(read_resources(relay.pid))
                given_up = await dead_letters(operations)
            relay.terminate()
            code = await relay.wait()
    verdict = log.verdict(flood.made)
    return {
        "seed": seed,
        "reloads": done,
        "reloads failed": failed,
        "events": flood.made,
        "delivered": len(log.accepted),
        "lost": verdict["lost"],
        "repeated under another id": verdict["events under two ids"],
        "repeated under the same id": verdict["accepted again without a lost answer"],
        "accepted again after a lost answer": verdict["accepted again after a lost answer"],
        "out of order": verdict["out of order"],
        "accepted by extra destinations": receivers.accepted.total(),
        "repeated by extra destinations": receivers.accepted.total() - len(receivers.accepted),
        "given up": len(given_up),
        "given up and delivered": len(given_up & receivers.accepted.keys()),
        "streams": len(engine.streams),
        "fds": [it.fds for it in samples],
        "threads": [it.threads for it in samples],
        "rss_mib": [round(it.rss_kib / 1024, 1) for it in samples],
        "exit code": code,
        "tracebacks": (folder / "relay.log").read_text().count("Traceback"),
        "took_s": round(time.monotonic() - started_s, 1),
    }


def is_clean(verdict: Mapping[str, Any]) -> bool:
    """Return whether all promises were kept."""
    faults = (
        *("lost", "repeated under another id", "repeated under the same id", "out of order"),
        *("repeated by extra destinations", "given up and delivered", "exit code", "tracebacks"),
    )
    fds, threads, rss_mib = verdict["fds"], verdict["threads"], verdict["rss_mib"]
    uses_more = (
        fds[-1] > fds[0] + CONNECTIONS
        or threads[-1] > threads[0] + LOOKUP_THREADS
        or rss_mib[-1] > rss_mib[0] + WARM_UP_MIB
    )
    return not any(verdict[fault] for fault in faults) and not uses_more


def main() -> int:
    """Run, print the result, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reloads", nargs="?", type=int, default=RELOADS)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns about streams that relay closed
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        verdict = asyncio.run(measure(Path(folder), arguments.reloads, arguments.seed))
    print(json.dumps(verdict))
    return 0 if is_clean(verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
