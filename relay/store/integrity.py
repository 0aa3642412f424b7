"""Whether a store's file is what was written, and what is mended of it in place."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from relay.store.faults import StoreFault, classify_error, describe_error

CHECK_CACHE_KIB = 12_288
"""What a check may keep of what it has read. It asks the indexes for one delivery after the other,
whose orders take turns: where the pages of a thousand orders (9 MB) do not fit, each is read again
at each turn, and a check takes two thirds longer."""


def find_corruption(connection: sqlite3.Connection) -> str | None:
    """The first thing that is wrong, in SQLite's words; None if nothing is.

    ``quick_check`` would take a third of the time, but compares no index with its table: with an
    old page in an index, deliveries would wait that nobody finds.
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
    (usual,) = connection.execute("PRAGMA cache_size").fetchone()
    connection.execute(f"PRAGMA cache_size = -{CHECK_CACHE_KIB}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA cache_size = {usual}")
        connection.execute("PRAGMA shrink_memory")


def reindex(connection: sqlite3.Connection) -> bool:
    """Make the indexes anew from their tables.

    Returns whether all is well then; if not, nothing is changed.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("REINDEX")
        sound = find_corruption(connection) is None
        connection.execute("COMMIT" if sound else "ROLLBACK")
    except sqlite3.Error as error:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        if classify_error(error) is not StoreFault.CORRUPT:
            raise
        return False
    return sound
