"""The keys that say whether a destination is notified of incidents, and when."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Config
from relay.config.incident_keys import GROUP_FIELDS, GROUP_KEYS, LIFE_KEYS, MAX_GROUP_FIELDS
from relay.config.section import to_field
from relay.core.errors import ConfigError
from relay.core.incident import Notify
from relay.destinations.catalog import DESTINATION_TYPES, parse_config

VALUES = {
    "for": "10m",
    "mute": "nights",
    "resolve_after": "5m",
    "send_resolved": "false",
    "group_by": "[engine]",
    "group_wait": "10s",
    "group_interval": "5m",
    "repeat_interval": "12h",
}
"""A value of each key that is not its default."""
SERVICES = {
    "console": "",
    "http": "url: 'https://h.lan'",
    "slack": "url: 'https://hooks.slack.com/services/T0/B0/c'",
    "ntfy": "topic: mine",
    "pagerduty": f"routing_key: {'a1' * 16}",
    "alertmanager": "url: 'http://am:9093'",
}
BY_THEMSELVES = ["pagerduty", "alertmanager"]
"""The services that group incidents by themselves."""


def parse(keys: str = "", route: str = "to: a", service: str = "slack", **environ: str) -> Config:
    """Read a configuration with these keys at its destination, and with this route."""
    parts = ", ".join(filter(None, (f"type: {service}", SERVICES[service], keys)))
    text = "mute_time_intervals: {nights: [{times: '22:00-07:00'}]}\n"
    text += f"destinations:\n  a: {{{parts}}}\nroutes:\n  - {{name: r, {route}}}\n"
    return parse_config(text, file="f", environ=environ, folder=Path())


def problems(
    keys: str = "", route: str = "to: a", service: str = "slack", **environ: str
) -> list[str]:
    """What is wrong, as ``path: message``, without its position."""
    with pytest.raises(ConfigError) as caught:
        parse(keys, route, service, **environ)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def test_without_keys() -> None:
    """Every key has its default, which does not depend on the configuration."""
    config = parse()
    for key in ("notify", *LIFE_KEYS):
        assert getattr(config.routes[0], to_field(key)) is None
    for key in ("notify", *LIFE_KEYS, *GROUP_KEYS):
        assert getattr(config.destinations["a"], to_field(key)) is None


def test_keys_of_a_destination() -> None:
    """All of them, as they are written."""
    config = parse("notify: incidents, " + ", ".join(f"{k}: {v}" for k, v in VALUES.items()))
    found = config.destinations["a"]
    assert (found.notify, found.send_resolved) == (Notify.INCIDENTS, False)
    assert (found.for_, found.mute) == (timedelta(minutes=10), ("nights",))
    assert found.resolve_after == timedelta(minutes=5)
    assert found.group_by == ("engine",)
    assert found.group_wait == timedelta(seconds=10)
    assert found.group_interval == timedelta(minutes=5)
    assert found.repeat_interval == timedelta(hours=12)


def test_keys_of_a_route() -> None:
    """Those about an incident; those about a message stand at the destination."""
    (route,) = parse(route="to: a, notify: incidents, resolve_after: 5m, send_resolved: no").routes
    assert (route.notify, route.send_resolved) == (Notify.INCIDENTS, False)
    assert route.resolve_after == timedelta(minutes=5)
    for key in GROUP_KEYS:
        assert problems(route=f"to: a, {key}: {VALUES[key]}") == [
            f"routes[0].{key}: unknown key '{key}' (write it at the destination)"
        ]


@pytest.mark.parametrize("service", SERVICES)
def test_incident_keys_of_every_service(service: str) -> None:
    """What concerns an incident is a key of every type of destination."""
    found = parse("notify: incidents, resolve_after: 5m, send_resolved: false", service=service)
    assert found.destinations["a"].resolve_after == timedelta(minutes=5)


@pytest.mark.parametrize("key", GROUP_KEYS)
@pytest.mark.parametrize("service", BY_THEMSELVES)
def test_a_service_that_groups_by_itself(service: str, key: str) -> None:
    """It is sent one incident at a time: a key about messages is an error."""
    message = f"this service groups incidents by itself, so each is sent at once: remove '{key}'"
    assert problems(f"{key}: {VALUES[key]}", service=service) == [
        f"destinations.a.{key}: {message}"
    ]


def test_which_services_group_by_themselves() -> None:
    """All the others take the keys."""
    found = [name for name, it in DESTINATION_TYPES.models.items() if it.audience.groups_by_itself]
    assert sorted(found) == sorted(BY_THEMSELVES)


@pytest.mark.parametrize("key", VALUES)
def test_a_key_beside_notify_events(key: str) -> None:
    """It is an error in the same section, whichever comes first in the file."""
    message = (
        f"'notify: events' tells of every event by itself: remove '{key}', "
        "or write 'notify: incidents'"
    )
    text = f"{key}: {VALUES[key]}"
    assert problems(f"notify: events, {text}") == [f"destinations.a.{key}: {message}"]
    assert problems(f"{text}, notify: events") == [f"destinations.a.{key}: {message}"]
    if key in LIFE_KEYS:
        assert problems(route=f"to: a, {text}, notify: events") == [f"routes[0].{key}: {message}"]


def test_a_key_of_another_section_beside_notify_events() -> None:
    """A route may be an exception to its destination, and the other way round."""
    parse("notify: events", "to: a, notify: incidents, resolve_after: 5m")
    parse("group_wait: 10s", "to: a, notify: events")


@pytest.mark.parametrize(("key", "value"), [("notify", "events"), *list(VALUES.items())[:4]])
def test_a_route_that_drops(key: str, value: str) -> None:
    """It sends nothing."""
    assert problems(route=f"drop: true, {key}: {value}") == [
        f"routes[0].{key}: 'drop' sends nothing: remove '{key}'"
    ]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("notify: evnts", "notify: 'evnts' is not 'incidents' or 'events'"),
        ("notify: true", "notify: 'true' is not 'incidents' or 'events'"),
        ("send_resolved: maybe", "send_resolved: 'maybe' is neither true nor false"),
        ("resolve_after: 0s", "resolve_after: '0s' is less than 1s"),
        ("resolve_after: 25h", "resolve_after: '25h' is more than 24h"),
        ("resolve_after: 60", "resolve_after: '60' has no unit"),
        ("group_wait: 61m", "group_wait: '61m' is more than 1h"),
        ("group_wait: -3s", "group_wait: '-3s' is not a duration"),
        ("group_interval: 500ms", "group_interval: '500ms' is less than 1s"),
        ("group_interval: 2d", "group_interval: '2d' is more than 24h"),
        ("repeat_interval: 59s", "repeat_interval: '59s' is not between 1m and 6d (0s turns"),
        ("repeat_interval: 7d", "repeat_interval: '7d' is not between 1m and 6d (0s turns"),
    ],
)
def test_a_value_out_of_bounds(keys: str, problem: str) -> None:
    """The message says what is possible."""
    (found,) = problems(keys)
    assert found.startswith(f"destinations.a.{problem}")


@pytest.mark.parametrize(
    ("keys", "name", "value"),
    [
        ("resolve_after: 1s", "resolve_after", timedelta(seconds=1)),
        ("resolve_after: 24h", "resolve_after", timedelta(days=1)),
        ("group_wait: 0s", "group_wait", timedelta(0)),
        ("group_wait: 1h", "group_wait", timedelta(hours=1)),
        ("group_interval: 1s", "group_interval", timedelta(seconds=1)),
        ("group_interval: 1d", "group_interval", timedelta(days=1)),
        ("repeat_interval: 0s", "repeat_interval", timedelta(0)),
        ("repeat_interval: 1m", "repeat_interval", timedelta(minutes=1)),
        ("repeat_interval: 6d", "repeat_interval", timedelta(days=6)),
    ],
)
def test_a_value_at_a_bound(keys: str, name: str, value: timedelta) -> None:
    """The bounds themselves are possible; 0s sends at once, or turns reminders off."""
    assert getattr(parse(keys).destinations["a"], name) == value


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("[]", ()),
        ("engine", ("engine",)),
        ("[engine, project]", ("engine", "project")),
        ("[service, image, container]", ("service", "image", "container")),
        ("label.tier", ("label.tier",)),
        ("[label.com.example/team, label.a b]", ("label.com.example/team", "label.a b")),
        ("[label.engine, engine]", ("label.engine", "engine")),
    ],
)
def test_group_by(text: str, fields: tuple[str, ...]) -> None:
    """One field, several, or none: everything in one group."""
    assert parse(f"group_by: {text}").destinations["a"].group_by == fields


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[engine, engine]", "[1]: 'engine' is there twice: keep one"),
        ("[label.a, label.a]", "[1]: 'label.a' is there twice: keep one"),
        ("[projct]", "[0]: 'projct' is nothing to group by: there are host, engine, project, "),
        ("[Engine]", "[0]: 'Engine' is nothing to group by: there are host, engine, project, "),
        ("[tier]", "[0]: 'tier' is nothing to group by: there are host, engine, project, "),
        ("''", ": the value is nothing to group by: there are host, engine, project, "),
        ("[label.]", "[0]: 'label.' needs the name of a label after 'label.'"),
        ("['label. ']", "[0]: 'label. ' needs the name of a label after 'label.'"),
        ('["label.a\\nb"]', "[0]: 'label.a\\nb' needs the name of a label after 'label.'"),
        (f"[label.{'x' * 256}]", "[0]: 'label.xxxxxxxxxx"),
        ("[label.name]", "[0]: 'label.name' is no label of the container: write 'container'"),
        ("[label.image]", "[0]: 'label.image' is no label of the container: write 'image'"),
        ("{engine: true}", ": must be a list, with '- ' before each item"),
        ("[[engine]]", "[0]: the value is not text: put it in quotes"),
        (
            f"[{', '.join(f'label.l{at}' for at in range(MAX_GROUP_FIELDS + 1))}]",
            ": has more than 10 fields",
        ),
    ],
)
def test_a_wrong_group_by(text: str, problem: str) -> None:
    """Each wrong field is reported at its place."""
    (found,) = problems(f"group_by: {text}")
    assert found.startswith(f"destinations.a.group_by{problem}")


def test_a_typo_in_group_by() -> None:
    """A field that is similar is named, else the label of that name; nothing of the environment."""
    (found,) = problems("group_by: [projct]")
    assert found.endswith("container and label.NAME (did you mean 'project'?)")
    (found,) = problems("group_by: [tier]")
    assert found.endswith("container and label.NAME (did you mean 'label.tier'?)")
    (found,) = problems('group_by: ["${FIELD}"]', FIELD="CANARY")
    assert found.endswith("container and label.NAME")
    assert "CANARY" not in found


_label = st.text("abz09._/- ", min_size=1, max_size=20).filter(str.strip)
_field = st.sampled_from(GROUP_FIELDS) | _label.map("label.{}".format)


@given(st.lists(_field.filter(lambda it: it not in ("label.name", "label.image")), max_size=14))
def test_any_fields(fields: list[str]) -> None:
    """Up to ten different fields are taken, in their order, and nothing else is."""
    text = ", ".join(f"'{field}'" for field in fields)
    if len(set(fields)) == len(fields) <= MAX_GROUP_FIELDS:
        assert parse(f"group_by: [{text}]").destinations["a"].group_by == tuple(fields)
    else:
        assert all(
            each.startswith("destinations.a.group_by") for each in problems(f"group_by: [{text}]")
        )


NOT_LONGER = "so what was over before would be reported: write a longer 'for', or a shorter"


@pytest.mark.parametrize(
    ("keys", "route", "expected"),
    [
        ("for: 61s", "to: a", []),
        ("for: 0s", "to: a", []),
        ("for: 30s", "to: a, resolve_after: 10s", []),
        ("for: 30s", "to: a, for: 2m", []),
        ("for: 30s", "to: a, notify: events", []),
        ("for: 30s", "to: a, for: 0s", []),
        ("notify: events", "to: a, for: 30s", []),
        (
            "for: 1m",
            "to: a",
            ["destinations.a.for: 'for' (1m) is not longer than 'resolve_after' (1m, the default)"],
        ),
        (
            "resolve_after: 5m, for: 2m",
            "to: a",
            ["destinations.a.for: 'for' (2m) is not longer than 'resolve_after' (5m)"],
        ),
        (
            "resolve_after: 5m",
            "to: a, for: 5m",
            [
                "routes[0].for: 'for' (5m) is not longer than 'resolve_after' (5m) "
                "of destination 'a'"
            ],
        ),
        (
            "for: 90s",
            "to: a, resolve_after: 2m",
            [
                "routes[0].resolve_after: 'for' (90s) of destination 'a' is not longer than "
                "'resolve_after' (2m)"
            ],
        ),
        (
            "",
            "to: a, for: 500ms",
            ["routes[0].for: 'for' (500ms) is not longer than 'resolve_after' (1m, the default)"],
        ),
    ],
)
def test_for_is_longer_than_resolve_after(keys: str, route: str, expected: list[str]) -> None:
    """Else a problem would be reported that was over. Both may stand on either."""
    expected = [f"{each}, {NOT_LONGER} 'resolve_after'" for each in expected]
    if expected:
        assert problems(keys, route) == expected
    else:
        parse(keys, route)


def test_what_programs_get_has_no_for() -> None:
    """It is a warning that the key does nothing there, and not an error that it is too short."""
    parse(route="to: a, for: 30s", service="http")


def test_for_has_a_bound() -> None:
    """No incident is awaited for ever."""
    parse("for: 7d")
    assert problems("for: 169h") == ["destinations.a.for: '169h' is more than 7d"]


def test_labels_that_do_not_count_cannot_be_required() -> None:
    """The two keys contradict each other."""
    text = "labels: {enable: false, require: true}\ndestinations: {a: {type: console}}\n"
    with pytest.raises(ConfigError, match=r"with 'enable: false' no label counts"):
        parse_config(f"{text}routes: [{{name: r, to: a}}]", file="f", environ={}, folder=Path())
