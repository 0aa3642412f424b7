"""Measures large events: ``python -m tools.weights [EVENTS] [--limit MIB] [--shape SHAPE]``.

An engine sends records of nearly 4 MiB, the longest that relay accepts. They go to one good
destination and to ten others. In a first run of relay the ten are down, so that a backlog of such
events stays in the store. In a second run they answer, each after seconds, and the engine sends
sixty more events in a row. Prints the peaks of relay's memory; the exit code is 1 if anything was
lost or changed, or if a peak is above `PEAK_MAX_MB`.

With ``--limit`` relay can map only so much memory for data (``RLIMIT_DATA``, getrlimit(2)): an
allocation beyond that fails, and ends relay. The limit counts everything that is mapped, used or
not, and the stacks of threads; it counts neither files nor the buffers of sockets. A control group
would count these too, but only root can create one.
"""

import argparse
import asyncio
import base64
import json
import random
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from relay.core.event import GapReason
from relay.core.framing import RECORD_MAX_BYTES
from tests.component.scripted_engine import ScriptedEngine, Stream
from tests.support.daemon import RELAY, run_relay, write_config
from tests.support.loopback import serve_connections
from tools.bench.process import peak_mb, reset_peak, rss_mb

PEAK_MAX_MB = 200
"""The goal for relay's memory."""

IDLE_S = 60.0
"""What has not arrived by then after the last that arrived is lost."""

STACK_KIB = 1024
"""With ``--limit``: the stack of a thread, which is 8 MiB otherwise."""

ACCEPTED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Shape(StrEnum):
    """What makes an event large."""

    TEXT = "text"
    """One label with a long text, such as a configuration."""
    LABELS = "labels"
    """Many labels."""
    RANDOM = "random"
    """One label with a long text that cannot be compressed."""


@dataclass(frozen=True, slots=True)
class Load:
    """What relay has to carry."""

    events: int = 60
    """How many are sent in a row while the slow destinations answer slowly."""
    backlog: int = 20
    """How many were sent before, while these were down."""
    slow: int = 10
    """How many destinations are down first, and slow afterwards."""
    answer_s: float = 2.0
    """After how long a slow destination answers."""
    size: int = RECORD_MAX_BYTES - 4_096
    """About how many bytes of labels an event has."""
    shapes: Sequence[Shape] = tuple(Shape)
    """The events have these shapes in turn."""
    limit_mib: int | None = None
    """How much memory relay may map; None for no limit."""

    @property
    def total(self) -> int:
        """How many events are sent in both runs."""
        return self.backlog + self.events

    @property
    def slow_names(self) -> list[str]:
        """The names of the slow destinations."""
        return [f"slow-{number}" for number in range(self.slow)]

    def make_events(self, numbers: range) -> Mapping[int, Mapping[str, str]]:
        """Return the labels of each event; two of them say which it is, and what the rest was."""
        made = {}
        for number in numbers:
            labels = make_labels(self.shapes[number % len(self.shapes)], self.size, number)
            made[number] = {**labels, "number": str(number), "checksum": checksum(labels)}
        return made


@cache
def _lines() -> Sequence[str]:
    """Return texts such as configurations are made of."""
    rng = random.Random(1)
    words = ["service", "replicas", "healthcheck", "image", "networks", "traefik", "volumes", "url"]
    return [
        f"{rng.choice(words)}.{rng.choice(words)}-{rng.randrange(10**6)}" for _ in range(20_000)
    ]


