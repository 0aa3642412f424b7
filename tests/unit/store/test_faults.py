"""Which errors are of the disk or the file, and which are relay's own."""

import errno
import sqlite3

import pytest

from relay.core.errors import StoreError
from relay.store.faults import Broken, Trouble, trouble_in, words


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("so it is")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (sqlite3.SQLITE_FULL, Trouble.FULL),
        (sqlite3.SQLITE_READONLY, Trouble.READ_ONLY),
        (sqlite3.SQLITE_READONLY_DBMOVED, Trouble.READ_ONLY),
        (sqlite3.SQLITE_IOERR_FSYNC, Trouble.IO),
        (sqlite3.SQLITE_CANTOPEN, Trouble.CANNOT_OPEN),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Trouble.BUSY),
        (sqlite3.SQLITE_LOCKED, Trouble.BUSY),
        (sqlite3.SQLITE_PERM, Trouble.DENIED),
        (sqlite3.SQLITE_CORRUPT_INDEX, Trouble.BROKEN),
        (sqlite3.SQLITE_NOTADB, Trouble.BROKEN),
        (sqlite3.SQLITE_CONSTRAINT_NOTNULL, None),
        (sqlite3.SQLITE_MISUSE, None),
        (sqlite3.SQLITE_ERROR, None),
    ],
)
def test_what_sqlite_says(code: int, trouble: Trouble | None) -> None:
    """By the primary code; what is left is a mistake of relay's."""
    assert trouble_in(sqlite_error(code)) is trouble


@pytest.mark.parametrize(
    ("number", "trouble"),
    [
        (errno.ENOSPC, Trouble.FULL),
        (errno.EDQUOT, Trouble.FULL),
        (errno.EROFS, Trouble.READ_ONLY),
        (errno.EACCES, Trouble.DENIED),
        (errno.EIO, Trouble.IO),
        (errno.ENOTDIR, Trouble.IO),
    ],
)
def test_what_the_system_says(number: int, trouble: Trouble) -> None:
    """Everything is the disk's, whatever its number."""
    assert trouble_in(OSError(number, "so it is")) is trouble


def test_what_is_not_text_any_more() -> None:
    """Python finds it, not SQLite, and gives it no code."""
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchone()
    connection.close()
    assert trouble_in(caught.value) is Trouble.BROKEN


@pytest.mark.parametrize("mistake", [ValueError(), sqlite3.ProgrammingError(), KeyError(), None])
def test_a_mistake_is_no_trouble(mistake: Exception | None) -> None:
    """It is raised to who made it."""
    assert trouble_in(mistake) is None


def test_a_place_that_is_refused() -> None:
    """It is the disk's fault where the disk was behind it, and somebody else's otherwise."""
    refused = StoreError("held")
    assert trouble_in(refused) is Trouble.REFUSED
    refused.__cause__ = OSError(errno.EROFS, "")
    assert trouble_in(refused) is Trouble.READ_ONLY


def test_says_what_is_wrong() -> None:
    """In the system's words, or in SQLite's."""
    assert words(OSError(errno.ENOSPC, "x")) == "No space left on device"
    assert words(Broken("a cursor")) == "a cursor"
