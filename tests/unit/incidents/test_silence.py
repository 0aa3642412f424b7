"""Silences: what they take, when they are in force, and what cannot be asked for."""

from typing import Any

import pytest
from msgspec.structs import replace

from relay.config.known_names import KnownNames
from relay.core.event import make_self_event
from relay.incidents.rows import decode_rows, encode_changes
from relay.incidents.silence import (
    KEPT_NS,
    MAX_SILENCES,
    Silence,
    Silences,
    UnknownSilence,
    check_silence,
)
from relay.incidents.silence_request import (
    MAX_DURATION_NS,
    InvalidSilence,
    SilenceRequest,
)
from relay.incidents.state import Changes, Rows, State
from tests.unit.incidents.events import die, ns

HOUR_NS = 3600 * 10**9
NOW = ns(0)
KNOWN = KnownNames(engines=["here", "edge-1", "relay"], routes=["died", "unhealthy"])


def request(**fields: Any) -> SilenceRequest:
    return SilenceRequest(**{"comment": "deploy", "by": "ann", **fields})


def add(silences: Silences, wall_ns: int = NOW, **fields: Any) -> Silence:
    return silences.add(request(**fields), KNOWN, wall_ns)


def takes(match: dict[str, Any], event: Any = None, route: str = "died") -> bool:
    silences = Silences()
    add(silences, match=match)
    found = silences.find(event or die(0, project="shop"), route, None, NOW)
    return found is not None


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"project": "shop"}, True),
        ({"project": "sho*"}, True),
        ({"project": "web-1"}, False),  # the name counts only without a project
        ({"service": "web-1"}, True),
        ({"name": "web-*"}, True),
        ({"name": "db"}, False),
        ({"label": {"com.docker.compose.project": "shop"}}, True),
        ({"label": {"tier": "batch"}}, False),
        ({"engine": "here"}, True),
        ({"engine": "edge-1"}, False),
        ({"route": "died"}, True),
        ({"route": "un*"}, False),
        ({"route": {"not": "died"}}, False),
        ({"project": "shop", "name": "db"}, False),
        ({"any": [{"project": "other"}, {"route": "died"}]}, True),
        ({"not": {"project": "shop"}}, False),
        ({"exit_code": 3}, True),
        ({"type": "relay"}, False),
    ],
)
def test_match_has_the_language_of_routes_and_three_more_fields(
    match: dict[str, Any], expected: bool
) -> None:
    assert takes(match) is expected


def test_relays_own_problems_are_held_back_like_others() -> None:
    lost = make_self_event("engine_lost", engine="edge-1", host="h", time_ns=NOW)
    assert takes({"engine": "edge-1"}, lost)
    assert takes({"type": "relay"}, lost)
    assert not takes({"engine": "here"}, lost)
    assert not takes({"project": "edge-1"}, lost)  # it belongs to no project


def test_incident_is_held_back_by_its_id() -> None:
    silences = Silences()
    added = add(silences, incident="inc_1")
    assert silences.find(die(0), "died", "inc_1", NOW) == added
    assert silences.find(die(0), "died", "inc_2", NOW) is None
    assert silences.find(die(0), "died", None, NOW) is None


def test_everything_is_held_back_only_if_it_is_meant() -> None:
    silences = Silences()
    added = add(silences, everything=True)
    assert silences.find(die(0), "died", None, NOW) == added


