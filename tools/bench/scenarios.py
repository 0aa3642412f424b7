"""The scenarios. Each measures pairs: relay, and what it is compared with."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from tools.bench import process
from tools.bench.candidates import relay, script
from tools.bench.events import Kind
from tools.bench.matching import match_us
from tools.bench.run import (
    Burst,
    Candidate,
    Cost,
    Latency,
    start_run,
    wait_until_read,
    wait_until_stored,
)
from tools.bench.sink import SinkMode
from tools.bench.store_filler import fill
from tools.bench.table import Row

FLOOD = 20_000
BURSTS = (20_000, 60_000)
RATES = (100, 1_000)
PACE_S = 5.0
ROUTES = (1, 100, 1_000, 10_000)
FEW_ROUTES = 10
MOST_ROUTES = 1_000
"""More than about 1,300 do not fit into a configuration (20,000 keys and values)."""
FEW_EVENTS = 1_000
"""Fewer events for runs with many routes, where each event may cost much."""
MILLION = 1_000_000
IDLE_S = 10.0
START_SETTLE_S = 5.0
"""After this time the work of the start is done."""

T = TypeVar("T")
Scenario = Callable[[int], list[Row]]


def flood(pairs: int) -> list[Row]:
    """Twenty thousand events as fast as possible."""
    relay_runs, script_runs = _measure_pairs(
        pairs, partial(_measure_flood, relay), partial(_measure_flood, script)
    )
    cpu = [it.cpu_us for it in relay_runs], [it.cpu_us for it in script_runs]
    wall = [it.wall_us for it in relay_runs], [it.wall_us for it in script_runs]
    peak = [it.peak_mb for it in relay_runs], [it.peak_mb for it in script_runs]
    return [
        Row("flood", "CPU per event", "µs", *cpu, goal=0.7),
        Row("flood", "time per event", "µs", *wall, goal=0.55),
        Row("flood", "peak RSS", "MB", *peak),
    ]


def batch(pairs: int) -> list[Row]:
    """The flood, many notifications in one request; the script sends them one by one."""
    batches = partial(relay, to={"batch": {}})
    relay_runs, script_runs = _measure_pairs(
        pairs, partial(_measure_flood, batches), partial(_measure_flood, script)
    )
    cpu = [it.cpu_us for it in relay_runs], [it.cpu_us for it in script_runs]
    wall = [it.wall_us for it in relay_runs], [it.wall_us for it in script_runs]
    return [
        Row("batch", "CPU per event", "µs", *cpu, goal=0.1),
        Row("batch", "time per event", "µs", *wall),
    ]


def latency(pairs: int) -> list[Row]:
    """The time from sending an event to its arrival, at fixed rates."""
    rows = []
    for per_s in RATES:
        name, has_goal = f"{per_s}/s", per_s == max(RATES)
        relay_runs, script_runs = _measure_pairs(
            pairs, partial(_measure_pace, relay, per_s), partial(_measure_pace, script, per_s)
        )
        p50 = [it.p50_ms for it in relay_runs], [it.p50_ms for it in script_runs]
        p99 = [it.p99_ms for it in relay_runs], [it.p99_ms for it in script_runs]
        cpu = [it.cpu_us for it in relay_runs], [it.cpu_us for it in script_runs]
        rows += [
            Row(name, "latency, median", "ms", *p50, goal=2 if has_goal else None),
            Row(name, "latency, p99, beside the script", "ms", *p99),
            Row(name, "latency, p99", "ms", p99[0], goal=5 if has_goal else None),
            Row(name, "CPU per event", "µs", *cpu),
        ]
    return [*rows, Row("disk", "a synced write", "ms", [process.sync_ms() for _ in relay_runs])]


def routes(pairs: int) -> list[Row]:
    """The cost of more routes: of the match alone, and of all of relay."""
    rows = []
    for count in ROUTES:
        goal = 1.2 if count == max(ROUTES) else None
        name, against = f"{count} routes" if count > 1 else "1 route", f"{FEW_ROUTES} routes"
        many_us, few_us = _measure_pairs(
            pairs, partial(match_us, count), partial(match_us, FEW_ROUTES)
        )
        rows.append(Row(name, "match", "µs", many_us, few_us, against, goal))
        if count > MOST_ROUTES:
            continue
        many, few = partial(relay, count=count), partial(relay, count=FEW_ROUTES)
        many_runs, few_runs = _measure_pairs(
            pairs,
            partial(_measure_flood, many, count=FEW_EVENTS),
            partial(_measure_flood, few, count=FEW_EVENTS),
        )
        cpu = [it.cpu_us for it in many_runs], [it.cpu_us for it in few_runs]
        rows.append(Row(name, "CPU per event", "µs", *cpu, against=against))
    return rows


def unwanted(pairs: int) -> list[Row]:
    """Events that no route matches; the script sends all of them."""
    rows = []
    for kind, what in (
        (Kind.OTHER, "CPU per event, another label"),
        (Kind.NOISE, "CPU per event, another action"),
    ):
        relay_runs, script_runs = _measure_pairs(
            pairs,
            partial(_measure_flood, relay, kind=kind),
            partial(_measure_flood, script, kind=kind),
        )
        cpu = [it.cpu_us for it in relay_runs], [it.cpu_us for it in script_runs]
        rows.append(Row("unwanted", what, "µs", *cpu, goal=0.1))
    return rows


def burst(pairs: int) -> list[Row]:
    """Many events while the sink hangs, and their delivery once it recovers."""
    rows = []
    for count in BURSTS:
        name, has_goal = f"burst of {count}", count == max(BURSTS)
        relay_runs, script_runs = _measure_pairs(
            pairs, partial(_measure_burst, relay, count), partial(_measure_burst, script, count)
        )
        (flooded,) = _measure_pairs(pairs, partial(_measure_flood, relay, count=count))
        growth = [it.growth_mb for it in relay_runs]
        drain = [it.drain_s / count * 1e6 for it in relay_runs]
        flow = [it.wall_us for it in flooded]
        rows += [
            Row(name, "RSS growth", "MB", growth, goal=10 if has_goal else None),
            Row(
                name,
                "RSS growth, beside the script",
                "MB",
                growth,
                [it.growth_mb for it in script_runs],
            ),
            Row(name, "drain, time per event", "µs", drain, flow, "a flood", goal=1),
        ]
    return rows


def million(pairs: int) -> list[Row]:
    """A start with a million waiting deliveries, for a destination that hangs."""
    with TemporaryDirectory(prefix="relay-") as folder:
        fill(Path(folder) / "relay.db", MILLION)
        full = partial(relay, store={"max_size": "4GiB"})
        many_runs, empty_runs = _measure_pairs(
            pairs, partial(_measure_start, full, Path(folder)), partial(_measure_start, full, None)
        )
    peak = [it.peak_mb for it in many_runs], [it.rss_mb for it in empty_runs]
    return [
        Row("million pending", "peak RSS", "MB", *peak, against="idle", goal=1.3),
        Row("million pending", "start to ready", "s", [it.ready_s for it in many_runs], goal=2),
    ]


def idle(pairs: int) -> list[Row]:
    """No events."""
    relay_runs, script_runs = _measure_pairs(
        pairs, partial(_measure_idle, relay), partial(_measure_idle, script)
    )
    rss = [it.rss_mb for it in relay_runs], [it.rss_mb for it in script_runs]
    return [
        Row("idle", "RSS", "MB", rss[0], goal=60),
        Row("idle", "RSS, beside the script", "MB", *rss),
        Row("idle", "CPU", "% of a core", [it.cpu_percent for it in relay_runs], goal=0.1),
    ]


def start(pairs: int) -> list[Row]:
    """From the start of the process until it is ready, with ten routes."""
    (runs,) = _measure_pairs(pairs, partial(_measure_start, relay, None))
    return [Row("start", "start to ready", "s", [it.ready_s for it in runs], goal=0.5)]


SCENARIOS: dict[str, Scenario] = {
    each.__name__: each
    for each in (flood, batch, latency, routes, unwanted, burst, million, idle, start)
}


def _measure_pairs(pairs: int, *sides: Callable[[], T]) -> list[list[T]]:
    """Return the results of each side, pair by pair; the sides take turns in being first."""
    runs: list[list[T]] = [[] for _ in sides]
    for pair in range(pairs):
        for place in range(len(sides)):
            turn = (pair + place) % len(sides)
            runs[turn].append(sides[turn]())
    return runs


def _measure_flood(candidate: Candidate, kind: Kind = Kind.WANTED, count: int = FLOOD) -> Cost:
    with start_run(candidate) as it:
        it.warm_up()
        return it.flood(count, kind)


def _measure_pace(candidate: Candidate, per_s: int) -> Latency:
    with start_run(candidate) as it:
        it.warm_up()
        return it.pace(per_s, PACE_S)


def _measure_burst(candidate: Candidate, count: int) -> Burst:
    with start_run(candidate) as it:
        it.warm_up()
        return it.burst(count, wait_until_stored if candidate is relay else wait_until_read)


class _IdleFigures:
    """CPU and memory of a process without events."""

    def __init__(self, pid: int) -> None:
        time.sleep(START_SETTLE_S)
        before_s = process.cpu_s(pid)
        time.sleep(IDLE_S)
        self.cpu_percent = (process.cpu_s(pid) - before_s) / IDLE_S * 100
        self.rss_mb = process.rss_mb(pid)


def _measure_idle(candidate: Candidate) -> _IdleFigures:
    with start_run(candidate) as it:
        it.warm_up()
        return _IdleFigures(it.pid)


class _StartFigures:
    """Memory of a process that has just started."""

    def __init__(self, pid: int, ready_s: float) -> None:
        time.sleep(START_SETTLE_S)
        self.ready_s = ready_s
        self.peak_mb = process.peak_mb(pid)
        self.rss_mb = process.rss_mb(pid)


def _measure_start(candidate: Candidate, folder: Path | None) -> _StartFigures:
    with start_run(candidate, folder, mode=SinkMode.HANG) as it:
        return _StartFigures(it.pid, it.running.ready_s)
