"""The index of values: finds the patterns that one value may fit, without trying each of them.

`find_keys` returns the keys that a pattern implies: every value that fits it has all of them. A
`ValueIndex` finds which of many keys one value has. Exact values are looked up in a dict. Prefixes
are looked up by a few lengths, and parts by one short piece of each (an n-gram). Long prefixes and
parts are therefore compared only in part: the index may return a number whose key the value does
not have, and never leaves out one whose key it has.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from relay.config.match import Exists, Glob, Not, Pattern, Range, Regex

PREFIX_MAX = 64
"""At most this many characters of a prefix are compared."""

PART_MIN = 3
"""A shorter part occurs in too many texts to distinguish them."""

PREFIX_LENGTHS_MAX = 6
"""Prefixes are looked up by at most this many lengths. A prefix of another length is cut to the
next shorter one."""

GRAM_MAX = 8
"""The longest piece of a part that is looked up, in characters."""

POSITIONS_PER_MATCH = 10
"""Testing a match costs about as much as looking up parts at this many positions of a text. If a
text has more positions for each match, all matches are returned instead."""


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
"""The special parts of a glob; brackets as `relay.config.match_parser` and fnmatch read them."""

_PLAIN_START = re.compile(r"[A-Za-z0-9_:/@-]*(?![*+?{])")
"""The characters at the start of a regular expression that stand for themselves exactly once: no
quantifier follows."""

_ESCAPE = re.compile(r"\\.", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?(?:\[:\^?[a-z]+:\]|[^\]])*\]")
"""A class of characters, with named classes in it: ``[[:alpha:]_]``."""
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
            plain = _PLAIN_START.match(text)
            if plain is None or not plain[0] or _may_have_alternatives(text):
                return (PRESENT,)
            return (_prefix_key(plain[0]),)
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


def _prefix_key(text: str) -> IndexKey:
    return IndexKey(KeyKind.PREFIX, text[:PREFIX_MAX])


def _may_have_alternatives(regex: str) -> bool:
    """Whether its plain start may be one of several alternatives (``a|b`` outside groups)."""
    if "\\Q" in regex:  # the text up to \\E stands for itself, whatever it is
        return True
    rest = _CLASS.sub("x", _ESCAPE.sub("x", regex)).replace("(?:", "(")
    if "(?" in rest:  # flags change what the rest means
        return True
    groups = 1
    while groups:
        rest, groups = _GROUP.subn("x", rest)
    return "|" in rest


class ValueIndex:
    """Maps a value to the numbers whose key it has."""

    __slots__ = (
        "_exact",
        "_gram_length",
        "_grams",
        "_lengths",
        "_parts",
        "_prefixes",
        "_present",
        "_searches_text",
    )

    def __init__(self, entries: Sequence[tuple[IndexKey, int]]) -> None:
        by_kind: defaultdict[KeyKind, list[tuple[IndexKey, int]]] = defaultdict(list)
        for key, number in entries:
            by_kind[key.kind].append((key, number))
        self._present = [number for _, number in by_kind[KeyKind.PRESENT]]
        self._exact = _group_numbers((key.value, number) for key, number in by_kind[KeyKind.EXACT])
        prefixes = [(str(key.value), number) for key, number in by_kind[KeyKind.PREFIX]]
        self._lengths = _choose_lengths([len(text) for text, _ in prefixes])
        self._prefixes = _group_numbers(
            (text[: max(length for length in self._lengths if length <= len(text))], number)
            for text, number in prefixes
        )
        parts = [(str(key.value), number) for key, number in by_kind[KeyKind.PART]]
        self._parts = [number for _, number in parts]
        shortest = min((len(text) for text, _ in parts), default=PART_MIN)
        self._gram_length = min(shortest, GRAM_MAX)
        self._grams = _group_numbers(_rarest_grams(parts, self._gram_length))
        self._searches_text = bool(prefixes or parts)

    def collect(self, value: object, found: list[int]) -> None:
        """Add the numbers to ``found``, in any order, some of them twice."""
        if self._present:
            found += self._present
        if value in self._exact:
            found += self._exact[value]
        if self._searches_text and isinstance(value, str):
            prefixes = self._prefixes
            for length in self._lengths:
                prefix = value[:length]
                if prefix in prefixes:
                    found += prefixes[prefix]
            if self._parts:
                self._collect_parts(value, found)

    def _collect_parts(self, text: str, found: list[int]) -> None:
        if len(text) > POSITIONS_PER_MATCH * len(self._parts):
            found += self._parts
            return
        grams, length = self._grams, self._gram_length
        for at in range(len(text) - length + 1):
            gram = text[at : at + length]
            if gram in grams:
                found += grams[gram]


def _group_numbers(pairs: Iterable[tuple[object, int]]) -> dict[object, tuple[int, ...]]:
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for key, number in pairs:
        groups[key].append(number)
    return {key: tuple(numbers) for key, numbers in groups.items()}


def _choose_lengths(prefix_lengths: Sequence[int]) -> tuple[int, ...]:
    """Return the shortest length, so that no prefix is too short, and the most frequent ones."""
    frequent = [length for length, _ in Counter(prefix_lengths).most_common()]
    if not frequent:
        return ()
    shortest = min(frequent)
    frequent.remove(shortest)
    return tuple(sorted((shortest, *frequent[: PREFIX_LENGTHS_MAX - 1])))


def _rarest_grams(parts: Sequence[tuple[str, int]], length: int) -> Iterator[tuple[str, int]]:
    """Yield for each part the piece that the fewest other parts contain, with the part's number."""
    counts = Counter(gram for text, _ in parts for gram in set(_split_grams(text, length)))
    for text, number in parts:
        yield min(_split_grams(text, length), key=counts.__getitem__), number


def _split_grams(text: str, length: int) -> list[str]:
    return [text[at : at + length] for at in range(len(text) - length + 1)]
