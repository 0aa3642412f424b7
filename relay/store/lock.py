"""The lock file that keeps other relays from using a store."""

import fcntl
import os
from pathlib import Path

from relay.core.errors import StoreError, StoreInUse, describe_os_error


def acquire(store: Path) -> int:
    """Lock a file beside the store and return its descriptor.

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


def lock_path(store: Path) -> Path:
    """Return the path of a store's lock file."""
    return Path(f"{store}.lock")


def not_writable_error(store: Path, error: OSError) -> StoreError:
    """Return the error for a store that the operating system does not let relay write."""
    return StoreError(
        f"store {store} cannot be written: {describe_os_error(error)}: make its folder writable "
        "for the user that runs relay, or set store.path"
    )
