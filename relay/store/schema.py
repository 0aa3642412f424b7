"""The store's SQL: its statements, the schema, and the migrations."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import chain, repeat
from pathlib import Path

from relay.core.errors import StoreError
from relay.store.records import chain_of

MAX_ROWS = 512
"""How many rows a multi-row statement has at most: more than a batch of events. With ten values a
row this is far below SQLite's limit of parameters (32,766)."""

CACHED_STATEMENTS = 256
"""More than there are statements, in all their sizes, so that each is compiled once."""

_ROW = re.compile(r"\(\?(, \?)*\)")


def read_sections(file: str, label: str) -> dict[str, str]:
    """Return the parts of a file that each start with ``-- LABEL: KEY``, by key, in file order."""
    text = files(__package__).joinpath(file).read_text(encoding="utf-8")
    _, *parts = re.split(rf"^-- {label}: (\S+)$", text, flags=re.MULTILINE)
    return {key: sql.strip() for key, sql in zip(parts[::2], parts[1::2], strict=True)}


SQL = read_sections("queries.sql", "name")
"""Every statement that the store runs, by name."""


def run_for_rows(
    name: str, rows: Sequence[Sequence[object]], connection: sqlite3.Connection
) -> Iterator[tuple[int, sqlite3.Cursor]]:
    """Run a multi-row statement for all rows; yield the number of rows and the cursor of each run.

    Each run releases Python's interpreter lock and has to acquire it again, so there should be few
    runs. Rows of NULL fill a statement up to one of a few sizes, because SQLite has to compile a
    statement for each size.
    """
    for begin in range(0, len(rows), MAX_ROWS):
        part = rows[begin : begin + MAX_ROWS]
        count = _round_up(len(part))
        values = [*chain.from_iterable(part), *repeat(None, (count - len(part)) * len(part[0]))]
        yield len(part), connection.execute(_repeat_row(name, count), values)


def _round_up(count: int) -> int:
    """Return the next size for which a statement is compiled.

    A small statement is filled up by little. A large one may be filled to a half with NULL, which
    costs less than the memory of a statement for every size.
    """
    octave = (count - 1).bit_length()
    step = 1 << (octave if octave > 6 else max(0, octave - 3))
    return -(-count // step) * step


def execute_for_rows(
    name: str, rows: Sequence[Sequence[object]], connection: sqlite3.Connection
) -> None:
    """Run a multi-row statement that returns nothing for all rows."""
    for _ in run_for_rows(name, rows, connection):
        pass


@cache
def _repeat_row(name: str, count: int) -> str:
    return _ROW.sub(lambda row: ", ".join([row[0]] * count), SQL[name])


APPLICATION_ID = 0x52454C59
"""Marks the file as a store of relay's (``RELY``); see SQLite's ``PRAGMA application_id``."""

_MIGRATIONS = list(read_sections("schema.sql", "version").values())

NEWEST_VERSION = len(_MIGRATIONS)
"""The version that this relay writes."""


def check_version(connection: sqlite3.Connection, path: Path | None) -> int:
    """Return the schema's version, 0 for an empty file. Changes nothing.

    Raises `StoreError` if the file is not a store of relay's, or was written by a newer relay.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if owner != APPLICATION_ID and tables:
        raise StoreError(f"store {path} is not relay's: give store.path a file of its own")
    if version > NEWEST_VERSION:
        raise StoreError(
            f"store {path} was written by a newer relay (schema {version}, this one knows "
            f"{NEWEST_VERSION}): install that version again, or use another store.path"
        )
    return int(version)


def migrate(connection: sqlite3.Connection, version: int, to: int = NEWEST_VERSION) -> None:
    """Migrate a store from ``version`` to ``to``, in one transaction."""
    if version < to:
        connection.create_function("chain_of", 2, chain_of, deterministic=True)
        script = "\n".join(_MIGRATIONS[version:to])
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {to}"
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n{marks};\nCOMMIT;")
