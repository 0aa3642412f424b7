"""Measures the cost of a match alone: relay's own code, in a separate process."""

import json
import subprocess
import sys
from itertools import count as count_up
from time import perf_counter, process_time

from relay.config import Route
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event
from relay.routing.router import Router
from tools.bench.candidates import make_routes
from tools.bench.events import Kind, Order, add_time, events

DURATION_S = 1.0


def match_us(count: int) -> float:
    """Return the CPU time, in microseconds, to match an event against this many routes."""
    command = [sys.executable, "-m", "tools.bench.matching", str(count)]
    return float(json.loads(subprocess.check_output(command)))


def _measure(count: int) -> float:
    router = Router([Route.model_validate(route) for route in make_routes(count)])
    record = add_time(next(events(Kind.WANTED, Order.TURNS, count_up())).head(), 10**18)
    event = parse_event(record, engine="e", host="h", live_from_ns=0)
    assert not isinstance(event, InvalidRecord)
    assert len(router.route(event)) == 1
    times, started_s, cpu_s = 0, perf_counter(), process_time()
    while perf_counter() < started_s + DURATION_S:
        for _ in range(10):
            router.route(event)
        times += 10
    return (process_time() - cpu_s) / times * 1e6


if __name__ == "__main__":
    print(_measure(int(sys.argv[1])))
