"""Runs one candidate between an engine and a sink."""

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
"""How long the work after the last answer may take; its CPU time is counted too."""

ARRIVAL_S = 600.0

Candidate = Callable[[Path, Path, str], AbstractContextManager[RunningCandidate]]


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of delivering a number of events."""

    events: int
    cpu_s: float
    wall_s: float
    """From sending the first event to the arrival of the last one."""
    peak_mb: float

    @property
    def cpu_us(self) -> float:
        """CPU time per event."""
        return self.cpu_s / self.events * 1e6

    @property
    def wall_us(self) -> float:
        """Elapsed time per event."""
        return self.wall_s / self.events * 1e6


@dataclass(frozen=True, slots=True)
class Latency:
    """The time from sending an event to its arrival, at a fixed rate."""

    p50_ms: float
    p99_ms: float
    cpu_us: float
    """CPU time per event."""


@dataclass(frozen=True, slots=True)
class Burst:
    """The backlog of a sink that hangs, and its delivery after the sink recovers."""

    growth_mb: float
    """The peak memory during the backlog, minus the memory before it."""
    drain_s: float
    """From the recovery of the sink to the arrival of the last event."""


@dataclass(frozen=True, slots=True)
class Run:
    """An engine, a sink and one candidate, all running."""

    engine: Helper
    sink: Helper
    running: RunningCandidate

    @property
    def pid(self) -> int:
        """The candidate's process id."""
        return self.running.pid

    def warm_up(self) -> None:
        """Deliver one event of every container, so that all code has run once."""
        self._send(CONTAINERS, Kind.WANTED)
        self._wait_for(CONTAINERS)

    def flood(self, count: int, kind: Kind = Kind.WANTED) -> Cost:
        """Send events as fast as possible, and wait for them.

        Events of another kind than ``WANTED`` may not be delivered: they are followed by one that
        is. ``cpu_s`` includes the work after the last arrival.
        """
        self.sink.ask("reset")
        process.reset_peak(self.pid)
        before_s = process.cpu_s(self.pid)
        started_ns = self._send(count, kind)
        if kind is Kind.WANTED:
            self._wait_for(count)
        else:
            self._send(1, Kind.WANTED, first=count)
            self._wait_for_last(count)
        last_ns = self.sink.ask("report")["last_ns"]
        time.sleep(SETTLE_S)
        cpu_s = process.cpu_s(self.pid) - before_s
        return Cost(count, cpu_s, (last_ns - started_ns) / 1e9, process.peak_mb(self.pid))

    def pace(self, per_s: int, seconds: float) -> Latency:
        """Send events at this rate."""
        self.sink.ask("reset")
        before_s, count = process.cpu_s(self.pid), int(per_s * seconds)
        self.engine.ask("pace", count=count, per_s=per_s)
        self._wait_for(count)
        report = self.sink.ask("report")
        time.sleep(SETTLE_S)
        cpu_us = (process.cpu_s(self.pid) - before_s) / count * 1e6
        return Latency(report["p50_ms"], report["p99_ms"], cpu_us)

    def burst(self, count: int, wait_until_handled: Callable[["Run", int], None]) -> Burst:
        """Send events to a sink that hangs; it recovers when ``wait_until_handled`` returns.

        It then answers the requests that hang.
        """
        self.sink.ask("reset")
        process.reset_peak(self.pid)
        before_mb = process.rss_mb(self.pid)
        self.sink.ask("set_mode", mode=SinkMode.HANG)
        self._send(count, Kind.WANTED)
        wait_until_handled(self, count)
        growth_mb = process.peak_mb(self.pid) - before_mb
        recovered_ns = self.sink.ask("set_mode", mode=SinkMode.ACCEPT)
        self._wait_for(count)
        drain_s = (self.sink.ask("report")["last_ns"] - recovered_ns) / 1e9
        return Burst(growth_mb, drain_s)

    def _send(self, count: int, kind: Kind, first: int = 0) -> int:
        return int(self.engine.ask("flood", count=count, kind=kind, first=first))

    def _wait_for(self, count: int) -> None:
        self.sink.ask("wait", count=count, timeout_s=ARRIVAL_S)
        report = self.sink.ask("report")
        assert report["events"] == count, f"of {count} events these arrived: {report}"

    def _wait_for_last(self, last: int) -> None:
        """Wait for the last event, and for all before it unless none of them is delivered."""
        self.sink.ask("wait", count=1, timeout_s=ARRIVAL_S)
        time.sleep(SETTLE_S)
        while (arrived := self.sink.ask("report")["events"]) not in (1, last + 1):
            self.sink.ask("wait", count=arrived + 1, timeout_s=ARRIVAL_S)


@contextmanager
def start_run(
    candidate: Candidate, folder: Path | None = None, mode: SinkMode = SinkMode.ACCEPT
) -> Iterator[Run]:
    """Start a candidate and a sink in this mode; give them once the candidate reads the stream.

    ``folder`` is for the candidate's store; None for a temporary one.
    """
    with tempfile.TemporaryDirectory(prefix="relay-") as name:
        store_folder, engine_socket = folder or Path(name), Path(name) / "engine.sock"
        with (
            Helper("tools.bench.engine", str(engine_socket)) as engine,
            Helper("tools.bench.sink") as sink,
        ):
            _wait_for_file(engine_socket)
            sink.ask("set_mode", mode=mode)
            with candidate(store_folder, engine_socket, sink.ask("url")) as running:
                engine.ask("stream")
                yield Run(engine, sink, running)


def wait_until_stored(run: Run, count: int) -> None:
    """Wait until relay has stored this many deliveries, beside those of the warm-up."""
    wanted = count + CONTAINERS
    while count_stored(run.running.store) < wanted:
        time.sleep(0.1)


def wait_until_read(_: Run, __: int) -> None:
    """Wait until a candidate that stores nothing has certainly read everything."""
    time.sleep(5)


def count_stored(store: Path) -> int:
    """Return how many deliveries were ever added to the store."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'"
        (count,) = connection.execute(query).fetchone()
    return int(count)


def _wait_for_file(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
