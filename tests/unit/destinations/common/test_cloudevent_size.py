"""Long CloudEvents: what is left out, what is truncated, and what stays.

The specification limits a CloudEvent to 64 KiB.
"""

import json as stdlib
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import Actor, Event
from relay.core.exchange import Request
from relay.core.incident import Status
from relay.core.include import Included
from relay.core.notification import Notification, build_notification
from relay.core.text import ELLIPSIS
from relay.destinations.common import document
from relay.destinations.common.document import encode_document
from tests.unit.destinations.common.test_cloudevents import MOST, URL, both, data, size
from tests.unit.destinations.samples import (
    ATTACKS,
    CRASH,
    INCLUDE,
    UNHEALTHY,
    crash_with_included,
    with_fields,
)
from tests.unit.destinations.strategies import notifications, updates
from tests.unit.destinations.updates import report, update_of

_pieces = st.tuples(
    st.sampled_from(ATTACKS), st.sampled_from(("x", '"', "é", "🔥", "\x01")), st.integers(0, 4_000)
)


def attributes(request: Request) -> Any:
    """The engine's attributes of the first event in a request."""
    return data(request)["events"][0]["actor"]["attributes"]


def labelled(labels: dict[str, str]) -> Notification:
    """A crash with these attributes."""
    return build_notification("r", with_fields(CRASH, actor=Actor("a", "web", "bb:1", labels)))


@given(notifications | updates(10))
def test_a_short_event_is_not_trimmed(notification: Notification) -> None:
    """An event within the limit is complete."""
    plain = encode_document(notification)
    if len(plain) <= 48_000:
        assert document.render_binary(notification, URL).body == plain
        assert plain in document.render_structured(notification, URL).body


@both
@given(st.lists(_pieces, max_size=60))
def test_leaves_out_the_last_attributes(render: Any, pieces: list[tuple[str, str, int]]) -> None:
    """The first attributes are unchanged, and the others are counted."""
    labels = {f"{n}{name}": piece * times for n, (name, piece, times) in enumerate(pieces)}
    request = render(labelled(labels), URL)
    kept = attributes(request)
    assert size(request) <= MOST
    if kept == labels:
        return
    mark = kept.popitem()
    left_out = len(labels) - len(kept)
    assert mark == (ELLIPSIS, f"{left_out} attributes left out")
    assert list(kept.items()) == list(labels.items())[: len(kept)]
    next_one = msgspec.json.encode(dict([list(labels.items())[len(kept)]]))
    assert size(request) + len(next_one) > MOST - 64


@both
def test_keeps_everything_else_of_the_event(render: Any) -> None:
    """If leaving out attributes is enough, nothing else changes."""
    labels = {f"label-{n:03}": "x" * 1_000 for n in range(100)}
    got = data(render(labelled(labels), URL))
    want = stdlib.loads(encode_document(labelled(labels)))
    for each in (got, want):
        each["events"][0]["actor"].pop("attributes")
    assert got == want


@both
def test_leaves_out_the_attributes_of_the_last_events_first(render: Any) -> None:
    """In a group the first events keep their attributes."""
    full = with_fields(CRASH, actor=Actor("a", "web", None, {f"{n}": "x" * 999 for n in range(40)}))
    group = (full, full, CRASH)
    events = data(render(Notification("ntf_1", "r", group, count=3), URL))["events"]
    first, second, third = (event["actor"]["attributes"] for event in events)
    assert first == full.actor.attributes
    assert list(second)[-1] == ELLIPSIS
    assert 1 < len(second) < 40
    assert third == {ELLIPSIS: "7 attributes left out"}


@both
def test_no_label_looks_like_the_mark(render: Any) -> None:
    """If attributes are left out, only relay's own mark has its name."""
    labels = {"a": "1", ELLIPSIS: "none left out", **{f"{n}": "x" * 999 for n in range(99)}}
    assert attributes(render(labelled(labels), URL)) == {
        "a": "1",
        ELLIPSIS: "100 attributes left out",
    }


@both
def test_one_huge_attribute_is_left_out_alone(render: Any) -> None:
    """The event's other fields are unchanged."""
    (event,) = data(render(labelled({"a": "x" * 10_000_000, "b": ""}), URL))["events"]
    assert event["actor"]["attributes"] == {ELLIPSIS: "2 attributes left out"}
    assert (event["cause"], event["exit_code"], event["actor"]["name"]) == ("crashed", 42, "web")


@both
def test_is_quick_with_very_many_attributes(render: Any) -> None:
    """The time grows in proportion to the number of attributes: quadratic growth would take hours
    here."""
    notification = labelled({f"label-{n}": "" for n in range(100_000)})
    began = time.process_time()
    request = render(notification, URL)
    assert time.process_time() - began < 5
    assert size(request) <= MOST
    kept = len(attributes(request)) - 1
    assert attributes(request)[ELLIPSIS] == f"{100_000 - kept} attributes left out"


