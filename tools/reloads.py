"""Reloads under load: ``python -m tools.reloads [RELOADS] [--seed SEED]``.

An engine sends deaths as fast as they arrive, while relay is asked again and again to read its
file, by SIGHUP and by its API. The file is another each time: routes in another order and with
other titles, the steady destination at another path with other bounds, other destinations that
come and go and hang, fail or answer 410, engines under another host; and every tenth is broken.
What it says is the seed's. Printed is what came of it at the destination that stays configured,
and what relay held at the start, after a tenth of the reloads, and at the end;
the exit code is 1 if anything was lost, came out of order within a container, came under two ids or
twice without a lost answer, or if relay holds more at the end than at the beginning.
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
"""So many events are sent at most before they have arrived: an engine remembers a few more."""

TIMEOUT_S = 60.0
CONNECTIONS = 10
"""So many a relay holds to a destination that it has sent to, and to whoever asks it."""
LOOKUPS = 4
"""So many threads come to look names up, and stay."""
WARM_MIB = 60
"""How much more memory is in use once all of it has been used: it is the same after a hundred
reloads and after thousands."""
EXTRAS = ("hanging", "failing", "gone", "well", "better")
CHANCES = {Answer.ACCEPT: 95.0, Answer.FAIL: 3.0, Answer.RESET: 1.0, Answer.RESET_ACCEPTED: 1.0}


class Receivers:
    """The steady destination, at any path below ``/steady``, and those that come and go."""

    def __init__(self, seed: int, log: DeliveryLog, changes: ChangeSignal) -> None:
        self._seed = seed
        self._log = log
        self._changes = changes
        self._stopped = asyncio.Event()
        self.accepted: Counter[tuple[str, str]] = Counter()
        """What those that come and go took, by their name and the notification's id."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port; gives the URL before the paths."""
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
        chance = random.Random(f"{self._seed} {number} {self._log.attempts[number]}")
        (deed,) = chance.choices(list(CHANCES), list(CHANCES.values()))
        self._log.record(number, request.headers["webhook-id"], deed)
        self._changes.notify()
        match deed:
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
    """Makes a relay's file, another each time."""

    path: Path
    admin: Path
    engine: Path
    url: str

    def plain(self) -> str:
        """The first and the last one."""
        return yaml.safe_dump(
            self._of(self._steady("0"), {}, [{"name": "all", "to": "steady"}], {}),
            sort_keys=False,
        )

    def another(self, number: int, chance: random.Random) -> str:
        """The ``number``-th; every tenth cannot be used."""
        names = chance.sample(EXTRAS, chance.randrange(len(EXTRAS) + 1))
        extras = {name: self._extra(name, chance) for name in names}
        steady = self._steady(
            str(chance.randrange(3)),
            concurrency=chance.choice([1, 8, 32]),
            timeout={"connect": "2s", "total": chance.choice(["2s", "3s"])},
        )
        routes: list[dict[str, object]] = [
            {"name": "all", "title": f"words {chance.randrange(5)}", "to": ["steady", *names]},
            {"name": "more", "match": {"action": "die"}, "to": ["steady"]},
        ]
        routes += [{"name": f"to-{name}", "to": name} for name in names]
        chance.shuffle(routes)
        host = {"host": f"node-{chance.randrange(3)}"} if chance.random() < 0.5 else {}
        parts = self._of(steady, extras, routes, host)
        if chance.random() < 0.3:
            parts["heartbeat"] = {"every": f"{chance.randrange(1, 4)}h"}
        if number % 10 == 0:
            parts["routes"].append({"name": "broken", "to": "nowhere"})
        return yaml.safe_dump(parts, sort_keys=False)

    def write(self, text: str) -> None:
        """Replace the file: what is read is one or the other."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)

    def _steady(self, path: str, **more: object) -> dict[str, object]:
        retry = {"initial": "20ms", "max": "200ms"}
        return {"type": "http", "url": f"{self.url}/steady/{path}", "retry": retry, **more}

    def _extra(self, name: str, chance: random.Random) -> dict[str, object]:
        more = {"rate_limit": "50/s"} if chance.random() < 0.3 else {}
        patience_s = chance.randrange(1, 4) + (20 if name in ("well", "better") else 0)
        timeout = {"connect": "1s", "total": f"{patience_s}s"}
        return {"type": "http", "url": f"{self.url}/{name}", "timeout": timeout, **more}

    def _of(
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
    """Deaths of containers, none too far ahead of what has arrived."""

    def __init__(self, engine: ScriptedEngine, log: DeliveryLog, changes: ChangeSignal) -> None:
        self.made = 0
        self._engine = engine
        self._log = log
        self._changes = changes

    async def run(self) -> None:
        """Make them, until cancelled."""
        while True:
            room = len(self._log.accepted) + MAX_AHEAD - self.made
            self._engine.send(*(self._death() for _ in range(room)))
            await self._changes.wait_for(partial(self._log.has_more_than, len(self._log.accepted)))

    async def arrived(self) -> None:
        """Wait until all have, or none has for long."""
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
    """Tells relay to reload, in one way or another, and waits until it has."""

    def __init__(self, pid: int, operations: RemoteOperations, admin: Path) -> None:
        self._pid = pid
        self._operations = operations
        self._admin = admin

    async def count(self) -> tuple[int, int]:
        """How many reloads there were: done, and failed."""
        seen = await scrape_metrics(self._admin)
        kinds = ("success", "failure")
        done, failed = (int(seen[f'relay_config_reloads_total{{outcome="{it}"}}']) for it in kinds)
        return done, failed

    async def reload(self, chance: random.Random) -> None:
        """Once, or twice where several signals come at once."""
        if chance.random() < 0.5:
            with suppress(NotReloaded):
                await self._operations.reload()
            return
        before = sum(await self.count())
        for _ in range(chance.choice([1, 1, 1, 5])):
            os.kill(self._pid, signal.SIGHUP)
        async with asyncio.timeout(TIMEOUT_S):
            while sum(await self.count()) == before:
                await asyncio.sleep(0.002)


@dataclass(frozen=True)
class Resources:
    """What a process has of the system."""

    fds: int
    threads: int
    rss_kib: int


def resources(pid: int) -> Resources:
    """Of the process, at this moment."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    shown = dict(line.split(":", 1) for line in status)
    fds = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Resources(fds, int(shown["Threads"]), int(shown["VmRSS"].split()[0]))


