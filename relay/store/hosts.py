"""What is stored of the hosts whose events an engine hands over.

That is which of their events were committed not long ago, and which hosts send heartbeats.
`relay.ingest.nats` decides both, and gets them back at the start of a session.
"""

import sqlite3

import msgspec

from relay.store.faults import Corrupt
from relay.store.records import SEEN_KEY_BYTES, HostRow, IngestCommit, SeenChunk
from relay.store.schema import SQL, execute_for_rows


def load_seen(engine: str, connection: sqlite3.Connection) -> list[SeenChunk]:
    """See `Outbox.seen`; raises `Corrupt`."""
    return [
        SeenChunk(number, seen_ns, decode_keys(keys))
        for number, seen_ns, keys in connection.execute(SQL["seen"], {"engine": engine})
    ]


def load_hosts(engine: str, connection: sqlite3.Connection) -> list[HostRow]:
    """See `Outbox.hosts`."""
    return [HostRow(*row) for row in connection.execute(SQL["hosts"], {"engine": engine})]


def save(batch: IngestCommit, connection: sqlite3.Connection) -> None:
    """Store which events of other hosts are in a batch, and what changed of the hosts."""
    engine = batch.engine
    if batch.seen:
        seen = [(engine, chunk.number, chunk.seen_ns, chunk.keys) for chunk in batch.seen]
        execute_for_rows("save_seen", seen, connection)
        connection.execute(SQL["delete_seen"], (engine, batch.oldest_seen))
    if batch.hosts:
        hosts = [(engine, row.host, row.heard_ns, row.lost_ns) for row in batch.hosts]
        execute_for_rows("save_hosts", hosts, connection)
    if batch.forgotten_hosts:
        names = msgspec.json.encode(batch.forgotten_hosts).decode()
        connection.execute(SQL["delete_hosts"], (engine, names))


def decode_keys(keys: object) -> bytes:
    """Check the keys of seen events for their length; raises `Corrupt`."""
    if isinstance(keys, bytes) and len(keys) % SEEN_KEY_BYTES == 0:
        return keys
    raise Corrupt("events of other hosts: the last one is cut off")
