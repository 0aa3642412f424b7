"""The store's file: opened, held, looked after while relay runs, begun anew when it is broken."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time_ns

import structlog

from relay.core.errors import StoreError
from relay.store import deliveries, integrity, lock, losses, recovery
from relay.store.faults import Corrupt, StoreFault, StoreLoss, classify_error, describe_error
from relay.store.files import DatabaseFiles, Inodes, is_relay_store
from relay.store.schema import check_version, migrate

log = structlog.get_logger()

BUSY_TIMEOUT_S = 1.0
"""How long a statement waits for another program that has the file."""

WAL_CHECKPOINT_PAGES = 256
"""How long SQLite's log gets before it is taken into the file, so that it fills no small disk."""


def resolve_store_path(configured: Path | None, folder: Path, environ: Mapping[str, str]) -> Path:
    """The one that is given, else in systemd's ``$STATE_DIRECTORY`` or in the user's state.

    A relative path starts at ``folder``, where the configuration is.

    See systemd.exec(5) and the XDG Base Directory Specification.
    """
    if configured is not None:
        return folder.absolute() / configured
    if folders := environ.get("STATE_DIRECTORY"):
        return Path(folders.split(":")[0]) / "relay.db"
    state = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME", "/")) / ".local" / "state"
    return Path(state) / "relay" / "relay.db"


