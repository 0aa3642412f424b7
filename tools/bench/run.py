"""One run of one candidate between an engine and a sink of its own."""

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.bench import process
from tools.bench.candidates import RunningCandidate
from tools.bench.events import Kind, Order
from tools.bench.helper import Helper
from tools.bench.sink import SinkMode

SETTLE_S = 0.5
"""How long the work after the start and the work after the last answer may take.

The CPU time of the latter is counted too.
"""

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
    helper_percent: float
    """The CPU time of the busier of engine and sink, as percent of ``wall_s``.

    At 100 the helper limits the candidate, and the figures are not the candidate's.
    """

    @property
    def cpu_us(self) -> float:
        """CPU time per event."""
        return self.cpu_s / self.events * 1e6

    @property
    def per_s(self) -> float:
        """Events per second."""
        return self.events / self.wall_s

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
class Backlog:
    """The backlog of a sink that hangs, and its delivery after the sink recovers."""

    peak_mb: float
    """The peak memory during the backlog."""
    growth_mb: float
    """The same, minus the memory before it."""
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

    @property
    def subscribed_s(self) -> float:
        """The time from the start of the process until its event stream is open."""
        return (int(self.engine.ask("stream")) - self.running.started_ns) / 1e9

    def flood(self, count: int, kind: Kind = Kind.WANTED, order: Order = Order.TURNS) -> Cost:
        """Send events as fast as they are read, and wait for them.

        Events of another kind than ``WANTED`` may not be delivered: they are followed by one that
        is. ``cpu_s`` includes the work after the last arrival.
        """
        self._prepare(count, kind, order)
        if kind is not Kind.WANTED:
            self._prepare(1, Kind.WANTED, order)
        self.sink.ask("reset")
        process.reset_peak(self.pid)
        before_s, helpers_before_s = process.cpu_s(self.pid), self._helpers_cpu_s()
        started_ns = self.engine.ask("flood")
        if kind is Kind.WANTED:
            self._wait_for(count)
        else:
            self._wait_for_last(count)
        wall_s = (self.sink.ask("report")["last_ns"] - started_ns) / 1e9
        busiest_s = max(map(float.__sub__, self._helpers_cpu_s(), helpers_before_s))
        time.sleep(SETTLE_S)
        cpu_s = process.cpu_s(self.pid) - before_s
        return Cost(count, cpu_s, wall_s, process.peak_mb(self.pid), busiest_s / wall_s * 100)

    def pace(self, per_s: int, seconds: float, order: Order = Order.TURNS) -> Latency:
        """Send events at this rate."""
        count = int(per_s * seconds)
        self._prepare(count, Kind.WANTED, order)
        self.sink.ask("reset")
        before_s = process.cpu_s(self.pid)
        self.engine.ask("pace", per_s=per_s)
        self._wait_for(count)
        found = self.sink.ask("report")
        time.sleep(SETTLE_S)
        cpu_us = (process.cpu_s(self.pid) - before_s) / count * 1e6
        return Latency(found["p50_ms"], found["p99_ms"], cpu_us)

    def hang(self, count: int, wait_until_kept: Callable[["Run", int], None]) -> Backlog:
        """Flood a sink that hangs; it recovers when ``wait_until_kept`` returns."""
        self._prepare(count, Kind.WANTED, Order.TURNS)
        self.sink.ask("reset")
        process.reset_peak(self.pid)
        before_mb = process.rss_mb(self.pid)
        self.sink.ask("set_mode", mode=SinkMode.HANG)
        self.engine.ask("flood")
        wait_until_kept(self, count)
        peak_mb = process.peak_mb(self.pid)
        recovered_ns = self.sink.ask("set_mode", mode=SinkMode.ACCEPT)
        self._wait_for(count)
        drain_s = (self.sink.ask("report")["last_ns"] - recovered_ns) / 1e9
        return Backlog(peak_mb, peak_mb - before_mb, drain_s)

    def weigh(self, count: int, record_bytes: int, destinations: int) -> float:
        """Send large records for slow destinations; return relay's peak memory in MB.

        Each is sent when the one before it is stored: so many at once would not fit into relay's
        buffer, and it would drop some.
        """
        self.sink.ask("reset")
        process.reset_peak(self.pid)
        self.sink.ask("set_mode", mode=SinkMode.SLOW)
        for stored in range(count):
            self._prepare(1, Kind.WANTED, Order.TURNS, record_bytes)
            self.engine.ask("flood")
            wait_until_stored(self, (stored + 1) * destinations)
        self._wait_for(count * destinations)
        return process.peak_mb(self.pid)

    def _prepare(self, count: int, kind: Kind, order: Order, padding: int = 0) -> None:
        self.engine.ask("prepare", count=count, kind=kind, order=order, padding=padding)

    def _helpers_cpu_s(self) -> list[float]:
        return [process.cpu_s(each.pid) for each in (self.engine, self.sink)]

    def _wait_for(self, count: int) -> None:
        self.sink.ask("wait", count=count, timeout_s=ARRIVAL_S)
        found = self.sink.ask("report")
        assert found["events"] == count, f"of {count} events there came {found}"

    def _wait_for_last(self, last: int) -> None:
        """Wait for the last event, and for none or all of those before it."""
        self.sink.ask("wait", count=1, timeout_s=ARRIVAL_S)
        time.sleep(SETTLE_S)
        if self.sink.ask("report")["events"] != 1:  # all arrive; a report sorts them, so ask once
            self.sink.ask("wait", count=last + 1, timeout_s=ARRIVAL_S)


@contextmanager
def start_run(
    candidate: Candidate, folder: Path | None = None, mode: SinkMode = SinkMode.ACCEPT
) -> Iterator[Run]:
    """Run an engine, a sink in this mode, and a subscribed candidate.

    ``folder`` holds the candidate's files if they shall outlast the run. The candidate has seen no
    event yet: it is not warmed up.
    """
    with tempfile.TemporaryDirectory(prefix="relay-") as name:
        place, engine_socket = folder or Path(name), Path(name) / "engine.sock"
        with (
            Helper("tools.bench.engine", str(engine_socket)) as engine,
            Helper("tools.bench.sink") as sink,
        ):
            _wait_for_file(engine_socket)
            sink.ask("set_mode", mode=mode)
            with candidate(place, engine_socket, sink.ask("url")) as running:
                engine.ask("stream")
                time.sleep(SETTLE_S)
                yield Run(engine, sink, running)


def wait_until_stored(run: Run, count: int) -> None:
    """Return when relay's store has held this many deliveries."""
    deadline_s = time.monotonic() + ARRIVAL_S
    while (stored := count_stored(run.running.store)) < count:
        assert time.monotonic() < deadline_s, f"of {count} deliveries {stored} were stored"
        time.sleep(0.02)


def wait_until_read(_: Run, __: int) -> None:
    """Return when a candidate that stores nothing has surely read all events."""
    time.sleep(5)


def count_stored(store: Path) -> int:
    """Return how many deliveries the store has ever held."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'"
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _wait_for_file(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
