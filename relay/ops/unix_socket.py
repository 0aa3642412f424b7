"""A socket in the file system, for its owner alone."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relay.errors import system_words

LONGEST = 107
"""So many bytes of a path fit into an address, beside the NUL at its end: unix(7)."""


def bound(path: Path) -> socket.socket:
    """A socket at this path, for its owner alone; raises OSError.

    One that nobody listens at is left over from a relay that was killed: it is removed.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            _check_left(path)
            path.unlink()
    fresh = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        with address(path) as short:
            fresh.bind(short)
    except OSError:
        fresh.close()
        raise
    finally:
        os.umask(before)
    return fresh


def remove(path: Path) -> None:
    """At the end, so that nobody takes it for one that is listened at."""
    path.unlink(missing_ok=True)


@contextmanager
def address(path: Path) -> Iterator[str]:
    """What to bind or connect to for this path, as long as the context lasts; raises OSError.

    A path that is too long for an address leads through its folder, which is opened (proc(5)).
    """
    if len(os.fsencode(path)) <= LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = f"/proc/self/fd/{folder}/{path.name}"
        if len(os.fsencode(short)) > LONGEST:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        yield short
    finally:
        os.close(folder)


def why_not(error: OSError) -> str:
    """Why something cannot listen at a place, for a person."""
    if error.errno == errno.EADDRINUSE:
        return "it is taken by another program or, as a path, by a file: free it, or set another"
    return system_words(error)


def _check_left(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe, address(path) as short:
        probe.setblocking(False)
        try:
            probe.connect(short)
        except ConnectionRefusedError:
            return
        except BlockingIOError:
            pass  # whoever listens has no time
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
