"""Whether an event fulfils a match, and if not, which of its conditions fails first."""

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

from relay.config.match import Exists, Field, Glob, Match, Not, Pattern, Range, Regex
from relay.core.event import TYPE_RELAY, Event
from relay.routing.index_keys import KeyKind, find_keys

Value = str | int | None
ValuesTest = Callable[[tuple[Value, ...]], bool]

_NOT_LABELS = frozenset({"image", "name"})
"""Attributes that are never a label: the engine puts its own over those."""

_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a match asks of an event."""

    path: str
    """Where it stands in the match, as in ``label.tier``."""
    expected: str
    """What it asks for, in words."""
    values: Callable[[Event], tuple[Value, ...]]
    """What of the event it looks at; any of them may fulfil it."""
    test: Callable[[Event], bool]

    def describe_actual(self, event: Event) -> str:
        """What the event has instead, in words."""
        return " or ".join(map(_format_value, self.values(event)))


def _format_value(value: Value) -> str:
    match value:
        case None:
            return "nothing"
        case str():  # of an enum what it is, not how it is called
            return repr(str(value))
        case _:
            return repr(value)


class Matcher:
    """A compiled match. Its conditions are tried in the order in which they were written."""

    __slots__ = ("conditions",)

    def __init__(self, match: Match) -> None:
        self.conditions = tuple(_compile_conditions(match, ""))
        if not selects_relay_events(match):
            self.conditions = (_NOT_RELAY, *self.conditions)

    def first_failure(self, event: Event) -> Condition | None:
        """The first condition that the event does not fulfil; None if it fulfils all."""
        for condition in self.conditions:
            if not condition.test(event):
                return condition
        return None

    def matches(self, event: Event) -> bool:
        """Whether the event fulfils all conditions."""
        return self.first_failure(event) is None


def _compile_conditions(match: Match, prefix: str) -> Iterator[Condition]:
    for field in match.fields:
        yield _compile_field(field, prefix)
    if match.any:
        yield _compile_any(match.any, f"{prefix}any")
    for index, every in enumerate(match.all):
        yield from _compile_conditions(every, f"{prefix}all[{index}].")
    if match.not_ is not None:
        yield _compile_not(match.not_, f"{prefix}not")


def _compile_any(matches: tuple[Match, ...], path: str) -> Condition:
    choices = [tuple(_compile_conditions(match, "")) for match in matches]

    def test(event: Event) -> bool:
        return any(all(c.test(event) for c in choice) for choice in choices)

    return Condition(path, f"one of its {len(choices)} matches", _no_value, test)


def _compile_not(match: Match, path: str) -> Condition:
    conditions = tuple(_compile_conditions(match, ""))

    def test(event: Event) -> bool:
        return not all(c.test(event) for c in conditions)

    return Condition(path, "its match not to match", _type_and_action, test)


@lru_cache(maxsize=1024)  # many routes ask for the same type and action
def _compile_field(field: Field, prefix: str) -> Condition:
    path = f"{prefix}{field.name}" + (f".{field.key}" if field.key is not None else "")
    return Condition(
        path,
        " or ".join(map(_describe_pattern, field.patterns)),
        _values_reader(field),
        _compile_field_test(field),
    )


def _compile_field_test(field: Field) -> Callable[[Event], bool]:
    keys = _exact_values(field.patterns)
    if field.name == "action":
        if keys is None:
            return _compile_patterns_test(field)
        return lambda event: not keys.isdisjoint(_action_values(event))
    read = _value_reader(field)
    if keys is not None:
        return lambda event: read(event) in keys
    match field.patterns:
        case (Glob() | Regex() | Range() | Exists() as pattern,):
            fits = _compile_pattern(pattern)
            return lambda event: fits(read(event))
        case _:
            return _compile_patterns_test(field)


def _exact_values(patterns: Sequence[Pattern]) -> frozenset[object] | None:
    """The values that fit; None if they are not all given as they are."""
    found = [hook for pattern in patterns for hook in find_keys(pattern, absent_fits=True)[:1]]
    if len(found) < len(patterns) or any(hook.kind is not KeyKind.EXACT for hook in found):
        return None
    return frozenset(hook.value for hook in found)


def _compile_patterns_test(field: Field) -> Callable[[Event], bool]:
    values = _values_reader(field)
    # An event without a label is not labelled otherwise, so {not: …} takes it; but an event that
    # has no exit code at all is no answer to {not: 0}.
    on_absent = field.key is not None
    tests = [_compile_pattern_test(pattern, on_absent=on_absent) for pattern in field.patterns]

    def test(event: Event) -> bool:
        found = values(event)
        return any(test(found) for test in tests)

    return test


def _value_reader(field: Field) -> Callable[[Event], Value]:
    """How the value of a field is read from an event that has one."""
    key = field.key or ""
    match field.name:
        case "label" if key in _NOT_LABELS:
            return lambda _: None
        case "label" | "attribute":
            return lambda event: event.actor.attributes.get(key)
        case "id" | "name" | "image" as name:
            return attrgetter(f"actor.{name}")
        case name:
            return attrgetter(name)


def _values_reader(field: Field) -> Callable[[Event], tuple[Value, ...]]:
    if field.name == "action":
        return _action_values
    read = _value_reader(field)
    return lambda event: (read(event),)


def _action_values(event: Event) -> tuple[Value, ...]:
    """Without its detail, as people write it, and with it, as the engine does."""
    if event.detail is None:
        return (event.action,)
    return (event.action, f"{event.action}: {event.detail}")


def _no_value(_: Event) -> tuple[Value, ...]:
    return (None,)


def _type_and_action(event: Event) -> tuple[Value, ...]:
    return (f"{event.type} {event.action}",)


def _compile_pattern_test(pattern: Pattern, *, on_absent: bool) -> ValuesTest:
    """Whether any of an event's values for a field fits; with `Not`, whether none does."""
    if not isinstance(pattern, Not):
        fits = _compile_pattern(pattern)
        return lambda values: any(fits(value) for value in values)
    tests = [_compile_pattern_test(inner, on_absent=on_absent) for inner in pattern.patterns]
    return lambda values: (
        (on_absent or values != (None,)) and not any(test(values) for test in tests)
    )


