"""CloudEvents, as the official SDK reads them."""

import json as stdlib
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given

from relay.core.event import Actor, Event, make_self_event
from relay.core.exchange import Request
from relay.core.notification import Notification, build_notification
from relay.destinations.common import document
from relay.destinations.common.document import encode_document
from tests.unit.destinations.messages import format_golden, read_golden
from tests.unit.destinations.samples import (
    ATTACKS,
    CRASH,
    NOTIFICATIONS,
    RESOLVED,
    SAMPLE_NOTIFICATIONS,
    with_fields,
)
from tests.unit.destinations.strategies import notifications, updates
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


def about(event: Event) -> BaseCloudEvent:
    """A notification of this event, in structured mode."""
    return read(document.render_structured(build_notification("r", event), URL))


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


def test_the_source_of_another_host() -> None:
    """Its engine has the same name as those of all others, so the host is in it."""
    elsewhere = with_fields(CRASH, via="fleet", host="web/17")
    assert about(elsewhere).get_source() == "/hosts/web%2F17/engines/here"


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
