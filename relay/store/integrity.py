"""Checks a store's file for corruption, and repairs its indexes in place."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from relay.store.faults import StoreFault, classify_error, describe_error

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
    except sqlite3.Error as error:
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
    except sqlite3.Error as error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        if classify_error(error) is not StoreFault.CORRUPT:
            raise
        return False
    return is_sound
