"""The context of a template."""

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
from relay.core.event import format_second
from relay.core.include import Included
from relay.core.notification import build_notification
from relay.core.severity import Severity
from relay.core.text import escape_unprintable
from tests.unit.destinations.messages import strings
from tests.unit.destinations.samples import (
    ALL_INCLUDED,
    ATTACKS,
    CRASH,
    INCLUDE,
    UNHEALTHY,
    crash_with_included,
    with_fields,
)
from tests.unit.destinations.strategies import notifications
from tests.unit.destinations.updates import crash_looping, report, resolved, update_of


def test_event() -> None:
    """The event has the names of the JSON document, and plain values instead of enums."""
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
        "interactive": False,
    }
    assert type(event["cause"]) is str


def test_notification_and_included() -> None:
    """The context has the notification, its severity and headline, and what is included."""
    notification = msgspec.structs.replace(ALL_INCLUDED, severity=Severity.INFO)
    assert notification.included is not None
    found = build_context(notification, "it crashed", notification.included)
    assert (found["severity"], found["headline"]) == ("info", "it crashed")
    assert found["notification"] == {
        "id": notification.id,
        "route": notification.route,
        "status": "firing",
        "count": 1,
        "suppressed": 0,
    }
    text = "{{ included.logs | length }} {{ included.inspect | length }} {{ included.health }}"
    logs, fields, health = Template(text).render(found).split(" ", 2)
    assert int(logs) == len(notification.included.logs or ())
    assert int(fields) == len(notification.included.inspect)
    assert health == (notification.included.health or "")


def test_nothing_included_is_empty() -> None:
    """A template can write what is not included: it is empty."""
    found = build_context(build_notification("r", UNHEALTHY, INCLUDE), "", Included())
    text = "{{ included.logs | join }}{{ included.health }}{{ included.missing }}"
    assert Template(text).render(found) == ""


@given(notifications)
def test_texts_are_escaped(notification: object) -> None:
    """With `visible` as escape, every text from the outside is printable and on one line."""
    assert isinstance(notification, type(ALL_INCLUDED))
    found = build_context(notification, "", notification.included or Included(), escape_unprintable)
    event, included = found["event"], found["included"]
    assert isinstance(event, dict)
    assert isinstance(included, dict)
    others = ("host", "type", "action", "detail", "scope", "actor_id", "name", "image", "health")
    labels = dict(event["labels"].items())
    escaped = [[event[name] for name in others], labels, dict(included)]
    assert all(text.isprintable() for text in strings(escaped, names=True))


def crash(labels: dict[str, str]) -> Any:
    """The event of a crashed container with these labels, as a template gets it."""
    actor = msgspec.structs.replace(CRASH.actor, attributes=labels)
    return build_context(
        build_notification("r", with_fields(CRASH, actor=actor)), "", Included(), escape_unprintable
    )["event"]


def test_labels_are_escaped() -> None:
    """A label is escaped in every way to read it, and so are names that are listed."""
    labels = crash({"a\nb": "c\nd"})["labels"]
    assert labels["a\nb"] == labels.get("a\nb") == r"c\nd"
    assert labels.get("x") is None
    assert labels.get("x", "-") == "-"
    assert [*labels] == [*labels.keys()] == [r"a\nb"]
    assert [*labels.values()] == [r"c\nd"]
    assert [*labels.items()] == [(r"a\nb", r"c\nd")]


def test_listed_labels_are_limited() -> None:
    """Only some labels are listed, but any can be looked up; long values are cut."""
    labels = crash(
        {f"k{n}": "x" * (MAX_VALUE_CHARS + 1) if n else "" for n in range(MAX_LABELS + 9)}
    )["labels"]
    assert len([*labels]) == MAX_LABELS
    assert labels[f"k{MAX_LABELS + 8}"] == "x" * MAX_VALUE_CHARS


def test_length_of_values_is_limited() -> None:
    """Names and inspect fields are cut, too."""
    long = "x" * (MAX_VALUE_CHARS + 1)
    actor = msgspec.structs.replace(CRASH.actor, name=long)
    inspected = crash_with_included(health=long, inspect={"a": [long]})
    made = msgspec.structs.replace(inspected, events=(with_fields(CRASH, actor=actor),))
    assert made.included is not None
    found = build_context(made, "", made.included)
    assert max(map(len, strings([found["event"], found["included"]]))) == MAX_VALUE_CHARS


def test_depth_of_fields_is_limited() -> None:
    """A deeply nested inspect field is cut at a depth that is safe for the stack."""
    deep = msgspec.json.decode("[" * 500 + "]" * 500)
    found = build_context(ALL_INCLUDED, "", Included(inspect={"a": deep}))
    text = Template("{{ included.inspect.a | tojson }}").render(found)
    assert text == "[" * (MAX_DEPTH - 1) + '"…"' + "]" * (MAX_DEPTH - 1)


@pytest.mark.parametrize("attack", ATTACKS)
def test_included_texts_are_escaped(attack: str) -> None:
    """All included texts are escaped, also keys in an inspect field."""
    included = Included((attack,), attack, {"a": {attack: [attack]}}, attack)
    found = build_context(ALL_INCLUDED, "", included, escape_unprintable)["included"]
    escaped = escape_unprintable(attack)
    assert found == {
        "logs": [escaped],
        "health": escaped,
        "inspect": {"a": {escaped: [escaped]}},
        "missing": escaped,
    }


def test_sample_has_the_same_names() -> None:
    """The sample context has the same names as any other."""
    usual, samples = build_context(build_notification("r", CRASH), "", Included()), sample_context()
    assert usual.keys() == samples.keys()
    with_incident = build_context(update_of(report()), "", Included())
    for name in ("event", "notification", "included", "incident"):
        ours, theirs = with_incident[name], samples[name]
        assert isinstance(ours, dict)
        assert isinstance(theirs, dict)
        assert ours.keys() == theirs.keys()


def test_incidents() -> None:
    """A template gets the incidents of an update as the JSON document has them."""
    reported = update_of(crash_looping(), resolved(), more=3)
    context = build_context(reported, "", Included())
    source = (
        "{{ incident.subject }} {{ incident.state }} {{ incidents[1].resolution }} {{ reason }} "
        "{{ group.project }} {{ more }} {{ incidents | length }} {{ incident.ended_at }}."
    )
    rendered = Template(source).render(context)
    assert rendered == "shop-web-1 down recovered crash_looping shop 3 2 ."


def test_no_incident() -> None:
    """Without an update a template can ask whether there is an incident, and nothing fails."""
    context = build_context(build_notification("r", CRASH), "", Included())
    source = (
        "{% if incident %}{{ incident.subject }}{% endif %}{% for each in incidents %}x{% endfor %}"
        "{{ group.get('project', '-') }}{{ reason }}{{ more }}"
    )
    assert Template(source).render(context) == "-0"


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_incident(attack: str) -> None:
    """The name of a subject and the values of a group are escaped; times are to the second."""
    reported = update_of(report(subject=attack), group={"project": attack})
    context = build_context(reported, "", Included(), escape_unprintable, format_second)
    source = "{{ incident.subject }}|{{ group.project }}|{{ incident.started_at }}"
    escaped = escape_unprintable(attack)
    assert Template(source).render(context) == f"{escaped}|{escaped}|{format_second(CRASH.time_ns)}"
