"""A receiver that fails at random: ``python -m tools.flaky [EVENTS] [--seed SEED] [--batch MAX]``.

An engine sends deaths of a thousand containers to a relay whose receiver answers 200, 500 or 429,
hangs, or resets the connection, before it has accepted the notification or after. The seed decides
what it does at each attempt. Prints the result; the exit code is 1 if anything was lost, arrived
out of order within a container, arrived under two ids, or arrived again although no answer was
lost.

With ``--batch`` up to MAX notifications come in one request and share its answer; the receiver then
answers 413 to requests with more than half of MAX.
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
from tests.support.daemon import run_relay, write_config
from tests.support.loopback import on_loopback

EVENTS = 100_000
CONTAINERS = 1_000
MAX_AHEAD = 10_000
"""At most this many events are sent that have not arrived yet."""


class Answer(StrEnum):
    """What the receiver does with a request."""

    ACCEPT = "200"
    FAIL = "500"
    BUSY = "429"
    HANG = "hang"
    """Accept nothing, and never answer."""
    HANG_ACCEPTED = "hang, accepted"
    """Accept the notifications, but never answer."""
    RESET = "reset"
    RESET_ACCEPTED = "reset, accepted"
    TOO_LARGE = "413"
    """There are too many notifications in the request."""


CHANCES = {
    Answer.ACCEPT: 81.2,
    Answer.FAIL: 9.0,
    Answer.BUSY: 1.0,
    Answer.HANG: 0.4,
    Answer.HANG_ACCEPTED: 0.4,
    Answer.RESET: 4.0,
    Answer.RESET_ACCEPTED: 4.0,
}
ACCEPTING = (Answer.ACCEPT, Answer.HANG_ACCEPTED, Answer.RESET_ACCEPTED)
ANSWER_LOST = (Answer.HANG_ACCEPTED, Answer.RESET_ACCEPTED)
"""Accepted, but relay cannot know it."""


@dataclass
class DeliveryLog:
    """What arrived, and how it was answered."""

    answers: Counter[Answer] = field(default_factory=Counter)
    ids: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The notification ids under which each event arrived."""
    last: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    """The event of each container that was accepted last."""
    attempts: Counter[int] = field(default_factory=Counter)
    answer_lost: set[int] = field(default_factory=set)
    """Events that were accepted while their answer was lost."""
    repeats: int = 0
    """How often an event was accepted that had been accepted before."""
    unexplained_repeats: int = 0
    """How many of these repetitions follow no lost answer."""
    out_of_order: int = 0
    accepted: set[int] = field(default_factory=set)

    def record(self, number: int, id_: str, answer: Answer) -> None:
        """Record an attempt to deliver an event."""
        self.answers[answer] += 1
        self.ids[number].add(id_)
        container = number % CONTAINERS
        if number < self.last[container]:
            self.out_of_order += 1
        if answer not in ACCEPTING:
            return
        self.last[container] = number
        if number in self.accepted:
            self.repeats += 1
            self.unexplained_repeats += number not in self.answer_lost
        self.accepted.add(number)
        if answer in ANSWER_LOST:
            self.answer_lost.add(number)

    def has_more_than(self, known: int) -> bool:
        """Return whether more than ``known`` events were accepted."""
        return len(self.accepted) > known

    def verdict(self, events: int) -> dict[str, object]:
        """Return all figures."""
        return {
            "events": events,
            "attempts": self.answers.total(),
            **{f"answered {answer}": self.answers[answer] for answer in Answer},
            "lost": events - len(self.accepted),
            "out of order": self.out_of_order,
            "accepted again after a lost answer": self.repeats - self.unexplained_repeats,
            "accepted again without a lost answer": self.unexplained_repeats,
            "events under two ids": sum(len(ids) > 1 for ids in self.ids.values()),
        }


def is_clean(verdict: dict[str, object]) -> bool:
    """Return whether all promises were kept."""
    faults = (
        "lost",
        "out of order",
        "accepted again without a lost answer",
        "events under two ids",
    )
    return not any(verdict[fault] for fault in faults)


