"""What a pattern can be found by, without trying it."""

import re
from enum import IntEnum
from typing import NamedTuple

from relay.config.match import Exists, Glob, Not, Pattern, Range, Regex

PREFIX_MAX = 64
"""So many characters of a beginning are looked at."""

PART_MIN = 3
"""A shorter part of a text stands in too many to tell them apart."""


class KeyKind(IntEnum):
    """In the order of what a look for it costs."""

    EXACT = 0
    """The value is the key."""
    PREFIX = 1
    """The value is a text that begins with the key."""
    PART = 2
    """The value is a text that holds the key."""
    PRESENT = 3
    """There is a value."""


class IndexKey(NamedTuple):
    """Something that is so of every value that fits a pattern."""

    kind: KeyKind
    value: str | int | None
    """None with `Kind.PRESENT`."""


PRESENT = IndexKey(KeyKind.PRESENT, None)

_SPECIAL = re.compile(r"\*|\?|\[!?\]?[^\]]*\]")
"""What in a glob is not itself; as `relay.config.patterns` reads brackets, and fnmatch does."""

_PLAIN_START = re.compile(r"[A-Za-z0-9_:/@-]*(?![*+?{])")
"""Of a regular expression, the characters at its start that stand for themselves, once."""

_ESCAPE = re.compile(r"\\.", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")
_GROUP = re.compile(r"\([^()]*\)")


def find_keys(pattern: Pattern, *, absent_fits: bool) -> tuple[IndexKey, ...]:
    """What a value has to be for the pattern to fit: each of these, and one is enough to look for.

    Empty for a pattern that can fit where there is no value; ``absent_fits`` says whether `Not`
    does so.
    """
    match pattern:
        case Glob(text=text):
            return _find_glob_keys(text)
        case Regex(text=text):
            return _find_regex_keys(text)
        case Range(low=int(low), high=high) if low == high:
            return (IndexKey(KeyKind.EXACT, low),)
        case Range() | Exists(expected=True):
            return (PRESENT,)
        case Not() if not absent_fits:
            return (PRESENT,)
        case Exists() | Not():
            return ()


def _find_glob_keys(text: str) -> tuple[IndexKey, ...]:
    first, *rest = _SPECIAL.split(text)
    if not rest:
        return (IndexKey(KeyKind.EXACT, text),)
    part = max(rest, key=len)
    found = [_prefix_key(first)] if first else []
    if len(part) >= PART_MIN:
        found.append(IndexKey(KeyKind.PART, part))
    return tuple(found) or (PRESENT,)


def _find_regex_keys(text: str) -> tuple[IndexKey, ...]:
    plain = _PLAIN_START.match(text)
    if plain is None or not plain[0] or _may_have_alternatives(text):
        return (PRESENT,)
    return (_prefix_key(plain[0]),)


def _may_have_alternatives(regex: str) -> bool:
    """Whether what it begins with may be one of several beginnings."""
    rest = _CLASS.sub("x", _ESCAPE.sub("x", regex)).replace("(?:", "(")
    if "(?" in rest:  # a comment may hold anything
        return True
    groups = 1
    while groups:
        rest, groups = _GROUP.subn("x", rest)
    return "|" in rest


def _prefix_key(text: str) -> IndexKey:
    return IndexKey(KeyKind.PREFIX, text[:PREFIX_MAX])
