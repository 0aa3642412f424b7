"""The store's file: opened, held, looked after while relay runs, begun anew when it is broken."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time_ns

import structlog

from relay.errors import StoreError
from relay.store import lock, salvage
from relay.store.family import Family, is_relays
from relay.store.schema import known_version, migrate
from relay.store.trouble import Broken, Loss, Trouble, trouble_in, words

log = structlog.get_logger()

BUSY_S = 1.0
"""How long a statement waits for another program that has the file."""

LOG_PAGES = 256
"""How long SQLite's log gets before it is taken into the file, so that it fills no small disk."""


class Memory:
    """A store without a file; see `relay.store.committer.Place`."""

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
    """A store on disk; see `relay.store.committer.Place`.

    All that was committed is in the open connection, whatever is done to the names of its files.
    So as long as it is open, a file that was removed can be made anew from it.
    """

    def __init__(self, path: Path, on_loss: Callable[[Loss], None]) -> None:
        """``on_loss`` is called in the store's thread."""
        self._path = path
        self._files = Family(path)
        self._on_loss = on_loss
        self._lock: int | None = None
        self._identities: tuple[tuple[int, int] | None, ...] = ()

    def open(self) -> sqlite3.Connection:
        """Hold the store against other relays, check it and bring it up to date.

        Raises `StoreError` where it cannot be used.
        """
        with _refusing(self._path):
            self._lock = lock.take(self._path)
            try:
                self._files.adopt()
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
        match trouble:
            case Trouble.BROKEN:
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
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise Broken(" ".join(verdict.split()))
            return self._prepared(connection)
        except (Broken, sqlite3.Error) as error:
            if trouble_in(error) is Trouble.BROKEN and is_relays(self._files):
                return self._begun_anew(connection, words(error))
            connection.close()
            raise
        except BaseException:
            connection.close()
            raise

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
        """Put all that the connection holds where the store is to be.

        It is closed only after that: by then its own file has no name, and SQLite leaves those
        beside it alone.
        """
        with self._files.making() as fresh:
            copy = sqlite3.connect(fresh)
            try:
                connection.backup(copy)
            finally:
                copy.close()
        displaced = self._files.clear(self._identities)
        self._files.adopt()
        restored = self._prepared(self._dial())
        connection.close()
        shown = None if displaced is None else str(displaced)
        log.warning("store.restored", store=str(self._path), displaced=shown)
        return restored

    def _begun_anew(self, connection: sqlite3.Connection, reason: str) -> sqlite3.Connection:
        """A new store with what can be read of the broken one, which is set aside."""
        with self._files.making() as fresh:
            carried = salvage.carry_over(self._path, fresh, time_ns())
        aside = self._files.set_aside("broken")
        connection.close()
        self._files.adopt()
        log.error("store.broken", set_aside=str(aside), carried=carried, reason=reason)
        begun = self._prepared(self._dial())
        self._on_loss(Loss(aside, carried, reason))
        return begun

    def _is_held(self) -> bool:
        assert self._lock is not None, "it is taken when the store is opened"
        try:
            there = lock.lock_file(self._path).stat()
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