class MemoryDatabase:
    """A store without a file; see `relay.store.writer.Backend`."""

    def open(self) -> sqlite3.Connection:
        """An empty one."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        migrate(connection, 0)
        return connection

    def verify(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """There is nothing to look after."""
        return connection

    def repair(
        self, connection: sqlite3.Connection, fault: StoreFault, error: Exception
    ) -> sqlite3.Connection:
        """There is nothing to be done."""
        return connection

    def close(self, connection: sqlite3.Connection) -> None:
        """All is gone."""
        connection.close()


class DatabaseFile:
    """A store on disk; see `relay.store.writer.Backend`.

    All that was committed is in the open connection, whatever is done to the names of its files.
    So as long as it is open, a file that was removed can be made anew from it.
    """

    def __init__(self, path: Path, on_loss: Callable[[StoreLoss], None]) -> None:
        """``on_loss`` is called in the store's thread."""
        self._path = path
        self._files = DatabaseFiles(path)
        self._on_loss = on_loss
        self._lock: int | None = None
        self._lock_path = lock.lock_path(path)
        self._inodes: Inodes = ()
        self._is_replaced = False
        """Whether another file is where the connection's was to be: one with all that it had."""

    def open(self) -> sqlite3.Connection:
        """Hold the store against other relays, check it and bring it up to date.

        Raises `StoreError` where it cannot be used.
        """
        with _as_store_error(self._path):
            self._lock = lock.acquire(self._path)
            try:
                self._promote()
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                return self._check(self._connect())
            except BaseException:
                self._release_lock()
                raise

    def verify(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """See that lock and files are where they were, and put back what is not."""
        if not self._holds_lock():
            held = lock.acquire(self._path)
            self._release_lock()
            self._lock = held
        if self._inodes == self._files.inodes():
            return connection
        return self._restore(connection)

    def repair(
        self, connection: sqlite3.Connection, fault: StoreFault, error: Exception
    ) -> sqlite3.Connection:
        """Make room, open the file again, or begin a new one: whatever may help."""
        if self._holds_lock() and (
            self._is_replaced or self._files.pending_replacement is not None
        ):
            self._promote()
            return self._switch_to_replacement(connection)
        match fault:
            case StoreFault.CORRUPT:
                corruption = integrity.find_corruption(connection)
                if corruption is not None and integrity.reindex(connection):
                    return self._finish_reindex(connection, corruption)
                return self._rebuild(connection, describe_error(error))
            case StoreFault.FULL:
                with suppress(sqlite3.Error):  # what the log takes may be all that is missing
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            case StoreFault.IO | StoreFault.READ_ONLY | StoreFault.CANNOT_OPEN | StoreFault.DENIED:
                return self._reopen(connection)
            case StoreFault.BUSY | StoreFault.REFUSED:
                pass
        return connection

    def close(self, connection: sqlite3.Connection) -> None:
        """Close the file, and let others have it."""
        try:
            connection.close()
        finally:
            self._release_lock()

    def _connect(self) -> sqlite3.Connection:
        """A connection to the file that is there; a missing one is not made."""
        place = f"{self._path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(place, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)

    def _prepare(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        version = check_version(connection, self._path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}")
        migrate(connection, version)
        connection.execute("SELECT count(*) FROM deliveries WHERE seq = 0").fetchone()
        self._inodes = self._files.inodes()
        return connection

    def _check(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """The connection, or one to a new store if this one is relay's and broken."""
        try:
            check_version(connection, self._path)
            corruption = integrity.find_corruption(connection)
            if corruption is None:
                return self._prepare(connection)
            if integrity.reindex(connection):
                return self._finish_reindex(connection, corruption)
            raise Corrupt(corruption)
        except (Corrupt, sqlite3.Error) as error:
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
        """The connection; no delivery waits because of what was not in an index."""
        self._prepare(connection)
        deliveries.release_heads(time_ns(), connection)
        log.warning("store.reindexed", store=str(self._path), reason=corruption)
        return connection

    def _reopen(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """A new connection to the same file; the old one if that cannot be had."""
        if self._inodes != self._files.inodes():
            return self._restore(connection)
        fresh = self._connect()
        try:
            self._prepare(fresh)
        except (sqlite3.Error, StoreError):
            fresh.close()
            return connection
        connection.close()
        return fresh

    def _restore(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Put all that the connection holds where the store is to be."""
        with self._files.build_replacement(self._files.unused_name("displaced")) as fresh:
            copy = sqlite3.connect(fresh)
            try:
                connection.backup(copy)
            finally:
                copy.close()
        self._promote(self._inodes)
        return self._switch_to_replacement(connection)

    def _rebuild(self, connection: sqlite3.Connection, reason: str) -> sqlite3.Connection:
        """A new store with what can be read of the broken one, which is set aside."""
        aside = self._files.unused_name("broken")
        with self._files.build_replacement(aside) as fresh:
            loss = recovery.recover(self._path, fresh, aside, reason, time_ns())
        self._files.promote()
        log.error("store.broken", set_aside=str(aside), carried=loss.recovered, reason=reason)
        return self._switch_to_replacement(connection)

    def _switch_to_replacement(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """A connection to the file that took the place of what was there.

        The old one is closed only after that: by then its own file has another name or none, and
        SQLite leaves those beside the new one alone.
        """
        self._is_replaced = True
        fresh = self._connect()
        try:
            self._prepare(fresh)
        except BaseException:
            fresh.close()
            raise
        self._is_replaced = False
        connection.close()
        for loss in losses.undeclared_losses(fresh):
            self._on_loss(loss)
        return fresh

    def _promote(self, ours: Inodes = ()) -> None:
        ready = self._files.pending_replacement
        aside = self._files.promote(ours)
        if ready is not None or aside is not None:
            shown = None if aside is None else str(aside)
            log.warning("store.restored", store=str(self._path), displaced=shown)

    def _holds_lock(self) -> bool:
        assert self._lock is not None, "it is taken when the store is opened"
        try:
            there = self._lock_path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(os.fstat(self._lock), there)

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def _as_store_error(path: Path) -> Iterator[None]:
    """Turn what keeps a store from being opened into words for a person."""
    try:
        yield
    except OSError as error:
        raise lock.not_writable_error(path, error) from error
    except (Corrupt, sqlite3.Error) as error:
        raise StoreError(
            f"store {path} cannot be opened: {error}: move it away to begin with an empty one"
        ) from error
