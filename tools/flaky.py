"""A receiver that fails at random: ``python -m tools.flaky [EVENTS] [--seed SEED] [--batch MAX]``.

An engine sends deaths of a thousand containers to a relay whose receiver answers 200, 500, 429,
hangs or resets the connection, before it has taken the notification or after. What it does at
which attempt is the seed's. Printed is what came of it; the exit code is 1 if anything was lost,
came out of order within a container, came twice without a lost answer, or under two ids.

With ``--batch`` up to so many come in one request, and share what becomes of it; the receiver then
answers 413 to more than half as many.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.component.scripted_engine import ScriptedEngine, Stream
from tests.component.wait import ChangeSignal
from tests.support.daemon import quiet_relay, write_config
from tests.support.loopback import on_loopback

EVENTS = 100_000
CONTAINERS = 1_000
AHEAD = 10_000
"""So many events are sent at most before they have arrived."""


class Deed(StrEnum):
    """What the receiver does with a request."""

    TAKE = "200"
    FAIL = "500"
    BUSY = "429"
    HANG = "hang"
    """It takes nothing, and says nothing."""
    HANG_TAKEN = "hang, taken"
    """It takes it, and the answer never comes."""
    RESET = "reset"
    RESET_TAKEN = "reset, taken"
    TOO_LARGE = "413"
    """They were too many at once."""


CHANCES = {
    Deed.TAKE: 81.2,
    Deed.FAIL: 9.0,
    Deed.BUSY: 1.0,
    Deed.HANG: 0.4,
    Deed.HANG_TAKEN: 0.4,
    Deed.RESET: 4.0,
    Deed.RESET_TAKEN: 4.0,
}
TAKING = (Deed.TAKE, Deed.HANG_TAKEN, Deed.RESET_TAKEN)
UNHEARD = (Deed.HANG_TAKEN, Deed.RESET_TAKEN)
"""It was taken, and relay cannot know."""


@dataclass
class Book:
    """What came, and what was done with it."""

    deeds: Counter[Deed] = field(default_factory=Counter)
    ids: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The ids under which each event came."""
    last: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Of each container the event that was taken last."""
    tries: Counter[int] = field(default_factory=Counter)
    unheard: set[int] = field(default_factory=set)
    """Events that were taken while the answer was lost."""
    repeated: int = 0
    """Events that were taken once more than before."""
    unfounded: int = 0
    """Those of them whose answers had all been given."""
    disorder: int = 0
    taken: set[int] = field(default_factory=set)

    def enter(self, number: int, id_: str, deed: Deed) -> None:
        """An attempt to deliver an event."""
        self.deeds[deed] += 1
        self.ids[number].add(id_)
        container = number % CONTAINERS
        if number < self.last[container]:
            self.disorder += 1
        if deed not in TAKING:
            return
        self.last[container] = number
        if number in self.taken:
            self.repeated += 1
            self.unfounded += number not in self.unheard
        self.taken.add(number)
        if deed in UNHEARD:
            self.unheard.add(number)

    def has_more_than(self, known: int) -> bool:
        """Whether more events were taken than these."""
        return len(self.taken) > known

    def verdict(self, events: int) -> dict[str, object]:
        """All of it in numbers."""
        return {
            "events": events,
            "attempts": self.deeds.total(),
            **{f"answered {deed}": self.deeds[deed] for deed in Deed},
            "lost": events - len(self.taken),
            "out of order": self.disorder,
            "taken again after a lost answer": self.repeated - self.unfounded,
            "taken again without": self.unfounded,
            "events under two ids": sum(len(ids) > 1 for ids in self.ids.values()),
        }


def is_clean(verdict: dict[str, object]) -> bool:
    """Whether all that is promised was kept."""
    faults = ("lost", "out of order", "taken again without", "events under two ids")
    return not any(verdict[fault] for fault in faults)


class Receiver:
    """Does at each attempt what the seed says of the event and of how often it came."""

    def __init__(self, seed: int, book: Book, bell: ChangeSignal, most: int | None = None) -> None:
        """It takes ``most`` at once; None for as many as there are."""
        self._seed = seed
        self._most = most
        self._book = book
        self._bell = bell
        self._over = asyncio.Event()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port; gives the URL."""
        app = web.Application()
        app.router.add_post("/hook", self._hook)
        async with on_loopback(app) as url:
            try:
                yield f"{url}/hook"
            finally:
                self._over.set()

    async def _hook(self, request: web.Request) -> web.Response:
        body = await request.json()
        told = [_told(document) for document in (body if isinstance(body, list) else [body])]
        deed = self._deed(len(told), told[0][0])
        for number, id_ in told:
            self._book.enter(number, id_, deed)
        self._bell.notify()
        match deed:
            case Deed.TAKE:
                return web.Response(status=200)
            case Deed.FAIL:
                return web.Response(status=500)
            case Deed.BUSY:
                return web.Response(status=429)
            case Deed.TOO_LARGE:
                return web.Response(status=413)
            case Deed.HANG | Deed.HANG_TAKEN:
                await self._over.wait()
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _deed(self, count: int, number: int) -> Deed:
        """What becomes of so many, of which this is the first."""
        if self._most is not None and count > self._most:
            return Deed.TOO_LARGE
        self._book.tries[number] += 1
        chance = random.Random(f"{self._seed} {number} {self._book.tries[number]}")
        (deed,) = chance.choices(list(CHANCES), list(CHANCES.values()))
        return deed


