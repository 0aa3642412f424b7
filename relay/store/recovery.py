"""Copies what can still be read of a corrupt store into a new one, and keeps the loss.

One damaged page must not cost the whole outbox. Rows are copied one by one; unreadable and
implausible ones are skipped. The corrupt files are set aside, never deleted. The new store keeps a
`StoreLoss` until an event has declared it.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from relay.store import checkpoints, deliveries, hosts, incidents
from relay.store.faults import (
    SQLITE_ERRORS,
    Corrupt,
    StoreFault,
    StoreLoss,
    classify_error,
    describe_error,
)
from relay.store.schema import NEWEST_VERSION, SQL, migrate

MAX_FAILED_READS = 10_000
"""After this many failed reads of one table the rest of it is given up: under a second."""

SEQ_GAP = 1_000_000
"""New deliveries are numbered from this far above the highest known number. A delivery whose row is
lost may be under way, and no other may ever get its number."""

_SEQ_TABLES = ("deliveries", "dead_letters")
_OTHER_TABLES = (
    "long_notifications",
    "cursors",
    "recent_events",
    "containers",
    "losses",
    "counters",
    "pauses",
    "episodes",
    "incident_rows",
    "seen",
    "hosts",
)
"""All except ``cursors`` are newer than version 1."""

_DECODERS: Mapping[str, Callable[[Any], object]] = {
    "notification": lambda content: content == b"" or deliveries.decode_notification(content),
    "state": checkpoints.decode_container,
    "recent": checkpoints.decode_recent,
    "entries": checkpoints.decode_recent,
    "drops": checkpoints.decode_drops,
    "answer": deliveries.decode_answer,
    "content": incidents.decode_content,
    "keys": hosts.decode_keys,
}

_Row = tuple[Any, ...]


class _Column(msgspec.Struct, frozen=True):
    name: str
    kind: type
    required: bool

    def accepts(self, value: object) -> bool:
        """Return whether relay can have written this value."""
        if value is None:
            return not self.required
        if type(value) is not self.kind:
            return False
        try:
            _DECODERS.get(self.name, bool)(value)
        except Corrupt:
            return False
        return True


def recover(corrupt: Path, replacement: Path, aside: Path, reason: str, now_ns: int) -> StoreLoss:
    """Fill the empty file ``replacement`` with what can be read of a ``corrupt`` store.

    Skips rows that cannot be read or that relay cannot have written. A delivery that waited for a
    skipped one becomes due. The loss is stored in the new store, to be declared: ``aside`` is where
    the corrupt file will be moved, and ``reason`` is what is wrong with it.
    """
    uri = f"{corrupt.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(uri, uri=True)) as source,
        closing(sqlite3.connect(replacement, isolation_level=None)) as target,
    ):
        # so that a truncated file is read as far as it goes
        source.execute("PRAGMA writable_schema = ON")
        version = _read_version(source)
        migrate(target, 0, to=version)
        target.execute("BEGIN")
        tables = {name for (name,) in target.execute("SELECT name FROM sqlite_schema")}
        for table in (*_SEQ_TABLES, *_OTHER_TABLES):
            if table in tables:
                _copy_table(source, target, table)
        target.execute("COMMIT")
        migrate(target, version)
        _advance_sequences(source, target)
        deliveries.delete_unreadable(target)
        deliveries.release_heads(now_ns, target)
        recovered = sum(_count_rows(target, table) for table in _SEQ_TABLES)
        return add_loss(aside, recovered, reason, target)


def _read_version(source: sqlite3.Connection) -> int:
    with suppress(*SQLITE_ERRORS):
        (version,) = source.execute("PRAGMA user_version").fetchone()
        if 1 <= version <= NEWEST_VERSION:
            return int(version)
    return NEWEST_VERSION


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    columns = _read_columns(target, table)
    names = ", ".join(column.name for column in columns)
    placeholders = ", ".join("?" * len(columns))
    read = _read_by_seq if columns[0].name == "seq" else _read_by_key
    target.executemany(
        f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({placeholders})",  # noqa: S608 - of the schema
        (
            row
            for row in read(source, table, names)
            if all(column.accepts(value) for column, value in zip(columns, row, strict=True))
        ),
    )


def _read_columns(target: sqlite3.Connection, table: str) -> list[_Column]:
    kinds = {"INTEGER": int, "TEXT": str, "BLOB": bytes}
    return [
        _Column(name, kinds[kind], bool(required or key))
        for _, name, kind, required, _, key in target.execute(f"PRAGMA table_info({table})")
    ]


def _read_by_seq(source: sqlite3.Connection, table: str, names: str) -> Iterator[_Row]:
    """Yield the rows of a numbered table, bisecting around those that cannot be read."""
    query = f"SELECT {names} FROM {table} WHERE seq BETWEEN ? AND ? ORDER BY seq"  # noqa: S608
    ranges = [(1, _max_seq(source, table))]
    failed_reads = 0
    while ranges and failed_reads < MAX_FAILED_READS:
        low, high = ranges.pop()
        try:
            for row in source.execute(query, (low, high)):
                yield row
                low = row[0] + 1
        except SQLITE_ERRORS:
            failed_reads += 1
            if low < high:
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]


def _max_seq(source: sqlite3.Connection, table: str) -> int:
    """Return a number that is not below any in the table."""
    with suppress(*SQLITE_ERRORS):
        (highest,) = source.execute(f"SELECT max(seq) FROM {table}").fetchone()  # noqa: S608
        if isinstance(highest, int):
            return highest
    return 2**40


def _read_by_key(source: sqlite3.Connection, table: str, names: str) -> Iterator[_Row]:
    """Yield the rows of a small table by its key, from both ends up to what cannot be read."""
    key = names.split(",", maxsplit=1)[0]
    for order in ("ASC", "DESC"):
        with suppress(*SQLITE_ERRORS):
            yield from source.execute(f"SELECT {names} FROM {table} ORDER BY {key} {order}")  # noqa: S608


def _count_rows(connection: sqlite3.Connection, table: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    return int(count)


def _advance_sequences(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    numbers = [0]
    for connection in (source, target):
        with suppress(*SQLITE_ERRORS):
            numbers += [
                number
                for (number,) in connection.execute("SELECT seq FROM sqlite_sequence")
                if isinstance(number, int)
            ]
    target.execute("DELETE FROM sqlite_sequence")
    target.executemany(
        "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)",
        [(table, max(numbers) + SEQ_GAP) for table in _SEQ_TABLES],
    )


def add_loss(file: Path, recovered: int, reason: str, connection: sqlite3.Connection) -> StoreLoss:
    """Store a loss; return it with its number."""
    row = {"file": str(file), "carried": recovered, "reason": reason}
    number = connection.execute(SQL["add_loss"], row).lastrowid
    return StoreLoss(file, recovered, reason, number or 0)


def undeclared_losses(connection: sqlite3.Connection) -> list[StoreLoss]:
    """See `Outbox.losses`."""
    return [
        StoreLoss(Path(file), recovered, reason, number)
        for number, file, recovered, reason in connection.execute(SQL["undeclared_losses"])
    ]


def declare_losses(numbers: Sequence[int], connection: sqlite3.Connection) -> None:
    """Delete losses that an event has declared."""
    connection.executemany(SQL["declare_loss"], [{"seq": number} for number in numbers])


CHECK_CACHE_KIB = 12_288
"""SQLite's page cache during a check. A check looks up each delivery in the indexes, whose orders
differ: if the pages of a thousand subjects (9 MB) do not fit, they are read again and again, and a
check takes two thirds longer."""


def find_corruption(connection: sqlite3.Connection) -> str | None:
    """Return the first thing that is wrong, in SQLite's words; None if the file is sound.

    ``quick_check`` would take a third of the time, but does not compare indexes with their tables:
    with an outdated page in an index, some deliveries would never be found.
    """
    try:
        with _large_cache(connection):
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except SQLITE_ERRORS as error:
        if classify_error(error) is not StoreFault.CORRUPT:
            raise
        return describe_error(error)
    return None if verdict == "ok" else " ".join(verdict.split())


@contextmanager
def _large_cache(connection: sqlite3.Connection) -> Iterator[None]:
    (previous,) = connection.execute("PRAGMA cache_size").fetchone()
    connection.execute(f"PRAGMA cache_size = -{CHECK_CACHE_KIB}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA cache_size = {previous}")
        connection.execute("PRAGMA shrink_memory")


def reindex(connection: sqlite3.Connection) -> bool:
    """Rebuild all indexes from their tables.

    Returns whether the file is sound then; if not, nothing is changed.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("REINDEX")
        is_sound = find_corruption(connection) is None
        connection.execute("COMMIT" if is_sound else "ROLLBACK")
    except SQLITE_ERRORS as error:
        with suppress(*SQLITE_ERRORS):
            connection.execute("ROLLBACK")
        if classify_error(error) is not StoreFault.CORRUPT:
            raise
        return False
    return is_sound
