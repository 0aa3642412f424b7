"""The match of a route as a tree of values. `relay.routing` evaluates it."""

import re
from dataclasses import dataclass

import msgspec


class Glob(msgspec.Struct, frozen=True):
    """A case-sensitive glob with ``*``, ``?``, ``[abc]``, ``[a-z]`` and ``[!abc]``."""

    text: str


class Regex(msgspec.Struct, frozen=True):
    """A regular expression that has to match the whole text."""

    text: str
    compiled: re.Pattern[str]


class Range(msgspec.Struct, frozen=True):
    """A range of whole numbers, both ends included. None leaves that end open."""

    low: int | None
    high: int | None


class Exists(msgspec.Struct, frozen=True):
    """Matches if a value is there (``expected`` is True) or absent (False)."""

    expected: bool


class Not(msgspec.Struct, frozen=True):
    """Matches if none of the patterns does."""

    patterns: "tuple[Pattern, ...]"


Pattern = Glob | Regex | Range | Exists | Not


class Field(msgspec.Struct, frozen=True):
    """A field of an event, and its patterns. At least one of them has to match."""

    name: str
    """``type``, ``exit_code``, ``label`` …, as in the configuration."""
    key: str | None
    """The name of the label or attribute; None for other fields."""
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """Matches if all of its parts do; an empty one matches every event."""

    fields: tuple[Field, ...] = ()
    any: "tuple[Match, ...]" = ()
    """At least one of these has to match, unless the tuple is empty."""
    all: "tuple[Match, ...]" = ()
    not_: "Match | None" = None
