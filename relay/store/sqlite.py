"""The outbox in SQLite."""

import asyncio
import fcntl
import os
import sqlite3
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import msgspec

from relay.bookmark import Bookmark
from relay.container import Container
from relay.errors import StoreError, system_words
from relay.exchange import Dead, Delivered, Outcome, Retry
from relay.notification import Notification
from relay.store.committer import Committer
from relay.store.outbox import HOLD_NS, Delivery, Due, Intake, Receipt, subject
from relay.store.statements import sections

APPLICATION_ID = 0x52454C59
"""Marks the file as relay's (``RELY``); see SQLite's ``PRAGMA application_id``."""

_MIGRATIONS = list(sections("schema.sql", "version").values())
_SQL = sections("queries.sql", "name")
_SEEN = struct.Struct("<16sq")
_decode_container = msgspec.json.Decoder(Container).decode
_decode_notification = msgspec.json.Decoder(Notification).decode


class SqliteOutbox:
    """An `Outbox`; see there for what each call promises."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._news: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def bookmark(self, engine: str) -> Bookmark | None:
        """See `Outbox.bookmark`."""
        return await self._committer.run(partial(_bookmark, engine))

    async def containers(self, engine: str) -> list[Container]:
        """See `Outbox.containers`."""
        return await self._committer.run(partial(_containers, engine))

    async def take_in(self, intake: Intake, now_ns: int) -> Receipt:
        """See `Outbox.take_in`."""
        receipt = await self._committer.run(partial(_take_in, intake, now_ns))
        for _, destinations in intake.notifications:
            for destination in destinations:
                self._news[destination].set()
        return receipt

    async def enrich(self, seqs: Sequence[int], notification: Notification, now_ns: int) -> None:
        """See `Outbox.enrich`."""
        for destination in await self._committer.run(partial(_enrich, seqs, notification, now_ns)):
            self._news[destination].set()

    async def due(
        self, destination: str, now_ns: int, most: int, besides: Collection[int] = ()
    ) -> Due:
        """See `Outbox.due`."""
        return await self._committer.run(partial(_due, destination, now_ns, most, list(besides)))

    async def settle(self, delivery: Delivery, outcome: Outcome, now_ns: int) -> None:
        """See `Outbox.settle`."""
        await self._committer.run(partial(_settle, delivery, outcome, now_ns))
        self._news[delivery.destination].set()

    def news(self, destination: str) -> asyncio.Event:
        """See `Outbox.news`."""
        return self._news[destination]

    async def pending(self) -> dict[str, int]:
        """See `Outbox.pending`."""
        return await self._committer.run(
            lambda connection: dict(connection.execute(_SQL["pending"]))
        )


@asynccontextmanager
async def open_outbox(path: Path | None) -> AsyncIterator[SqliteOutbox]:
    """The outbox at ``path``, made if it is not there; None keeps it in memory only.

    Raises `StoreError` where it cannot be used: held by another relay, written by a newer one, not
    a store of relay's, or not writable.
    """
    with _held(path):
        committer = Committer(partial(_open, path))
        await committer.start()
        try:
            yield SqliteOutbox(committer)
        finally:
            await committer.close()


@contextmanager
def _held(path: Path | None) -> Iterator[None]:
    """Hold the store against other relays for as long as it is open."""
    if path is None:
        yield
        return
    lock = _lock(path)
    try:
        yield
    finally:
        os.close(lock)


def _lock(path: Path) -> int:
    """A lock on a file beside the store, because it goes with the process, however that ends."""
    file = Path(f"{path}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        os.close(lock)
        holder = file.read_text(encoding="ascii", errors="replace").strip() or "unknown"
        raise StoreError(
            f"store {path} is in use by another relay (pid {holder}): stop that one, "
            "or give this one a store.path of its own"
        ) from None
    except OSError as error:
        os.close(lock)
        raise _unusable(path, error) from error
    return lock


def _open(path: Path | None) -> sqlite3.Connection:
    try:
        if path is not None:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path or ":memory:", isolation_level=None)
        try:
            version = _known_version(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _migrate(connection, version)
        except BaseException:
            connection.close()
            raise
    except OSError as error:
        raise _unusable(path, error) from error
    except sqlite3.Error as error:
        raise StoreError(
            f"store {path} cannot be opened: {error}: move it away to begin with an empty one"
        ) from error
    return connection


def _unusable(path: Path | None, error: OSError) -> StoreError:
    return StoreError(
        f"store {path} cannot be written: {system_words(error)}: make its folder writable for the "
        "user that runs relay, or set store.path"
    )


def _known_version(connection: sqlite3.Connection, path: Path | None) -> int:
    """The schema's version, 0 for an empty file; nothing is changed in a file that is refused."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if owner != APPLICATION_ID and tables:
        raise StoreError(f"store {path} is not relay's: give store.path a file of its own")
    if version > len(_MIGRATIONS):
        raise StoreError(
            f"store {path} was written by a newer relay (schema {version}, this one knows "
            f"{len(_MIGRATIONS)}): install that version again, or use another store.path"
        )
    return int(version)


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    if version < len(_MIGRATIONS):
        script = "\n".join(_MIGRATIONS[version:])
        marks = (
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {len(_MIGRATIONS)}"
        )
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n{marks};\nCOMMIT;")


