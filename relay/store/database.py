"""The database file: opened, locked, verified while relay runs, rebuilt when it is corrupt.

All committed data stays readable through the open connection, whatever happens to the files' names.
So while relay runs, a file that was removed or replaced is restored from the connection, and a
corrupt one is rebuilt from what can still be read. The lock is held until the store is closed.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time_ns

import structlog

from relay.core.errors import StoreError
from relay.store import deliveries, recovery
from relay.store.faults import (
    SQLITE_ERRORS,
    Corrupt,
    StoreFault,
    StoreLoss,
    classify_error,
    describe_error,
)
from relay.store.files import (
    DatabaseFiles,
    Inodes,
    acquire_lock,
    is_relay_store,
    lock_path,
    not_writable_error,
)
from relay.store.recovery import find_corruption, reindex
from relay.store.schema import CACHED_STATEMENTS, check_version, migrate

log = structlog.get_logger()

BUSY_TIMEOUT_S = 1.0
"""How long a statement waits for another program that holds a lock on the file."""

WAL_CHECKPOINT_PAGES = 1000
"""SQLite checkpoints its log at this size (4 MB). With a smaller one, pages that change with every
transaction would be copied again and again."""

CACHE_KIB = 8192
"""How much of the file SQLite keeps in memory at most: the indexes of a large backlog."""


def resolve_store_path(configured: Path | None, folder: Path, environ: Mapping[str, str]) -> Path:
    """Return the configured path, else one in ``$STATE_DIRECTORY`` or the user's state folder.

    A relative path is relative to ``folder``, the configuration file's. systemd sets
    ``$STATE_DIRECTORY``.

    See systemd.exec(5) and the XDG Base Directory Specification.
    """
    if configured is not None:
        return folder.absolute() / configured
    if folders := environ.get("STATE_DIRECTORY"):
        return Path(folders.split(":")[0]) / "relay.db"
    state = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME", "/")) / ".local" / "state"
    return Path(state) / "relay" / "relay.db"


class MemoryDatabase:
    """A store in memory; see `relay.store.writer.Backend`."""

    def open(self) -> sqlite3.Connection:
        """Return a connection to an empty database."""
        connection = sqlite3.connect(
            ":memory:", isolation_level=None, cached_statements=CACHED_STATEMENTS
        )
        migrate(connection, 0)
        return connection

    def verify(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Return the same connection: there are no files to verify."""
        return connection

    def repair(
        self, connection: sqlite3.Connection, fault: StoreFault, error: Exception
    ) -> sqlite3.Connection:
        """Return the same connection: nothing can be repaired."""
        return connection

    def close(self, connection: sqlite3.Connection) -> None:
        """Close the connection; the data is gone."""
        connection.close()


