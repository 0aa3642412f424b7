"""Errors that a person can fix. Their text is one clear line, or several."""

import os
import ssl
from collections.abc import Sequence

import msgspec


def describe_os_error(error: OSError) -> str:
    """Describe an error in the operating system's words, without the additions of libraries."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__
    if cause is not None:  # a library wrapped it; its errno is not one of the system's
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: the certificate is not accepted: {cause.verify_message}"
        return f"TLS: {cause.reason or cause}"
    if error.errno and error.errno > 0:
        text = os.strerror(error.errno)
        return f"{error.filename}: {text}" if error.filename else text
    return error.strerror or type(error).__name__


class RelayError(Exception):
    """An error that ends a command with a message instead of a traceback."""

    exit_code = 1


class Problem(msgspec.Struct, frozen=True, order=True):
    """One problem of a configuration, and its location."""

    file: str
    line: int
    """Counted from 1; 0 if the problem concerns the whole file."""
    column: int
    path: str
    """The path in the document, as in ``routes[2].match.action``; empty for the whole document."""
    message: str

    def __str__(self) -> str:
        location = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(filter(None, (location, self.path, self.message)))


class ConfigError(RelayError):
    """A configuration that cannot be used, with all of its problems from top to bottom."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StoreError(RelayError):
    """A store that cannot be used: locked, too new, or not writable."""


class StoreInUse(StoreError):
    """Another process has locked the store."""
