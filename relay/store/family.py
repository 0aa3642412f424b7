"""The files that make up a store: their names, and changes of them that a crash cannot spoil."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

_SUFFIXES = ("", "-wal", "-shm")

_MARKS = (b"CREATE TABLE cursors (", b'{"id":"ntf_')
"""What a relay's store holds, be it in pages that are free: its schema, and notifications."""

_CHUNK = 2**20


class Family:
    """The database, its log and the log's index, which only mean something together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ready = Path(f"{path}.ready")
        self._unfinished = Path(f"{path}.unfinished")

    @property
    def members(self) -> tuple[Path, ...]:
        """The database first; they need not be there."""
        return _family(self._path)

    def identities(self) -> tuple[tuple[int, int] | None, ...]:
        """Device and number of each file; None for one that is not there."""
        return tuple(_identity(member) for member in self.members)

    @contextmanager
    def making(self) -> Iterator[Path]:
        """An empty file beside the store; if all goes well, it is on disk and ready afterwards."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in _family(self._unfinished):
            leftover.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(self._unfinished, flags, 0o600))
        try:
            yield self._unfinished
            _sync(self._unfinished)
            self._unfinished.rename(self._ready)
        except BaseException:
            self._unfinished.unlink(missing_ok=True)  # a full disk needs the room
            raise
        _sync(self._path.parent)

    def adopt(self) -> None:
        """Put the one that is ready, if there is one, where there is no store.

        A crash may have come between its making and that.
        """
        if self._path.exists():
            self._ready.unlink(missing_ok=True)
        elif self._ready.exists():
            self._ready.rename(self._path)
            _sync(self._path.parent)

    def clear(self, ours: tuple[tuple[int, int] | None, ...]) -> Path | None:
        """Make the place free: remove our own files, set others' aside; returns where these are."""
        aside = None
        if _identity(self._path) not in (None, *ours):
            aside = self.set_aside("displaced")
        for member in self.members:
            member.unlink(missing_ok=True)
        return aside

    def set_aside(self, why: str) -> Path:
        """Rename the files that are there to a dated name that no file has; returns the name."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        names = (
            Path(f"{self._path}.{why}-{moment}{'' if number == 1 else f'-{number}'}")
            for number in count(1)
        )
        aside = next(name for name in names if not any(file.exists() for file in _family(name)))
        for member, there in zip(self.members, _family(aside), strict=True):
            if member.exists():
                member.rename(there)
        _sync(self._path.parent)
        return aside


def is_relays(files: Family) -> bool:
    """Whether files that SQLite cannot read were a store of relay's.

    One of nothing but zeros, as a power cut may leave it, is nobody's, and as good.
    """
    return any(_bears_a_mark(file) for file in files.members) or _is_blank(files.members[0])


def _bears_a_mark(file: Path) -> bool:
    before = b""
    for chunk in _chunks(file):
        if any(mark in before + chunk for mark in _MARKS):
            return True
        before = chunk[-64:]
    return False


def _is_blank(file: Path) -> bool:
    return not any(chunk.strip(b"\0") for chunk in _chunks(file))


def _chunks(file: Path) -> Iterator[bytes]:
    if file.exists():
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK):
                yield chunk


def _family(path: Path) -> tuple[Path, ...]:
    return tuple(Path(f"{path}{suffix}") for suffix in _SUFFIXES)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return there.st_dev, there.st_ino


def _sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on disk."""
    place = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(place)
    finally:
        os.close(place)
