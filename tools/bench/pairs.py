"""Measures sides in turn; each measurement runs one candidate and returns its figures."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tools.bench import process
from tools.bench.candidates import relay
from tools.bench.events import Kind, Order
from tools.bench.run import (
    Backlog,
    Candidate,
    Cost,
    Latency,
    start_run,
    wait_until_read,
    wait_until_stored,
)
from tools.bench.sink import SinkMode

IDLE_S = 10.0
START_SETTLE_S = 5.0
"""After this time the work of the start is done."""

T = TypeVar("T")


def measure_pairs(pairs: int, *sides: Callable[[], T]) -> list[list[T]]:
    """Return the results of each side, pair by pair; the sides take turns in being first."""
    runs: list[list[T]] = [[] for _ in sides]
    for pair in range(pairs):
        for place in range(len(sides)):
            turn = (pair + place) % len(sides)
            runs[turn].append(sides[turn]())
    return runs


def measure_flood(
    candidate: Candidate, count: int, kind: Kind = Kind.WANTED, order: Order = Order.TURNS
) -> Cost:
    """Send events as fast as they are read."""
    with start_run(candidate) as run:
        return run.flood(count, kind, order)


def measure_pace(candidate: Candidate, per_s: int, seconds: float, order: Order) -> Latency:
    """Send events at a fixed rate."""
    with start_run(candidate) as run:
        return run.pace(per_s, seconds, order)


def measure_hang(candidate: Candidate, count: int) -> Backlog:
    """Send events while the sink hangs, and let it recover."""
    with start_run(candidate) as run:
        return run.hang(count, wait_until_stored if candidate is relay else wait_until_read)


def measure_weight(candidate: Candidate, count: int, record_bytes: int, destinations: int) -> float:
    """Send large records while the sink is slow; return the peak memory in MB."""
    with start_run(candidate) as run:
        return run.weigh(count, record_bytes, destinations)


class IdleFigures:
    """CPU and memory of a process without events."""

    def __init__(self, pid: int) -> None:
        time.sleep(START_SETTLE_S)
        before_s = process.cpu_s(pid)
        time.sleep(IDLE_S)
        self.cpu_percent = (process.cpu_s(pid) - before_s) / IDLE_S * 100
        self.rss_mb = process.rss_mb(pid)


def measure_idle(candidate: Candidate) -> IdleFigures:
    """Send nothing."""
    with start_run(candidate) as run:
        return IdleFigures(run.pid)


def measure_subscription(candidate: Candidate) -> float:
    """Return the time from the start of the process until it has subscribed, in ms."""
    with start_run(candidate) as run:
        return run.subscribed_s * 1e3


class StartFigures:
    """Memory of a process that has just started."""

    def __init__(self, pid: int, ready_s: float) -> None:
        time.sleep(START_SETTLE_S)
        self.ready_s = ready_s
        self.peak_mb = process.peak_mb(pid)
        self.rss_mb = process.rss_mb(pid)


def measure_start(candidate: Candidate, folder: Path | None) -> StartFigures:
    """Start with the store in ``folder``, or with an empty one, for a sink that hangs."""
    with start_run(candidate, folder, mode=SinkMode.HANG) as run:
        return StartFigures(run.pid, run.running.ready_s)
