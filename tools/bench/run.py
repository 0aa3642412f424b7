"""One run of one contender between an engine and a sink of its own."""

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.bench import process
from tools.bench.candidates import RunningCandidate
from tools.bench.events import CONTAINERS, Kind
from tools.bench.helper import Helper
from tools.bench.sink import SinkMode

SETTLE_S = 0.5
"""How long what is left to do behind the last answer may take: it is counted, too."""

ARRIVAL_S = 600.0

Candidate = Callable[[Path, Path, str], AbstractContextManager[RunningCandidate]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of taking a number of events all the way."""

    events: int
    cpu_s: float
    wall_s: float
    """From the first event's being sent to the last one's arrival."""
    peak_mb: float

    @property
    def cpu_us(self) -> float:
        """Per event."""
        return self.cpu_s / self.events * 1e6

    @property
    def wall_us(self) -> float:
        """Per event."""
        return self.wall_s / self.events * 1e6


@dataclass(frozen=True, slots=True)
class Latency:
    """Of events at a fixed rate, from an event's being sent to its arrival."""

    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Per event."""


@dataclass(frozen=True, slots=True)
class Burst:
    """What piled up while the sink hung, and how it went away."""

    growth_mb: float
    """The most memory while it piled up, less what there was before."""
    drain_s: float
    """From the sink's recovery to the arrival of the last event."""


@dataclass(frozen=True, slots=True)
class Run:
    """An engine, a sink and one contender, all running."""

    engine: Helper
    sink: Helper
    running: RunningCandidate

    @property
    def pid(self) -> int:
        """The contender's."""
        return self.running.pid

    def warm_up(self) -> None:
        """Let everything have happened once, and every container have been met."""
        self._send(CONTAINERS, Kind.WANTED)
        self._wait_for(CONTAINERS)

    def flood(self, count: int, kind: Kind = Kind.WANTED) -> Cost:
        """So many events as fast as they go; of a kind that may not arrive one that does follows.

        ``cpu_s`` is also that of all that is left to do behind the last arrival.
        """
        self.sink.ask("forget")
        process.reset_peak(self.pid)
        before_s = process.cpu_s(self.pid)
        begun_ns = self._send(count, kind)
        if kind is Kind.WANTED:
            self._wait_for(count)
        else:
            self._send(1, Kind.WANTED, first=count)
            self._wait_for_last(count)
        last_ns = self.sink.ask("report")["last_ns"]
        time.sleep(SETTLE_S)
        cpu_s = process.cpu_s(self.pid) - before_s
        return Cost(count, cpu_s, (last_ns - begun_ns) / 1e9, process.peak_mb(self.pid))

    def pace(self, per_s: int, seconds: float) -> Latency:
        """So many events a second."""
        self.sink.ask("forget")
        before_s, count = process.cpu_s(self.pid), int(per_s * seconds)
        self.engine.ask("pace", count=count, per_s=per_s)
        self._wait_for(count)
        found = self.sink.ask("report")
        time.sleep(SETTLE_S)
        cpu_us = (process.cpu_s(self.pid) - before_s) / count * 1e6
        return Latency(found["p50_ms"], found["p99_ms"], cpu_us)

    def burst(self, count: int, kept: Callable[["Run", int], None]) -> Burst:
        """So many events into a sink that hangs; it recovers when ``kept`` returns.

        What hung is answered then.
        """
        self.sink.ask("forget")
        process.reset_peak(self.pid)
        before_mb = process.rss_mb(self.pid)
        self.sink.ask("be", mood=SinkMode.HANG)
        self._send(count, Kind.WANTED)
        kept(self, count)
        growth_mb = process.peak_mb(self.pid) - before_mb
        recovered_ns = self.sink.ask("be", mood=SinkMode.TAKE)
        self._wait_for(count)
        drain_s = (self.sink.ask("report")["last_ns"] - recovered_ns) / 1e9
        return Burst(growth_mb, drain_s)

    def _send(self, count: int, kind: Kind, first: int = 0) -> int:
        return int(self.engine.ask("flood", count=count, kind=kind, first=first))

    def _wait_for(self, count: int) -> None:
        self.sink.ask("wait", count=count, timeout_s=ARRIVAL_S)
        found = self.sink.ask("report")
        assert found["events"] == count, f"of {count} events there came {found}"

    def _wait_for_last(self, last: int) -> None:
        """The last one did; of those before it all, or none."""
        self.sink.ask("wait", count=1, timeout_s=ARRIVAL_S)
        time.sleep(SETTLE_S)
        while (found := self.sink.ask("report")["events"]) not in (1, last + 1):
            self.sink.ask("wait", count=found + 1, timeout_s=ARRIVAL_S)


@contextmanager
def start_run(
    contender: Candidate, folder: Path | None = None, mood: SinkMode = SinkMode.TAKE
) -> Iterator[Run]:
    """One contender, listening, and a sink in this mood; ``folder`` is one that outlasts it."""
    with tempfile.TemporaryDirectory(prefix="relay-") as name:
        place, engine_socket = folder or Path(name), Path(name) / "engine.sock"
        with (
            Helper("tools.bench.engine", str(engine_socket)) as engine,
            Helper("tools.bench.sink") as sink,
        ):
            _wait_for_file(engine_socket)
            sink.ask("be", mood=mood)
            with contender(place, engine_socket, sink.ask("url")) as running:
                engine.ask("stream")
                yield Run(engine, sink, running)


def wait_until_stored(stage: Run, count: int) -> None:
    """Return when relay's store holds so many more deliveries than it ever had."""
    wanted = count + CONTAINERS  # those of the warm-up
    while count_stored(stage.running.store) < wanted:
        time.sleep(0.1)


def wait_until_read(_: Run, __: int) -> None:
    """Return when a contender that keeps nothing on disk has surely read everything."""
    time.sleep(5)


def count_stored(store: Path) -> int:
    """How many deliveries the store has ever held."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'"
        (count,) = connection.execute(query).fetchone()
    return int(count)


def _wait_for_file(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
