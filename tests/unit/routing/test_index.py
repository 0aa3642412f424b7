"""Which matches the index returns for an event."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Field, Match
from relay.config.match_parser import parse_match
from relay.core.event import Event
from relay.routing import index
from relay.routing.index import Index
from relay.routing.matcher import Matcher
from tests.unit.destinations.samples import container_event, with_fields
from tests.unit.routing.reference_matcher import events, matches, reference_matches
from tests.unit.routing.test_matcher import CHECK, DEATH, GAP


def find_candidates(event: Event, *given: dict[str, Any]) -> list[int]:
    """Return the candidates among these matches."""
    return list(Index([parse_match(match) for match in given]).candidates(event))


DIE = {"type": "container", "action": "die"}


@pytest.mark.parametrize(
    "other",
    [
        {"type": "network"},
        {"action": "oom"},
        {"type": ["network", "volume"], "action": "die"},
        {"type": "container", "action": ["oom", "kill"], "label": {"tier": "web"}},
        {**DIE, "name": "db-1"},
        {**DIE, "name": ["db-1", "db-2"]},
        {**DIE, "name": "db-*"},
        {**DIE, "name": ["db-*", "*cache*"]},
        {**DIE, "name": {"regex": "db-[0-9]+"}},
        {**DIE, "image": "nginx:*"},
        {**DIE, "id": "dead*"},
        {**DIE, "engine": "edge"},
        {**DIE, "host": "node-2"},
        {**DIE, "label": {"tier": "db"}},
        {**DIE, "attribute": {"name": "db-1"}},
        {**DIE, "label": {"unknown": {"exists": True}}},
        {**DIE, "label": {"unknown": {"regex": "a|b"}}},
        {**DIE, "label": {"unknown": "*"}},
        {**DIE, "exit_code": 3},
        {**DIE, "signal": {"not": 9}},
        {**DIE, "cause": ["requested", "finished"]},
        {**DIE, "health": "unhealthy"},
        {"all": [{"action": "die"}, {"name": "db-*"}]},
        {"any": [{"action": "oom"}, {"action": "kill", "name": "web-1"}]},
        {**DIE, "any": [{"name": "db-*"}, {"name": "cache"}]},
        {"type": "relay"},
    ],
)
def test_a_match_that_needs_something_else_is_no_candidate(other: dict[str, Any]) -> None:
    """A match is no candidate if the event lacks a value that it requires."""
    assert find_candidates(DEATH, other, DIE, other) == [1]


@pytest.mark.parametrize(
    "other",
    [
        {"action": "o*"},
        {"type": {"not": "container"}},
        {**DIE, "name": {"not": "web-1"}},
        {**DIE, "label": {"tier": {"not": "web"}}},
        {**DIE, "label": {"tier": ["db", {"exists": False}]}},
        {**DIE, "exit_code": "1-3"},
        {**DIE, "name": "[abc]*"},
        {**DIE, "not": {"name": "web-1"}},
        {**DIE, "any": [{"name": "db-*"}, {"image": "nginx"}]},
        {**DIE, "label": {"name": "web-1"}},
    ],
)
def test_a_candidate_may_still_not_match(other: dict[str, Any]) -> None:
    """Some conditions cannot be decided by an index."""
    assert find_candidates(DEATH, other, {"action": "oom"}) == [0]


@pytest.mark.parametrize(
    "match",
    [
        {"any": [{"action": "oom"}, {"action": "die"}]},
        {"any": [{"type": "network"}, {"type": "container", "name": "web-1"}]},
        {"any": [{"name": "db-*"}, {"name": "web-*"}, {"name": "cache"}]},
        {"any": [{"name": "db-*"}, {"name": "web-*", "label": {"stage": "live"}}]},
        {"all": [{"any": [{"label": {"tier": "db"}}, {"label": {"tier": "w*"}}]}]},
        {"cause": ["oom", "crashed"], "exit_code": [1, 137]},
    ],
)
def test_one_alternative_is_enough(match: dict[str, Any]) -> None:
    """The match is found by whichever alternative the event fulfils."""
    assert find_candidates(DEATH, {"name": "db"}, match) == [1]


def test_a_field_without_patterns() -> None:
    """A field without patterns cannot be used to find the match."""
    nothing = Match((Field("name", None, ()),))
    assert list(Index([nothing]).candidates(DEATH)) == [0]


@pytest.mark.parametrize(
    ("action", "number"),
    [("health_status", 0), ("health_status: unhealthy", 1), ("health_status: healthy", 2)],
)
def test_an_action_with_its_detail(action: str, number: int) -> None:
    """The match is found by the action alone."""
    given = ({"action": "health_status"}, {"action": "health_status: unhealthy"})
    assert find_candidates(CHECK, *given, {"action": action}) == [0, 1, 2]
    assert find_candidates(DEATH, *given, {"action": action}) == []


def test_the_least_shared_field_finds_a_match() -> None:
    """Among matches of one type and action, the field with the rarest key is used."""
    named = [{**DIE, "image": "bb:1", "name": f"web-{number}"} for number in range(5)]
    assert find_candidates(DEATH, *named) == [1]
    labelled = [
        {**DIE, "name": "web-*", "label": {"stage": "live", "tier": tier}}
        for tier in ("db", "web", "cache")
    ]
    live = with_fields(
        DEATH, actor=container_event("die", 1, "c", {"tier": "web", "stage": "live"}).actor
    )
    event = with_fields(live, actor=type(live.actor)("c", "web-1", None, live.actor.attributes))
    assert find_candidates(event, *labelled) == [1]


def test_the_least_shared_part_of_a_glob_finds_a_match() -> None:
    """A glob is found by its prefix or by a later part, whichever fewer matches share."""
    ends = [{**DIE, "name": f"web-*{end}"} for end in ("-one", "-two")]
    starts = [{**DIE, "name": f"{start}-*-db"} for start in ("web", "api")]
    event = with_fields(DEATH, actor=type(DEATH.actor)("c", "web-7-two", None, {}))
    assert find_candidates(event, *ends) == [1]
    assert find_candidates(
        with_fields(event, actor=type(DEATH.actor)("c", "api-7-db", None, {})), *starts
    ) == [1]


def test_more_or_fewer_labels_than_the_matches() -> None:
    """Whether the matches or the event name more labels, the right match is found."""
    many = [{**DIE, "label": {f"label-{number}": "x"}} for number in range(9)]
    event = with_fields(DEATH, actor=type(DEATH.actor)("c", None, None, {"label-3": "x"}))
    assert find_candidates(event, *many) == [3]
    labels = {f"label-{number}": "x" for number in range(9)}
    event = with_fields(DEATH, actor=type(DEATH.actor)("c", None, None, labels))
    assert find_candidates(event, many[3], {**DIE, "label": {"label-20": "x"}}) == [0]


def test_numbers_increase() -> None:
    """Each number occurs once, however many keys lead to it."""
    given: list[dict[str, Any]] = [
        {"name": ["web-*", "*web*", "web-1"]},
        {},
        {"action": "die"},
        {"type": "container"},
        DIE,
    ]
    assert find_candidates(DEATH, *given) == [0, 1, 2, 3, 4]


def test_relay_events() -> None:
    """Only matches that name relay's events are candidates for them."""
    given: list[dict[str, Any]] = [
        {},
        {"type": "relay"},
        {"type": ["relay", "container"]},
        {"action": "gap"},
    ]
    assert find_candidates(GAP, *given) == [1, 2]
    assert find_candidates(DEATH, *given) == [0, 2]


def test_a_match_that_names_many_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A match that names many actions is not stored by its actions, and still found."""
    monkeypatch.setattr(index, "BUCKETS_MAX", 3)
    most = {"type": ["container", "network"], "action": ["oom", "kill"]}
    assert find_candidates(DEATH, most, DIE) == [0, 1]
    assert find_candidates(DEATH, {**most, "name": "db"}, DIE) == [1]


@given(st.lists(matches, max_size=8), events)
def test_no_matching_match_is_left_out(given: list[Match], event: Event) -> None:
    """For any matches and any event, no match that fits is left out, and the numbers increase."""
    found = list(Index(given).candidates(event))
    assert found == sorted(set(found))
    assert {number for number, match in enumerate(given) if reference_matches(match, event)} <= set(
        found
    )
    assert all(Matcher(match).matches(event) is reference_matches(match, event) for match in given)
