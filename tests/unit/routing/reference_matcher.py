"""A second, deliberately simple implementation of matching, with strategies for its input."""

import re
from typing import Any

from hypothesis import strategies as st

from relay.config import Exists, Field, Glob, Match, Not, Pattern, Range, Regex
from relay.core.event import TYPE_RELAY, Actor, Cause, Event, Origin


def reference_matches(match: Match, event: Event) -> bool:
    """Whether an event fits a match."""
    return (event.type != TYPE_RELAY or selects_relay_events(match)) and match_holds(match, event)


def selects_relay_events(match: Match) -> bool:
    named = [field for field in match.fields if field.name == "type"]
    return any(Glob("relay") in field.patterns for field in named) or any(
        selects_relay_events(inner) for inner in match.any + match.all
    )


def match_holds(match: Match, event: Event) -> bool:
    if not all(field_holds(field, event) for field in match.fields):
        return False
    if match.any and not any(match_holds(inner, event) for inner in match.any):
        return False
    if not all(match_holds(inner, event) for inner in match.all):
        return False
    return match.not_ is None or not match_holds(match.not_, event)


def field_holds(field: Field, event: Event) -> bool:
    values = values_of(field, event)
    return any(pattern_holds(pattern, values, field) for pattern in field.patterns)


def values_of(field: Field, event: Event) -> list[Any]:
    if field.key is not None:
        own = field.name == "label" and field.key in ("name", "image")
        return (
            []
            if own or field.key not in event.actor.attributes
            else [event.actor.attributes[field.key]]
        )
    if field.name in ("id", "name", "image"):
        value = getattr(event.actor, field.name)
    else:
        value = getattr(event, field.name)
    values = [] if value is None else [value]
    if field.name == "action" and event.detail is not None:
        values.append(event.action + ": " + event.detail)
    return values


def pattern_holds(pattern: Pattern, values: list[Any], field: Field) -> bool:
    match pattern:
        case Exists(expected=expected):
            return bool(values) is expected
        case Not(patterns=patterns):
            if not values and field.key is None:
                return False
            return not any(pattern_holds(inner, values, field) for inner in patterns)
        case Range(low=low, high=high):
            return any(
                (low is None or low <= value) and (high is None or value <= high)
                for value in values
            )
        case Regex(text=text):
            return any(re.compile(text).fullmatch(value) for value in values)
        case Glob(text=text):
            return any(glob_matches(text, value) for value in values)


def glob_matches(glob: str, text: str) -> bool:
    if not glob:
        return not text
    if glob[0] == "*":
        return any(glob_matches(glob[1:], text[at:]) for at in range(len(text) + 1))
    if not text:
        return False
    if glob[0] == "[":
        end = glob.index("]")
        among, rest = glob[1:end], glob[end + 1 :]
        inside = text[0] not in among[1:] if among[0] == "!" else text[0] in among
        return inside and glob_matches(rest, text[1:])
    return glob[0] in ("?", text[0]) and glob_matches(glob[1:], text[1:])


words = st.sampled_from(["a", "b", "ab", "a\nb", "relay", "container", "a: b", ""])
globs = words | st.lists(
    st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", ": ", "relay"]), max_size=4
).map("".join)
regexes = st.sampled_from(
    [
        "a",
        "a|b",
        "ab*",
        "a?",
        "ab.*",
        "relay.?",
        "a(a|b)*",
        "ab|b*",
        ".*",
        "[^a]*",
        "(?s).*b",
        "a\\nb",
    ]
)
patterns_of_text = globs.map(Glob) | regexes.map(Regex)
bounds = st.none() | st.integers(0, 3)
ranges = st.builds(Range, bounds, bounds)


def patterns(plain: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    some = plain | st.builds(Exists, st.booleans())
    negated = st.builds(Not, st.lists(some, min_size=1, max_size=2).map(tuple))
    return st.lists(some | negated, min_size=1, max_size=2).map(tuple)


_plain = ("engine", "host", "type", "action", "detail", "scope", "id", "name", "image", "health")
causes = st.sampled_from(("crashed", "oom", "c*", "*ash*")).map(Glob)
fields = (
    st.builds(Field, st.just("cause"), st.none(), patterns(causes))
    | st.builds(Field, st.sampled_from(_plain), st.none(), patterns(patterns_of_text))
    | st.builds(Field, st.sampled_from(("exit_code", "signal")), st.none(), patterns(ranges))
    | st.builds(
        Field,
        st.sampled_from(("label", "attribute")),
        st.sampled_from(("a", "b", "name")),
        patterns(patterns_of_text),
    )
)


def nested_matches(inner: st.SearchStrategy[Match]) -> st.SearchStrategy[Match]:
    some = st.lists(inner, max_size=2).map(tuple)
    return st.builds(Match, st.lists(fields, max_size=2).map(tuple), some, some, st.none() | inner)


matches = st.recursive(
    st.builds(Match, st.lists(fields, max_size=3).map(tuple)), nested_matches, max_leaves=4
)
texts = words | st.lists(st.sampled_from(["a", "b", "relay", ": "]), max_size=4).map("".join)
nothing_or = st.none() | texts
events = st.builds(
    Event,
    id=st.just("evt_1"),
    engine=words,
    host=texts,
    type=words,
    action=words,
    detail=nothing_or,
    scope=words,
    time_ns=st.just(1),
    actor=st.builds(
        Actor,
        texts,
        nothing_or,
        nothing_or,
        st.dictionaries(st.sampled_from(["a", "b", "c", "name"]), texts),
    ),
    cause=st.none() | st.sampled_from(Cause),
    exit_code=bounds,
    signal=bounds,
    health=nothing_or,
    origin=st.sampled_from(Origin),
)