class Receiver:
    """Answers each attempt by the seed, the event, and the number of its attempts so far."""

    def __init__(
        self, seed: int, log: DeliveryLog, changes: ChangeSignal, max_batch: int | None = None
    ) -> None:
        """It accepts up to ``max_batch`` notifications in a request; None for no limit."""
        self._seed = seed
        self._max_batch = max_batch
        self._log = log
        self._changes = changes
        self._stopped = asyncio.Event()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port; gives the URL."""
        app = web.Application()
        app.router.add_post("/hook", self._receive)
        async with on_loopback(app) as url:
            try:
                yield f"{url}/hook"
            finally:
                self._stopped.set()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.json()
        events = [
            _event_and_id(document) for document in (body if isinstance(body, list) else [body])
        ]
        answer = self._choose_answer(len(events), events[0][0])
        for number, id_ in events:
            self._log.record(number, id_, answer)
        self._changes.notify()
        match answer:
            case Answer.ACCEPT:
                return web.Response(status=200)
            case Answer.FAIL:
                return web.Response(status=500)
            case Answer.BUSY:
                return web.Response(status=429)
            case Answer.TOO_LARGE:
                return web.Response(status=413)
            case Answer.HANG | Answer.HANG_ACCEPTED:
                await self._stopped.wait()
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _choose_answer(self, count: int, number: int) -> Answer:
        """Return the answer to ``count`` notifications, of which ``number`` is the first."""
        if self._max_batch is not None and count > self._max_batch:
            return Answer.TOO_LARGE
        self._log.attempts[number] += 1
        rng = random.Random(f"{self._seed} {number} {self._log.attempts[number]}")
        (answer,) = rng.choices(list(CHANCES), list(CHANCES.values()))
        return answer


def _event_and_id(document: dict[str, Any]) -> tuple[int, str]:
    """Return the number of the event in a document, and the notification's id."""
    (event,) = document["events"]
    return int(event["actor"]["attributes"]["number"]), document["id"]


def death(time_ns: int, number: int) -> bytes:
    """Return the ``number``-th event as an engine sends it."""
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


async def flood(
    stream: Stream, start_ns: int, events: int, log: DeliveryLog, changes: ChangeSignal
) -> None:
    """Send all events, at most `MAX_AHEAD` ahead of what has arrived; wait until all arrived."""
    sent = 0
    while len(log.accepted) < events:
        until = min(events, len(log.accepted) + MAX_AHEAD)
        if until > sent:
            lines = (death(start_ns + number, number) for number in range(sent, until))
            stream.write(b"".join(lines))
            await stream.writer.drain()
            sent = until
        await changes.wait_for(partial(log.has_more_than, len(log.accepted)))


async def measure(
    folder: Path, events: int, seed: int, batch: int | None = None
) -> dict[str, object]:
    """Run relay until all events arrived; ``batch`` per request, one by one if None."""
    log, changes = DeliveryLog(), ChangeSignal()
    engine = ScriptedEngine(folder / "engine.sock")
    opened: asyncio.Queue[Stream] = asyncio.Queue()
    engine.on_stream = opened.put_nowait
    max_batch = None if batch is None else batch // 2
    async with Receiver(seed, log, changes, max_batch).serving() as url, engine.serve():
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
        started_s = time.monotonic()
        async with run_relay(config):
            await flood(await opened.get(), engine.now_ns(), events, log, changes)
        took_s = round(time.monotonic() - started_s, 1)
    return {"seed": seed, "batch": batch, **log.verdict(events), "took_s": took_s}


def main() -> int:
    """Run, print the result, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=EVENTS)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--batch", type=int, metavar="MAX")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        verdict = asyncio.run(
            measure(Path(folder), arguments.events, arguments.seed, arguments.batch)
        )
    print(json.dumps(verdict, indent=1))
    return 0 if is_clean(verdict) else 1


if __name__ == "__main__":
    sys.exit(main())