def make_labels(shape: Shape, size: int, seed: int) -> dict[str, str]:
    """Return labels of about this many bytes as JSON, and no more."""
    rng, lines = random.Random(seed), _lines()
    match shape:
        case Shape.RANDOM:
            return {"blob": base64.b64encode(rng.randbytes(size * 3 // 4 - 64)).decode()}
        case Shape.LABELS:
            keys, values = (rng.choices(lines, k=size // 66) for _ in range(2))
            pairs = enumerate(zip(keys, values, strict=True))
            return {f"com.{number}.{key}": value for number, (key, value) in pairs}
        case Shape.TEXT:
            return {"config": " ".join(rng.choices(lines, k=size // 16))[: size - 64]}


def checksum(labels: Mapping[str, str]) -> str:
    """Return a checksum of the labels."""
    return str(zlib.crc32("\0".join(map("=".join, sorted(labels.items()))).encode()))


@dataclass
class Arrivals:
    """What arrived."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The events that arrived, by destination."""
    ids: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    repeated: int = 0
    corrupt: int = 0
    dropped: int = 0
    """How many records relay declared as dropped."""
    good_s: dict[int, float] = field(default_factory=dict)
    """When each event arrived at the good destination."""

    def record(self, destination: str, body: bytes) -> None:
        """Record a request. Called in threads, so that the engine's answers do not wait."""
        document = json.loads(body)
        (event,) = document["events"]
        labels = event["actor"]["attributes"]
        if event["type"] == "relay":
            if labels["why"] != GapReason.CONTAINERS_FULL:  # that is no loss of events
                self.dropped += int(labels.get("count", 0))
            return
        number, expected = int(labels.pop("number")), labels.pop("checksum")
        for name in ("name", "image"):
            del labels[name]
        self.corrupt += checksum(labels) != expected
        self.repeated += number in self.numbers[destination]
        self.numbers[destination].add(number)
        self.ids[number].add(document["id"])
        if destination == "good":
            self.good_s.setdefault(number, time.monotonic())

    async def wait_for(
        self, names: Sequence[str], count: int, relay: asyncio.subprocess.Process
    ) -> None:
        """Wait until so many events arrived at these destinations, or were declared as dropped.

        Gives up if nothing arrives for `IDLE_S`. Raises `RuntimeError` if relay ends before.
        """
        ended = asyncio.ensure_future(relay.wait())
        while min(len(self.numbers[name]) for name in names) + self.dropped < count:
            self.changed.clear()
            changed = asyncio.ensure_future(self.changed.wait())
            done, _ = await asyncio.wait(
                (ended, changed), timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED
            )
            changed.cancel()
            if ended.done():
                raise RuntimeError(f"relay ended with {relay.returncode}")
            if not done:
                break
        ended.cancel()


@asynccontextmanager
async def receiving(arrivals: Arrivals, answer_s: float) -> AsyncIterator[str]:
    """Accept requests; the path names the destination. Gives the URL without the path."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            destination = head.split()[1].removeprefix("/")
            size = int(head.partition("content-length:")[2].split()[0])
            body = await reader.readexactly(size)
            if destination != "good":
                await asyncio.sleep(answer_s)
            await asyncio.to_thread(arrivals.record, destination, body)
            arrivals.changed.set()
            writer.write(ACCEPTED)

    async with serve_connections(handle) as address:
        yield f"http://{address}"


def relay_command(mib: int | None) -> Sequence[str]:
    """Return the command that runs relay with this much memory at most; None for no limit."""
    if mib is None:
        return RELAY
    limits = f"ulimit -s {STACK_KIB}; ulimit -d {mib * 1024}"
    return ("sh", "-c", f'{limits}; exec "$@"', "relay", *RELAY)


def write_run_config(
    folder: Path, engine: Path, good: str, slow: str, slow_names: Sequence[str]
) -> Path:
    """Write the configuration of a run; ``good`` and ``slow`` are where the destinations are."""
    urls = {"good": f"{good}/good", **{name: f"{slow}/{name}" for name in slow_names}}
    return write_config(
        folder,
        engines={"here": {"url": f"unix://{engine}"}},
        store={"path": str(folder / "relay.db"), "max_size": "64GiB"},
        reconcile={"every": "0s", "on_reconnect": False},
        destinations={
            name: {"type": "http", "url": url, "retry": {"initial": "1s", "max": "3s"}}
            for name, url in urls.items()
        },
        routes=[
            {
                "name": "all",
                "match": {"type": "container", "action": "start"},
                "to": ["good", *slow_names],
            },
            {"name": "own", "match": {"type": "relay", "action": "gap"}, "to": "good"},
        ],
    )


async def send(
    engine: ScriptedEngine, stream: Stream, events: Mapping[int, Mapping[str, str]]
) -> dict[int, float]:
    """Send large events in a row; return when each was sent."""
    sent_s = {}
    for number, labels in events.items():
        line = engine.record(f"web-{number}", action="start", attributes=labels)
        sent_s[number] = time.monotonic()
        stream.write(line)
        await stream.writer.drain()
    return sent_s


async def measure(folder: Path, load: Load) -> dict[str, Any]:
    """Run relay twice, and return the figures."""
    arrivals, engine = Arrivals(), ScriptedEngine(folder / "engine.sock")
    opened: asyncio.Queue[Stream] = asyncio.Queue()
    engine.on_stream = opened.put_nowait
    slow_names = load.slow_names
    waiting = load.make_events(range(load.backlog))
    new = load.make_events(range(load.backlog, load.total))
    command = relay_command(load.limit_mib)
    figures: dict[str, Any] = {
        "events": load.events,
        "backlog": load.backlog,
        "limit_mib": load.limit_mib,
    }
    async with receiving(arrivals, load.answer_s) as url, engine.serve():
        config = write_run_config(folder, engine.socket, url, "http://127.0.0.1:1", slow_names)
        async with run_relay(config, command) as relay:
            stream = await opened.get()
            figures["idle_mb"] = round(rss_mb(relay.pid), 1)
            reset_peak(relay.pid)
            await send(engine, stream, waiting)
            await arrivals.wait_for(["good"], load.backlog, relay)
            figures["peak_mb while they are down"] = round(peak_mb(relay.pid), 1)
        store_bytes = sum(path.stat().st_size for path in folder.glob("relay.db*"))
        figures["store_mb"] = round(store_bytes / 2**20)
        config = write_run_config(folder, engine.socket, url, url, slow_names)
        started_s = time.monotonic()
        async with run_relay(config, command) as relay:
            stream = await opened.get()
            sent_s = await send(engine, stream, new)
            figures["sent_s"] = round(max(sent_s.values()) - min(sent_s.values()), 1)
            await arrivals.wait_for(["good", *slow_names], load.total, relay)
            figures["took_s"] = round(time.monotonic() - started_s, 1)
            figures["peak_mb while they are slow"] = round(peak_mb(relay.pid), 1)
            figures["rss_mb afterwards"] = round(rss_mb(relay.pid), 1)
    return figures | summarize(arrivals, load, sent_s)


def summarize(arrivals: Arrivals, load: Load, sent_s: Mapping[int, float]) -> dict[str, Any]:
    """Return how long the good destination waited, and what went wrong."""
    delays_s = sorted(arrivals.good_s[it] - sent_s[it] for it in sent_s if it in arrivals.good_s)
    names = ["good", *load.slow_names]
    return {
        "good_p50_s": round(delays_s[len(delays_s) // 2], 1) if delays_s else None,
        "good_max_s": round(delays_s[-1], 1) if delays_s else None,
        "lost": sum(load.total - len(arrivals.numbers[name]) for name in names),
        "repeated": arrivals.repeated,
        "changed": arrivals.corrupt,
        "under two ids": sum(len(ids) > 1 for ids in arrivals.ids.values()),
        "declared as dropped": arrivals.dropped,
    }


def is_clean(figures: Mapping[str, Any]) -> bool:
    """Return whether all promises were kept, and whether relay's memory kept its bound."""
    peaks = [value for name, value in figures.items() if name.startswith("peak_mb")]
    faults = [figures[fault] for fault in ("lost", "changed", "under two ids")]
    return not any(faults) and max(peaks) < PEAK_MAX_MB


def main() -> int:
    """Run, print the figures, and return the exit code."""
    default = Load()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=default.events)
    parser.add_argument("--backlog", type=int, default=default.backlog)
    parser.add_argument("--slow", type=int, default=default.slow, metavar="COUNT")
    parser.add_argument("--answer", type=float, default=default.answer_s, metavar="SECONDS")
    parser.add_argument("--size", type=int, default=default.size, metavar="BYTES")
    parser.add_argument("--shape", type=Shape, choices=tuple(Shape), help="all three by default")
    parser.add_argument("--limit", type=int, metavar="MIB")
    arguments = parser.parse_args()
    load = Load(
        events=arguments.events,
        backlog=arguments.backlog,
        slow=arguments.slow,
        answer_s=arguments.answer,
        size=arguments.size,
        shapes=(arguments.shape,) if arguments.shape else default.shapes,
        limit_mib=arguments.limit,
    )
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        figures = asyncio.run(measure(Path(folder), load))
    print(json.dumps(figures, indent=1))
    return 0 if is_clean(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
