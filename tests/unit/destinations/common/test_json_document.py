"""The JSON document."""

import json as stdlib

import msgspec
from hypothesis import given

from relay.core.event import Event, format_rfc3339
from relay.core.incident import Condition
from relay.core.include import Included
from relay.core.notification import Notification, build_notification, resolve_severity
from relay.destinations.common.document import encode_document, render_document
from tests.unit.destinations.messages import format_golden, read_golden
from tests.unit.destinations.samples import CRASH, INCLUDE, NOTIFICATIONS, SAMPLE_NOTIFICATIONS
from tests.unit.destinations.strategies import notifications
from tests.unit.destinations.updates import ALL_UPDATES, OPENED, report, update_of


def test_is_the_documented_document() -> None:
    """Keys, their order and their values are those of the golden file, which receivers rely on."""
    assert format_golden(map(encode_document, SAMPLE_NOTIFICATIONS)) == read_golden("json.json")


def test_goes_to_the_url() -> None:
    """The document is the body, with the content type of JSON."""
    request = render_document(NOTIFICATIONS[0], "http://a.example/hook")
    assert request.url == "http://a.example/hook"
    assert request.headers == {"Content-Type": "application/json"}
    assert request.body == encode_document(NOTIFICATIONS[0])


def test_keeps_every_nanosecond() -> None:
    """The time is there as text and as a whole number, and neither is rounded."""
    (event,) = stdlib.loads(encode_document(build_notification("crashed", CRASH)))["events"]
    assert (event["time"], event["time_ns"]) == (
        "2026-11-23T07:29:49.176843878Z",
        1795418989176843878,
    )


def test_says_if_nothing_was_ready_in_time() -> None:
    """If the route has an ``include``, the object is there, with the reason why data is missing."""
    document = stdlib.loads(encode_document(build_notification("crashed", CRASH, INCLUDE)))
    assert document["included"] == {
        "logs": None,
        "health": None,
        "inspect": {},
        "missing": "could not be had in time",
    }


def test_incidents_are_the_documented_keys() -> None:
    """A notification of incidents has these keys in addition; the golden file has their values."""
    assert format_golden(map(encode_document, ALL_UPDATES)) == read_golden("json_incidents.json")
    document = stdlib.loads(encode_document(OPENED))
    assert list(document)[:-4] == list(stdlib.loads(encode_document(NOTIFICATIONS[0])))
    assert list(document)[-4:] == ["group", "reason", "incidents", "more"]
    assert list(document["incidents"][0]) == [
        *("id", "status", "state", "route", "severity", "subject", "host", "crash_looping"),
        *("started_at", "ended_at", "resolution", "count", "total", "notified_before"),
        *("restart_policy", "restart_count", "memory_limit", "ran_for"),
    ]


def test_a_restarting_container_is_down() -> None:
    """``state`` is one of four; a container between two restarts is down."""
    states = {
        condition: stdlib.loads(encode_document(update_of(report(condition=condition))))
        for condition in Condition
    }
    assert {it: document["incidents"][0]["state"] for it, document in states.items()} == {
        "up": "up",
        "restarting": "down",
        "down": "down",
        "unhealthy": "unhealthy",
        "unknown": "unknown",
    }


def test_says_what_was_included_for_the_first_incident() -> None:
    """An incident has no ``include`` of its own: what the engine answered is there."""
    included = Included(logs=("bye",))
    document = stdlib.loads(encode_document(update_of(report(included=included))))
    assert document["included"]["logs"] == ["bye"]
    assert stdlib.loads(encode_document(OPENED))["included"] is None


@given(notifications)
def test_keeps_every_string(notification: Notification) -> None:
    """The engine's strings are unchanged, and the document is one line."""
    body = encode_document(notification)
    document = stdlib.loads(body)
    events, included = document.pop("events"), document.pop("included")
    assert b"\n" not in body
    assert document == {
        "id": notification.id,
        "version": 1,
        "status": notification.status,
        "route": notification.route,
        "severity": resolve_severity(notification),
        "count": notification.count,
        "suppressed": notification.suppressed,
    }
    assert events == [_plain(event) for event in notification.events]
    if notification.include is None and notification.included is None:
        assert included is None
    elif notification.included is not None:
        assert msgspec.convert(included, Included) == notification.included


def _plain(event: Event) -> object:
    plain = {**msgspec.to_builtins(event), "time": format_rfc3339(event.time_ns)}
    del plain["ran_ns"]  # reported with the incident
    del plain["via"]  # a matter of this relay
    return plain
