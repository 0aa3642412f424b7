"""Creates a store with many deliveries, with the store's own code."""

from itertools import count as count_up
from pathlib import Path
from time import time_ns

from relay.core.notification import build_notification
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event
from relay.store import enqueue
from relay.store.database import DatabaseFile
from tools.bench.events import Kind, Order, add_time, events

BATCH_SIZE = 50_000


def fill(path: Path, count: int) -> None:
    """Create a store in which this many deliveries wait. Nothing is synced to disk."""
    sample = events(Kind.WANTED, Order.TURNS, count_up())
    database, now_ns = DatabaseFile(path, lambda _: None), time_ns()
    connection, options = database.open(), enqueue.EnqueueOptions(now_ns)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        for first in range(0, count, BATCH_SIZE):
            connection.execute("BEGIN")
            prepared = []
            for number in range(first, min(first + BATCH_SIZE, count)):
                record = add_time(next(sample).head(), now_ns + number)
                event = parse_event(record, engine="here", host="node-1", live_from_ns=0)
                assert not isinstance(event, InvalidRecord)
                prepared.append(
                    enqueue.prepare(build_notification("route-0", event), ["sink-0"], options)
                )
            enqueue.add(prepared, connection)
            connection.execute("COMMIT")
    finally:
        database.close(connection)
