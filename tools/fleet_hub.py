"""What an event costs a hub: ``python -m tools.fleet_hub [EVENTS] [--batch N]``.

A stream is filled with events of many hosts, and then a hub's session takes them in, without a
receiver: pull, read, route, commit, acknowledge. It does so four times: every event is sent to a
destination, no route wants any, each event is part of an incident, and all of them were published
twice.

Prints a line for each, with the CPU time of the session and its thread for the store, and how often
this machine could have decoded and encoded the same events in that time. The exit code is 1 if an
event was lost, or taken in twice.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from relay.config import Config
from relay.core.event import Actor, Event
from relay.destinations.catalog import parse_config
from relay.incidents.incidents import EngineClocks, Incidents
from relay.incidents.policy import build_policies
from relay.incidents.state import Rows
from relay.nats.connection import NatsConnection
from relay.nats.message import decode_event, encode_event
from relay.routing.router import Router
from relay.store.outbox import open_outbox
from tests.component.nats_hub import (
    SECOND_NS,
    connected,
    make_consumer,
    make_death,
    make_stream,
    publish,
    running_hub,
)
from tests.support.fleet import quiet_logs
from tests.support.nats_server import running_server

EVENTS = 20_000
BATCH = 256
HOSTS = 50
CONTAINERS = 200
PUBLISHED_AT_ONCE = 256
LABELS = {f"com.example.label{number}": "some value " * 3 for number in range(8)}
"""With these a message has about 1,500 bytes."""
CALIBRATION_EVENTS = 5_000


class Case(NamedTuple):
    """What the hub does with the events."""

    match: str
    notify: str = "events"
    published: int = 1


CASES = {
    "sent to a destination": Case("{type: container}"),
    "no route": Case("{type: relay}"),
    "part of an incident": Case("{type: container}", notify="incidents"),
    "published twice": Case("{type: container}", published=2),
}


def make_event(number: int) -> Event:
    """The ``number``-th event of the fleet, as long as those of an engine are."""
    name = f"c{number % CONTAINERS}"
    attributes = {"image": "registry.example.com/app:1.2.3", "name": name, **LABELS}
    actor = Actor(f"{number % CONTAINERS:064x}", name, attributes["image"], attributes)
    id_ = f"evt_{number:032x}"
    return make_death(time.time_ns(), name, actor=actor, id=id_)


def host_of(number: int) -> str:
    """The host at which the ``number``-th event happens."""
    return f"web-{number % HOSTS}"


def calibrate() -> float:
    """Return how many microseconds it takes here to decode and encode one of the events."""
    bodies = [encode_event(host_of(n), make_event(n)) for n in range(CALIBRATION_EVENTS)]
    started_s = time.process_time()
    for number, body in enumerate(bodies):
        msgspec.json.encode(decode_event(body, host=host_of(number), via="fleet").event)
    return (time.process_time() - started_s) / CALIBRATION_EVENTS * 1e6


def make_config(case: Case) -> Config:
    """The configuration of a hub for a case."""
    text = f"""
    destinations: {{ops: {{type: http, url: "https://example.com/", notify: {case.notify}}}}}
    routes: [{{name: all, match: {case.match}, to: ops}}]
    """
    return parse_config(text, file="fleet_hub", environ={}, folder=Path("/"))


async def fill(admin: NatsConnection, count: int, times: int) -> None:
    """Publish the events this often."""

    async def publish_one(number: int) -> None:
        await publish(admin, host_of(number), make_event(number), with_id=False)

    for _ in range(times):
        for begin in range(0, count, PUBLISHED_AT_ONCE):
            numbers = range(begin, min(count, begin + PUBLISHED_AT_ONCE))
            await asyncio.gather(*map(publish_one, numbers))


async def measure(folder: Path, name: str, count: int, batch: int = BATCH) -> dict[str, Any]:
    """Take the events of one case in; return all figures."""
    case, calibration_us = CASES[name], calibrate()
    config, now_ns = make_config(case), time.time_ns
    incidents = Incidents(
        Rows(), build_policies(config), Router(config.routes), EngineClocks(now_ns, now_ns)
    )
    with running_server(folder / "nats", jetstream="sync_interval: 2m") as server:
        async with connected(server) as admin, open_outbox(folder / "hub.db") as outbox:
            await make_stream(admin)
            timeouts = {"ack_wait": 5 * SECOND_NS, "priority_timeout": 10 * SECOND_NS}
            await make_consumer(admin, **timeouts)
            await fill(admin, count, case.published)
            expected = count * case.published
            started_s, started_cpu_s = time.monotonic(), time.process_time()
            async with running_hub(server, outbox, config.routes, incidents, batch=batch) as hub:
                while hub.session.counters.received < expected:
                    await asyncio.sleep(0.005)
                await hub.wait_until_acked(admin)
                counters = hub.session.counters
            took_s = time.monotonic() - started_s
            cpu_us = (time.process_time() - started_cpu_s) / expected * 1e6
            waiting = sum((await outbox.pending()).values())
    return {
        "case": name,
        "messages": expected,
        "taken in": counters.accepted,
        "known": counters.duplicates,
        "waiting": waiting,
        "messages_s": round(expected / took_s),
        "cpu_us": round(cpu_us, 1),
        "calibration_us": round(calibration_us, 1),
        "times the calibration": round(cpu_us / calibration_us, 1),
    }


def is_clean(verdict: Mapping[str, Any], count: int) -> bool:
    """Return whether every event was taken in once."""
    case = CASES[str(verdict["case"])]
    waits = count if case.notify == "events" and "container" in case.match else 0
    return (verdict["taken in"], verdict["waiting"]) == (count, waits)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print a line for each case, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=EVENTS)
    parser.add_argument("--batch", type=int, default=BATCH)
    given = parser.parse_args(arguments)
    quiet_logs()
    clean = True
    for name in CASES:
        with tempfile.TemporaryDirectory(prefix="relay-") as folder:
            verdict = asyncio.run(measure(Path(folder), name, given.events, given.batch))
        print(json.dumps(verdict), flush=True)
        clean = clean and is_clean(verdict, given.events)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
