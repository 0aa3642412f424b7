"""Errors that a person can do something about; their text is one clear line or more."""

import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass


def describe_os_error(error: OSError) -> str:
    """What the system says of a failure, without what libraries add to it."""
    if (tls := _tls_error(error)) is not None:
        return f"TLS: {tls.reason or tls}"
    if error.errno and error.errno > 0:
        words = os.strerror(error.errno)
        return f"{error.filename}: {words}" if error.filename else words
    return error.strerror or type(error).__name__


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The TLS failure behind what libraries made of it: its number is not one of the system's."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__
    return error


class RelayError(Exception):
    """Whatever ends a command with a message instead of a traceback."""

    exit_code = 1


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a configuration, and where."""

    file: str
    line: int
    """From 1; 0 where the problem is of the whole file."""
    column: int
    path: str
    """Where in the document, as in ``routes[2].match.action``; empty for the whole."""
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigError(RelayError):
    """A configuration that cannot be used, with every problem found in it, top to bottom."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StoreError(RelayError):
    """A store that cannot be used: locked, too new, not writable."""


class StoreInUse(StoreError):
    """Another process has it."""
