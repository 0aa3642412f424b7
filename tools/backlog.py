"""Measures what a backlog costs: ``python -m tools.backlog [DELIVERIES]``.

An engine sends this many events to a relay whose only destination never answers. Then relay is
killed and started again. Prints relay's peak memory in both runs and the duration of the second
start; before that, for comparison, the same for a relay without a backlog.
"""

import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.component.scripted_engine import ScriptedEngine, Stream
from tests.support.daemon import RelayProcess, write_config
from tests.support.receiver import Misbehaviour, Receiver
from tools.bench.process import peak_mb

DELIVERIES = 200_000
BATCH_SIZE = 10_000
LABELS = {f"com.example.label-{number}": "x" * 40 for number in range(10)}


def count_queued(store: Path) -> int:
    """Return how many deliveries the store holds."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM deliveries").fetchone()
    return int(count)


async def flood(engine: ScriptedEngine, stream: Stream, store: Path, number: int) -> None:
    """Send this many deaths, each batch after the previous one is stored.

    If it sent faster, relay's buffer would fill up, and relay drops events rather than wait.
    """
    start_ns = engine.now_ns()
    for first in range(0, number, BATCH_SIZE):
        numbers = range(first, min(first + BATCH_SIZE, number))
        stream.write(b"".join(death(start_ns + each, each) for each in numbers))
        await stream.writer.drain()
        while count_queued(store) < numbers.stop:
            await asyncio.sleep(0.02)


def death(time_ns: int, number: int) -> bytes:
    """Return an event as an engine sends it, of about 900 bytes."""
    attributes = {**LABELS, "name": f"web-{number}", "image": "shop/web:1", "exitCode": "3"}
    event = {
        "Type": "container",
        "Action": "die",
        "Actor": {"ID": f"{number:064x}", "Attributes": attributes},
        "scope": "local",
        "time": time_ns // 10**9,
        "timeNano": time_ns,
    }
    return json.dumps(event).encode() + b"\n"


async def measure(folder: Path, number: int) -> dict[str, object]:
    """Measure the cost of a backlog of ``number`` deliveries."""
    engine = ScriptedEngine(folder / "engine.sock")
    opened: asyncio.Queue[Stream] = asyncio.Queue()
    engine.on_stream = opened.put_nowait
    store = folder / "relay.db"
    with Receiver() as receiver:
        receiver.answer(Misbehaviour.HANG)
        config = write_config(
            folder,
            engines={"here": {"url": f"unix://{engine.socket}"}},
            store={"path": str(store)},
            reconcile={"every": "0s", "on_reconnect": False},
            destinations={"dead": {"type": "http", "url": receiver.url()}},
            routes=[{"name": "all", "to": "dead"}],
        )
        async with engine.serve():
            with RelayProcess(config) as relay:
                await flood(engine, await opened.get(), store, number)
                first_mb = round(peak_mb(relay.pid), 1)
                await asyncio.to_thread(relay.kill9)
            started_s = time.monotonic()
            with RelayProcess(config) as relay:
                await asyncio.to_thread(relay.wait_for_log, "relay.started", 60)
                start_s = round(time.monotonic() - started_s, 2)
                await opened.get()
                second_mb = round(peak_mb(relay.pid), 1)
    size_mb = round(store.stat().st_size / 2**20, 1)
    return {
        "queued": number,
        "peak_rss_mb": first_mb,
        "store_mb": size_mb,
        "start_s": start_s,
        "peak_rss_after_start_mb": second_mb,
    }


def main() -> None:
    """Measure without a backlog and with one."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else DELIVERIES
    for number in (0, count):
        with tempfile.TemporaryDirectory(prefix="relay-", dir="/tmp") as folder:
            print(asyncio.run(measure(Path(folder), number)))


if __name__ == "__main__":
    main()
