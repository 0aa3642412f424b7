"""Event ids, relay's own events, and times."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import (
    TYPE_RELAY,
    Origin,
    format_rfc3339,
    make_event_id,
    make_self_event,
    source_of,
)

IDENTITY: dict[str, Any] = {
    "engine": "here",
    "time_ns": 1795418989176843878,
    "type_": "container",
    "action": "die",
    "actor_id": "f53eb17c",
    "attributes": {"exitCode": "42", "name": "shop-web-1"},
}


def test_an_id_never_changes() -> None:
    """Receivers have stored it: no version of relay may give the same event another id."""
    assert make_event_id(**IDENTITY) == "evt_1a6e84066982dddf0657b960298d4dde"


def test_the_order_of_attributes_does_not_count() -> None:
    """The engine's map has no order, so its order does not change the id."""
    turned = dict(reversed(IDENTITY["attributes"].items()))
    assert make_event_id(**{**IDENTITY, "attributes": turned}) == make_event_id(**IDENTITY)


@pytest.mark.parametrize(
    "other",
    [
        {"engine": "there"},
        {"time_ns": 1795418989176843879},
        {"type_": "network"},
        {"action": "die: 1"},
        {"actor_id": "f53eb17d"},
        {"attributes": {"exitCode": "42"}},
        {"attributes": {"exitCode": "43", "name": "shop-web-1"}},
    ],
)
def test_any_difference_makes_another_id(other: dict[str, Any]) -> None:
    """Two events can carry the same time, so everything counts."""
    assert make_event_id(**{**IDENTITY, **other}) != make_event_id(**IDENTITY)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_no_text_runs_into_the_next(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Moving text from one part to the next makes another id."""
    ids = [
        make_event_id("here", 1, "container", action, actor, {}) for action, actor in (one, other)
    ]
    assert (ids[0] == ids[1]) is (one == other)


SWARM: dict[str, Any] = {**IDENTITY, "type_": "service", "action": "update", "scope": "swarm"}


@pytest.mark.parametrize("other", [{"time_ns": 5}, {"action": "create"}, {"actor_id": "x"}])
def test_an_event_of_a_swarm(other: dict[str, Any]) -> None:
    """Each manager sends it: the id does not depend on which one, only on what happened when."""
    assert make_event_id(**SWARM) == make_event_id(**{**SWARM, "engine": "there"})
    assert make_event_id(**SWARM) != make_event_id(**{**SWARM, **other})
    assert make_event_id(**SWARM) != make_event_id(**{**SWARM, "scope": "local"})


def test_the_removal_of_a_service() -> None:
    """Each manager takes its own time for it."""
    removed = {**SWARM, "action": "remove"}
    assert make_event_id(**removed) == make_event_id(**{**removed, "time_ns": 5})
    assert make_event_id(**removed) != make_event_id(**{**removed, "actor_id": "x"})


def test_sources() -> None:
    """Events of different engines have different sources, whatever these are called."""
    own = make_self_event("gap", engine="local", host="h", time_ns=5)
    event = msgspec.structs.replace(own, type="container")
    names = [
        source_of(msgspec.structs.replace(each, via=via, host=host))
        for each in (own, event)
        for via, host in ((None, "h"), ("fleet", "h"), ("fleet", "i"), ("other", "h"))
    ]
    assert names == [
        *("local", "fleet h relay", "fleet i relay", "other h relay"),
        *("local", "fleet h local", "fleet i local", "other h local"),
    ]


def test_a_self_event_is_of_type_relay() -> None:
    """An event of relay's own carries its values as attributes, and its id depends on them."""
    event = make_self_event(
        "gap", engine="here", host="node-1", time_ns=5, name="here", attributes={"count": "3"}
    )
    assert (event.type, event.action, event.scope) == (TYPE_RELAY, "gap", "local")
    assert (event.engine, event.host, event.time_ns) == ("here", "node-1", 5)
    assert (event.actor.name, event.actor.attributes) == ("here", {"count": "3"})
    assert event.origin is Origin.LIVE
    assert event.id == make_event_id("here", 5, TYPE_RELAY, "gap", "", {"count": "3"})


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1795416514938518046, "2026-11-23T06:48:34.938518046Z"),
        (1795416515000000378, "2026-11-23T06:48:35.000000378Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_a_time_has_all_nine_digits(time_ns: int, text: str) -> None:
    """A time is formatted in UTC, with the leading zeros of its nanoseconds."""
    assert format_rfc3339(time_ns) == text
