"""Measures what a backlog costs: ``python -m tools.backlog [DELIVERIES]``.

An engine sends this many events to a relay whose only destination never answers. Then relay is
killed and started again, and the destination answers. Prints relay's peak memory in both runs, the
duration of the second start, and how many deliveries a second go out afterwards, measured for
`DRAIN_S` at most; before that, for comparison, the same for a relay without a backlog.
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
from tools.bench.helper import Helper
from tools.bench.process import peak_mb, reset_peak
from tools.bench.sink import SinkMode

DELIVERIES = 200_000
BATCH_SIZE = 10_000
DRAIN_S = 60.0
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


async def drain(store: Path) -> int | None:
    """Wait until the store is empty, for `DRAIN_S` at most; return the deliveries a second.

    None if there are too few to tell.
    """
    before, started_s = count_queued(store), time.monotonic()
    left, took_s = before, 0.0
    while left and took_s < DRAIN_S:
        await asyncio.sleep(1.0)
        left, took_s = count_queued(store), time.monotonic() - started_s
    return round((before - left) / took_s) if before > BATCH_SIZE else None


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
    with Helper("tools.bench.sink") as sink:
        sink.ask("set_mode", mode=SinkMode.HANG)
        config = write_config(
            folder,
            engines={"here": {"url": f"unix://{engine.socket}"}},
            store={"path": str(store)},
            reconcile={"every": "0s", "on_reconnect": False},
            destinations={"dead": {"type": "http", "url": sink.ask("url")}},
            routes=[{"name": "all", "to": "dead"}],
        )
        async with engine.serve():
            with RelayProcess(config) as relay:
                await flood(engine, await opened.get(), store, number)
                first_mb = round(peak_mb(relay.pid), 1)
                await asyncio.to_thread(relay.kill9)
            size_mb = round(store.stat().st_size / 2**20, 1)
            sink.ask("set_mode", mode=SinkMode.ACCEPT)
            started_s = time.monotonic()
            with RelayProcess(config) as relay:
                await asyncio.to_thread(relay.wait_for_log, "relay.started", 60)
                start_s = round(time.monotonic() - started_s, 2)
                await opened.get()
                second_mb = round(peak_mb(relay.pid), 1)
                reset_peak(relay.pid)
                per_s = await drain(store)
                drain_mb = round(peak_mb(relay.pid), 1)
    return {
        "queued": number,
        "peak_rss_mb": first_mb,
        "store_mb": size_mb,
        "start_s": start_s,
        "peak_rss_after_start_mb": second_mb,
        "drained_per_s": per_s,
        "peak_rss_while_draining_mb": drain_mb,
    }


def main() -> None:
    """Measure without a backlog and with one."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else DELIVERIES
    for number in (0, count):
        with tempfile.TemporaryDirectory(prefix="relay-", dir="/tmp") as folder:
            print(asyncio.run(measure(Path(folder), number)))


if __name__ == "__main__":
    main()
