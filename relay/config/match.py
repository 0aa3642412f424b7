"""What a route matches, as a tree of values; `relay.routing` evaluates it."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glob:
    """A text with ``*``, ``?``, ``[abc]``, ``[a-z]`` and ``[!abc]``, case-sensitive."""

    text: str


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression for the whole of a text."""

    text: str
    compiled: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of whole numbers, both ends included; None is no end."""

    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Exists:
    """Whether there is a value at all."""

    expected: bool


@dataclass(frozen=True, slots=True)
class Not:
    """None of the patterns."""

    patterns: "tuple[Pattern, ...]"


Pattern = Glob | Regex | Range | Exists | Not


@dataclass(frozen=True, slots=True)
class Field:
    """One part of an event and what it may be: any of the patterns."""

    name: str
    """``type``, ``exit_code``, ``label`` …, as in the configuration."""
    key: str | None
    """Which label or attribute; None for every other field."""
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """All of it must hold; an empty one takes everything."""

    fields: tuple[Field, ...] = ()
    any: "tuple[Match, ...]" = ()
    """Of these at least one, unless there are none."""
    all: "tuple[Match, ...]" = ()
    not_: "Match | None" = None
