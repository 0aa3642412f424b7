"""NATS JetStream: one event a message, under a name that the server vouches for."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.config.destination_types import file_keys
from relay.config.warnings import find_warnings
from relay.core.errors import ConfigError
from relay.core.event import Event
from relay.core.exchange import Request
from relay.core.incident import Audience
from relay.core.include import Include, Included
from relay.core.notification import Notification, build_notification
from relay.core.zone import UTC_ZONE
from relay.destinations.catalog import DESTINATION_TYPES, parse_config
from relay.destinations.nats import NatsDestination
from relay.incidents.policy import build_policies
from relay.incidents.policy_warnings import find_policy_warnings
from relay.nats.message import HEADROOM_BYTES, MAX_BYTES, decode_event
from relay.nats.subjects import parse_subject
from tests.support.events import make_event
from tests.unit.destinations.configs import config_with, problems
from tests.unit.destinations.messages import read_golden
from tests.unit.destinations.samples import CRASH, SAMPLE_NOTIFICATIONS, crash_with_included
from tests.unit.destinations.strategies import events, notifications

KEYS = "url: tls://nats1:4222, stream: RELAY"


def destination(more: str = "as: web-17", folder: Path = Path("/nowhere")) -> NatsDestination:
    to = config_with(f"type: nats, {KEYS}, {more}", folder).destinations["to"]
    assert isinstance(to, NatsDestination)
    return to


def render(notification: Notification, to: NatsDestination | None = None) -> Request:
    to = to or destination()
    return to.build_renderer((), print, colour=False, zone=UTC_ZONE)(notification)


def warnings(more: str = "") -> list[str]:
    return [issue.message for issue in destination(more).find_warnings()]


def test_matches_the_golden_file() -> None:
    """Subject, headers and body of a crash, an OOM, a health check, and what is included."""
    shown = [
        {"subject": it.url, "headers": it.headers, "body": json.loads(it.body)}
        for it in map(render, SAMPLE_NOTIFICATIONS)
    ]
    assert shown == json.loads(read_golden("nats.json"))


def test_defaults() -> None:
    to = destination()
    assert (to.identity, to.inbox, to.concurrency) == ("web-17", "_INBOX.web-17", 64)
    assert (to.audience, to.batching, to.signing) == (Audience.RELAYS, None, None)
    assert to.shown_address == "tls://nats1:4222 stream RELAY as web-17"


def test_files_and_secrets(tmp_path: Path) -> None:
    """The seed is read at each connection, a password once; no repr and no request shows it."""
    for name in ("seed", "password"):
        (tmp_path / name).write_text("s3cret\n")
    assert destination("nkey_file: seed", tmp_path).nkey_file == tmp_path / "seed"
    to = destination("as: a, username: me, password_file: password", tmp_path)
    assert to.password is not None
    assert to.password.get_secret_value() == "s3cret"
    request = render(CRASH_ALONE, to)
    assert "s3cret" not in f"{to!r}{request.url}{request.headers}{request.body!r}"
    assert {"password", "token"} <= set(file_keys(NatsDestination))


CRASH_ALONE = build_notification("r", CRASH)


def test_nothing_of_the_route_is_sent() -> None:
    """A route that is renamed, or sets a severity, makes no other message of the same event."""
    other = replace(build_notification("another", CRASH), severity=None, suppressed=7)
    assert render(other) == render(CRASH_ALONE)


def test_what_a_route_includes_travels_with_the_event() -> None:
    """And if the engine did not answer in time, that."""
    sent = crash_with_included(logs=("bye",))
    assert decode_event(render(sent).body, host="web-17", via="f").included == sent.included
    waiting = build_notification("r", CRASH, Include(logs=20))
    included = decode_event(render(waiting).body, host="web-17", via="f").included
    assert included == Included(missing="could not be had in time")


def as_relay_makes_it(event: Event) -> Event:
    """An event with an id and the name of an engine, which nobody else chooses."""
    type_, action = event.type or "container", event.action or "die"
    return replace(event, id=CRASH.id, engine="local", type=type_, action=action)


@given(
    events, st.none() | st.builds(Included, logs=st.tuples(st.text(st.characters(codec="utf-8"))))
)
def test_any_event_arrives_whole(event: Event, included: Included | None) -> None:
    """All that the event says, from the host that the subject names."""
    event = as_relay_makes_it(event)
    request = render(replace(build_notification("r", event), included=included))
    subject = parse_subject(request.url)
    assert subject is not None
    assert subject.host == "web-17"
    sent = decode_event(request.body, host=subject.host, via="fleet")
    assert sent.event == replace(event, host="web-17", via="fleet")
    assert sent.included == included


@given(notifications)
def test_hostile_names_stay_in_their_place(notification: Notification) -> None:
    """They make no other subject, no other header, and no longer message."""
    request = render(replace(notification, events=(as_relay_makes_it(notification.events[0]),)))
    assert request.url.isascii()
    assert len(request.url.split(".")) == 5
    assert len(request.url) <= 300
    assert set(request.headers) == {"Nats-Msg-Id", "Content-Type"}
    assert all(value.isprintable() and value.isascii() for value in request.headers.values())
    assert len(request.body) <= MAX_BYTES


def test_an_event_of_8_mb_fits() -> None:
    """It loses labels, and says how many."""
    actor = replace(CRASH.actor, attributes={str(at): "x" * 80_000 for at in range(100)})
    body = render(build_notification("r", replace(CRASH, actor=actor))).body
    assert len(body) <= MAX_BYTES - HEADROOM_BYTES
    attributes = decode_event(body, host="web-17", via="f").event.actor.attributes
    assert len(attributes) == 14
    assert "…" in attributes


def test_the_id_is_that_of_the_event() -> None:
    """With the host, because no host may use up the ids of another; of a swarm without it."""
    headers = render(build_notification("r", make_event(scope="local"))).headers
    assert headers["Nats-Msg-Id"] == f"web-17:{make_event().id}"
    headers = render(build_notification("r", make_event(scope="swarm"))).headers
    assert headers["Nats-Msg-Id"] == make_event().id


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ("as: web.17", "cannot be a part of a subject"),
        ("as: 'web 17'", "cannot be a part of a subject"),
        ("as: '*'", "cannot be a part of a subject"),
        ("as: ''", "cannot be a part of a subject"),
        ("as: 'wéb'", "cannot be a part of a subject"),
        ("notify: incidents", "the relay of the hub makes incidents of them: remove 'notify'"),
        ("for: 10m", "remove 'for' here"),
        ("mute: []", "remove 'mute' here"),
        ("resolve_after: 2m", "remove 'resolve_after' here"),
        ("send_resolved: false", "remove 'send_resolved' here"),
        ("group_by: project", "remove 'group_by' here"),
        ("repeat_interval: 0s", "remove 'repeat_interval' here"),
        ("concurrency: 0", "concurrency"),
        ("concurrency: 257", "concurrency"),
        ("batch: {}", "batch"),
        ("headers: {a: b}", "headers"),
        ("stream: 'a b'", "is not the name of a stream"),
        ("inbox_prefix: _INBOX.>", "is not the prefix of a subject"),
        ("token: a, username: b, password: c", "exclude each other"),
        ("username: a", "go together"),
    ],
)
def test_problems(more: str, wrong: str) -> None:
    """Each says what to do; the secrets are in none of them."""
    keys = KEYS.replace(", stream: RELAY", "") if more.startswith("stream") else KEYS
    (problem,) = problems(f"type: nats, {keys}, {more}")
    assert wrong in problem


def test_a_url_needs_a_server_and_no_user() -> None:
    for url in ("http://a", "nats://me:s3cret@a", "nats://", "[]", "[nats://a, tls://b]"):
        (problem,) = problems(f"type: nats, stream: RELAY, url: {url}")
        assert "url" in problem
        assert "s3cret" not in problem


def test_notify_events_may_be_written() -> None:
    assert destination("notify: events").notify is not None


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else goes wrong."""
    monkeypatch.setattr("relay.config.validators.find_spec", lambda _: None)
    (problem,) = problems(f"type: nats, {KEYS}")
    assert "pip install 'docker-event-relay[nats]'" in problem


