"""What is kept of each engine: its cursor, and what is known of its containers."""

import sqlite3
import struct
from functools import lru_cache
from itertools import starmap

import msgspec

from relay.bookmark import Bookmark
from relay.container import Container
from relay.store.outbox import Intake
from relay.store.statements import SQL, run_for_rows
from relay.store.trouble import Broken

_SEEN = struct.Struct("<16sq")
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
    recent = b"".join(starmap(_seen, mark.recent))
    from_ns, until_ns = mark.unheard or (None, None)
    row = (
        engine,
        mark.position_ns,
        mark.floor_ns,
        recent,
        mark.began_ns,
        mark.anchored,
        mark.assumed_ns,
        mark.identity,
        from_ns,
        until_ns,
        msgspec.json.encode(mark.drops).decode(),
    )
    connection.execute(SQL["save_bookmark"], row)


@lru_cache(maxsize=2048)
def _seen(id_: str, time_ns: int) -> bytes:
    """All but the newest were asked for at the commit before."""
    return _SEEN.pack(bytes.fromhex(id_.removeprefix("evt_")), time_ns)


def read_drops(drops: str) -> tuple[tuple[str, int, int, int], ...]:
    """What is not told yet, as it is kept; raises `Broken`."""
    try:
        return _decode_drops(drops)
    except (msgspec.MsgspecError, TypeError) as error:
        raise Broken(f"a cursor: {error}") from error


def read_recent(recent: bytes) -> tuple[tuple[str, int], ...]:
    """Ids and times of events as they are kept; raises `Broken`."""
    try:
        return tuple((f"evt_{id_.hex()}", time_ns) for id_, time_ns in _SEEN.iter_unpack(recent))
    except (struct.error, TypeError) as error:
        raise Broken(f"a cursor: {error}") from error


def read_container(state: bytes) -> Container:
    """A container as it is kept; raises `Broken`."""
    try:
        return _decode(state)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as error:
        raise Broken(f"a container: {error}") from error
