"""What templates are filled with."""

import msgspec
from hypothesis import given

from relay.context import context, sample
from relay.formats.text import visible
from relay.notification import Included, Severity, notify
from relay.template import Template

from .formats.samples import CRASH, INCLUDE, TOLD, UNHEALTHY, notifications


def test_has_what_is_known_of_an_event() -> None:
    """By the names of the JSON document, the actor's among them, without what is a class."""
    found = context(notify("crashed", CRASH), "it crashed", Included())
    event = found["event"]
    assert isinstance(event, dict)
    assert event["labels"] == event["attributes"] == dict(CRASH.actor.attributes)
    del event["labels"], event["attributes"]
    assert event == {
        "id": CRASH.id,
        "engine": "here",
        "host": "node-1",
        "type": "container",
        "action": "die",
        "detail": None,
        "scope": "local",
        "time": "2026-11-23T07:29:49.176843878Z",
        "time_ns": 1795418989176843878,
        "actor_id": CRASH.actor.id,
        "name": CRASH.actor.name,
        "image": "bb:1",
        "cause": "crashed",
        "exit_code": 42,
        "signal": None,
        "health": None,
        "origin": "live",
    }
    assert type(event["cause"]) is str


def test_has_the_notification_and_what_it_includes() -> None:
    """As a person would call it."""
    told = msgspec.structs.replace(TOLD, severity=Severity.INFO)
    assert told.included is not None
    found = context(told, "it crashed", told.included)
    assert (found["severity"], found["headline"]) == ("info", "it crashed")
    assert found["notification"] == {
        "id": told.id,
        "route": told.route,
        "status": "firing",
        "count": 1,
        "suppressed": 0,
    }
    text = "{{ included.logs | length }} {{ included.inspect | length }} {{ included.health }}"
    logs, fields, health = Template(text).render(found).split(" ", 2)
    assert int(logs) == len(told.included.logs or ())
    assert int(fields) == len(told.included.inspect)
    assert health == (told.included.health or "")


def test_nothing_included_is_empty() -> None:
    """A template need not ask first."""
    found = context(notify("r", UNHEALTHY, INCLUDE), "", Included())
    text = "{{ included.logs | join }}{{ included.health }}{{ included.missing }}"
    assert Template(text).render(found) == ""


@given(notifications)
def test_with_a_spelling_no_value_has_a_line_of_its_own(notification: object) -> None:
    """What others chose stays on one line, printable."""
    assert isinstance(notification, type(TOLD))
    found = context(notification, "", Included(), visible)
    event = found["event"]
    assert isinstance(event, dict)
    others = ("host", "type", "action", "detail", "actor_id", "name", "image", "health")
    shown = [event[name] or "" for name in others] + [*event["labels"].values()]
    assert all(value.isprintable() for value in shown)


def test_the_sample_is_like_any_other() -> None:
    """It has the same names, no more and no less."""
    usual, samples = context(notify("r", CRASH), "", Included()), sample()
    assert usual.keys() == samples.keys()
    for name in ("event", "notification", "included"):
        ours, theirs = usual[name], samples[name]
        assert isinstance(ours, dict)
        assert isinstance(theirs, dict)
        assert ours.keys() == theirs.keys()
