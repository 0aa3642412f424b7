"""CloudEvents, as the official SDK reads them."""

import json as stdlib
import re
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import Actor, Event, make_self_event
from relay.core.exchange import Request
from relay.core.incident import Status
from relay.core.include import Included
from relay.core.notification import Notification, build_notification
from relay.core.text import ELLIPSIS
from relay.destinations.common import document
from relay.destinations.common.document import encode_document
from tests.unit.destinations.messages import format_golden, read_golden
from tests.unit.destinations.samples import (
    ATTACKS,
    CRASH,
    INCLUDE,
    NOTIFICATIONS,
    RESOLVED,
    SAMPLE_NOTIFICATIONS,
    UNHEALTHY,
    crash_with_included,
    notifications,
    updates,
    with_fields,
)
from tests.unit.destinations.updates import (
    ALL_UPDATES,
    OPENED,
    PLAIN_EVENTS,
    SEVERAL,
    report,
    update_of,
)
from tests.unit.destinations.updates import RESOLVED as RESOLVED_INCIDENT

URL = "https://receiver.example/hook"
MOST = document.SIZE_MAX - document.OVERHEAD_MAX
MODES = (document.render_structured, document.render_binary)
both = pytest.mark.parametrize("render", MODES)
TYPE = re.compile(r"com\.docker\.[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{1,64}")
SOURCE = re.compile(r"/engines/([A-Za-z0-9._~-]|%[0-9A-F]{2})*")  # RFC 3986, path-absolute
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
HEADER = re.compile(r"([!#$&-~]|%[0-9A-F]{2})+")  # the HTTP binding, section 3.1.3.2
_pieces = st.tuples(
    st.sampled_from(ATTACKS), st.sampled_from(("x", '"', "é", "🔥", "\x01")), st.integers(0, 4_000)
)


def read(request: Request) -> BaseCloudEvent:
    """The event that the SDK reads from a request in either mode."""
    return from_http_event(HTTPMessage(dict(request.headers), request.body))


def size(request: Request) -> int:
    """The size of a request on the wire, in bytes."""
    head = sum(len(f"{name}: {value}\r\n".encode()) for name, value in request.headers.items())
    return head + len(request.body)


def data(request: Request) -> Any:
    """The document in a request."""
    return read(request).get_data()


def attributes(request: Request) -> Any:
    """The engine's attributes of the first event in a request."""
    return data(request)["events"][0]["actor"]["attributes"]


def about(event: Event) -> BaseCloudEvent:
    """A notification of this event, in structured mode."""
    return read(document.render_structured(build_notification("r", event), URL))


def labelled(labels: dict[str, str]) -> Notification:
    """A crash with these attributes."""
    return build_notification("r", with_fields(CRASH, actor=Actor("a", "web", "bb:1", labels)))


def test_matches_the_golden_file() -> None:
    """All kinds of notifications in both modes match the golden file."""
    requests = (render(it, URL) for it in (*SAMPLE_NOTIFICATIONS, RESOLVED) for render in MODES)
    everything = ({"headers": it.headers, "body": msgspec.Raw(it.body)} for it in requests)
    assert format_golden(map(msgspec.json.encode, everything)) == read_golden("cloudevents.json")


def test_incidents_match_the_golden_file() -> None:
    """Notifications of incidents in both modes match the golden file."""
    requests = (render(it, URL) for it in ALL_UPDATES for render in MODES)
    everything = ({"headers": it.headers, "body": msgspec.Raw(it.body)} for it in requests)
    expected = read_golden("cloudevents_incidents.json")
    assert format_golden(map(msgspec.json.encode, everything)) == expected


@both
def test_goes_to_the_url(render: Any) -> None:
    """The request has the URL, and only the headers of its mode."""
    request = render(NOTIFICATIONS[0], URL)
    assert (request.url, request.method) == (URL, "POST")


