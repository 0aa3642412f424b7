"""Where commands write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

STDOUT = 1


@contextmanager
def standard_output() -> Iterator[tuple[BinaryIO, bool]]:
    """Standard output, unbuffered, and whether it is a terminal; where it is closed, nothing."""
    try:
        file = os.dup(STDOUT)
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(file, "wb", buffering=0) as stream:
        yield stream, stream.isatty()
