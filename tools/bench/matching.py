"""Measures the cost of a match alone: relay's own code, in a separate process."""

import json
import subprocess
import sys
from time import perf_counter, process_time

from relay.config import Route
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event
from relay.routing.router import Router
from tools.bench.candidates import routes
from tools.bench.events import Kind, line

DURATION_S = 1.0


def match_us(count: int) -> float:
    """Return the CPU time, in microseconds, to match an event against this many routes."""
    command = [sys.executable, "-m", "tools.bench.matching", str(count)]
    return float(json.loads(subprocess.check_output(command)))


def _measure(count: int) -> float:
    router = Router([Route.model_validate(route) for route in routes(count)])
    event = parse_event(line(Kind.WANTED, 0, 0, 10**18), engine="e", host="h", live_from_ns=0)
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