def _told(document: dict[str, Any]) -> tuple[int, str]:
    """Which event a document tells of, and under which id."""
    (event,) = document["events"]
    return int(event["actor"]["attributes"]["number"]), document["id"]


def death(time_ns: int, number: int) -> bytes:
    """The ``number``-th event, a line as an engine sends it."""
    container = number % CONTAINERS
    attributes = {"name": f"web-{container}", "image": "shop:1", "number": str(number)}
    event = {
        "Type": "container",
        "Action": "die",
        "Actor": {"ID": f"{container:064x}", "Attributes": {**attributes, "exitCode": "3"}},
        "scope": "local",
        "time": time_ns // 10**9,
        "timeNano": time_ns,
    }
    return json.dumps(event).encode() + b"\n"


async def flood(stream: Stream, begun_ns: int, events: int, book: Book, bell: ChangeSignal) -> None:
    """Send all events, none too far ahead of what has arrived, until all have."""
    sent = 0
    while len(book.taken) < events:
        until = min(events, len(book.taken) + AHEAD)
        if until > sent:
            lines = (death(begun_ns + number, number) for number in range(sent, until))
            stream.write(b"".join(lines))
            await stream.writer.drain()
            sent = until
        await bell.wait_for(partial(book.has_more_than, len(book.taken)))


async def measured(
    folder: Path, events: int, seed: int, batch: int | None = None
) -> dict[str, object]:
    """What becomes of so many events; up to ``batch`` come at once, None for one by one."""
    book, bell = Book(), ChangeSignal()
    engine = ScriptedEngine(folder / "engine.sock")
    opened: asyncio.Queue[Stream] = asyncio.Queue()
    engine.on_stream = opened.put_nowait
    most = None if batch is None else batch // 2
    async with Receiver(seed, book, bell, most).serving() as url, engine.serve():
        config = write_config(
            folder,
            engines={"here": {"url": f"unix://{engine.socket}"}},
            store={"path": str(folder / "relay.db")},
            reconcile={"every": "0s", "on_reconnect": False},
            destinations={
                "hook": {
                    "type": "http",
                    "url": url,
                    "concurrency": 64,
                    "timeout": {"connect": "2s", "total": "2s"},
                    "retry": {"initial": "20ms", "max": "200ms"},
                    "batch": batch and {"max": batch},
                }
            },
            routes=[{"name": "all", "match": {"type": "container"}, "to": "hook"}],
        )
        begun_s = time.monotonic()
        async with quiet_relay(config):
            await flood(await opened.get(), engine.now_ns(), events, book, bell)
        took_s = round(time.monotonic() - begun_s, 1)
    return {"seed": seed, "batch": batch, **book.verdict(events), "took_s": took_s}


def main() -> int:
    """Measure, and judge."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("events", nargs="?", type=int, default=EVENTS)
    options.add_argument("--seed", type=int, default=random.randrange(10**6))
    options.add_argument("--batch", type=int, metavar="MAX")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        verdict = asyncio.run(measured(Path(folder), given.events, given.seed, given.batch))
    print(json.dumps(verdict, indent=1))
    return 0 if is_clean(verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
