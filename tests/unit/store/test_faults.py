"""Which errors are faults of the disk or the file, and which are bugs in relay."""

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
def test_sqlite_errors_are_classified(code: int, trouble: StoreFault | None) -> None:
    """An error is classified by its primary code; all other codes are bugs in relay."""
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
def test_system_errors_are_classified(number: int, trouble: StoreFault) -> None:
    """Every error of the operating system is a fault of the disk."""
    assert classify_error(OSError(number, "so it is")) is trouble


def test_text_that_is_not_utf_8_is_corrupt() -> None:
    """Text that is not UTF-8 means corruption; Python detects it, and sets no code."""
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchone()
    connection.close()
    assert classify_error(caught.value) is StoreFault.CORRUPT


@pytest.mark.parametrize("mistake", [ValueError(), sqlite3.ProgrammingError(), KeyError(), None])
def test_a_bug_is_not_a_fault(mistake: Exception | None) -> None:
    """An error that is a bug in relay is raised to the caller."""
    assert classify_error(mistake) is None


def test_a_refused_store_is_classified_by_its_cause() -> None:
    """Without an operating system error as its cause, the store belongs to another program."""
    refused = StoreError("held")
    assert classify_error(refused) is StoreFault.REFUSED
    refused.__cause__ = OSError(errno.EROFS, "")
    assert classify_error(refused) is StoreFault.READ_ONLY


def test_errors_are_described() -> None:
    """The description is the operating system's or SQLite's."""
    assert describe_error(OSError(errno.ENOSPC, "x")) == "No space left on device"
    assert describe_error(Corrupt("a cursor")) == "a cursor"
