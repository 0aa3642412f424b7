"""Decides whether an event fits a match, and if not, which of its conditions fails first."""

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter

import msgspec

from relay.config.match import (
    NOT_LABELS,
    Exists,
    Field,
    Glob,
    Match,
    Not,
    Pattern,
    Range,
    Regex,
    selects_relay_events,
)
from relay.config.regex import compile_regex
from relay.core.event import TYPE_RELAY, Event
from relay.routing.value_index import KeyKind, find_keys

Value = str | int | None
ValuesTest = Callable[[tuple[Value, ...]], bool]

EXPRESSION_MAX_CHARS = 1_024
"""A longer text fits no expression, so that no label holds up the loop: the time of an expression
is linear to the text, but one with counted repeats may take 30 µs for each character."""

_WILDCARD = re.compile(r"[*?\[]")


class Condition(msgspec.Struct, frozen=True):
    """One condition of a match."""

    path: str
    """Its path in the match, as in ``label.tier``."""
    expected: str
    """A description of what it requires."""
    values: Callable[[Event], tuple[Value, ...]]
    """Returns the event's values that it tests; any of them may fulfil it."""
    test: Callable[[Event], bool]

    def describe_actual(self, event: Event) -> str:
        """Describe what the event has instead."""
        return " or ".join(map(_format_value, self.values(event)))


def _format_value(value: Value) -> str:
    match value:
        case None:
            return "nothing"
        case str():  # an enum shows its value, not its name
            return repr(str(value))
        case _:
            return repr(value)


_NOT_RELAY = Condition(
    "type",
    "an engine's event (only a match that names type 'relay' matches relay's own)",
    lambda event: (event.type,),
    lambda event: event.type != TYPE_RELAY,
)


class Matcher:
    """A compiled match. Its conditions are tested in the order in which they were written."""

    __slots__ = ("conditions",)

    def __init__(self, match: Match, *, includes_relay: bool = False) -> None:
        """``includes_relay`` lets relay's own events match without being named."""
        self.conditions = tuple(_compile_conditions(match, ""))
        if not includes_relay and not selects_relay_events(match):
            self.conditions = (_NOT_RELAY, *self.conditions)

    def first_failure(self, event: Event) -> Condition | None:
        """Return the first condition that the event does not fulfil; None if it fulfils all."""
        for condition in self.conditions:
            if not condition.test(event):
                return condition
        return None

    def matches(self, event: Event) -> bool:
        """Whether the event fulfils all conditions."""
        return self.first_failure(event) is None


def value_reader(name: str, key: str | None = None) -> Callable[[Event], Value]:
    """Return a function that reads a field of an event. It returns None if the event has no value.

    ``key`` is the name of the label or attribute, if the field is one. An ``action`` is read
    without its detail.
    """
    match name:
        case "label" if key in NOT_LABELS:
            return lambda _: None
        case "label" | "attribute":
            attribute = key or ""
            return lambda event: event.actor.attributes.get(attribute)
        case "id" | "name" | "image":
            return attrgetter(f"actor.{name}")
        case "interactive":  # what is not known counts as false
            return lambda event: "true" if event.interactive else "false"
        case _:
            return attrgetter(name)


def _compile_conditions(match: Match, prefix: str) -> Iterator[Condition]:
    for field in match.fields:
        yield _compile_field(field, prefix)
    if match.any:
        yield _compile_any(match.any, f"{prefix}any")
    for index, inner in enumerate(match.all):
        yield from _compile_conditions(inner, f"{prefix}all[{index}].")
    if match.not_ is not None:
        yield _compile_not(match.not_, f"{prefix}not")


def _compile_any(matches: tuple[Match, ...], path: str) -> Condition:
    choices = [tuple(_compile_conditions(match, "")) for match in matches]

    def test(event: Event) -> bool:
        return any(all(c.test(event) for c in choice) for choice in choices)

    return Condition(path, f"one of its {len(choices)} matches", lambda _: (None,), test)


def _compile_not(match: Match, path: str) -> Condition:
    conditions = tuple(_compile_conditions(match, ""))

    def test(event: Event) -> bool:
        return not all(c.test(event) for c in conditions)

    return Condition(
        path, "its match not to match", lambda event: (f"{event.type} {event.action}",), test
    )


@lru_cache(maxsize=1024)  # many routes name the same type and action
def _compile_field(field: Field, prefix: str) -> Condition:
    path = f"{prefix}{field.name}" + (f".{field.key}" if field.key is not None else "")
    expected = " or ".join(map(_describe_pattern, field.patterns))
    return Condition(path, expected, _values_reader(field), _compile_field_test(field))