def _bookmark(engine: str, connection: sqlite3.Connection) -> Bookmark | None:
    row = connection.execute(_SQL["bookmark"], {"engine": engine}).fetchone()
    if row is None:
        return None
    position_ns, floor_ns, recent, began_ns, anchored, assumed_ns, identity = row
    seen = tuple((f"evt_{id_.hex()}", time_ns) for id_, time_ns in _SEEN.iter_unpack(recent))
    return Bookmark(position_ns, floor_ns, seen, began_ns, bool(anchored), assumed_ns, identity)


def _save_bookmark(engine: str, mark: Bookmark, connection: sqlite3.Connection) -> None:
    recent = b"".join(
        _SEEN.pack(bytes.fromhex(id_.removeprefix("evt_")), time_ns) for id_, time_ns in mark.recent
    )
    row = {
        "engine": engine,
        "position_ns": mark.position_ns,
        "floor_ns": mark.floor_ns,
        "recent": recent,
        "began_ns": mark.began_ns,
        "anchored": mark.anchored,
        "assumed_ns": mark.assumed_ns,
        "identity": mark.identity,
    }
    connection.execute(_SQL["save_bookmark"], row)


def _containers(engine: str, connection: sqlite3.Connection) -> list[Container]:
    rows = connection.execute(_SQL["containers"], {"engine": engine})
    return [_decode_container(state) for (state,) in rows]


def _take_in(intake: Intake, now_ns: int, connection: sqlite3.Connection) -> Receipt:
    if intake.bookmark is not None:
        _save_bookmark(intake.engine, intake.bookmark, connection)
    for container in intake.containers:
        row = {
            "engine": intake.engine,
            "id": container.id,
            "state": msgspec.json.encode(container),
        }
        connection.execute(_SQL["save_container"], row)
    for id_ in intake.gone:
        connection.execute(_SQL["forget_container"], {"engine": intake.engine, "id": id_})
    seqs = [
        _add_deliveries(notification, destinations, now_ns, connection)
        for notification, destinations in intake.notifications
    ]
    return Receipt(seqs)


def _add_deliveries(
    notification: Notification,
    destinations: Sequence[str],
    now_ns: int,
    connection: sqlite3.Connection,
) -> list[int]:
    row = {
        "subject": subject(notification.events[0]),
        "notification": msgspec.json.encode(notification),
        "now_ns": now_ns,
        "hold_ns": 0 if notification.include is None else now_ns + HOLD_NS,
    }
    return [
        connection.execute(_SQL["add_delivery"], {**row, "destination": destination}).lastrowid or 0
        for destination in destinations
    ]


def _enrich(
    seqs: Sequence[int], notification: Notification, now_ns: int, connection: sqlite3.Connection
) -> list[str]:
    """Returns the destinations of those that were still there."""
    row = {"notification": msgspec.json.encode(notification), "now_ns": now_ns}
    return [
        destination
        for seq in seqs
        for (destination,) in connection.execute(_SQL["enrich"], {**row, "seq": seq}).fetchall()
    ]


def _due(
    destination: str, now_ns: int, most: int, besides: list[int], connection: sqlite3.Connection
) -> Due:
    asked = {
        "destination": destination,
        "now_ns": now_ns,
        "most": most,
        "besides": msgspec.json.encode(besides).decode(),
    }
    deliveries = [
        Delivery(seq, to, _decode_notification(notification), created_ns, attempts)
        for seq, to, notification, created_ns, attempts in connection.execute(_SQL["due"], asked)
    ]
    (next_ns,) = connection.execute(_SQL["next_due"], asked).fetchone()
    return Due(deliveries, next_ns)


def _settle(
    delivery: Delivery, outcome: Outcome, now_ns: int, connection: sqlite3.Connection
) -> None:
    row: dict[str, object] = {"seq": delivery.seq, "now_ns": now_ns, "reason": outcome.reason}
    match outcome:
        case Retry(after_s=after_s):
            connection.execute(_SQL["try_again"], {**row, "due_ns": now_ns + int(after_s * 1e9)})
            return
        case Dead():
            connection.execute(_SQL["bury"], row)
        case Delivered():
            pass
    connection.execute(_SQL["promote_next"], row)
    connection.execute(_SQL["remove"], row)
