"""Where commands write.

Unbuffered: a buffer that a stuck reader keeps from being flushed keeps the process from ending.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

STDIN, STDOUT, STDERR = 0, 1, 2


def open_missing_streams() -> None:
    """Open /dev/null in place of what relay was started without.

    Else the next file that is opened, the store perhaps, gets that number, and what is meant for
    the terminal goes into it.
    """
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


@contextmanager
def standard_output() -> Iterator[tuple[BinaryIO, bool]]:
    """Standard output and whether it is a terminal."""
    with os.fdopen(STDOUT, "wb", buffering=0, closefd=False) as stream:
        yield stream, stream.isatty()


def write_line(line: str) -> None:
    """Write a line to standard output, however long that takes."""
    rest = line.encode(errors="backslashreplace") + b"\n"
    while rest:
        rest = rest[os.write(STDOUT, rest) :]


class StandardError(io.TextIOBase):
    """Standard error as a text."""

    def isatty(self) -> bool:
        """Whether somebody looks at it."""
        return os.isatty(STDERR)

    def write(self, text: str) -> int:
        """Write all of it, however long that takes."""
        rest = text.encode(errors="backslashreplace")
        while rest:
            rest = rest[os.write(STDERR, rest) :]
        return len(text)
