"""What a match takes."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.config import Exists, Field, Glob, Match, Not, Pattern, Range, Regex
from relay.config.match_reader import parse_match
from relay.event import TYPE_RELAY, Actor, Cause, Event, Origin, happening
from relay.routing.matcher import Matcher

DEATH = Event(
    id="evt_1",
    engine="here",
    host="node-1",
    type="container",
    action="die",
    detail=None,
    scope="local",
    time_ns=1,
    actor=Actor("c0ffee", "web-1", "bb:1", {"name": "web-1", "image": "bb:1", "tier": "web"}),
    cause=Cause.CRASHED,
    exit_code=137,
)
CHECK = msgspec.structs.replace(
    DEATH,
    action="health_status",
    detail="unhealthy",
    health="unhealthy",
    cause=None,
    exit_code=None,
)
GAP = happening("gap", engine="here", host="node-1", time_ns=1)


def takes(match: dict[str, Any], event: Event) -> bool:
    return Matcher(parse_match(match)).first_failure(event) is None


@pytest.mark.parametrize(
    ("match", "event", "taken"),
    [
        ({}, DEATH, True),
        ({"type": "container", "action": "die"}, DEATH, True),
        ({"type": "container", "action": "oom"}, DEATH, False),
        ({"action": ["oom", "die"]}, DEATH, True),
        ({"action": "d*"}, DEATH, True),
        ({"name": "WEB-*"}, DEATH, False),
        ({"name": "web-[0-9]"}, DEATH, True),
        ({"name": "web"}, DEATH, False),
        ({"name": {"regex": "web-[0-9]+"}}, DEATH, True),
        ({"name": {"regex": "web"}}, DEATH, False),
        ({"name": {"not": "web-*"}}, DEATH, False),
        ({"name": {"not": "db-*"}}, DEATH, True),
        ({"image": "bb:*", "id": "c0*", "engine": "here", "host": "node-?"}, DEATH, True),
        ({"scope": "local", "origin": "live", "cause": ["crashed", "oom"]}, DEATH, True),
        ({"exit_code": 137}, DEATH, True),
        ({"exit_code": "1-125"}, DEATH, False),
        ({"exit_code": ">=128"}, DEATH, True),
        ({"exit_code": {"not": 0}}, DEATH, True),
        ({"exit_code": {"not": 0}}, CHECK, False),
        ({"exit_code": {"exists": False}}, CHECK, True),
        ({"signal": {"exists": True}}, DEATH, False),
        ({"action": "health_status"}, CHECK, True),
        ({"action": "health_status: unhealthy"}, CHECK, True),
        ({"action": "health_status: healthy"}, CHECK, False),
        ({"action": {"not": "health_status"}}, CHECK, False),
        ({"action": {"not": "health_status: unhealthy"}}, CHECK, False),
        ({"action": {"not": "health_status: healthy"}}, CHECK, True),
        ({"health": "unhealthy"}, CHECK, True),
        ({"health": "unhealthy"}, DEATH, False),
        ({"label": {"tier": ["web", "api-*"]}}, DEATH, True),
        ({"label": {"tier": "db"}}, DEATH, False),
        ({"label": {"stage": {"not": "test"}}}, DEATH, True),
        ({"label": {"stage": {"exists": False}}}, DEATH, True),
        ({"label": {"name": "web-1"}}, DEATH, False),
        ({"attribute": {"name": "web-1"}}, DEATH, True),
        ({"any": [{"action": "oom"}, {"action": "die"}]}, DEATH, True),
        ({"any": [{"action": "oom"}, {"action": "die", "name": "db"}]}, DEATH, False),
        ({"all": [{"action": "die"}, {"name": "web-*"}]}, DEATH, True),
        ({"all": [{"action": "die"}, {"name": "db"}]}, DEATH, False),
        ({"not": {"action": "die", "name": "db"}}, DEATH, True),
        ({"not": {"action": "die", "name": "web-*"}}, DEATH, False),
        ({}, GAP, False),
        ({"action": "gap"}, GAP, False),
        ({"type": "*"}, GAP, False),
        ({"type": "relay"}, GAP, True),
        ({"type": ["container", "relay"]}, GAP, True),
        ({"type": {"not": "container"}}, GAP, False),
        ({"any": [{"type": "relay", "action": "gap"}, {"action": "die"}]}, GAP, True),
        ({"not": {"type": "relay"}}, GAP, False),
    ],
)
def test_what_a_match_takes(match: dict[str, Any], event: Event, taken: bool) -> None:
    """Fields are all of it, lists any of it; nothing but its name takes relay's own events."""
    assert takes(match, event) is taken


