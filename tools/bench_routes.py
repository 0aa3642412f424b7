"""Measures what a match costs, by the number of routes: ``python -m tools.bench_routes [SHAPE…]``.

Routes events in this process, without an engine or a store; prints microseconds of CPU per event.
"""

import gc
import statistics
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time

from relay.config import Route
from relay.config.match_parser import parse_match
from relay.core.event import Actor, Cause, Event
from relay.routing.router import Router

COUNTS = (1, 10, 100, 1_000, 10_000)
ROUNDS = 9
ROUND_S = 0.02

PROJECT = "com.docker.compose.project"
SHAPES: dict[str, Callable[[int], dict[str, object]]] = {
    "by project label": lambda number: {
        "type": "container",
        "action": "die",
        "label": {PROJECT: f"shop-{number}"},
    },
    "by name glob": lambda number: {
        "type": "container",
        "action": "die",
        "name": f"shop-{number}-*",
    },
    "by name glob without a beginning": lambda number: {
        "type": "container",
        "action": "die",
        "name": f"*-{number}-web-*",
    },
    "by action only": lambda number: {
        "type": "container",
        "action": "die" if number == 0 else ["oom", "kill"],
    },
    "by label, any type and action": lambda number: {"label": {PROJECT: f"shop-{number}"}},
    "by action, cause and label": lambda number: {
        "type": "container",
        "action": ["die", "oom"],
        "cause": ["crashed", "oom"],
        "label": {PROJECT: f"shop-{number // 2}", "tier": ["web", "api-*"]},
    },
    "by regex": lambda number: {
        "type": "container",
        "action": "die",
        "name": {"regex": f"shop-{number}-(web|db)-[0-9]+"},
    },
}
"""Return the match of a route, by its number. It matches the event of the same number."""


def event(number: int, action: str = "die") -> Event:
    """Return the event of a container of a Compose project, with ten labels."""
    labels = {
        PROJECT: f"shop-{number}",
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "1",
        "com.docker.compose.config-hash": "b1f2" * 16,
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.version": "2.29.7",
        "com.docker.compose.project.working_dir": f"/srv/shop-{number}",
        "org.opencontainers.image.version": "1.2.3",
        "tier": "web",
        "stage": "live",
    }
    name = f"shop-{number}-web-1"
    actor = Actor("c0ffee" * 10, name, "bb:1", {**labels, "name": name, "image": "bb:1"})
    cause, code = (Cause.CRASHED, 3) if action == "die" else (None, None)
    return Event(
        id=f"evt_{number}",
        engine="here",
        host="node-1",
        type="container",
        action=action,
        detail=None,
        scope="local",
        time_ns=number,
        actor=actor,
        cause=cause,
        exit_code=code,
    )


def routes(shape: str, count: int) -> list[Route]:
    """Return routes of this shape, each for another project; they share ten destinations."""
    return [
        Route(name=f"r{it}", match=parse_match(SHAPES[shape](it)), to=(f"to-{it % 10}",))
        for it in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of routing with this number of routes."""

    shape: str
    routes: int
    wanted_us: float
    """Median CPU time per event that one route matches; for some shapes two."""
    unwanted_us: float
    """The same for events that no route matches: of another project, or with another action."""
    built_ms: float
    router_bytes: int
    """Memory of the router, without the configuration, per route."""


def measure(shape: str, count: int) -> Cost:
    """Build a router, and route events through it."""
    config_routes = routes(shape, count)
    gc.collect()
    started_s = process_time()
    router = Router(config_routes)
    built_ms = (process_time() - started_s) * 1e3
    step = max(1, count // 50)
    last = 1 if shape == "by action only" else count
    wanted = [event(it) for it in range(0, last, step)]
    action = "start" if shape == "by action only" else "die"
    unwanted = [event(it + 1_000_000, action) for it in range(50)]
    costs = [_measure_us(router, events) for events in (wanted, unwanted)]
    del router
    gc.collect()
    tracemalloc.start()
    router = Router(config_routes)
    gc.collect()
    router_bytes = tracemalloc.get_traced_memory()[0] // count
    tracemalloc.stop()
    del router
    return Cost(shape, count, costs[0], costs[1], built_ms, router_bytes)


def _measure_us(router: Router, events: Sequence[Event]) -> float:
    matches: Counter[str] = Counter()
    found = []
    for _ in range(ROUNDS):
        routed, started_s = 0, process_time()
        while (spent_s := process_time() - started_s) < ROUND_S:
            for each in events:
                router.route(each, matches)
            routed += len(events)
        found.append(spent_s / routed * 1e6)
    return statistics.median(found)


def main(shapes: Sequence[str]) -> None:
    """Print a line for each shape and number of routes, and the ratio of 10,000 to 10 routes."""
    for shape in [it for it in SHAPES if not shapes or it in shapes]:
        costs = {count: measure(shape, count) for count in COUNTS}
        for it in costs.values():
            print(
                f"{shape:34} {it.routes:6} routes: wanted {it.wanted_us:8.2f} us, "
                f"unwanted {it.unwanted_us:8.2f} us, built in {it.built_ms:7.1f} ms, "
                f"{it.router_bytes} bytes a route"
            )
        many, few = costs[10_000], costs[10]
        print(
            f"{shape:34} 10,000 : 10     wanted {many.wanted_us / few.wanted_us:8.2f}, "
            f"unwanted {many.unwanted_us / few.unwanted_us:8.2f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
