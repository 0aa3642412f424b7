"""What is stored of each engine: its cursor, and its containers' states."""

import sqlite3
from collections.abc import Iterator
from operator import attrgetter

import msgspec

from relay.core.checkpoint import SEEN_BYTES, Checkpoint
from relay.core.container import CHANGING_FIELDS, Container
from relay.store.faults import Corrupt
from relay.store.records import IngestCommit
from relay.store.schema import SQL, execute_for_rows

_container_from_json = msgspec.json.Decoder(Container).decode
_changing = attrgetter(*CHANGING_FIELDS)
_UNCHANGED = dict.fromkeys(CHANGING_FIELDS)
_drops_from_json = msgspec.json.Decoder(tuple[tuple[str, int, int, int], ...]).decode


def load_checkpoint(engine: str, connection: sqlite3.Connection) -> Checkpoint | None:
    """Return where the engine's cursor stands; None for an engine without any commit."""
    row = connection.execute(SQL["checkpoint"], {"engine": engine}).fetchone()
    if row is None:
        return None
    position_ns, floor_ns, recent, began_ns, anchored, assumed_ns, identity, *rest = row
    unheard_from_ns, unheard_until_ns, drops, sealed_count, passed_count = rest
    chunks = connection.execute(SQL["recent_events"], {"engine": engine})
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
        sealed=tuple(decode_recent(entries) for _, entries in chunks),
        sealed_count=sealed_count,
        passed_count=passed_count,
    )


def load_containers(engine: str, connection: sqlite3.Connection) -> Iterator[Container]:
    """Yield the stored states of the engine's containers."""
    for state, *row in connection.execute(SQL["containers"], {"engine": engine}):
        yield _restore_changing(decode_container(state), *row)


def save(batch: IngestCommit, connection: sqlite3.Connection) -> None:
    """Store the engine's cursor and container states of a batch."""
    engine, checkpoint = batch.engine, batch.checkpoint
    if checkpoint is not None:
        _save_checkpoint(engine, checkpoint, connection)
        if checkpoint.sealed_count > batch.first_chunk:
            _save_chunks(engine, checkpoint, batch.first_chunk, connection)
    if batch.containers:
        rows = [(encode_container(it), engine, it.id, *_changing(it)) for it in batch.containers]
        execute_for_rows("save_containers", rows, connection)
    if len(batch.container_times) == 1:
        (only,) = batch.container_times
        connection.execute(SQL["save_times_of_one_container"], (*_changing(only), engine, only.id))
    elif batch.container_times:
        changed = [(engine, it.id, *_changing(it)) for it in batch.container_times]
        execute_for_rows("save_container_times", changed, connection)
    if batch.removed_containers:
        ids = msgspec.json.encode(batch.removed_containers).decode()
        connection.execute(SQL["delete_containers"], (engine, ids))


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
        checkpoint.sealed_count,
        checkpoint.passed_count,
    )
    connection.execute(SQL["save_checkpoint"], row)


def _save_chunks(
    engine: str, checkpoint: Checkpoint, first: int, connection: sqlite3.Connection
) -> None:
    """Store the full chunks from the ``first`` on, and delete those that are too old."""
    end = checkpoint.sealed_count
    oldest = end - len(checkpoint.sealed)
    numbered = enumerate(checkpoint.sealed, oldest)
    rows = [(engine, number, chunk) for number, chunk in numbered if number >= first]
    execute_for_rows("save_recent_events", rows, connection)
    connection.execute(SQL["delete_recent_events"], (engine, oldest))


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


def encode_container(container: Container) -> bytes:
    """Encode everything but a container's `CHANGING_FIELDS`."""
    return msgspec.json.encode(msgspec.structs.replace(container, **_UNCHANGED))


def decode_container(state: bytes) -> Container:
    """Decode what `encode_container` made; raises `Corrupt`."""
    try:
        return _container_from_json(state)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as error:
        raise Corrupt(f"a container: {error}") from error


def _restore_changing(container: Container, *values: object) -> Container:
    """Return the container with its `CHANGING_FIELDS`; raises `Corrupt`."""
    if all(value is None or type(value) is int for value in values):
        return msgspec.structs.replace(container, **dict(zip(CHANGING_FIELDS, values, strict=True)))
    raise Corrupt("a container: a time or a signal is no number")
