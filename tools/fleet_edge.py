"""What an event costs at a host: ``python -m tools.fleet_edge [EVENTS] [--rounds N]``.

The delivery worker of relay sends what a real store on the disk holds, first to a webhook, an event
a request, and then to a stream of a real NATS server, which syncs each message. Both are in other
processes. What reads the engine and commits the events is the same in both cases, so the webhook is
what to compare with.

Prints a line of JSON for each round and destination: events a second, and microseconds of CPU time
of this process for each event.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from relay.config import DestinationConfig
from relay.core.event import Actor, Cause, Event, make_event_id
from relay.core.notification import Notification, build_notification
from relay.core.zone import UTC_ZONE
from relay.delivery.client import ConsoleOutput, open_client
from relay.delivery.queue import MemoryBudget
from relay.delivery.rate_limit import RateLimiters
from relay.delivery.worker import DeliveryWorker
from relay.destinations.http import HttpDestination
from relay.destinations.nats import NatsDestination
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import IngestCommit
from tests.component.nats_stream import make_stream
from tests.component.observer import RecordingObserver
from tests.support.fleet import quiet_logs
from tests.support.nats_server import running_server
from tools.bench.helper import Helper

EVENTS = 5_000
ROUNDS = 3
CONTAINERS = 500
BATCH = 50
"""How many events are committed at once."""
POLL_S = 0.02
NAME = "hub"
LABELS = {f"com.example.label-{number}": "x" * 60 for number in range(10)}


def death(number: int) -> Notification:
    """Return the notification of a container's death, of about 1.4 KB as a message."""
    container = number % CONTAINERS
    id_, name = f"{container:064x}", f"web-{container}"
    attributes = {**LABELS, "image": "shop/web:1", "exitCode": "3", "number": str(number)}
    event = Event(
        id=make_event_id("local", number, "container", "die", id_, attributes),
        engine="local",
        host="web-17",
        type="container",
        action="die",
        detail=None,
        scope="local",
        time_ns=time.time_ns(),
        actor=Actor(id_, name, "shop/web:1", attributes),
        cause=Cause.CRASHED,
        exit_code=3,
    )
    return build_notification("all", event)


async def measure(to: DestinationConfig, events: int, folder: Path) -> Mapping[str, object]:
    """Send so many events to a destination, from an empty store in this folder."""
    console = ConsoleOutput(BytesIO(), colour=False)
    opening = open_client(NAME, to, (), console, zone=UTC_ZONE)
    async with open_outbox(folder / "relay.db") as outbox, opening as client:
        worker = DeliveryWorker(
            client,
            outbox,
            RateLimiters().assign({NAME: to})[NAME],
            MemoryBudget(),
            RecordingObserver(),
            time.monotonic_ns,
            random.random,
        )
        running = asyncio.create_task(worker.run())
        await _send(outbox, [death(0)])  # the connection is open after this
        notifications = [death(number) for number in range(1, events + 1)]
        start_s, cpu_s = time.perf_counter(), time.process_time()
        await _send(outbox, notifications)
        took_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
        worker.stop()
        await running
    failed = sum(count for (kind, _), count in client.counters.attempts.items() if kind == "retry")
    return {
        "to": to.type,
        "events": events,
        "a_second": round(events / took_s),
        "cpu_us": round(cpu_s / events * 1e6),
        "failed_attempts": failed,
    }


async def _send(outbox: Outbox, notifications: list[Notification]) -> None:
    """Commit notifications, and wait until all are delivered."""
    for at in range(0, len(notifications), BATCH):
        batch = [(each, [NAME]) for each in notifications[at : at + BATCH]]
        await outbox.commit(IngestCommit("local", None, batch), time.monotonic_ns())
    while sum((await outbox.pending()).values()):
        await asyncio.sleep(POLL_S)


async def measure_both(events: int, folder: Path) -> list[Mapping[str, object]]:
    """Send to a webhook, and then to a stream."""
    for name in ("http", "nats"):
        (folder / name).mkdir(parents=True)
    with Helper("tools.bench.sink") as sink:
        url = f"{sink.ask('url')}/hook"
        webhook = HttpDestination.model_validate({"url": url, "concurrency": 64})
        found = [await measure(webhook, events, folder / "http")]
    with running_server(folder / "server") as server:
        await make_stream(server, max_bytes=2**30)
        keys = {"url": server.url, "stream": "RELAY", "as": "web-17"}
        found.append(await measure(NatsDestination.model_validate(keys), events, folder / "nats"))
    return found


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tools.fleet_edge", description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is measured")
    arguments = parser.parse_args()
    quiet_logs()
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for found in asyncio.run(measure_both(arguments.events, Path(folder))):
                print(json.dumps({"round": number + 1, **found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
