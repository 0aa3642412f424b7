"""What is kept of each engine: its cursor, and what is known of its containers."""

import sqlite3

import msgspec

from relay.core.checkpoint import SEEN_BYTES, Bookmark
from relay.core.container import Container
from relay.store.faults import Broken
from relay.store.records import Intake
from relay.store.sql import SQL, run_for_rows

_decode = msgspec.json.Decoder(Container).decode
_decode_drops = msgspec.json.Decoder(tuple[tuple[str, int, int, int], ...]).decode


def bookmark(engine: str, connection: sqlite3.Connection) -> Bookmark | None:
    """Where the engine's cursor stands; None for one never heard."""
    row = connection.execute(SQL["bookmark"], {"engine": engine}).fetchone()
    if row is None:
        return None
    position_ns, floor_ns, recent, began_ns, anchored, assumed_ns, identity, *rest = row
    unheard_from_ns, unheard_until_ns, drops = rest
    return Bookmark(
        position_ns=position_ns,
        floor_ns=floor_ns,
        recent=read_recent(recent),
        began_ns=began_ns,
        anchored=bool(anchored),
        assumed_ns=assumed_ns,
        identity=identity,
        unheard=None if unheard_from_ns is None else (unheard_from_ns, unheard_until_ns),
        drops=read_drops(drops),
    )


def containers(engine: str, connection: sqlite3.Connection) -> list[Container]:
    """What is known of the engine's containers."""
    rows = connection.execute(SQL["containers"], {"engine": engine})
    return [read_container(state) for (state,) in rows]


def save(intake: Intake, connection: sqlite3.Connection) -> None:
    """Keep what a batch says of the engine."""
    if intake.bookmark is not None:
        _save_bookmark(intake.engine, intake.bookmark, connection)
    encode, engine = msgspec.json.encode, intake.engine
    known = [(engine, container.id, encode(container)) for container in intake.containers]
    gone = [(engine, id_) for id_ in intake.gone]
    for name, rows in (("save_containers", known), ("forget_containers", gone)):
        for _ in run_for_rows(name, rows, connection):
            pass


def _save_bookmark(engine: str, mark: Bookmark, connection: sqlite3.Connection) -> None:
    from_ns, until_ns = mark.unheard or (None, None)
    row = (
        engine,
        mark.position_ns,
        mark.floor_ns,
        mark.recent,
        mark.began_ns,
        mark.anchored,
        mark.assumed_ns,
        mark.identity,
        from_ns,
        until_ns,
        msgspec.json.encode(mark.drops).decode(),
    )
    connection.execute(SQL["save_bookmark"], row)


def read_drops(drops: str) -> tuple[tuple[str, int, int, int], ...]:
    """What is not told yet, as it is kept; raises `Broken`."""
    try:
        return _decode_drops(drops)
    except (msgspec.MsgspecError, TypeError) as error:
        raise Broken(f"a cursor: {error}") from error


def read_recent(recent: bytes) -> bytes:
    """The events that are remembered, as they are kept; raises `Broken`."""
    if isinstance(recent, bytes) and len(recent) % SEEN_BYTES == 0:
        return recent
    raise Broken("a cursor: what is remembered are no whole events")


def read_container(state: bytes) -> Container:
    """A container as it is kept; raises `Broken`."""
    try:
        return _decode(state)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as error:
        raise Broken(f"a container: {error}") from error
