"""What can be wrong with a store's disk or file, and what that is called."""

import errno
import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from relay.core.errors import StoreError, describe_os_error


class StoreFault(StrEnum):
    """Why the disk does not take what it is given, or does not give back what it took."""

    FULL = "full"
    READ_ONLY = "read_only"
    IO = "io"
    """Reading or writing failed."""
    CANNOT_OPEN = "cannot_open"
    DENIED = "denied"
    BUSY = "busy"
    """Another program holds the file."""
    REFUSED = "refused"
    """What is at the store's place now belongs to another relay, or is no store of this one's."""
    CORRUPT = "broken"
    """What is in the file is not what was written."""


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Whether the store can keep what it is given."""

    failing_since_ns: int | None = None
    """None while all is well."""
    reason: StoreFault | None = None


@dataclass(frozen=True, slots=True)
class StoreLoss:
    """A broken store that was set aside, and a new one begun with what could be read of it."""

    file: Path
    """Where the broken one is now."""
    recovered: int
    """How many deliveries and dead letters are in the new one; how many were lost nobody knows."""
    reason: str
    """What was found wrong, in SQLite's words."""
    number: int = 0
    """The store's number of it, by which it is declared."""


class Corrupt(Exception):
    """What is in the file is not what was written."""


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
"""See https://sqlite.org/rescode.html: the primary codes are the last eight bits."""

_BY_ERRNO = {
    errno.ENOSPC: StoreFault.FULL,
    errno.EDQUOT: StoreFault.FULL,
    errno.EROFS: StoreFault.READ_ONLY,
    errno.EACCES: StoreFault.DENIED,
    errno.EPERM: StoreFault.DENIED,
}


def classify_error(error: BaseException | None) -> StoreFault | None:
    """What the error says of disk or file; None for a mistake of the program's own."""
    match error:
        case Corrupt():
            return StoreFault.CORRUPT
        case StoreError():
            return classify_error(error.__cause__) or StoreFault.REFUSED
        case OSError():
            return _BY_ERRNO.get(error.errno or 0, StoreFault.IO)
        case sqlite3.OperationalError() if "decode to UTF-8" in str(error):
            return StoreFault.CORRUPT  # found by Python, which gives it no code
        case sqlite3.Error():
            return _BY_SQLITE_CODE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        case _:
            return None


def describe_error(error: BaseException) -> str:
    """What the error says, for a person."""
    return describe_os_error(error) if isinstance(error, OSError) else str(error)
