"""What can be wrong with a store's disk or file, and what that is called."""

import errno
import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from relay.core.errors import StoreError, system_words


class Trouble(StrEnum):
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
    BROKEN = "broken"
    """What is in the file is not what was written."""


@dataclass(frozen=True, slots=True)
class State:
    """Whether the store can keep what it is given."""

    failing_since_ns: int | None = None
    """None while all is well."""
    reason: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """A broken store that was set aside, and a new one begun with what could be read of it."""

    file: Path
    """Where the broken one is now."""
    carried: int
    """How many deliveries and dead letters are in the new one; how many were lost nobody knows."""
    reason: str
    """What was found wrong, in SQLite's words."""
    number: int = 0
    """The store's number of it, by which it is declared."""


class Broken(Exception):
    """What is in the file is not what was written."""


_BY_CODE = {
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_IOERR: Trouble.IO,
    sqlite3.SQLITE_CANTOPEN: Trouble.CANNOT_OPEN,
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
    sqlite3.SQLITE_PERM: Trouble.DENIED,
    sqlite3.SQLITE_CORRUPT: Trouble.BROKEN,
    sqlite3.SQLITE_NOTADB: Trouble.BROKEN,
}
"""See https://sqlite.org/rescode.html: the primary codes are the last eight bits."""

_BY_NUMBER = {
    errno.ENOSPC: Trouble.FULL,
    errno.EDQUOT: Trouble.FULL,
    errno.EROFS: Trouble.READ_ONLY,
    errno.EACCES: Trouble.DENIED,
    errno.EPERM: Trouble.DENIED,
}


def trouble_in(error: BaseException | None) -> Trouble | None:
    """What the error says of disk or file; None for a mistake of the program's own."""
    match error:
        case Broken():
            return Trouble.BROKEN
        case StoreError():
            return trouble_in(error.__cause__) or Trouble.REFUSED
        case OSError():
            return _BY_NUMBER.get(error.errno or 0, Trouble.IO)
        case sqlite3.OperationalError() if "decode to UTF-8" in str(error):
            return Trouble.BROKEN  # found by Python, which gives it no code
        case sqlite3.Error():
            return _BY_CODE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        case _:
            return None


def words(error: BaseException) -> str:
    """What the error says, for a person."""
    return system_words(error) if isinstance(error, OSError) else str(error)
