"""A store with many deliveries in it, filled with the store's own code."""

from pathlib import Path
from time import time_ns

from relay.core.notification import build_notification
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event
from relay.store import enqueue
from relay.store.database import DatabaseFile
from tools.bench.events import Kind, line

AT_ONCE = 50_000


def fill(path: Path, count: int) -> None:
    """Make a store in which so many deliveries wait. Nothing is synced: if it fails, begin anew."""
    place, now_ns = DatabaseFile(path, lambda _: None), time_ns()
    connection, how = place.open(), enqueue.EnqueueOptions(now_ns)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        for first in range(0, count, AT_ONCE):
            connection.execute("BEGIN")
            written = []
            for number in range(first, min(first + AT_ONCE, count)):
                record = line(Kind.WANTED, number, 0, now_ns + number)
                event = parse_event(record, engine="here", host="node-1", live_from_ns=0)
                assert not isinstance(event, InvalidRecord)
                written.append(enqueue.prepare(build_notification("route-0", event), ["sink"], how))
            enqueue.add(written, connection)
            connection.execute("COMMIT")
    finally:
        place.close(connection)
