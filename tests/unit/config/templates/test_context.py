"""What templates are filled with."""

from typing import Any

import msgspec
import pytest
from hypothesis import given

from relay.config.templates.context import (
    MAX_DEPTH,
    MAX_LABELS,
    MAX_VALUE_CHARS,
    build_context,
    sample_context,
)
from relay.config.templates.template import Template
from relay.core.notification import Included, Severity, build_notification
from relay.core.text import escape_unprintable
from tests.unit.destinations.messages import strings
from tests.unit.destinations.samples import (
    ALL_INCLUDED,
    ATTACKS,
    CRASH,
    INCLUDE,
    UNHEALTHY,
    crash_with_included,
    notifications,
    with_fields,
)


def test_has_what_is_known_of_an_event() -> None:
    """By the names of the JSON document, the actor's among them, without what is a class."""
    found = build_context(build_notification("crashed", CRASH), "it crashed", Included())
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
    told = msgspec.structs.replace(ALL_INCLUDED, severity=Severity.INFO)
    assert told.included is not None
    found = build_context(told, "it crashed", told.included)
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
    found = build_context(build_notification("r", UNHEALTHY, INCLUDE), "", Included())
    text = "{{ included.logs | join }}{{ included.health }}{{ included.missing }}"
    assert Template(text).render(found) == ""


@given(notifications)
def test_with_a_spelling_no_value_has_a_line_of_its_own(notification: object) -> None:
    """What others chose stays on one line, printable."""
    assert isinstance(notification, type(ALL_INCLUDED))
    found = build_context(notification, "", notification.included or Included(), escape_unprintable)
    event, included = found["event"], found["included"]
    assert isinstance(event, dict)
    assert isinstance(included, dict)
    others = ("host", "type", "action", "detail", "scope", "actor_id", "name", "image", "health")
    labels = dict(event["labels"].items())
    shown = [[event[name] for name in others], labels, dict(included)]
    assert all(text.isprintable() for text in strings(shown, names=True))


def crash(labels: dict[str, str]) -> Any:
    """What a template gets of a crash of a container with these labels."""
    actor = msgspec.structs.replace(CRASH.actor, attributes=labels)
    return build_context(
        build_notification("r", with_fields(CRASH, actor=actor)), "", Included(), escape_unprintable
    )["event"]


def test_a_label_is_spelt_as_it_is_asked_for() -> None:
    """By every way to it; its name too, where names are listed."""
    labels = crash({"a\nb": "c\nd"})["labels"]
    assert labels["a\nb"] == labels.get("a\nb") == r"c\nd"
    assert labels.get("x") is None
    assert labels.get("x", "-") == "-"
    assert [*labels] == [*labels.keys()] == [r"a\nb"]
    assert [*labels.values()] == [r"c\nd"]
    assert [*labels.items()] == [(r"a\nb", r"c\nd")]


def test_labels_without_end_are_listed_in_part() -> None:
    """Any of them can be asked for; no more than the beginning of each is given."""
    labels = crash(
        {f"k{n}": "x" * (MAX_VALUE_CHARS + 1) if n else "" for n in range(MAX_LABELS + 9)}
    )["labels"]
    assert len([*labels]) == MAX_LABELS
    assert labels[f"k{MAX_LABELS + 8}"] == "x" * MAX_VALUE_CHARS


def test_nothing_is_given_longer_than_a_template_may_write() -> None:
    """Names and fields, too."""
    long = "x" * (MAX_VALUE_CHARS + 1)
    actor = msgspec.structs.replace(CRASH.actor, name=long)
    inspected = crash_with_included(health=long, inspect={"a": [long]})
    made = msgspec.structs.replace(inspected, events=(with_fields(CRASH, actor=actor),))
    assert made.included is not None
    found = build_context(made, "", made.included)
    assert max(map(len, strings([found["event"], found["included"]]))) == MAX_VALUE_CHARS


def test_a_field_without_a_bottom_ends_in_a_mark() -> None:
    """It takes no room on the stack that is not there."""
    deep = msgspec.json.decode("[" * 500 + "]" * 500)
    found = build_context(ALL_INCLUDED, "", Included(inspect={"a": deep}))
    text = Template("{{ included.inspect.a | tojson }}").render(found)
    assert text == "[" * (MAX_DEPTH - 1) + '"…"' + "]" * (MAX_DEPTH - 1)


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_included_is_spelt(attack: str) -> None:
    """Names of what is in a field, too."""
    included = Included((attack,), attack, {"a": {attack: [attack]}}, attack)
    found = build_context(ALL_INCLUDED, "", included, escape_unprintable)["included"]
    shown = escape_unprintable(attack)
    assert found == {
        "logs": [shown],
        "health": shown,
        "inspect": {"a": {shown: [shown]}},
        "missing": shown,
    }


def test_the_sample_is_like_any_other() -> None:
    """It has the same names, no more and no less."""
    usual, samples = build_context(build_notification("r", CRASH), "", Included()), sample_context()
    assert usual.keys() == samples.keys()
    for name in ("event", "notification", "included"):
        ours, theirs = usual[name], samples[name]
        assert isinstance(ours, dict)
        assert isinstance(theirs, dict)
        assert ours.keys() == theirs.keys()
