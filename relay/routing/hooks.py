"""What a pattern can be found by, without trying it."""

import re
from enum import IntEnum
from typing import NamedTuple

from relay.config.match import Exists, Glob, Not, Pattern, Range, Regex

PREFIX_MOST = 64
"""So many characters of a beginning are looked at."""

PART_LEAST = 3
"""A shorter part of a text stands in too many to tell them apart."""


class Kind(IntEnum):
    """In the order of what a look for it costs."""

    EXACT = 0
    """The value is the key."""
    PREFIX = 1
    """The value is a text that begins with the key."""
    PART = 2
    """The value is a text that holds the key."""
    PRESENT = 3
    """There is a value."""


class Hook(NamedTuple):
    """Something that is so of every value that fits a pattern."""

    kind: Kind
    key: str | int | None
    """None with `Kind.PRESENT`."""


PRESENT = Hook(Kind.PRESENT, None)

_SPECIAL = re.compile(r"\*|\?|\[!?\]?[^\]]*\]")
"""What in a glob is not itself; as `relay.config.patterns` reads brackets, and fnmatch does."""

_PLAIN_START = re.compile(r"[A-Za-z0-9_:/@-]*(?![*+?{])")
"""Of a regular expression, the characters at its start that stand for themselves, once."""


def hooks(pattern: Pattern, *, absent_fits: bool) -> tuple[Hook, ...]:
    """What a value has to be for the pattern to fit: each of these, and one is enough to look for.

    Empty for a pattern that can fit where there is no value; ``absent_fits`` says whether `Not`
    does so.
    """
    match pattern:
        case Glob(text=text):
            return _of_glob(text)
        case Regex(text=text) if "|" not in text and (plain := _PLAIN_START.match(text)):
            return (_prefix(plain[0]),) if plain[0] else (PRESENT,)
        case Range(low=int(low), high=high) if low == high:
            return (Hook(Kind.EXACT, low),)
        case Regex() | Range() | Exists(wanted=True):
            return (PRESENT,)
        case Not() if not absent_fits:
            return (PRESENT,)
        case Exists() | Not():
            return ()


def _of_glob(text: str) -> tuple[Hook, ...]:
    first, *rest = _SPECIAL.split(text)
    if not rest:
        return (Hook(Kind.EXACT, text),)
    part = max(rest, key=len)
    found = [_prefix(first)] if first else []
    if len(part) >= PART_LEAST:
        found.append(Hook(Kind.PART, part))
    return tuple(found) or (PRESENT,)


def _prefix(text: str) -> Hook:
    return Hook(Kind.PREFIX, text[:PREFIX_MOST])
