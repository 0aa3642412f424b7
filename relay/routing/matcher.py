"""Whether an event fulfils a match, and if not, which of its conditions fails first."""

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

from relay.config.match import Exists, Field, Glob, Match, Not, Pattern, Range, Regex
from relay.core.event import TYPE_RELAY, Event
from relay.routing.index_keys import Kind, hooks

Value = str | int | None
Test = Callable[[tuple[Value, ...]], bool]

_NOT_LABELS = frozenset({"image", "name"})
"""Attributes that are never a label: the engine puts its own over those."""

_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a match asks of an event."""

    path: str
    """Where it stands in the match, as in ``label.tier``."""
    wanted: str
    """What it asks for, in words."""
    values: Callable[[Event], tuple[Value, ...]]
    """What of the event it looks at; any of them may fulfil it."""
    test: Callable[[Event], bool]

    def found(self, event: Event) -> str:
        """What the event has instead, in words."""
        return " or ".join(map(_shown, self.values(event)))


def _shown(value: Value) -> str:
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
        self.conditions = tuple(_conditions(match, ""))
        if not names_relay(match):
            self.conditions = (_FOREIGN, *self.conditions)

    def first_failure(self, event: Event) -> Condition | None:
        """The first condition that the event does not fulfil; None if it fulfils all."""
        for condition in self.conditions:
            if not condition.test(event):
                return condition
        return None

    def takes(self, event: Event) -> bool:
        """Whether the event fulfils all conditions."""
        return self.first_failure(event) is None


def _conditions(match: Match, prefix: str) -> Iterator[Condition]:
    for field in match.fields:
        yield _of_field(field, prefix)
    if match.any:
        yield _any_of(match.any, f"{prefix}any")
    for index, every in enumerate(match.all):
        yield from _conditions(every, f"{prefix}all[{index}].")
    if match.not_ is not None:
        yield _none_of(match.not_, f"{prefix}not")


def _any_of(matches: tuple[Match, ...], path: str) -> Condition:
    choices = [tuple(_conditions(match, "")) for match in matches]

    def test(event: Event) -> bool:
        return any(all(c.test(event) for c in choice) for choice in choices)

    return Condition(path, f"one of its {len(choices)} matches", _nothing, test)


def _none_of(match: Match, path: str) -> Condition:
    conditions = tuple(_conditions(match, ""))

    def test(event: Event) -> bool:
        return not all(c.test(event) for c in conditions)

    return Condition(path, "its match not to match", _all_of_it, test)


@lru_cache(maxsize=1024)  # many routes ask for the same type and action
def _of_field(field: Field, prefix: str) -> Condition:
    path = f"{prefix}{field.name}" + (f".{field.key}" if field.key is not None else "")
    return Condition(path, " or ".join(map(_words, field.patterns)), _values(field), _test(field))


def _test(field: Field) -> Callable[[Event], bool]:
    keys = _exact(field.patterns)
    if field.name == "action":
        if keys is None:
            return _test_of_any(field)
        return lambda event: not keys.isdisjoint(_actions(event))
    read = _reader(field)
    if keys is not None:
        return lambda event: read(event) in keys
    match field.patterns:
        case (Glob() | Regex() | Range() | Exists() as pattern,):
            fits = _fitter(pattern)
            return lambda event: fits(read(event))
        case _:
            return _test_of_any(field)


def _exact(patterns: Sequence[Pattern]) -> frozenset[object] | None:
    """The values that fit; None if they are not all given as they are."""
    found = [hook for pattern in patterns for hook in hooks(pattern, absent_fits=True)[:1]]
    if len(found) < len(patterns) or any(hook.kind is not Kind.EXACT for hook in found):
        return None
    return frozenset(hook.key for hook in found)


def _test_of_any(field: Field) -> Callable[[Event], bool]:
    values = _values(field)
    # An event without a label is not labelled otherwise, so {not: …} takes it; but an event that
    # has no exit code at all is no answer to {not: 0}.
    on_absent = field.key is not None
    tests = [_tester(pattern, on_absent=on_absent) for pattern in field.patterns]

    def test(event: Event) -> bool:
        found = values(event)
        return any(test(found) for test in tests)

    return test


def _reader(field: Field) -> Callable[[Event], Value]:
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


def _values(field: Field) -> Callable[[Event], tuple[Value, ...]]:
    if field.name == "action":
        return _actions
    read = _reader(field)
    return lambda event: (read(event),)


def _actions(event: Event) -> tuple[Value, ...]:
    """Without its detail, as people write it, and with it, as the engine does."""
    if event.detail is None:
        return (event.action,)
    return (event.action, f"{event.action}: {event.detail}")


def _nothing(_: Event) -> tuple[Value, ...]:
    return (None,)


def _all_of_it(event: Event) -> tuple[Value, ...]:
    return (f"{event.type} {event.action}",)


def _tester(pattern: Pattern, *, on_absent: bool) -> Test:
    """Whether any of an event's values for a field fits; with `Not`, whether none does."""
    if not isinstance(pattern, Not):
        fits = _fitter(pattern)
        return lambda values: any(fits(value) for value in values)
    tests = [_tester(inner, on_absent=on_absent) for inner in pattern.patterns]
    return lambda values: (
        (on_absent or values != (None,)) and not any(test(values) for test in tests)
    )


def _fitter(pattern: Glob | Regex | Range | Exists) -> Callable[[Value], bool]:
    match pattern:
        case Glob(text=text) if _WILD.search(text) is None:
            return lambda value: value == text
        case Glob(text=text):
            fits = _glob_fitter(text)
            return lambda value: isinstance(value, str) and fits(value)
        case Regex(compiled=compiled):
            return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None
        case Range(low=low, high=high):
            return lambda value: (
                isinstance(value, int)
                and (low is None or value >= low)
                and (high is None or value <= high)
            )
        case Exists(wanted=wanted):
            return lambda value: (value is not None) is wanted


def _glob_fitter(text: str) -> Callable[[str], bool]:
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


def _words(pattern: Pattern) -> str:
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
        case Exists(wanted=wanted):
            return "something" if wanted else "nothing"
        case Not(patterns=patterns):
            return f"not {' or '.join(map(_words, patterns))}"


def names_relay(match: Match) -> bool:
    """Whether the match asks for relay's own events by their name."""
    return any(
        field.name == "type" and Glob(TYPE_RELAY) in field.patterns for field in match.fields
    ) or any(names_relay(inner) for inner in (*match.any, *match.all))


_FOREIGN = Condition(
    "type",
    "an engine's event (only a match that names type 'relay' takes relay's own)",
    lambda event: (event.type,),
    lambda event: event.type != TYPE_RELAY,
)
