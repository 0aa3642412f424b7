"""Configuration errors that know the path of keys to a value, but not yet its line in the file.

Validators raise `InvalidValue`; `relay.config.load` adds file, line and column.
"""

from collections.abc import Iterable
from enum import Enum, auto

import msgspec
from msgspec.structs import replace

KeyPath = tuple[str | int, ...]
"""The keys and indices that lead from the top of the file to a value."""

_MAX_SHOWN = 60
"""Longer keys and values are cut in an error message."""


class IssueScope(Enum):
    """What the message of an issue is about; decides how it is printed and where it points."""

    VALUE = auto()
    """The value: the message continues after it, as in ``'5q' is not a duration``, and does not
    contain it."""
    STANDALONE = auto()
    """The message is a sentence of its own and points at the value."""
    KEY = auto()
    """The message is a sentence of its own and points at the key."""


class ConfigIssue(msgspec.Struct, frozen=True):
    """One problem in a configuration."""

    path: KeyPath
    """Where it is. May end in a missing key: the problem then points at the incomplete mapping."""
    message: str
    scope: IssueScope = IssueScope.STANDALONE
    detail: str = ""
    """An addition to the message that may quote the value. Shown only if the value is no secret and
    does not come from the environment or from another file."""


class InvalidValue(ValueError):
    """One or more issues in a value; their paths are relative to that value."""

    def __init__(self, issues: Iterable[ConfigIssue]) -> None:
        self.issues = tuple(issues)
        super().__init__("; ".join(issue.message for issue in self.issues))

    def issues_below(self, path: KeyPath) -> list[ConfigIssue]:
        """Return the issues with the paths that they have if the value is at ``path``."""
        return [replace(issue, path=(*path, *issue.path)) for issue in self.issues]


def invalid(message: str) -> InvalidValue:
    """Make a validator's error whose message is a sentence of its own, without the value."""
    return InvalidValue([ConfigIssue((), message)])


def quote(text: str) -> str:
    """Return the text in quotes: printable, on one line, cut after 60 characters."""
    return repr(text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…")


def format_path(path: KeyPath) -> str:
    """Format a path in the usual notation: ``routes[2].match.label['com.example.team']``."""
    parts = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif step.replace("-", "_").isidentifier() and len(step) <= _MAX_SHOWN:
            parts.append(f".{step}")
        else:
            parts.append(f"[{quote(step)}]")
    return "".join(parts).removeprefix(".")


def find_closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known word that ``word`` is probably a typo of; None if none is similar.

    Case is ignored. ``cutoff`` is the least similarity by difflib's ratio, from 0 to 1. A word with
    the same letters in another order is always similar.
    """
    import difflib  # noqa: PLC0415 - 130 KB, and needed only for a configuration with a mistake

    folded = {name.casefold(): name for name in known}
    wanted = word[:_MAX_SHOWN].casefold()
    for name, original in folded.items():
        if sorted(name) == sorted(wanted):
            return original
    near = difflib.get_close_matches(wanted, folded, n=1, cutoff=cutoff)
    return folded[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` to append to a message; empty if no known word is similar."""
    meant = find_closest(word, known)
    return f" (did you mean {quote(meant)}?)" if meant else ""
