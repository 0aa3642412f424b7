"""The files that make up a store: their names, the lock, and how one set replaces another.

A store that is corrupt, or was removed while relay runs, is replaced by a new one. A crash at any
step leaves files from which the next start completes the replacement.
"""

import fcntl
import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from relay.core.errors import StoreError, StoreInUse, describe_os_error

Inodes = tuple[tuple[int, int] | None, ...]
"""Device and inode number of each file of a store; None for a file that does not exist."""

_SUFFIXES = ("", "-wal", "-shm")
_READY = ".ready"

_MARKERS = (b"CREATE TABLE cursors (", b'{"id":"ntf_')
"""Bytes that every store of relay's contains, perhaps only in free pages: its schema, and the
beginning of a notification."""

_CHUNK = 2**20


class DatabaseFiles:
    """The three SQLite files: database, -wal and -shm. They are moved together.

    A new database replaces the current one in three steps. It is built beside it. Then it is
    renamed to its pending name, which says where the current one will be moved. Then it is
    promoted: the current files are moved aside and the new one takes their place. From the second
    step on it holds everything that could be recovered, and the next start completes an interrupted
    third step.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = Path(f"{path}.unfinished")
        self.paths = _file_set(path)
        """The database first. The files need not exist."""

    def inodes(self) -> Inodes:
        """Return device and inode number of each file; None for a file that does not exist."""
        return tuple(_inode(path) for path in self.paths)

    def unused_name(self, reason: str) -> Path:
        """Return a dated name that no file has, for files that are moved aside."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        names = (
            Path(f"{self._path}.{reason}-{moment}{'' if number == 1 else f'-{number}'}")
            for number in count(1)
        )
        return next(name for name in names if not any(file.exists() for file in _file_set(name)))

    @contextmanager
    def build_replacement(self, aside: Path) -> Iterator[Path]:
        """Give an empty file beside the store; on success it is synced and pending afterwards.

        ``aside`` is where the current files will be moved.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in _file_set(self._unfinished):
            leftover.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(self._unfinished, flags, 0o600))
        try:
            yield self._unfinished
            _fsync(self._unfinished)
            self._unfinished.rename(f"{aside}{_READY}")
        except BaseException:
            self._unfinished.unlink(missing_ok=True)  # a full disk needs the space
            raise
        _fsync(self._path.parent)

    @property
    def pending_replacement(self) -> Path | None:
        """The file that is to replace the database; None if there is none."""
        names = self._path.parent.glob(f"{glob.escape(self._path.name)}.*{_READY}")
        dated = re.compile(rf"{re.escape(self._path.name)}\.[a-z]+-[\dTZ-]+{re.escape(_READY)}")
        return next((name for name in names if dated.fullmatch(name.name)), None)

    def promote(self, ours: Inodes = ()) -> Path | None:
        """Move the pending replacement, if there is one, to the store's path.

        The current files are moved aside, except those whose inodes are in ``ours``, which are
        deleted. A log without its database is moved aside in any case: SQLite would delete it, or
        apply it to another database. Returns the name of what was moved aside, None if nothing was.
        """
        pending = self.pending_replacement
        if pending is None:
            return None if self._path.exists() else self._move_aside(self.unused_name("displaced"))
        aside = Path(str(pending).removesuffix(_READY))
        if self._path.exists() and aside.exists():
            # Somebody has put a file at the store's path meanwhile.
            aside = self.unused_name("displaced")
        moved = self._move_aside(aside, ours)
        pending.rename(self._path)
        _fsync(self._path.parent)
        return moved

    def _move_aside(self, aside: Path, ours: Inodes = ()) -> Path | None:
        """Move the database first: as long as it is there, its log is beside it."""
        moved = False
        for path, target in zip(self.paths, _file_set(aside), strict=True):
            inode = _inode(path)
            if inode is None:
                continue
            if inode in ours:
                path.unlink()
            else:
                path.rename(target)
                moved = True
        if moved:
            _fsync(self._path.parent)
        return aside if moved else None


def is_relay_store(files: DatabaseFiles) -> bool:
    """Return whether files that SQLite cannot read once were a store of relay's.

    A file of zeros, as a power cut may leave it, holds nothing of anybody's and may be replaced
    too.
    """
    return any(_contains_marker(file) for file in files.paths) or _is_all_zeros(files.paths[0])


def lock_path(store: Path) -> Path:
    """Return the path of a store's lock file."""
    return Path(f"{store}.lock")


def acquire_lock(store: Path) -> int:
    """Lock a file beside the store, against other relays; return its descriptor.

    The kernel releases the lock when the process ends, however it ends. Creates the folder if it is
    missing. Raises `StoreInUse` if another process holds the lock, another `StoreError` if the file
    cannot be written.
    """
    file = lock_path(store)
    try:
        store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise not_writable_error(store, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        holder = file.read_text(encoding="ascii", errors="replace").strip() or "unknown"
        raise StoreInUse(
            f"store {store} is in use by another relay (pid {holder}): stop that one, "
            "or give this one a store.path of its own"
        ) from None
    try:
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except OSError as error:
        os.close(lock)
        raise not_writable_error(store, error) from error
    return lock


def not_writable_error(store: Path, error: OSError) -> StoreError:
    """Return the error for a store that the operating system does not let relay write."""
    return StoreError(
        f"store {store} cannot be written: {describe_os_error(error)}: make its folder writable "
        "for the user that runs relay, or set store.path"
    )


def _contains_marker(file: Path) -> bool:
    before = b""
    for chunk in _read_chunks(file):
        if any(marker in before + chunk for marker in _MARKERS):
            return True
        before = chunk[-64:]
    return False


def _is_all_zeros(file: Path) -> bool:
    return not any(chunk.strip(b"\0") for chunk in _read_chunks(file))


def _read_chunks(file: Path) -> Iterator[bytes]:
    if file.exists():
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK):
                yield chunk


def _file_set(path: Path) -> tuple[Path, ...]:
    return tuple(Path(f"{path}{suffix}") for suffix in _SUFFIXES)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _fsync(path: Path) -> None:
    """Sync a file's content, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