async def dead_letters(operations: RemoteOperations) -> set[tuple[str, str]]:
    """The dead letters, by destination and the notification's id."""
    found: set[tuple[str, str]] = set()
    below: int | None = None
    while page := await operations.list_dead_letters(Selection(), 100, below):
        found |= {(letter.destination, letter.notification.id) for letter in page}
        below = page[-1].number
    return found


async def measure(folder: Path, reloads: int, seed: int) -> dict[str, object]:
    """What becomes of the events meanwhile."""
    log, changes, chance = DeliveryLog(), ChangeSignal(), random.Random(seed)
    engine = ScriptedEngine(folder / "engine.sock")
    begun_s = time.monotonic()
    receivers = Receivers(seed, log, changes)
    async with receivers.serving() as url, engine.serve():
        files = Files(folder / "config.yaml", folder / "admin.sock", engine.socket, url)
        files.write(files.plain())
        flood = Flood(engine, log, changes)
        async with run_relay(files.path) as relay:
            await engine.changes.wait_for(lambda: len(engine.streams) == 1)
            held = [resources(relay.pid)]
            async with connect_to_daemon(socket_path(folder / "relay.db")) as operations:
                commands = Commands(relay.pid, operations, files.admin)
                flooding = asyncio.create_task(flood.run())
                await changes.wait_for(partial(log.has_more_than, MAX_AHEAD))
                asked = 0
                while (count := sum(await commands.count())) < reloads:
                    if len(held) == 1 and count >= reloads // 10:
                        held.append(resources(relay.pid))
                    asked += 1
                    files.write(files.another(asked, chance))
                    await commands.reload(chance)
                    assert not flooding.done(), flooding
                flooding.cancel()
                await flood.arrived()
                files.write(files.plain())
                await operations.reload()
                async with asyncio.timeout(TIMEOUT_S):
                    while await operations.pending():
                        await asyncio.sleep(0.05)
                done, failed = await commands.count()
                held.append(resources(relay.pid))
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
        "doubled under another id": verdict["events under two ids"],
        "doubled under the same id": verdict["taken again without"],
        "taken again after a lost answer": verdict["taken again after a lost answer"],
        "out of order": verdict["out of order"],
        "at those that come and go": receivers.accepted.total(),
        "doubled there": receivers.accepted.total() - len(receivers.accepted),
        "given up": len(given_up),
        "given up and delivered": len(given_up & receivers.accepted.keys()),
        "streams": len(engine.streams),
        "fds": [it.fds for it in held],
        "threads": [it.threads for it in held],
        "rss_mib": [round(it.rss_kib / 1024, 1) for it in held],
        "exit code": code,
        "tracebacks": (folder / "relay.log").read_text().count("Traceback"),
        "took_s": round(time.monotonic() - begun_s, 1),
    }


def is_clean(verdict: Mapping[str, Any]) -> bool:
    """Whether all that is promised was kept."""
    faults = (
        *("lost", "doubled under another id", "doubled under the same id", "out of order"),
        *("doubled there", "given up and delivered", "exit code", "tracebacks"),
    )
    fds, threads, rss_mib = verdict["fds"], verdict["threads"], verdict["rss_mib"]
    holds_more = (
        fds[-1] > fds[0] + CONNECTIONS
        or threads[-1] > threads[0] + LOOKUPS
        or rss_mib[-1] > rss_mib[0] + WARM_MIB
    )
    return not any(verdict[fault] for fault in faults) and not holds_more


def main() -> int:
    """Measure, and judge."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("reloads", nargs="?", type=int, default=RELOADS)
    options.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = options.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of streams that relay has left
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        verdict = asyncio.run(measure(Path(folder), given.reloads, given.seed))
    print(json.dumps(verdict))
    return 0 if is_clean(verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
