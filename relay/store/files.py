"""The files that make up a store: their names, and changes of them that a crash cannot spoil."""

import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

Inodes = tuple[tuple[int, int] | None, ...]

_SUFFIXES = ("", "-wal", "-shm")
_READY = ".ready"

_MARKERS = (b"CREATE TABLE cursors (", b'{"id":"ntf_')
"""What a relay's store holds, be it in pages that are free: its schema, and notifications."""

_CHUNK = 2**20


class DatabaseFiles:
    """The database, its log and the log's index, which only mean something together.

    A new database takes the place of another in three steps: it is made beside it, it is ready once
    it has a name that says where the other is to go, and it is adopted. From the moment that it is
    ready it has all that can be had, and whoever comes after a crash finishes the rest.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = Path(f"{path}.unfinished")
        self.paths = _file_set(path)
        """The database first; they need not be there."""

    def inodes(self) -> Inodes:
        """Device and number of each file; None for one that is not there."""
        return tuple(_inode(member) for member in self.paths)

    def unused_name(self, reason: str) -> Path:
        """A dated name that no file has, for what is to be set aside."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        names = (
            Path(f"{self._path}.{reason}-{moment}{'' if number == 1 else f'-{number}'}")
            for number in count(1)
        )
        return next(name for name in names if not any(file.exists() for file in _file_set(name)))

    @contextmanager
    def build_replacement(self, aside: Path) -> Iterator[Path]:
        """An empty file beside the store; if all goes well, it is on disk and ready afterwards.

        ``aside`` is where what is in its place now is to go.
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
            self._unfinished.unlink(missing_ok=True)  # a full disk needs the room
            raise
        _fsync(self._path.parent)

    @property
    def pending_replacement(self) -> Path | None:
        """The file that is to take the store's place, if there is one."""
        names = self._path.parent.glob(f"{glob.escape(self._path.name)}.*{_READY}")
        dated = re.compile(rf"{re.escape(self._path.name)}\.[a-z]+-[\dTZ-]+{re.escape(_READY)}")
        return next((name for name in names if dated.fullmatch(name.name)), None)

    def promote(self, ours: Inodes = ()) -> Path | None:
        """Put the file that is ready, if there is one, in the store's place.

        What is there is set aside, but for files among ``ours``, which are removed. A log without
        its database is set aside in any case: SQLite would delete it, or take it for another's.
        Returns the name of what was set aside, None for nothing.
        """
        ready = self.pending_replacement
        if ready is None:
            return None if self._path.exists() else self._move_aside(self.unused_name("displaced"))
        aside = Path(str(ready).removesuffix(_READY))
        if self._path.exists() and aside.exists():  # somebody put it there meanwhile
            aside = self.unused_name("displaced")
        moved = self._move_aside(aside, ours)
        ready.rename(self._path)
        _fsync(self._path.parent)
        return moved

    def _move_aside(self, aside: Path, ours: Inodes = ()) -> Path | None:
        """The database goes first: as long as it is there, its log is beside it."""
        moved = False
        for member, there in zip(self.paths, _file_set(aside), strict=True):
            identity = _inode(member)
            if identity is None:
                continue
            if identity in ours:
                member.unlink()
            else:
                member.rename(there)
                moved = True
        if moved:
            _fsync(self._path.parent)
        return aside if moved else None


def is_relay_store(files: DatabaseFiles) -> bool:
    """Whether files that SQLite cannot read were a store of relay's.

    One of nothing but zeros, as a power cut may leave it, is nobody's, and as good.
    """
    return any(_contains_marker(file) for file in files.paths) or _is_all_zeros(files.paths[0])


def _contains_marker(file: Path) -> bool:
    before = b""
    for chunk in _read_chunks(file):
        if any(mark in before + chunk for mark in _MARKERS):
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
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return there.st_dev, there.st_ino


def _fsync(path: Path) -> None:
    """Have a file's content, or a folder's names, on disk."""
    place = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(place)
    finally:
        os.close(place)
