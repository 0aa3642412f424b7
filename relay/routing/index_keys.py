"""Derives index keys from a pattern. An index finds the pattern by them, without trying it."""

import re
from enum import IntEnum
from typing import NamedTuple

from relay.config.match import Exists, Glob, Not, Pattern, Range, Regex

PREFIX_MAX = 64
"""At most this many characters of a prefix are compared."""

PART_MIN = 3
"""A shorter part occurs in too many texts to distinguish them."""


class KeyKind(IntEnum):
    """What a key says about a value; the kinds that are cheapest to search come first."""

    EXACT = 0
    """The value equals that of the key."""
    PREFIX = 1
    """The value is a text that starts with that of the key."""
    PART = 2
    """The value is a text that contains that of the key."""
    PRESENT = 3
    """There is a value."""


class IndexKey(NamedTuple):
    """A property of every value that fits a pattern."""

    kind: KeyKind
    value: str | int | None
    """None with `KeyKind.PRESENT`."""


PRESENT = IndexKey(KeyKind.PRESENT, None)

_SPECIAL = re.compile(r"\*|\?|\[!?\]?[^\]]*\]")
"""The special parts of a glob; brackets as `relay.config.patterns` and fnmatch read them."""

_PLAIN_START = re.compile(r"[A-Za-z0-9_:/@-]*(?![*+?{])")
"""The characters at the start of a regular expression that stand for themselves exactly once: no
quantifier follows."""

_ESCAPE = re.compile(r"\\.", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")
_GROUP = re.compile(r"\([^()]*\)")


def find_keys(pattern: Pattern, *, absent_fits: bool) -> tuple[IndexKey, ...]:
    """Return the index keys that a pattern implies.

    A value that fits the pattern has all of these keys, so an index needs only one of them. The
    result is empty if the pattern fits an absent value; ``absent_fits`` says whether `Not` does.
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
    """Whether its plain start may be one of several alternatives (``a|b`` outside groups)."""
    rest = _CLASS.sub("x", _ESCAPE.sub("x", regex)).replace("(?:", "(")
    if "(?" in rest:  # a comment may contain anything
        return True
    groups = 1
    while groups:
        rest, groups = _GROUP.subn("x", rest)
    return "|" in rest


def _prefix_key(text: str) -> IndexKey:
    return IndexKey(KeyKind.PREFIX, text[:PREFIX_MAX])
