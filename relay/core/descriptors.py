"""What a process lacks when it has no file descriptor or no memory left."""

import errno
import os

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The errors of a process or a host that lacks descriptors or memory, whatever it connects to."""


def check_descriptors() -> None:
    """Raise `OSError` if no file descriptor is left.

    For name lookups and OpenSSL, which report this as another error or not at all.
    """
    os.close(os.open(os.devnull, os.O_RDONLY))
