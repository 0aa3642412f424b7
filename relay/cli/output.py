"""The standard streams of commands, without buffers.

If a reader is stuck, a buffer that cannot be flushed keeps the process from ending.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

STDIN, STDOUT, STDERR = 0, 1, 2


def open_missing_streams() -> None:
    """Open /dev/null in place of each standard stream that relay was started without.

    Otherwise the next file to be opened, perhaps the store, would get its number, and what is
    written to the terminal would go into that file. Python has no stream there, either.
    """
    for number, name, mode in (
        (STDIN, "stdin", "r"),
        (STDOUT, "stdout", "w"),
        (STDERR, "stderr", "w"),
    ):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


@contextmanager
def standard_output() -> Iterator[tuple[BinaryIO, bool]]:
    """Give standard output, and whether it is a terminal."""
    with os.fdopen(STDOUT, "wb", buffering=0, closefd=False) as stream:
        yield stream, stream.isatty()


def write_line(line: str) -> None:
    """Write a line to standard output, however long that takes."""
    _write_all(STDOUT, f"{line}\n")


class StandardError(io.TextIOBase):
    """Standard error as a text stream."""

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(STDERR)

    def write(self, text: str) -> int:
        """Write all of the text, however long that takes."""
        _write_all(STDERR, text)
        return len(text)


def _write_all(number: int, text: str) -> None:
    rest = text.encode(errors="backslashreplace")
    while rest:
        rest = rest[os.write(number, rest) :]
