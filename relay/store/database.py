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
from relay.store.faults import Broken, Loss, Trouble, trouble_in, words
from relay.store.files import Family, Identities, is_relays
from relay.store.schema import known_version, migrate

log = structlog.get_logger()

BUSY_S = 1.0
"""How long a statement waits for another program that has the file."""

LOG_PAGES = 256
"""How long SQLite's log gets before it is taken into the file, so that it fills no small disk."""


def store_path(given: Path | None, folder: Path, environ: Mapping[str, str]) -> Path:
    """The one that is given, else in systemd's ``$STATE_DIRECTORY`` or in the user's state.

    A relative path starts at ``folder``, where the configuration is.

    See systemd.exec(5) and the XDG Base Directory Specification.
    """
    if given is not None:
        return folder.absolute() / given
    if folders := environ.get("STATE_DIRECTORY"):
        return Path(folders.split(":")[0]) / "relay.db"
    state = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME", "/")) / ".local" / "state"
    return Path(state) / "relay" / "relay.db"


class Memory:
    """A store without a file; see `relay.store.writer.Place`."""

    def open(self) -> sqlite3.Connection:
        """An empty one."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        migrate(connection, 0)
        return connection

    def keep(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """There is nothing to look after."""
        return connection

    def mend(
        self, connection: sqlite3.Connection, trouble: Trouble, error: Exception
    ) -> sqlite3.Connection:
        """There is nothing to be done."""
        return connection

    def close(self, connection: sqlite3.Connection) -> None:
        """All is gone."""
        connection.close()


class StoreFile:
    """A store on disk; see `relay.store.writer.Place`.

    All that was committed is in the open connection, whatever is done to the names of its files.
    So as long as it is open, a file that was removed can be made anew from it.
    """

    def __init__(self, path: Path, on_loss: Callable[[Loss], None]) -> None:
        """``on_loss`` is called in the store's thread."""
        self._path = path
        self._files = Family(path)
        self._on_loss = on_loss
        self._lock: int | None = None
        self._lock_file = lock.lock_file(path)
        self._identities: Identities = ()
        self._superseded = False
        """Whether another file is where the connection's was to be: one with all that it had."""

    def open(self) -> sqlite3.Connection:
        """Hold the store against other relays, check it and bring it up to date.

        Raises `StoreError` where it cannot be used.
        """
        with _refusing(self._path):
            self._lock = lock.take(self._path)
            try:
                self._adopt()
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                return self._checked(self._dial())
            except BaseException:
                self._release()
                raise

    def keep(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """See that lock and files are where they were, and put back what is not."""
        if not self._is_held():
            held = lock.take(self._path)
            self._release()
            self._lock = held
        if self._identities == self._files.identities():
            return connection
        return self._restored(connection)

    def mend(
        self, connection: sqlite3.Connection, trouble: Trouble, error: Exception
    ) -> sqlite3.Connection:
        """Make room, open the file again, or begin a new one: whatever may help."""
        if self._is_held() and (self._superseded or self._files.ready is not None):
            self._adopt()
            return self._replaced(connection)
        match trouble:
            case Trouble.BROKEN:
                fault = integrity.fault(connection)
                if fault is not None and integrity.reindex(connection):
                    return self._reindexed(connection, fault)
                return self._begun_anew(connection, words(error))
            case Trouble.FULL:
                with suppress(sqlite3.Error):  # what the log takes may be all that is missing
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            case Trouble.IO | Trouble.READ_ONLY | Trouble.CANNOT_OPEN | Trouble.DENIED:
                return self._reopened(connection)
            case Trouble.BUSY | Trouble.REFUSED:
                pass
        return connection

    def close(self, connection: sqlite3.Connection) -> None:
        """Close the file, and let others have it."""
        try:
            connection.close()
        finally:
            self._release()

    def _dial(self) -> sqlite3.Connection:
        """A connection to the file that is there; a missing one is not made."""
        place = f"{self._path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(place, uri=True, isolation_level=None, timeout=BUSY_S)

    def _prepared(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        version = known_version(connection, self._path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        migrate(connection, version)
        connection.execute("SELECT count(*) FROM deliveries WHERE seq = 0").fetchone()
        self._identities = self._files.identities()
        return connection

    def _checked(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """The connection, or one to a new store if this one is relay's and broken."""
        try:
            known_version(connection, self._path)
            fault = integrity.fault(connection)
            if fault is None:
                return self._prepared(connection)
            if integrity.reindex(connection):
                return self._reindexed(connection, fault)
            raise Broken(fault)
        except (Broken, sqlite3.Error) as error:
            if trouble_in(error) is Trouble.BROKEN and is_relays(self._files):
                return self._begun_anew(connection, words(error))
            connection.close()
            raise
        except BaseException:
            connection.close()
            raise

    def _reindexed(self, connection: sqlite3.Connection, fault: str) -> sqlite3.Connection:
        """The connection; no delivery waits because of what was not in an index."""
        self._prepared(connection)
        deliveries.promote_heads(time_ns(), connection)
        log.warning("store.reindexed", store=str(self._path), reason=fault)
        return connection

    def _reopened(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """A new connection to the same file; the old one if that cannot be had."""
        if self._identities != self._files.identities():
            return self._restored(connection)
        fresh = self._dial()
        try:
            self._prepared(fresh)
        except (sqlite3.Error, StoreError):
            fresh.close()
            return connection
        connection.close()
        return fresh

    def _restored(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Put all that the connection holds where the store is to be."""
        with self._files.making(self._files.free_name("displaced")) as fresh:
            copy = sqlite3.connect(fresh)
            try:
                connection.backup(copy)
            finally:
                copy.close()
        self._adopt(self._identities)
        return self._replaced(connection)

    def _begun_anew(self, connection: sqlite3.Connection, reason: str) -> sqlite3.Connection:
        """A new store with what can be read of the broken one, which is set aside."""
        aside = self._files.free_name("broken")
        with self._files.making(aside) as fresh:
            loss = recovery.carry_over(self._path, fresh, aside, reason, time_ns())
        self._files.adopt()
        log.error("store.broken", set_aside=str(aside), carried=loss.carried, reason=reason)
        return self._replaced(connection)

    def _replaced(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """A connection to the file that took the place of what was there.

        The old one is closed only after that: by then its own file has another name or none, and
        SQLite leaves those beside the new one alone.
        """
        self._superseded = True
        fresh = self._dial()
        try:
            self._prepared(fresh)
        except BaseException:
            fresh.close()
            raise
        self._superseded = False
        connection.close()
        for loss in losses.undeclared(fresh):
            self._on_loss(loss)
        return fresh

    def _adopt(self, ours: Identities = ()) -> None:
        ready = self._files.ready
        aside = self._files.adopt(ours)
        if ready is not None or aside is not None:
            shown = None if aside is None else str(aside)
            log.warning("store.restored", store=str(self._path), displaced=shown)

    def _is_held(self) -> bool:
        assert self._lock is not None, "it is taken when the store is opened"
        try:
            there = self._lock_file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(os.fstat(self._lock), there)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what keeps a store from being opened into words for a person."""
    try:
        yield
    except OSError as error:
        raise lock.unusable(path, error) from error
    except (Broken, sqlite3.Error) as error:
        raise StoreError(
            f"store {path} cannot be opened: {error}: move it away to begin with an empty one"
        ) from error
