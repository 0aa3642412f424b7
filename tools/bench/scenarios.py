"""The scenarios: each measures pairs, relay and what it is compared with in turn."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.bench import process
from tools.bench.candidates import make_routes, relay, script
from tools.bench.events import LIFE_ACTIONS, Kind, Order
from tools.bench.matching import match_us
from tools.bench.pairs import (
    measure_flood,
    measure_hang,
    measure_idle,
    measure_pace,
    measure_pairs,
    measure_start,
    measure_subscription,
    measure_weight,
)
from tools.bench.store_filler import fill
from tools.bench.table import Row

FLOOD = 20_000
BACKLOGS = (20_000, 60_000)
PACE_S = 6.0
ROUTES = (1, 100, 1_000, 10_000)
FEW_ROUTES = 10
MOST_ROUTES = 1_000
"""More than about 1,400 do not fit into a configuration (20,000 keys and values)."""
FEW_EVENTS = 1_000
"""Fewer events for runs with many routes, where each event may cost much."""
MILLION = 1_000_000
RECORDS = 30
RECORD_BYTES = 3_000_000
SLOW_DESTINATIONS = 5

Scenario = Callable[[int], list[Row]]


def flood(order: Order, name: str, pairs: int, *, has_goal: bool = False) -> list[Row]:
    """Twenty thousand events as fast as they are read."""
    relay_runs, script_runs = measure_pairs(
        pairs, *(partial(measure_flood, each, FLOOD, order=order) for each in (relay, script))
    )
    rate = [it.per_s for it in relay_runs], [it.per_s for it in script_runs]
    cpu = [it.cpu_us for it in relay_runs], [it.cpu_us for it in script_runs]
    peak = [it.peak_mb for it in relay_runs], [it.peak_mb for it in script_runs]
    return [
        Row(name, "rate", "events/s", *rate, goal=3 if has_goal else None, is_rate=True),
        Row(name, "CPU per event", "µs", *cpu, goal=0.45 if has_goal else None),
        Row(name, "peak RSS", "MB", *peak),
        Row(
            name,
            "busier of engine and sink",
            "% of a core",
            [it.helper_percent for it in relay_runs],
        ),
    ]


def batch(pairs: int) -> list[Row]:
    """The flood, many notifications in one request; the script sends them one by one."""
    batches = partial(relay, to={"batch": {}})
    relay_runs, script_runs = measure_pairs(
        pairs, *(partial(measure_flood, each, FLOOD) for each in (batches, script))
    )
    rate = [it.per_s for it in relay_runs], [it.per_s for it in script_runs]
    cpu = [it.cpu_us for it in relay_runs], [it.cpu_us for it in script_runs]
    return [
        Row("batch", "rate", "events/s", *rate, goal=6, is_rate=True),
        Row("batch", "CPU per event", "µs", *cpu, goal=0.2),
        Row(
            "batch",
            "busier of engine and sink",
            "% of a core",
            [it.helper_percent for it in relay_runs],
        ),
    ]


def rate(
    per_s: int,
    order: Order,
    name: str,
    pairs: int,
    *,
    p50: float | None = None,
    p99: float | None = None,
    cpu: float | None = None,
) -> list[Row]:
    """The time from sending an event to its arrival, at a fixed rate.

    ``p50``, ``p99`` and ``cpu`` are goals.
    """
    relay_runs, script_runs = measure_pairs(
        pairs, *(partial(measure_pace, each, per_s, PACE_S, order) for each in (relay, script))
    )
    median = [it.p50_ms for it in relay_runs], [it.p50_ms for it in script_runs]
    most = [it.p99_ms for it in relay_runs], [it.p99_ms for it in script_runs]
    used = [it.cpu_us for it in relay_runs], [it.cpu_us for it in script_runs]
    return [
        Row(name, "latency, median", "ms", *median, goal=p50),
        Row(name, "latency, p99", "ms", *most, goal=p99),
        Row(name, "CPU per event", "µs", *used, goal=cpu),
        Row(name, "a synced write on this disk", "ms", [process.sync_ms() for _ in relay_runs]),
    ]


def routes(pairs: int) -> list[Row]:
    """The cost of more routes: of the match alone, and of all of relay."""
    rows = []
    for count in ROUTES:
        goal = 1.2 if count == max(ROUTES) else None
        name, against = f"{count} routes" if count > 1 else "1 route", f"{FEW_ROUTES} routes"
        many_us, few_us = measure_pairs(
            pairs, partial(match_us, count), partial(match_us, FEW_ROUTES)
        )
        rows.append(Row(name, "match", "µs", many_us, few_us, against, goal))
        if count > MOST_ROUTES:
            continue
        many, few = (partial(relay, routes=make_routes(each)) for each in (count, FEW_ROUTES))
        many_runs, few_runs = measure_pairs(
            pairs, partial(measure_flood, many, FEW_EVENTS), partial(measure_flood, few, FEW_EVENTS)
        )
        cpu = [it.cpu_us for it in many_runs], [it.cpu_us for it in few_runs]
        rows.append(Row(name, "CPU per event", "µs", *cpu, against=against))
    return rows


def unwanted(pairs: int) -> list[Row]:
    """Events that no route matches; the script sends them all."""
    selective = partial(relay, routes=make_routes(FEW_ROUTES, LIFE_ACTIONS))
    rows = []
    for kind, what in (
        (Kind.OTHER, "CPU per event, another label"),
        (Kind.NOISE, "CPU per event, another action"),
    ):
        relay_runs, script_runs = measure_pairs(
            pairs, *(partial(measure_flood, each, FLOOD, kind) for each in (selective, script))
        )
        cpu = [it.cpu_us for it in relay_runs], [it.cpu_us for it in script_runs]
        rows.append(Row("unwanted", what, "µs", *cpu, goal=0.1))
    return rows


def hang(pairs: int) -> list[Row]:
    """Many events while the sink hangs, and its recovery."""
    rows = []
    for count in BACKLOGS:
        name = f"backlog of {count}"
        relay_runs, script_runs = measure_pairs(
            pairs, *(partial(measure_hang, each, count) for each in (relay, script))
        )
        (flood_runs,) = measure_pairs(pairs, partial(measure_flood, relay, count))
        peak = [it.peak_mb for it in relay_runs], [it.peak_mb for it in flood_runs]
        growth = [it.growth_mb for it in relay_runs], [it.growth_mb for it in script_runs]
        drain = [it.drain_s / count * 1e6 for it in relay_runs], [it.wall_us for it in flood_runs]
        rows += [
            Row(name, "peak RSS", "MB", *peak, "a flood", goal=1.1),
            Row(name, "RSS growth", "MB", *growth),
            Row(name, "drain, time per event", "µs", *drain, "a flood", goal=1),
        ]
    return rows


def million(pairs: int) -> list[Row]:
    """A start with a million waiting deliveries, for a destination that hangs."""
    with TemporaryDirectory(prefix="relay-") as folder:
        fill(Path(folder) / "relay.db", MILLION)
        full = partial(relay, store={"max_size": "4GiB"})
        many_runs, empty_runs = measure_pairs(
            pairs, *(partial(measure_start, full, each) for each in (Path(folder), None))
        )
    peak = [it.peak_mb for it in many_runs], [it.rss_mb for it in empty_runs]
    return [
        Row("million pending", "peak RSS", "MB", *peak, against="idle", goal=1.3),
        Row("million pending", "start to ready", "s", [it.ready_s for it in many_runs], goal=2),
    ]


def idle(pairs: int) -> list[Row]:
    """No events."""
    relay_runs, script_runs = measure_pairs(
        pairs, *(partial(measure_idle, each) for each in (relay, script))
    )
    rss = [it.rss_mb for it in relay_runs], [it.rss_mb for it in script_runs]
    cpu = [it.cpu_percent for it in relay_runs], [it.cpu_percent for it in script_runs]
    return [
        Row("idle", "RSS", "MB", *rss, goal=1.4),
        Row("idle", "CPU", "% of a core", cpu[0], goal=0.1),
        Row("idle", "CPU, the script's", "% of a core", cpu[1]),
    ]


def start(pairs: int) -> list[Row]:
    """From the start of the process until it has subscribed to the events."""
    relay_runs, script_runs = measure_pairs(
        pairs, *(partial(measure_subscription, each) for each in (relay, script))
    )
    return [Row("start", "start to subscription", "ms", relay_runs, script_runs, goal=1.8)]


def weight(pairs: int) -> list[Row]:
    """Records of 3 MB that wait for slow destinations; the script cannot read such records."""
    several = partial(relay, destinations=SLOW_DESTINATIONS)
    heavy, light = measure_pairs(
        pairs,
        partial(measure_weight, several, RECORDS, RECORD_BYTES, SLOW_DESTINATIONS),
        partial(measure_weight, several, RECORDS, 0, SLOW_DESTINATIONS),
    )
    return [
        Row("weight", "peak RSS", "MB", heavy, goal=200),
        Row("weight", "peak RSS, beside ordinary records", "MB", heavy, light, "ordinary"),
    ]


SCENARIOS: dict[str, Scenario] = {
    "flood": partial(flood, Order.TURNS, "flood", has_goal=True),
    "rate100": partial(rate, 100, Order.TURNS, "rate100", p50=1.8, p99=2, cpu=1.2),
    "rate1000": partial(rate, 1_000, Order.TURNS, "rate1000", p50=2, p99=2, cpu=0.9),
    "burst-flood": partial(flood, Order.BURST, "burst-flood"),
    "burst100": partial(rate, 100, Order.BURST, "burst100"),
    "burst1000": partial(rate, 1_000, Order.BURST, "burst1000", p50=4),
    **{
        each.__name__: each
        for each in (batch, routes, unwanted, hang, million, idle, start, weight)
    },
}