@pytest.mark.parametrize(
    ("match", "event", "path", "wanted", "found"),
    [
        ({"type": "network", "action": "oom"}, DEATH, "type", "'network'", "'container'"),
        ({"type": "container", "action": "oom"}, DEATH, "action", "'oom'", "'die'"),
        ({"action": ["oom", "kill"]}, DEATH, "action", "'oom' or 'kill'", "'die'"),
        ({"label": {"stage": "live"}}, DEATH, "label.stage", "'live'", "nothing"),
        ({"exit_code": "1-125"}, DEATH, "exit_code", "1-125", "137"),
        ({"exit_code": ">=200"}, DEATH, "exit_code", ">=200", "137"),
        ({"exit_code": "<=2"}, DEATH, "exit_code", "<=2", "137"),
        ({"exit_code": 3}, DEATH, "exit_code", "3", "137"),
        ({"signal": {"exists": True}}, DEATH, "signal", "something", "nothing"),
        ({"name": {"exists": False}}, DEATH, "name", "nothing", "'web-1'"),
        ({"name": {"not": ["web-1", "db"]}}, DEATH, "name", "not 'web-1' or 'db'", "'web-1'"),
        ({"name": {"regex": "db.*"}}, DEATH, "name", "regex 'db.*'", "'web-1'"),
        ({"all": [{"id": "c*"}, {"name": "db"}]}, DEATH, "all[1].name", "'db'", "'web-1'"),
    ],
)
def test_says_which_condition_fails_first(
    match: dict[str, Any], event: Event, path: str, wanted: str, found: str
) -> None:
    """Where it stands, what it wants and what the event has, in the order of the match."""
    failed = Matcher(parse_match(match)).first_failure(event)
    assert failed is not None
    assert (failed.path, failed.wanted, failed.found(event)) == (path, wanted, found)


def test_shows_an_action_with_and_without_its_detail() -> None:
    """Both are what a match may name."""
    failed = Matcher(parse_match({"action": "die"})).first_failure(CHECK)
    assert failed is not None
    assert failed.found(CHECK) == "'health_status' or 'health_status: unhealthy'"


@pytest.mark.parametrize("match", [{"any": [{"name": "db"}]}, {"not": {"name": "web-*"}}])
def test_a_whole_match_fails_as_one(match: dict[str, Any]) -> None:
    """Of ``any`` and ``not`` no single condition is to blame."""
    failed = Matcher(parse_match(match)).first_failure(DEATH)
    assert failed is not None
    assert failed.path == next(iter(match))


# What a match takes, said a second time and as plainly as can be.


def naive(match: Match, event: Event) -> bool:
    return (event.type != TYPE_RELAY or asks_for_relay(match)) and holds(match, event)


def asks_for_relay(match: Match) -> bool:
    named = [field for field in match.fields if field.name == "type"]
    return any(Glob("relay") in field.patterns for field in named) or any(
        asks_for_relay(inner) for inner in match.any + match.all
    )


def holds(match: Match, event: Event) -> bool:
    if not all(field_holds(field, event) for field in match.fields):
        return False
    if match.any and not any(holds(inner, event) for inner in match.any):
        return False
    if not all(holds(inner, event) for inner in match.all):
        return False
    return match.not_ is None or not holds(match.not_, event)


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
        case Exists(wanted=wanted):
            return bool(values) is wanted
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
            return any(fits(text, value) for value in values)


def fits(glob: str, text: str) -> bool:
    if not glob:
        return not text
    if glob[0] == "*":
        return any(fits(glob[1:], text[at:]) for at in range(len(text) + 1))
    if not text:
        return False
    if glob[0] == "[":
        end = glob.index("]")
        among, rest = glob[1:end], glob[end + 1 :]
        inside = text[0] not in among[1:] if among[0] == "!" else text[0] in among
        return inside and fits(rest, text[1:])
    return glob[0] in ("?", text[0]) and fits(glob[1:], text[1:])


words = st.sampled_from(["a", "b", "ab", "a\nb", "relay", "container", "a: b", ""])
globs = words | st.lists(
    st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", ": ", "relay"]), max_size=4
).map("".join)
texts = globs.map(Glob) | st.sampled_from(["a", "a|b", ".*", "[^a]*", "(?s).*b"]).map(
    lambda text: Regex(text, re.compile(text))
)
bounds = st.none() | st.integers(0, 3)
ranges = st.builds(Range, bounds, bounds)


def patterns(plain: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    some = plain | st.builds(Exists, st.booleans())
    negated = st.builds(Not, st.lists(some, min_size=1, max_size=2).map(tuple))
    return st.lists(some | negated, min_size=1, max_size=2).map(tuple)


_plain = ("engine", "host", "type", "action", "detail", "scope", "id", "name", "image", "health")
fields = (
    st.builds(Field, st.sampled_from(_plain), st.none(), patterns(texts))
    | st.builds(Field, st.sampled_from(("exit_code", "signal")), st.none(), patterns(ranges))
    | st.builds(
        Field,
        st.sampled_from(("label", "attribute")),
        st.sampled_from(("a", "name")),
        patterns(texts),
    )
)


def around(inner: st.SearchStrategy[Match]) -> st.SearchStrategy[Match]:
    some = st.lists(inner, max_size=2).map(tuple)
    return st.builds(Match, st.lists(fields, max_size=2).map(tuple), some, some, st.none() | inner)


matches = st.recursive(
    st.builds(Match, st.lists(fields, max_size=3).map(tuple)), around, max_leaves=4
)
nothing_or = st.none() | words
events = st.builds(
    Event,
    id=st.just("evt_1"),
    engine=words,
    host=words,
    type=words,
    action=words,
    detail=nothing_or,
    scope=words,
    time_ns=st.just(1),
    actor=st.builds(
        Actor, words, nothing_or, nothing_or, st.dictionaries(st.sampled_from(["a", "name"]), words)
    ),
    exit_code=bounds,
    signal=bounds,
    health=nothing_or,
    origin=st.sampled_from(Origin),
)


@given(matches, events)
@example(Match(fields=(Field("action", None, (Not((Glob("health_status"),)),)),)), CHECK)
def test_takes_what_the_plainest_reading_takes(match: Match, event: Event) -> None:
    """Compiled or read word by word, a match says the same."""
    assert (Matcher(match).first_failure(event) is None) is naive(match, event)
