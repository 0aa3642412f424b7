"""What can be wrong with the store's disk or file, and which errors mean that."""

import errno
import sqlite3
from enum import StrEnum
from pathlib import Path

import msgspec

from relay.core.errors import StoreError, describe_os_error


class StoreFault(StrEnum):
    """Why the disk or the file system rejects a write, or does not return what was written."""

    FULL = "full"
    READ_ONLY = "read_only"
    IO = "io"
    """Reading or writing failed."""
    CANNOT_OPEN = "cannot_open"
    DENIED = "denied"
    BUSY = "busy"
    """Another program holds a lock on the file."""
    REFUSED = "refused"
    """The file at the store's path belongs to another relay, or is not a store for this one."""
    CORRUPT = "broken"
    """The file's content is not what was written."""


class StoreStatus(msgspec.Struct, frozen=True):
    """Whether the store can commit."""

    failing_since_ns: int | None = None
    """None while the store works."""
    reason: StoreFault | None = None


class StoreLoss(msgspec.Struct, frozen=True):
    """A corrupt store that was set aside, after a new one was built from its readable rows."""

    file: Path
    """Where the corrupt file is now."""
    recovered: int
    """How many deliveries and dead letters the new store holds. How many were lost is unknown."""
    reason: str
    """What was found wrong, in SQLite's words."""
    number: int = 0
    """The store's number for this loss; a batch declares it by this number."""


class Corrupt(Exception):
    """A value in the file is not what was written."""


SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What a statement raises. The second comes from Python, if SQLite's message quotes a corrupt
schema that is not valid UTF-8."""

_BY_SQLITE_CODE = {
    sqlite3.SQLITE_FULL: StoreFault.FULL,
    sqlite3.SQLITE_READONLY: StoreFault.READ_ONLY,
    sqlite3.SQLITE_IOERR: StoreFault.IO,
    sqlite3.SQLITE_CANTOPEN: StoreFault.CANNOT_OPEN,
    sqlite3.SQLITE_BUSY: StoreFault.BUSY,
    sqlite3.SQLITE_LOCKED: StoreFault.BUSY,
    sqlite3.SQLITE_PERM: StoreFault.DENIED,
    sqlite3.SQLITE_CORRUPT: StoreFault.CORRUPT,
    sqlite3.SQLITE_NOTADB: StoreFault.CORRUPT,
}
"""See https://sqlite.org/rescode.html: the primary code is in the lowest eight bits."""

_BY_ERRNO = {
    errno.ENOSPC: StoreFault.FULL,
    errno.EDQUOT: StoreFault.FULL,
    errno.EROFS: StoreFault.READ_ONLY,
    errno.EACCES: StoreFault.DENIED,
    errno.EPERM: StoreFault.DENIED,
}


def classify_error(error: BaseException | None) -> StoreFault | None:
    """Return the fault of the disk or file behind an error; None if the error is a bug in relay."""
    match error:
        case Corrupt():
            return StoreFault.CORRUPT
        case StoreError():
            return classify_error(error.__cause__) or StoreFault.REFUSED
        case OSError():
            return _BY_ERRNO.get(error.errno or 0, StoreFault.IO)
        case UnicodeDecodeError():
            return StoreFault.CORRUPT  # see `SQLITE_ERRORS`
        case sqlite3.OperationalError() if "decode to UTF-8" in str(error):
            return StoreFault.CORRUPT  # found by Python, which gives it no code
        case sqlite3.Error():
            return _BY_SQLITE_CODE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        case _:
            return None


def describe_error(error: BaseException) -> str:
    """Return the error's message for a person."""
    return describe_os_error(error) if isinstance(error, OSError) else str(error)
