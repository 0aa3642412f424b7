"""What a backlog costs: ``python -m tools.backlog [DELIVERIES]``.

An engine sends as many events as asked for to a relay whose only destination never answers. Then
relay is ended and started again. Printed are relay's peak memory both times and how long the
second start takes; beside them, for comparison, the same of a relay without a backlog.
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

DELIVERIES = 200_000
PORTION = 10_000
LABELS = {f"com.example.label-{number}": "x" * 40 for number in range(10)}


def peak_mb(pid: int) -> float:
    """The most memory that the process has had, in megabytes (``VmHWM``, proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024, 1)


def queued(store: Path) -> int:
    """How many deliveries the store holds."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM deliveries").fetchone()
    return int(count)


async def flood(engine: ScriptedEngine, stream: Stream, store: Path, number: int) -> None:
    """Send so many deaths, each portion once the one before it is kept.

    Faster, and `ingest.buffer` would be full at some time: then relay drops, and does not wait.
    """
    begun_ns = engine.now_ns()
    for first in range(0, number, PORTION):
        numbers = range(first, min(first + PORTION, number))
        stream.write(b"".join(death(begun_ns + each, each) for each in numbers))
        await stream.writer.drain()
        while queued(store) < numbers.stop:
            await asyncio.sleep(0.02)


def death(time_ns: int, number: int) -> bytes:
    """A line as an engine sends it, of some 900 bytes."""
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
    """What a backlog of ``number`` costs."""
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
                first_mb = peak_mb(relay.pid)
                await asyncio.to_thread(relay.kill9)
            begun_s = time.monotonic()
            with RelayProcess(config) as relay:
                await asyncio.to_thread(relay.wait_for_log, "relay.started", 60)
                start_s = round(time.monotonic() - begun_s, 2)
                await opened.get()
                second_mb = peak_mb(relay.pid)
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
    most = int(sys.argv[1]) if len(sys.argv) > 1 else DELIVERIES
    for number in (0, most):
        with tempfile.TemporaryDirectory(prefix="relay-", dir="/tmp") as folder:
            print(asyncio.run(measure(Path(folder), number)))


if __name__ == "__main__":
    main()