def test_structured_says_what_it_is() -> None:
    """The content type declares the mode, and the attributes are in the documented order."""
    request = document.render_structured(NOTIFICATIONS[0], URL)
    assert request.headers == {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    names = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data")
    assert tuple(stdlib.loads(request.body)) == names


def test_binary_has_the_document_as_its_body() -> None:
    """The attributes are headers; ``datacontenttype`` is the Content-Type."""
    request = document.render_binary(NOTIFICATIONS[0], URL)
    assert request.body == encode_document(NOTIFICATIONS[0])
    assert request.headers == {
        "ce-specversion": "1.0",
        "ce-id": NOTIFICATIONS[0].id,
        "ce-source": "/engines/here",
        "ce-type": "com.docker.container.die",
        "ce-subject": "shop-web-1",
        "ce-time": "2026-11-23T07:29:49.176843878Z",
        "Content-Type": "application/json",
    }


@both
@pytest.mark.parametrize("notification", SAMPLE_NOTIFICATIONS)
def test_holds_the_document_of_json(render: Any, notification: Notification) -> None:
    """The data is the document of ``format: json``, byte for byte."""
    event = read(render(notification, URL))
    assert event.get_data() == stdlib.loads(encode_document(notification))
    assert event.get_datacontenttype() == "application/json"


@both
def test_is_identified_by_the_notification(render: Any) -> None:
    """Source and id identify the notification; another route has another id."""
    one, other = (read(render(build_notification(route, CRASH), URL)) for route in ("one", "other"))
    assert one.get_source() == other.get_source() == "/engines/here"
    assert one.get_id() == build_notification("one", CRASH).id != other.get_id()


@pytest.mark.parametrize(
    ("engine", "source"),
    [
        ("here", "/engines/here"),
        ("", "/engines/"),
        ("a/b ?#é", "/engines/a%2Fb%20%3F%23%C3%A9"),
        ("\r\n", "/engines/%5Cr%5Cn"),
        ("x" * 99, f"/engines/{'x' * 63}%E2%80%A6"),
    ],
)
def test_the_source_is_a_uri_reference(engine: str, source: str) -> None:
    """The engine's name is one segment of its path."""
    assert about(with_fields(CRASH, engine=engine)).get_source() == source


@pytest.mark.parametrize(
    ("kind", "action", "type_"),
    [
        ("container", "health_status", "com.docker.container.health_status"),
        ("container", "archive-path", "com.docker.container.archive-path"),
        ("a.b c", "é\n", "com.docker.a_b_c.__"),
        ("", "", "com.docker._._"),
        ("x" * 99, "y" * 99, f"com.docker.{'x' * 64}.{'y' * 64}"),
    ],
)
def test_the_type_has_four_parts(kind: str, action: str, type_: str) -> None:
    """Other characters than letters, digits, ``_`` and ``-`` are replaced in each part."""
    assert about(with_fields(CRASH, type=kind, action=action)).get_type() == type_


@both
def test_the_type_says_what_became_of_an_incident(render: Any) -> None:
    """Its subject is the incident's, its time that of the last problem or of the end."""
    opened, resolved = read(render(OPENED, URL)), read(render(RESOLVED_INCIDENT, URL))
    assert opened.get_type() == "com.docker.incident.opened"
    assert resolved.get_type() == "com.docker.incident.resolved"
    assert opened.get_subject() == resolved.get_subject() == "shop-web-1"
    assert str(opened.get_time())[:19] == "2026-11-23 07:29:49"
    assert str(resolved.get_time())[:19] == "2026-11-23 07:31:49"


@both
def test_several_incidents_have_no_subject(render: Any) -> None:
    """The subject would be that of one of them only."""
    assert read(render(SEVERAL, URL)).get_subject() is None
    more = update_of(report(), more=1)
    assert read(render(more, URL)).get_subject() is None


@both
def test_plain_events_have_the_type_of_the_first(render: Any) -> None:
    """A group without incidents is about its events."""
    event = read(render(PLAIN_EVENTS, URL))
    assert (event.get_type(), event.get_subject()) == ("com.docker.container.start", "a")


def test_relays_own_events_have_such_a_type() -> None:
    """The type of relay's own events is built by the same rule."""
    gap = make_self_event("gap", engine="here", host="node-1", time_ns=1, name="here")
    assert about(gap).get_type() == "com.docker.relay.gap"
    assert about(gap).get_source() == "/engines/here"


@pytest.mark.parametrize(
    ("name", "actor_id", "subject"),
    [("web", "a", "web"), (None, "a", "a"), ("", "a", "a"), (None, "", None)],
)
def test_the_subject_is_a_name_or_an_id(
    name: str | None, actor_id: str, subject: str | None
) -> None:
    """Without a name and an id there is no subject, because it must not be empty."""
    assert about(with_fields(CRASH, actor=Actor(actor_id, name, None, {}))).get_subject() == subject


@both
def test_keeps_every_nanosecond(render: Any) -> None:
    """The time has all digits of the event's time."""
    request = render(NOTIFICATIONS[0], URL)
    assert b"2026-11-23T07:29:49.176843878Z" in request.body
    assert read(request).get_time() == datetime(2026, 11, 23, 7, 29, 49, 176843, UTC)


def test_headers_are_encoded_once() -> None:
    """Space, quote, percent and everything that is not printable ASCII are encoded, as the
    binding requires."""
    odd = with_fields(CRASH, engine="50 %", actor=Actor("a", 'Euro € 😀 "%"', None, {}))
    request = document.render_binary(build_notification("r", odd), URL)
    assert request.headers["ce-subject"] == "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22%25%22"
    assert request.headers["ce-source"] == "/engines/50%2520%2525"
    assert read(request).get_source() == "/engines/50%20%25"


@both
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_name_makes_no_header(render: Any, attack: str) -> None:
    """No line break or control character of a name is in a header."""
    event = with_fields(CRASH, engine=attack, type=attack, actor=Actor(attack, attack, None, {}))
    request = render(build_notification("r", event), URL)
    assert all(value.isprintable() for value in request.headers.values())
    subject = read(request).get_subject()
    assert subject is not None
    assert subject.isprintable()


@given(notifications | updates())
def test_is_always_a_cloudevent(notification: Notification) -> None:
    """The SDK reads the same event in both modes, with attributes of the right types, within 64
    KiB."""
    notification = msgspec.structs.replace(notification, id=notification.id or "ntf_1")
    one, other = (render(notification, URL) for render in MODES)
    event = read(one)
    assert event.get_attributes() == read(other).get_attributes()
    assert max(size(one), size(other)) <= MOST
    assert TYPE.fullmatch(event.get_type())
    assert SOURCE.fullmatch(event.get_source())
    assert event.get_id().isprintable()
    assert (event.get_subject() or "x").isprintable()
    headers = dict(other.headers)
    assert headers.pop("Content-Type") == "application/json"
    assert all(HEADER.fullmatch(value) for value in headers.values())
    assert TIME.fullmatch(headers["ce-time"])


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
