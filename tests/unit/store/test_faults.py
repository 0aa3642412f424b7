"""Which errors are of the disk or the file, and which are relay's own."""

import errno
import sqlite3

import pytest

from relay.core.errors import StoreError
from relay.store.faults import Corrupt, StoreFault, classify_error, describe_error


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("so it is")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (sqlite3.SQLITE_FULL, StoreFault.FULL),
        (sqlite3.SQLITE_READONLY, StoreFault.READ_ONLY),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreFault.READ_ONLY),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreFault.IO),
        (sqlite3.SQLITE_CANTOPEN, StoreFault.CANNOT_OPEN),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreFault.BUSY),
        (sqlite3.SQLITE_LOCKED, StoreFault.BUSY),
        (sqlite3.SQLITE_PERM, StoreFault.DENIED),
        (sqlite3.SQLITE_CORRUPT_INDEX, StoreFault.CORRUPT),
        (sqlite3.SQLITE_NOTADB, StoreFault.CORRUPT),
        (sqlite3.SQLITE_CONSTRAINT_NOTNULL, None),
        (sqlite3.SQLITE_MISUSE, None),
        (sqlite3.SQLITE_ERROR, None),
    ],
)
def test_what_sqlite_says(code: int, trouble: StoreFault | None) -> None:
    """By the primary code; what is left is a mistake of relay's."""
    assert classify_error(sqlite_error(code)) is trouble


@pytest.mark.parametrize(
    ("number", "trouble"),
    [
        (errno.ENOSPC, StoreFault.FULL),
        (errno.EDQUOT, StoreFault.FULL),
        (errno.EROFS, StoreFault.READ_ONLY),
        (errno.EACCES, StoreFault.DENIED),
        (errno.EIO, StoreFault.IO),
        (errno.ENOTDIR, StoreFault.IO),
    ],
)
def test_what_the_system_says(number: int, trouble: StoreFault) -> None:
    """Everything is the disk's, whatever its number."""
    assert classify_error(OSError(number, "so it is")) is trouble


def test_what_is_not_text_any_more() -> None:
    """Python finds it, not SQLite, and gives it no code."""
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchone()
    connection.close()
    assert classify_error(caught.value) is StoreFault.CORRUPT


@pytest.mark.parametrize("mistake", [ValueError(), sqlite3.ProgrammingError(), KeyError(), None])
def test_a_mistake_is_no_trouble(mistake: Exception | None) -> None:
    """It is raised to who made it."""
    assert classify_error(mistake) is None


def test_a_place_that_is_refused() -> None:
    """It is the disk's fault where the disk was behind it, and somebody else's otherwise."""
    refused = StoreError("held")
    assert classify_error(refused) is StoreFault.REFUSED
    refused.__cause__ = OSError(errno.EROFS, "")
    assert classify_error(refused) is StoreFault.READ_ONLY


def test_says_what_is_wrong() -> None:
    """In the system's words, or in SQLite's."""
    assert describe_error(OSError(errno.ENOSPC, "x")) == "No space left on device"
    assert describe_error(Corrupt("a cursor")) == "a cursor"
