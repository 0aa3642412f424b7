"""What is wrong with a configuration, before it is known where in the file that stands."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

KeyPath = tuple[str | int, ...]
"""The keys and indices that lead to a value, from the top."""

_MAX_SHOWN = 60
"""More characters than this of a key or a value say no more in an error."""


class IssueScope(Enum):
    """What a mistake's message speaks of."""

    VALUE = auto()
    """The value: the message goes on after it, as in ``'5q' …``, and does not hold it."""
    STANDALONE = auto()
    """The place: the message stands by itself."""
    KEY = auto()
    """The key: likewise, and that is where it points."""


@dataclass(frozen=True, slots=True)
class ConfigIssue:
    """One thing wrong."""

    path: KeyPath
    """Where; may end in a key that is absent, which points at the mapping that lacks it."""
    message: str
    scope: IssueScope = IssueScope.STANDALONE
    detail: str = ""
    """More words, which may quote the value: shown only where it came from nowhere else."""


class InvalidValue(ValueError):
    """Several mistakes in one value, their trails relative to it."""

    def __init__(self, issues: Iterable[ConfigIssue]) -> None:
        self.issues = tuple(issues)
        super().__init__("; ".join(mistake.message for mistake in self.issues))


def invalid(message: str) -> InvalidValue:
    """The error of a validator whose message stands by itself, without the value."""
    return InvalidValue([ConfigIssue((), message)])


def quote(text: str) -> str:
    """A text in quotes, on one line, printable, and cut where it is long."""
    return repr(text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…")


def format_path(path: KeyPath) -> str:
    """A trail as people write it: ``routes[2].match.label['com.example.team']``."""
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
    """The known word that was probably meant, whatever its letters' case; None if none is near.

    ``likeness`` is difflib's ratio, from 0 to 1. Letters in the wrong order are always near.
    """
    folded = {name.casefold(): name for name in known}
    wanted = word[:_MAX_SHOWN].casefold()
    for name, original in folded.items():
        if sorted(name) == sorted(wanted):
            return original
    near = difflib.get_close_matches(wanted, folded, n=1, cutoff=cutoff)
    return folded[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)``, to be put behind a message, or nothing."""
    meant = find_closest(word, known)
    return f" (did you mean {quote(meant)}?)" if meant else ""
