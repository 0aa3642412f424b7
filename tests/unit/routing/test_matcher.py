"""Which events a match fits."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given

from relay.config import Field, Glob, Match, Not
from relay.config.match_parser import parse_match
from relay.core.event import Actor, Cause, Event, make_self_event
from relay.routing.matcher import EXPRESSION_MAX_CHARS, Matcher
from tests.support.events import make_event
from tests.unit.routing.reference_matcher import events, matches, reference_matches

DEATH = make_event(
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
GAP = make_self_event("gap", engine="here", host="node-1", time_ns=1)


def matches_event(match: dict[str, Any], event: Event) -> bool:
    """Whether the event fits the match."""
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
        ({"name": "eb-*"}, DEATH, False),
        ({"name": "*-1"}, DEATH, True),
        ({"name": "*web"}, DEATH, False),
        ({"name": "*eb-*"}, DEATH, True),
        ({"name": "*db*"}, DEATH, False),
        ({"name": "w*-1"}, DEATH, True),
        ({"image": "*"}, DEATH, True),
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
def test_which_events_a_match_fits(match: dict[str, Any], event: Event, taken: bool) -> None:
    """Fields are ANDed, lists ORed; only a match that names relay's events fits them."""
    assert matches_event(match, event) is taken


@pytest.mark.parametrize(
    ("match", "event", "path", "expected", "found"),
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
def test_the_first_failing_condition(
    match: dict[str, Any], event: Event, path: str, expected: str, found: str
) -> None:
    """The first failing condition has its path, what it requires and what the event has."""
    failed = Matcher(parse_match(match)).first_failure(event)
    assert failed is not None
    assert (failed.path, failed.expected, failed.describe_actual(event)) == (path, expected, found)


def test_shows_an_action_with_and_without_its_detail() -> None:
    """A match may name either."""
    failed = Matcher(parse_match({"action": "die"})).first_failure(CHECK)
    assert failed is not None
    assert failed.describe_actual(CHECK) == "'health_status' or 'health_status: unhealthy'"


@pytest.mark.parametrize("match", [{"any": [{"name": "db"}]}, {"not": {"name": "web-*"}}])
def test_a_nested_match_fails_as_a_whole(match: dict[str, Any]) -> None:
    """If ``any`` or ``not`` fails, it fails as a whole, not by one of its conditions."""
    failed = Matcher(parse_match(match)).first_failure(DEATH)
    assert failed is not None
    assert failed.path == next(iter(match))


@given(matches, events)
@example(Match(fields=(Field("action", None, (Not((Glob("health_status"),)),)),)), CHECK)
def test_a_compiled_match_agrees_with_the_reference(match: Match, event: Event) -> None:
    """A compiled match fits the same events as the simple implementation."""
    assert (Matcher(match).first_failure(event) is None) is reference_matches(match, event)


@pytest.mark.parametrize("glob", ["a*" * 30 + "b", "*a?" * 30 + "*b", "*[ab]*a" * 20 + "c*d"])
def test_a_glob_takes_linear_time(glob: str) -> None:
    """However many wildcards it has: if each were tried again, this test would not end."""
    matcher = Matcher(parse_match({"name": glob}))
    actor = Actor("c0ffee", "a" * EXPRESSION_MAX_CHARS, None, {})
    assert not matcher.matches(msgspec.structs.replace(DEATH, actor=actor))


@pytest.mark.parametrize("pattern", [{"regex": "a+"}, "a*a"])
def test_a_long_text_fits_no_expression(pattern: Any) -> None:
    """No label takes more time than its expression is worth."""
    death = label_death("a" * EXPRESSION_MAX_CHARS)
    assert Matcher(parse_match({"label": {"team": pattern}})).matches(death)
    death = label_death("a" * (EXPRESSION_MAX_CHARS + 1))
    assert not Matcher(parse_match({"label": {"team": pattern}})).matches(death)
    assert Matcher(parse_match({"label": {"team": {"not": pattern}}})).matches(death)


@pytest.mark.parametrize("glob", ["*", "aa*", "*aa", "*a*"])
def test_a_text_of_any_length_fits_a_simple_glob(glob: str) -> None:
    """These globs need no expression."""
    assert Matcher(parse_match({"label": {"team": glob}})).matches(label_death("a" * 100_000))


def label_death(team: str) -> Event:
    return msgspec.structs.replace(DEATH, actor=Actor("c0ffee", None, None, {"team": team}))