@both
def test_truncates_long_texts_if_necessary(render: Any) -> None:
    """A name that is longer than the limit is truncated; short texts stay."""
    event = with_fields(CRASH, actor=Actor("a", "n" * 100_000, "bb:1", {"tier": "web"}))
    (got,) = data(render(build_notification("r", event), URL))["events"]
    assert got["actor"] == {
        "id": "a",
        "name": "n" * (document.TEXT_MAX - 3) + ELLIPSIS,
        "image": "bb:1",
        "attributes": {"tier": "web"},
    }


@both
def test_keeps_the_end_of_what_was_printed(render: Any) -> None:
    """The last log lines stay, and an ellipsis marks the cut."""
    lines = tuple(f"line {n} " + "x" * 500 for n in range(200))
    included = data(render(crash_with_included(logs=lines, health="h" * 9_999), URL))["included"]
    first, *others = included["logs"]
    assert tuple(others) == lines[-len(others) :]
    assert first.startswith(ELLIPSIS)
    assert lines[-len(others) - 1].endswith(first.removeprefix(ELLIPSIS))
    assert included["health"] == ELLIPSIS + "h" * (document.HEALTH_MAX - 3)


@both
def test_a_long_inspect_value_becomes_a_text(render: Any) -> None:
    """It is the beginning of its JSON; short values keep their type."""
    inspect = {"State.Pid": 7, "Config.Env": ["x" * 999], "Args": [], "Path": "p" * 70_000}
    got = data(render(crash_with_included(logs=(), inspect=inspect), URL))["included"]
    assert (got["inspect"]["State.Pid"], got["inspect"]["Args"], got["logs"]) == (7, [], [])
    assert got["inspect"]["Config.Env"].startswith('["xxx')
    assert got["inspect"]["Path"] == "p" * (document.VALUE_MAX - 3) + ELLIPSIS


@both
def test_leaves_out_the_last_events_of_a_long_group(render: Any) -> None:
    """``count`` still includes them."""
    many = tuple(with_fields(UNHEALTHY, id=f"evt_{n}") for n in range(1_000))
    request = render(Notification("ntf_1", "r", many, count=1_000), URL)
    got = data(request)
    ids = [event["id"] for event in got["events"]]
    assert ids == [event.id for event in many[: len(ids)]]
    assert 0 <= MOST - size(request) < len(msgspec.json.encode(got["events"][0]))
    assert got["count"] == 1_000


@both
@pytest.mark.parametrize("dear", ["\x01" * 20_000, '"' * 20_000, "漢" * 20_000, "𝕏" * 20_000])
def test_the_longest_event_is_within_the_limits(render: Any, dear: str) -> None:
    """Every value is present, longer than its limit, and expensive to encode."""
    event = Event(
        *(dear, dear, dear, dear, dear, dear, dear, 2**63 - 1),
        Actor(dear, dear, dear, {f"{n}{dear}": dear for n in range(9)}),
        health=dear,
    )
    inspect = {f"{n}{dear}": [dear] for n in range(40)}
    included = Included((*[""] * 9_000, dear, *[""] * 3_000), dear, inspect, dear)
    most = 2**63 - 1
    notification = Notification(
        dear, dear, (event, event), Status.RESOLVED, most, most, INCLUDE, included
    )
    request = render(notification, URL)
    got = data(request)
    assert 40_000 < size(request) <= MOST
    assert len(got["included"]["inspect"]) == 20
    assert got["count"] == most
    assert got["events"][0]["actor"]["name"].endswith(ELLIPSIS)


@both
@pytest.mark.parametrize("dear", ["x", "\x01", "漢"])
def test_leaves_out_the_last_incidents_if_necessary(render: Any, dear: str) -> None:
    """The first incidents are there, truncated, and ``more`` counts the others."""
    long = dear * 20_000
    reports = [report(id=f"inc_{n}", subject=long, route=long) for n in range(100)]
    event = with_fields(CRASH, host=long, actor=Actor(long, long, long, {long: long}))
    group = {f"{n}{long}": long for n in range(50)}
    inspect = {f"{n}{long}": long for n in range(40)}
    included = Included((long,), long, inspect, long)
    many = update_of(*reports, event=event, group=group, more=9_900)
    for notification in (many, msgspec.structs.replace(many, included=included)):
        request = render(notification, URL)
        got = data(request)
        assert size(request) <= MOST
        assert [it["id"] for it in got["incidents"]] == [
            f"inc_{n}" for n in range(len(got["incidents"]))
        ]
        assert len(got["incidents"]) + got["more"] == 10_000
        assert len(got["events"]) == 1
    assert size(render(many, URL)) > MOST - 2_000
    assert got["incidents"] or dear != "x"


@both
def test_ordinary_incidents_are_complete(render: Any) -> None:
    """A hundred incidents and ten events fit: only attributes are left out."""
    labels = {f"label-{n}": "x" * 100 for n in range(100)}
    event = with_fields(CRASH, actor=Actor("a" * 64, "web", "bb:1", labels))
    reports = [report(subject=f"shop-web-{n}") for n in range(100)]
    notification = msgspec.structs.replace(update_of(*reports), events=(event,) * 10)
    got = data(render(notification, URL))
    assert (len(got["incidents"]), got["more"], len(got["events"])) == (100, 0, 10)
    assert got["group"] == {"engine": "here", "project": "shop"}
