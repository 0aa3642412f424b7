"""Unix sockets that only their owner can use, at paths of any length."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relay.config.address import MAX_PATH_BYTES
from relay.core.errors import describe_os_error


def bind_socket(path: Path) -> socket.socket:
    """Return a socket bound to this path, which only its owner can use. Raises OSError.

    A socket at which no process listens was left by a relay that was killed: it is replaced.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            _check_stale(path)
            path.unlink()
    new_socket = socket.socket(socket.AF_UNIX)
    umask = os.umask(0o177)  # bind() creates the file, which must be private from the start
    try:
        with socket_address(path) as address:
            new_socket.bind(address)
    except OSError:
        new_socket.close()
        raise
    finally:
        os.umask(umask)
    return new_socket


def remove_socket(path: Path) -> None:
    """Remove the file of a socket. Call this before the socket is closed: the file of a closed
    socket is stale, and the next relay may have replaced it with its own."""
    path.unlink(missing_ok=True)


def _check_stale(path: Path) -> None:
    """Raise OSError if a process listens at this socket."""
    with socket.socket(socket.AF_UNIX) as probe, socket_address(path) as address:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            return
        except BlockingIOError:
            pass  # a process listens there, and its queue is full
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield the address to bind or connect to for this path. Raises OSError.

    A path that is too long for a socket address is replaced with a short one through its folder,
    which is open as long as the context lasts (``/proc/self/fd``: proc(5)).
    """
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        address = f"/proc/self/fd/{folder}/{path.name}"
        if len(os.fsencode(address)) > MAX_PATH_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        yield address
    finally:
        os.close(folder)


def describe_bind_error(error: OSError) -> str:
    """Return the reason why an address cannot be opened, and what to do about it."""
    if error.errno == errno.EADDRINUSE:
        return "it is taken by another program or, as a path, by a file: free it, or set another"
    return describe_os_error(error)