def _compile_pattern(pattern: Glob | Regex | Range | Exists) -> Callable[[Value], bool]:
    match pattern:
        case Glob(text=text) if _WILD.search(text) is None:
            return lambda value: value == text
        case Glob(text=text):
            fits = _compile_glob(text)
            return lambda value: isinstance(value, str) and fits(value)
        case Regex(compiled=compiled):
            return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None
        case Range(low=low, high=high):
            return lambda value: (
                isinstance(value, int)
                and (low is None or value >= low)
                and (high is None or value <= high)
            )
        case Exists(expected=wanted):
            return lambda value: (value is not None) is wanted


def _compile_glob(text: str) -> Callable[[str], bool]:
    """What is most common costs little to compile: ``web-*``, ``*-db``, ``*web*``."""
    match text.split("*"):
        case [first, ""] if _WILD.search(first) is None:
            return lambda value: value.startswith(first)
        case ["", last] if _WILD.search(last) is None:
            return lambda value: value.endswith(last)
        case ["", part, ""] if _WILD.search(part) is None:
            return lambda value: part in value
        case _:
            found = re.compile(fnmatch.translate(text)).match
            return lambda value: found(value) is not None


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
        case Exists(expected=wanted):
            return "something" if wanted else "nothing"
        case Not(patterns=patterns):
            return f"not {' or '.join(map(_describe_pattern, patterns))}"


def selects_relay_events(match: Match) -> bool:
    """Whether the match asks for relay's own events by their name."""
    return any(
        field.name == "type" and Glob(TYPE_RELAY) in field.patterns for field in match.fields
    ) or any(selects_relay_events(inner) for inner in (*match.any, *match.all))


_NOT_RELAY = Condition(
    "type",
    "an engine's event (only a match that names type 'relay' takes relay's own)",
    lambda event: (event.type,),
    lambda event: event.type != TYPE_RELAY,
)
