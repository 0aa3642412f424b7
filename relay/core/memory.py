"""Lets the memory of large blocks go back to the system as soon as they are freed."""

import ctypes
from contextlib import suppress

LARGE_BLOCK_BYTES = 1024 * 1024
"""A block of this size or more is mapped by itself. Ordinary events need none."""

# mallopt(3), the numbers of <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def return_large_blocks() -> None:
    """Map blocks of `LARGE_BLOCK_BYTES` by themselves, and unmap them when they are freed.

    Left to itself, glibc stops doing that as soon as one large block was freed. Later ones then lie
    among small ones, and the space between these is not given back: a few events of 4 MiB cost
    100 MB for ever. Does nothing where the C library has no ``mallopt``.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * LARGE_BLOCK_BYTES)  # as glibc sets it beside the other