def test_it_is_in_force_by_the_wall_clock() -> None:
    silences = Silences()
    add(silences, match={"project": "shop"}, from_ns=NOW + 10, until_ns=NOW + HOUR_NS)
    event = die(0, project="shop")
    at = [NOW, NOW + 10, NOW + HOUR_NS - 1, NOW + HOUR_NS, NOW + 2 * HOUR_NS, NOW + HOUR_NS // 2]
    found = [silences.find(event, "died", None, each) is not None for each in at]
    assert found == [False, True, True, False, False, True]  # B11: the clock is set back at last


def test_one_that_begins_at_once_is_in_force_if_the_clock_is_set_back() -> None:
    silences = Silences()
    added = add(silences, match={"project": "shop"})
    event = die(0, project="shop")
    assert silences.find(event, "died", None, NOW - HOUR_NS) == added
    assert silences.next_change_ns(NOW - HOUR_NS) == NOW + HOUR_NS


def test_whether_one_may_be_in_force() -> None:
    """It costs nothing to ask when all are over."""
    silences = Silences()
    assert not silences.may_hold(NOW)
    first = add(silences, match={"name": "a"})
    add(silences, match={"name": "b"}, duration_ns=10)
    found = [silences.may_hold(each) for each in (NOW - HOUR_NS, NOW + 10, NOW + HOUR_NS)]
    assert found == [True, True, False]
    silences.expire(first.id, NOW)
    assert not silences.may_hold(NOW + 10)


def test_of_several_the_one_that_ends_last_is_named() -> None:
    silences = Silences()
    add(silences, match={"project": "shop"})
    longest = add(silences, match={"name": "web-1"}, duration_ns=2 * HOUR_NS)
    add(silences, everything=True)
    assert silences.find(die(0, project="shop"), "died", None, NOW) == longest


def test_next_change_is_the_next_beginning_or_end() -> None:
    silences = Silences()
    assert silences.next_change_ns(NOW) is None
    add(silences, match={"name": "a"}, from_ns=NOW + 5, until_ns=NOW + 50)
    ended = add(silences, match={"name": "b"}, until_ns=NOW + 20)
    times = [silences.next_change_ns(each) for each in (NOW, NOW + 5, NOW + 20, NOW + 50)]
    assert times == [NOW + 5, NOW + 20, NOW + 50, None]
    silences.expire(ended.id, NOW)
    assert silences.next_change_ns(NOW + 5) == NOW + 50


def test_one_that_somebody_ended_stays_ended_if_the_clock_is_set_back() -> None:
    silences = Silences()
    added = add(silences, match={"project": "shop"})
    silences.expire(added.id, NOW + 100)
    event = die(0, project="shop")
    assert [silences.find(event, "died", None, NOW + each) for each in (0, 50, 100)] == [None] * 3


def test_a_silence_can_end_a_little_later_but_not_later_than_it_would() -> None:
    silences = Silences()
    added = add(silences, match={"name": "a"}, duration_ns=100)
    assert silences.expire(added.id, NOW, after_ns=60).until_ns == NOW + 60
    assert silences.expire(added.id, NOW + 50, after_ns=60).until_ns == NOW + 60


def test_what_is_over_cannot_be_ended_again() -> None:
    silences = Silences()
    added = add(silences, match={"name": "a"})
    silences.expire(added.id, NOW)
    with pytest.raises(InvalidSilence, match="silence 1 is over already"):
        silences.expire(added.id, NOW)
    with pytest.raises(UnknownSilence, match="there is no silence 2: relay silence list --all"):
        silences.expire(2, NOW)


def test_what_has_been_over_for_thirty_days_is_forgotten() -> None:
    silences = Silences()
    add(silences, match={"name": "a"}, duration_ns=HOUR_NS)
    ended = add(silences, match={"name": "b"}, duration_ns=MAX_DURATION_NS)
    add(silences, match={"name": "c"}, duration_ns=MAX_DURATION_NS)
    silences.expire(ended.id, NOW + 1)
    silences.prune(NOW + KEPT_NS)
    assert [each.id for each in silences] == [1, 2, 3]
    silences.prune(NOW + KEPT_NS + HOUR_NS)
    assert [each.id for each in silences] == [3]
    assert silences.take_changes()[1] == [1, 2]


def test_a_thousand_are_kept_and_those_that_are_over_make_room() -> None:
    silences = Silences(
        Silence(each, NOW, NOW + HOUR_NS, "c", "b", NOW, {"name": "a"})
        for each in range(1, MAX_SILENCES + 1)
    )
    with pytest.raises(InvalidSilence, match="there are 1000 silences already, none of them over"):
        add(silences, match={"name": "a"})
    silences.expire(7, NOW)
    silences.expire(5, NOW + 1)
    assert add(silences, match={"name": "a"}, wall_ns=NOW + 2).id == MAX_SILENCES + 1
    assert len(silences) == MAX_SILENCES
    assert silences.get(7) is None
    assert silences.get(5) is not None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "it would hold back everything: write what to match, as in project=shop, or --all"),
        ({"match": {"name": []}}, r"name: is an empty list"),
        ({"match": {"engine": "*", "type": "*"}}, "it would hold back everything"),
        ({"match": {"all": [{"type": "*"}]}}, "it would hold back everything"),
        ({"match": {"any": [{"name": "a"}, {"type": "*"}]}}, "it would hold back everything"),
        ({"match": {"not": {"not": {"type": "*"}}}}, "it would hold back everything"),
        ({"match": {"not": {"engine": "*"}}}, "it would hold back nothing: what stands under"),
        ({"match": {"name": "a", "all": [{"not": {"type": "*"}}]}}, "it would hold back nothing"),
        ({"match": {"any": [{"not": {"type": "*"}}]}}, "it would hold back nothing"),
        ({"match": {"projct": "shop"}}, r"unknown key 'projct' \(did you mean 'project'\?\)"),
        ({"match": {"container": "a"}}, r"unknown key 'container' \(did you mean 'name'\?\)"),
        ({"match": {"engine": "edge-2"}}, r"engine: 'edge-2' is not a configured engine \(did you"),
        (
            {"match": {"route": "dead"}},
            r"route: 'dead' is not a configured route \(did you mean",
        ),
        ({"match": {"cause": "crash"}}, "cause: 'crash' matches no cause"),
        ({"match": {"name": "[a"}}, r"name: '\[a' has a '\[' that is never closed"),
        ({"match": {"name": "a" * 5000}}, "the match is longer than 4,096 bytes as JSON"),
        ({"match": {"name": "\udcff"}}, "the match is not UTF-8"),
        ({"match": {"name": "a"}, "incident": "inc_1"}, "both a match and an incident"),
        ({"everything": True, "incident": "inc_1"}, "both a match and an incident"),
        ({"everything": True, "match": {"name": "a"}}, "both --all and a match"),
        ({"match": {"name": "a"}, "until_ns": NOW - 1}, "its end is in the past"),
        ({"match": {"name": "a"}, "until_ns": NOW}, "its end is in the past"),
        ({"match": {"name": "a"}, "from_ns": NOW - HOUR_NS}, "its beginning is in the past"),
        (
            {"match": {"name": "a"}, "from_ns": NOW + 5, "until_ns": NOW + 4},
            "its end is not after its beginning",
        ),
        ({"match": {"name": "a"}, "duration_ns": 0}, "its end is not after its beginning"),
        (
            {"match": {"name": "a"}, "until_ns": NOW + 1, "duration_ns": 1},
            "both a duration and an end",
        ),
        ({"match": {"name": "a"}, "duration_ns": MAX_DURATION_NS + 1}, "it is longer than 90 days"),
        (
            {"match": {"name": "a"}, "from_ns": 9_214_646_400 * 10**9, "duration_ns": 1},
            "it ends after 2261",
        ),
        ({"match": {"name": "a"}, "comment": " "}, "--comment is empty: write why"),
        ({"match": {"name": "a"}, "comment": "x" * 65_536}, "--comment is longer than 1,000"),
        ({"match": {"name": "a"}, "by": ""}, "--by is empty: write who"),
        ({"match": {"name": "a"}, "by": "x" * 201}, "--by is longer than 200"),
        ({"match": {"name": "a"}, "comment": "\udcff"}, "--comment is not UTF-8"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_to_do(
    fields: dict[str, Any], message: str
) -> None:
    silences = Silences()
    with pytest.raises(InvalidSilence, match=message):
        add(silences, **fields)
    assert silences.take_changes() == ([], [])


def test_a_beginning_in_this_minute_is_now() -> None:
    added = add(Silences(), match={"name": "a"}, from_ns=NOW - 30 * 10**9)
    assert (added.from_ns, added.until_ns) == (NOW, NOW + HOUR_NS)


def test_what_it_holds_back_is_counted() -> None:
    silences = Silences()
    added = add(silences, match={"name": "a"})
    silences.take_changes()
    silences.count_held(added.id, events=2, incidents=1)
    silences.count_held(added.id, events=1)
    silences.count_held(99, events=1)  # it was forgotten meanwhile
    changed = replace(added, held_events=3, held_incidents=1)
    assert silences.take_changes() == ([changed], [])


def test_silences_are_rows_that_outlive_relay() -> None:
    state = State(Rows())
    kept = add(state.silences, match={"label": {"tier": ["a", {"not": "b"}]}})
    gone = add(state.silences, incident="inc_1")
    stored = encode_changes(state.take_changes())
    assert list(stored) == [("silences", "[1]"), ("silences", "[2]")]
    state.silences.prune(gone.until_ns + KEPT_NS)
    assert encode_changes(state.take_changes()) == dict.fromkeys(stored)
    rows = decode_rows((kind, key, content or b"") for (kind, key), content in stored.items())
    assert rows.silences == [kept, gone]
    assert State(rows).export() == rows
    assert State(rows).take_changes().rows == Rows()


def test_one_that_another_version_wrote_is_left_out() -> None:
    silence = Silence(1, 0, 1, "c", "b", 0, {"planet": "mars"})
    with pytest.raises(ValueError, match="planet"):
        check_silence(silence)
    stored = encode_changes(Changes(Rows(silences=[silence])))
    rows = decode_rows((kind, key, content or b"") for (kind, key), content in stored.items())
    assert rows == Rows()