class DatabaseFile:
    """A store on disk; see `relay.store.writer.Backend`."""

    def __init__(self, path: Path, on_loss: Callable[[StoreLoss], None]) -> None:
        """``on_loss`` is called in the writer thread."""
        self._path = path
        self._files = DatabaseFiles(path)
        self._on_loss = on_loss
        self._lock: int | None = None
        self._lock_path = lock_path(path)
        self._inodes: Inodes = ()
        self._is_replaced = False
        """Whether a new file with all the connection's data is at the store's path, not opened yet.
        """

    def open(self) -> sqlite3.Connection:
        """Lock the store, check it and migrate it; return a connection.

        Raises `StoreError` if it cannot be used.
        """
        with _as_store_error(self._path):
            self._lock = acquire_lock(self._path)
            try:
                self._promote()
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                return self._check(self._connect())
            except BaseException:
                self._release_lock()
                raise

    def verify(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Check that lock and files are where they were; restore what is not."""
        if not self._holds_lock():
            new_lock = acquire_lock(self._path)
            self._release_lock()
            self._lock = new_lock
        if self._inodes == self._files.inodes():
            return connection
        return self._restore(connection)

    def repair(
        self, connection: sqlite3.Connection, fault: StoreFault, error: Exception
    ) -> sqlite3.Connection:
        """Free disk space, reopen the file or rebuild it, whichever may help."""
        if self._holds_lock() and (
            self._is_replaced or self._files.pending_replacement is not None
        ):
            self._promote()
            return self._switch_to_replacement(connection)
        match fault:
            case StoreFault.CORRUPT:
                corruption = find_corruption(connection)
                if corruption is not None and reindex(connection):
                    return self._finish_reindex(connection, corruption)
                return self._rebuild(connection, describe_error(error))
            case StoreFault.FULL:
                # The space that the log takes may be all that is missing.
                with suppress(*SQLITE_ERRORS):
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            case StoreFault.IO | StoreFault.READ_ONLY | StoreFault.CANNOT_OPEN | StoreFault.DENIED:
                return self._reopen(connection)
            case StoreFault.BUSY | StoreFault.REFUSED:
                pass
        return connection

    def close(self, connection: sqlite3.Connection) -> None:
        """Close the file and release its lock."""
        try:
            connection.close()
        finally:
            self._release_lock()

    def _connect(self) -> sqlite3.Connection:
        """Connect to the existing file; never create a missing one."""
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(
            uri,
            uri=True,
            isolation_level=None,
            timeout=BUSY_TIMEOUT_S,
            cached_statements=CACHED_STATEMENTS,
        )

    def _prepare(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        version = check_version(connection, self._path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA secure_delete = FAST")  # overwrites no free page with zeros
        migrate(connection, version)
        connection.execute("SELECT count(*) FROM deliveries WHERE seq = 0").fetchone()
        self._inodes = self._files.inodes()
        return connection

    def _check(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Return the connection, or one to a rebuilt store if this one is relay's and corrupt."""
        try:
            check_version(connection, self._path)
            corruption = find_corruption(connection)
            if corruption is None:
                return self._prepare(connection)
            if reindex(connection):
                return self._finish_reindex(connection, corruption)
            raise Corrupt(corruption)
        except (Corrupt, *SQLITE_ERRORS) as error:
            if classify_error(error) is StoreFault.CORRUPT and is_relay_store(self._files):
                return self._rebuild(connection, describe_error(error))
            connection.close()
            raise
        except BaseException:
            connection.close()
            raise

    def _finish_reindex(
        self, connection: sqlite3.Connection, corruption: str
    ) -> sqlite3.Connection:
        """Release deliveries that wait because an index did not contain the one before them."""
        self._prepare(connection)
        deliveries.release_heads(time_ns(), connection)
        log.warning("store.reindexed", store=str(self._path), reason=corruption)
        return connection

    def _reopen(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Return a new connection to the same file, or the old one if that fails."""
        if self._inodes != self._files.inodes():
            return self._restore(connection)
        fresh = self._connect()
        try:
            self._prepare(fresh)
        except (*SQLITE_ERRORS, StoreError):
            fresh.close()
            return connection
        connection.close()
        return fresh

    def _restore(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Write everything that the connection can read to the store's path."""
        with self._files.build_replacement(self._files.unused_name("displaced")) as replacement:
            copy = sqlite3.connect(replacement)
            try:
                connection.backup(copy)
            finally:
                copy.close()
        self._promote(self._inodes)
        return self._switch_to_replacement(connection)

    def _rebuild(self, connection: sqlite3.Connection, reason: str) -> sqlite3.Connection:
        """Move the corrupt store aside and build a new one from what can be read of it."""
        aside = self._files.unused_name("broken")
        with self._files.build_replacement(aside) as replacement:
            loss = recovery.recover(self._path, replacement, aside, reason, time_ns())
        self._files.promote()
        log.error("store.broken", set_aside=str(aside), carried=loss.recovered, reason=reason)
        return self._switch_to_replacement(connection)

    def _switch_to_replacement(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Return a connection to the file that has replaced the old one.

        The old connection is closed last: by then its file has another name or none, so that SQLite
        does not touch the files beside the new one.
        """
        self._is_replaced = True
        replacement = self._connect()
        try:
            self._prepare(replacement)
        except BaseException:
            replacement.close()
            raise
        self._is_replaced = False
        connection.close()
        for loss in recovery.undeclared_losses(replacement):
            self._on_loss(loss)
        return replacement

    def _promote(self, ours: Inodes = ()) -> None:
        pending = self._files.pending_replacement
        aside = self._files.promote(ours)
        if pending is not None or aside is not None:
            displaced = None if aside is None else str(aside)
            log.warning("store.restored", store=str(self._path), displaced=displaced)

    def _holds_lock(self) -> bool:
        assert self._lock is not None, "open() acquires it"
        try:
            current = self._lock_path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(os.fstat(self._lock), current)

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def _as_store_error(path: Path) -> Iterator[None]:
    """Turn what prevents a store from being opened into a message for a person."""
    try:
        yield
    except OSError as error:
        raise not_writable_error(path, error) from error
    except (Corrupt, *SQLITE_ERRORS) as error:
        raise StoreError(
            f"store {path} cannot be opened: {error}: move it away to begin with an empty one"
        ) from error
