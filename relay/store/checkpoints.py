"""What is stored of each engine: its cursor, and its containers' states."""

import sqlite3

import msgspec

from relay.core.checkpoint import SEEN_BYTES, Checkpoint, Container
from relay.store.faults import Corrupt
from relay.store.records import IngestCommit
from relay.store.schema import SQL, run_for_rows

_container_from_json = msgspec.json.Decoder(Container).decode
_drops_from_json = msgspec.json.Decoder(tuple[tuple[str, int, int, int], ...]).decode


def load_checkpoint(engine: str, connection: sqlite3.Connection) -> Checkpoint | None:
    """Return where the engine's cursor stands; None for an engine without any commit."""
    row = connection.execute(SQL["checkpoint"], {"engine": engine}).fetchone()
    if row is None:
        return None
    position_ns, floor_ns, recent, began_ns, anchored, assumed_ns, identity, *rest = row
    unheard_from_ns, unheard_until_ns, drops = rest
    return Checkpoint(
        position_ns=position_ns,
        earliest_ns=floor_ns,
        recent=decode_recent(recent),
        first_start_ns=began_ns,
        is_continuous=bool(anchored),
        reported_until_ns=assumed_ns,
        identity=identity,
        blind_window=None if unheard_from_ns is None else (unheard_from_ns, unheard_until_ns),
        unreported_drops=decode_drops(drops),
    )


def load_containers(engine: str, connection: sqlite3.Connection) -> list[Container]:
    """Return the stored states of the engine's containers."""
    rows = connection.execute(SQL["containers"], {"engine": engine})
    return [decode_container(state) for (state,) in rows]


def save(batch: IngestCommit, connection: sqlite3.Connection) -> None:
    """Store the engine's cursor and container states of a batch."""
    if batch.checkpoint is not None:
        _save_checkpoint(batch.engine, batch.checkpoint, connection)
    encode, engine = msgspec.json.encode, batch.engine
    changed = [(engine, container.id, encode(container)) for container in batch.containers]
    removed = [(engine, id_) for id_ in batch.removed_containers]
    for name, rows in (("save_containers", changed), ("delete_containers", removed)):
        for _ in run_for_rows(name, rows, connection):
            pass


def _save_checkpoint(engine: str, checkpoint: Checkpoint, connection: sqlite3.Connection) -> None:
    from_ns, until_ns = checkpoint.blind_window or (None, None)
    row = (
        engine,
        checkpoint.position_ns,
        checkpoint.earliest_ns,
        checkpoint.recent,
        checkpoint.first_start_ns,
        checkpoint.is_continuous,
        checkpoint.reported_until_ns,
        checkpoint.identity,
        from_ns,
        until_ns,
        msgspec.json.encode(checkpoint.unreported_drops).decode(),
    )
    connection.execute(SQL["save_checkpoint"], row)


def decode_drops(drops: str) -> tuple[tuple[str, int, int, int], ...]:
    """Decode the drops that no event has declared yet; raises `Corrupt`."""
    try:
        return _drops_from_json(drops)
    except (msgspec.MsgspecError, TypeError) as error:
        raise Corrupt(f"a cursor: {error}") from error


def decode_recent(recent: bytes) -> bytes:
    """Check the remembered events for their length; raises `Corrupt`."""
    if isinstance(recent, bytes) and len(recent) % SEEN_BYTES == 0:
        return recent
    raise Corrupt("a cursor: its last remembered event is cut off")


def decode_container(state: bytes) -> Container:
    """Decode a container's state; raises `Corrupt`."""
    try:
        return _container_from_json(state)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as error:
        raise Corrupt(f"a container: {error}") from error