def _compile_field_test(field: Field) -> Callable[[Event], bool]:
    exact = _exact_values(field.patterns)
    if field.name == "action":
        if exact is None:
            return _compile_patterns_test(field)
        return lambda event: not exact.isdisjoint(_action_values(event))
    read = value_reader(field.name, field.key)
    if exact is not None:
        return lambda event: read(event) in exact
    match field.patterns:
        case (Glob() | Regex() | Range() | Exists() as pattern,):
            fits = _compile_pattern(pattern)
            return lambda event: fits(read(event))
        case _:
            return _compile_patterns_test(field)


def _exact_values(patterns: Sequence[Pattern]) -> frozenset[object] | None:
    """Return the values that fit; None if a pattern is not a single exact value."""
    found = [key for pattern in patterns for key in find_keys(pattern, absent_fits=True)[:1]]
    if len(found) < len(patterns) or any(key.kind is not KeyKind.EXACT for key in found):
        return None
    return frozenset(key.value for key in found)


def _compile_patterns_test(field: Field) -> Callable[[Event], bool]:
    read_values = _values_reader(field)
    # An event without the label fits {not: …}. An event without an exit code does not fit
    # exit_code: {not: 0}.
    absent_fits = field.key is not None
    tests = [_compile_pattern_test(pattern, absent_fits=absent_fits) for pattern in field.patterns]

    def test(event: Event) -> bool:
        values = read_values(event)
        return any(pattern_test(values) for pattern_test in tests)

    return test


def _values_reader(field: Field) -> Callable[[Event], tuple[Value, ...]]:
    if field.name == "action":
        return _action_values
    read = value_reader(field.name, field.key)
    return lambda event: (read(event),)


def _action_values(event: Event) -> tuple[Value, ...]:
    """Return the action without its detail, as people write it, and with it, as the engine does."""
    if event.detail is None:
        return (event.action,)
    return (event.action, f"{event.action}: {event.detail}")


def _compile_pattern_test(pattern: Pattern, *, absent_fits: bool) -> ValuesTest:
    """Return a test whether any of an event's values fits; with `Not`, whether none does."""
    if not isinstance(pattern, Not):
        fits = _compile_pattern(pattern)
        return lambda values: any(fits(value) for value in values)
    tests = [_compile_pattern_test(inner, absent_fits=absent_fits) for inner in pattern.patterns]
    return lambda values: (
        (absent_fits or values != (None,)) and not any(test(values) for test in tests)
    )


def _compile_pattern(pattern: Glob | Regex | Range | Exists) -> Callable[[Value], bool]:
    match pattern:
        case Glob(text=text) if _WILDCARD.search(text) is None:
            return lambda value: value == text
        case Glob(text=text):
            fits = _compile_glob(text)
            return lambda value: isinstance(value, str) and fits(value)
        case Regex(text=text):
            fits = compile_regex(text)
            return lambda value: (
                isinstance(value, str) and len(value) <= EXPRESSION_MAX_CHARS and fits(value)
            )
        case Range(low=low, high=high):
            return lambda value: (
                isinstance(value, int)
                and (low is None or value >= low)
                and (high is None or value <= high)
            )
        case Exists(expected=expected):
            return lambda value: (value is not None) is expected


def _compile_glob(text: str) -> Callable[[str], bool]:
    """Compile a glob; the common forms ``web-*``, ``*-db`` and ``*web*`` need no expression.

    The others take time linear to the value, too: fnmatch puts each ``*`` into an atomic group, so
    that none is ever tried again.
    """
    match text.split("*"):
        case [first, ""] if _WILDCARD.search(first) is None:
            return lambda value: value.startswith(first)
        case ["", last] if _WILDCARD.search(last) is None:
            return lambda value: value.endswith(last)
        case ["", part, ""] if _WILDCARD.search(part) is None:
            return lambda value: part in value
        case _:
            fits = re.compile(fnmatch.translate(text)).match
            return lambda value: len(value) <= EXPRESSION_MAX_CHARS and fits(value) is not None


def _describe_pattern(pattern: Pattern) -> str:
    match pattern:
        case Glob(text=text):
            return repr(text)
        case Regex(text=text):
            return f"regex {text!r}"
        case Range(low=low, high=high) if low == high:
            return str(low)
        case Range(low=low, high=None):
            return f">={low}"
        case Range(low=None, high=high):
            return f"<={high}"
        case Range(low=low, high=high):
            return f"{low}-{high}"
        case Exists(expected=expected):
            return "something" if expected else "nothing"
        case Not(patterns=patterns):
            return f"not {' or '.join(map(_describe_pattern, patterns))}"
