"""The store's schema and its migrations."""

import sqlite3
from pathlib import Path

from relay.core.errors import StoreError
from relay.store.sql import read_sections

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
        script = "\n".join(_MIGRATIONS[version:to])
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {to}"
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n{marks};\nCOMMIT;")