@pytest.mark.parametrize(
    ("name", "identity", "warning"),
    [
        ("web-17", "web-17", ""),
        ("web-17.example.com", "web-17-example-com", ""),
        ("0123456789ab", "0123456789ab", "is the id of this container"),
        ("localhost", "localhost", "is that of many machines"),
        ("", "-", "is that of many machines"),
        ("wéb *", "w-b--", ""),
    ],
)
def test_the_name_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, name: str, identity: str, warning: str
) -> None:
    """It is the host without ``as``; the dots of a subject are not in it."""
    monkeypatch.setattr("socket.gethostname", lambda: name)
    assert destination("").identity == identity
    found = warnings()
    assert len(found) == bool(warning)
    assert all(warning in each for each in found)
    assert warnings("as: web-17") == []


def test_a_route_cannot_make_incidents_of_it() -> None:
    """Beside a chat, the chat is told of incidents and the hub of every event."""
    text = (
        "destinations:\n"
        f"  hub: {{type: nats, {KEYS}, as: a}}\n"
        "  ops: {type: slack, url: https://hooks.slack.com/services/T0/B0/c}\n"
        "routes:\n"
        "  - {name: all, notify: incidents, for: 10m, to: [hub, ops]}\n"
        "  - {name: rest, notify: incidents, to: hub}\n"
    )
    config = parse_config(text, file="f", environ={}, folder=Path())
    policies = build_policies(config)
    assert policies.takes_incidents("all", "ops")
    assert not policies.takes_incidents("all", "hub")
    issues = list(find_policy_warnings(config, policies, 0))
    found = [(issue.path, issue.message) for issue in issues]
    does_nothing = "does nothing for hub, which is told of every event"
    assert (("routes", 0, "notify"), does_nothing) in found
    assert (("routes", 1, "notify"), does_nothing) in found
    assert (("routes", 0, "for"), "holds nothing back from hub: it is told of events") in found


def test_a_short_for_is_a_mistake_for_those_who_are_told_of_incidents_only() -> None:
    text = (
        f"destinations: {{hub: {{type: nats, {KEYS}}}, log: {{type: console}}}}\n"
        "routes: [{name: all, notify: incidents, for: 10s, to: [%s]}]\n"
    )
    parse_config(text % "hub", file="f", environ={}, folder=Path())
    with pytest.raises(ConfigError, match="is not longer than 'resolve_after'"):
        parse_config(text % "hub, log", file="f", environ={}, folder=Path())


def test_a_severity_for_the_hub_does_nothing() -> None:
    """It is said, unless somebody else is told by the same route."""
    text = (
        f"destinations: {{hub: {{type: nats, {KEYS}, as: a}}, log: {{type: console}}}}\n"
        "routes: [{name: all, match: {type: container}, severity: critical, to: [%s]}]\n"
    )
    for to, count in (("hub", 1), ("'hub', log", 0)):
        config = parse_config(text % to, file="f", environ={}, folder=Path())
        issues = find_warnings(config, DESTINATION_TYPES)
        paths = [issue.path for issue in issues if issue.path[-1] == "severity"]
        assert len(paths) == count
