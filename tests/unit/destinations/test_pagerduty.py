"""PagerDuty events."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from msgspec.structs import replace

from relay.config import Rate
from relay.core.event import Actor, Event, Origin
from relay.core.include import Included
from relay.core.notification import Notification, build_notification
from relay.core.text import utf16_length
from relay.destinations import pagerduty
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.pagerduty import PagerDutyDestination
from tests.unit.destinations.contract import SEVERITY_NAMES, TAGS, Contract
from tests.unit.destinations.messages import format_golden, read_golden, strings
from tests.unit.destinations.samples import (
    ATTACKS,
    CRASH,
    INCLUDE,
    NOTIFICATIONS,
    OOM,
    RESOLVED,
    SAMPLE_CARDS,
    UNHEALTHY,
    container_event,
    crash_with_included,
    custom_card,
    hostile_notification,
    with_fields,
)
from tests.unit.destinations.strategies import cards, updates
from tests.unit.destinations.updates import (
    CRASH_LOOPING,
    OPENED,
    SINGLE_UPDATES,
    crash_looping,
    longest_cards,
    report,
    resolved,
    update_of,
    with_hostile_names,
)
from tests.unit.destinations.updates import RESOLVED as RESOLVED_INCIDENT

KEY = "0123456789abcdef0123456789abcdef"
any_card = given(cards())
DESTINATION = PagerDutyDestination.model_validate(
    {"url": "https://events.pagerduty.example", "routing_key": KEY}
)


def interpreted(sent: Any) -> Iterator[str]:
    """Yield the fields of the common event format, which PagerDuty forwards."""
    del sent["payload"]["custom_details"]
    yield from strings(sent)


CONTRACT = Contract(
    keys="routing_key: r0uting",
    endpoint="https://events.pagerduty.com/v2/enqueue",
    sample=DESTINATION,
    golden=(*SAMPLE_CARDS, Card(RESOLVED)),
    rate=Rate(120, 60.0),
    secrets={"routing_key": "canary"},
    dangerous=TAGS,
    interpreted=interpreted,
    severity=lambda sent: sent["payload"]["severity"],
    shown=SEVERITY_NAMES,
    max_bytes=pagerduty.PAYLOAD_MAX // 2,
    canary={"url": "{at}/v2/enqueue", "routing_key": "{canary}-key"},
)


def message(card: Card) -> Any:
    """The event as PagerDuty reads it."""
    return json.loads(DESTINATION.render(card).body)


def sent(notification: Notification) -> Any:
    """The event without custom texts, as PagerDuty reads it."""
    return message(Card(notification))


def payload(event: Event) -> Any:
    """The payload of a notification of one event."""
    return sent(build_notification("r", event))["payload"]


def key(event: Event, route: str = "r") -> str:
    """The ``dedup_key`` of an event's alert."""
    return str(sent(build_notification(route, event))["dedup_key"])


def named(name: str | None, actor_id: str = "a") -> Event:
    """A crash of a container with this name."""
    return with_fields(CRASH, actor=Actor(actor_id, name, "bb:1", {}))


def test_is_for_the_integration() -> None:
    """Only the body has the routing key."""
    request = DESTINATION.render(Card(NOTIFICATIONS[0]))
    assert json.loads(request.body)["routing_key"] == KEY
    assert KEY not in request.url + str(request.headers)


def test_a_resolved_notification_resolves_its_alert() -> None:
    """Both events have the same ``dedup_key``."""
    opened = sent(NOTIFICATIONS[2])
    resolved = sent(RESOLVED)
    assert (opened["event_action"], resolved["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == resolved["dedup_key"]


def test_the_same_trouble_is_one_alert() -> None:
    """Another crash or an OOM of the same container has the same ``dedup_key``."""
    later = with_fields(CRASH, id="evt_2", time_ns=CRASH.time_ns + 1, exit_code=1, cause=None)
    oom = with_fields(later, action="oom")
    assert key(CRASH) == key(later) == key(oom)


def test_a_recreated_container_is_the_same() -> None:
    """The name identifies a container; without a name its id does."""
    assert key(named("web", "a")) == key(named("web", "b"))
    assert key(named(None, "a")) != key(named(None, "b"))


@pytest.mark.parametrize(
    "other",
    [
        named("db"),
        with_fields(named("web"), engine="edge"),
        with_fields(named("web"), host="node-2"),
        with_fields(named("web"), type="volume"),
    ],
)
def test_anything_else_is_another_alert(other: Event) -> None:
    """Another name, engine, host or type gives another ``dedup_key``."""
    assert key(other) != key(named("web"))


def test_another_route_is_another_alert() -> None:
    """Another route gives another ``dedup_key``."""
    assert key(CRASH, "one") != key(CRASH, "two")


def test_no_name_makes_the_key_of_another_thing() -> None:
    """A name that contains separators cannot imitate the key of another container."""
    assert key(with_fields(named("c"), engine="a", host="b")) != key(
        with_fields(named('b","c'), engine="a", host="")
    )


@pytest.mark.parametrize(
    ("host", "engine", "source"),
    [("node-1", "here", "node-1"), (" ", "here", "here"), ("", "", "unknown")],
)
def test_always_has_a_source(host: str, engine: str, source: str) -> None:
    """The source is the host, else the engine: PagerDuty refuses an event without a source."""
    assert payload(with_fields(CRASH, host=host, engine=engine))["source"] == source


def test_says_when_it_happened() -> None:
    """The timestamp is in UTC, in milliseconds."""
    assert payload(CRASH)["timestamp"] == "2026-11-23T07:29:49.176Z"


@pytest.mark.parametrize(
    ("labels", "group"),
    [
        ({"com.docker.compose.project": "shop"}, "shop"),
        ({"com.docker.swarm.service.name": "svc"}, "svc"),
        ({}, None),
    ],
)
def test_groups_by_project_or_service(labels: dict[str, str], group: str | None) -> None:
    """The group is the Compose project or the Swarm service, if there is one."""
    assert payload(container_event("oom", 1, "a", labels)).get("group") == group


@pytest.mark.parametrize(
    ("event", "what"),
    [(CRASH, "die: crashed"), (OOM, "oom"), (UNHEALTHY, "health_status: unhealthy")],
)
def test_says_what_kind_of_trouble_it_is(event: Event, what: str) -> None:
    """The class is the action with its cause or health."""
    assert payload(event)["class"] == what


def test_names_the_container_else_its_id() -> None:
    """Without a name and an id there is no component."""
    assert payload(named("web"))["component"] == "web"
    assert payload(named(None))["component"] == "a"
    assert "component" not in payload(named(None, ""))


def test_shows_what_is_unusual() -> None:
    """Its origin, the number of events, and the number of suppressed ones are shown."""
    event = with_fields(CRASH, origin=Origin.INFERRED)
    details = sent(Notification("ntf_1", "r", (event,), count=3, suppressed=7))["payload"]
    assert {"origin": "inferred", "count": 3, "held_back": 7}.items() <= details[
        "custom_details"
    ].items()


def test_shows_title_and_text_of_the_configuration() -> None:
    """The title replaces the summary. The text is added to the facts, which programs read."""
    result = message(custom_card(NOTIFICATIONS[0], "Shop is down", "Call\nAda"))["payload"]
    assert result["summary"] == "Shop is down"
    assert result["custom_details"] == {
        "text": "Call\nAda",
        "host": "node-1 (engine “here”)",
        "image": "bb:1",
        "compose_service": "shop / web",
        "exit_code": "42",
        "cause": "crashed",
        "route": "crashed",
        "event_id": CRASH.id,
        "notification_id": NOTIFICATIONS[0].id,
    }


def test_an_inspect_field_cannot_pass_for_a_fact() -> None:
    """Inspect fields have an object of their own."""
    notification = crash_with_included(inspect={"route": "mine", "image": None})
    details = sent(notification)["payload"]["custom_details"]
    assert (details["route"], details["image"]) == ("crashed", "bb:1")
    assert details["inspect"] == {"route": "mine", "image": "none"}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_name_is_no_mention_and_no_link(attack: str) -> None:
    """``<`` and ``>`` are replaced in the fields that PagerDuty forwards to chats."""
    result = payload(named(attack))
    assert not set("<>\n") & set(result["summary"] + result["component"])


def test_no_address_remains_a_link() -> None:
    """The colon of an address is replaced by a ratio sign, so no chat makes it a link."""
    address = "http://evil.example"
    result = message(custom_card(hostile_notification(address), address, address))
    shown, details = "http∶//evil.example", result["payload"]["custom_details"]
    for name in ("summary", "source", "component"):
        assert result["payload"][name] == shown
    for name in ("text", "image", "not_included", "last_log_lines", "last_health_check"):
        assert details[name] == shown
    assert details["host"] == f"{shown} (engine “here”)"
    assert details["inspect"] == {shown: shown}


@any_card
def test_no_hostile_text_becomes_markup(card: Card) -> None:
    """No text has ``<``, ``>`` or an address, and only details have line breaks."""
    result = message(card)
    for text in strings(result, names=True):
        assert not set("<>") & set(text)
        assert "://" not in text
    details = result["payload"].pop("custom_details")
    assert all(text.isprintable() for text in strings(result, names=True))
    assert all(text.replace("\n", "").isprintable() for text in strings(details, names=True))


@any_card
def test_keeps_every_limit_of_pagerduty(card: Card) -> None:
    """All required fields are there, and no text is empty or too long."""
    body = DESTINATION.render(card).body
    result = json.loads(body)
    shown = result["payload"]
    assert len(body) <= pagerduty.PAYLOAD_MAX / 2
    assert result["event_action"] in ("trigger", "resolve")
    assert 1 <= utf16_length(result["dedup_key"]) <= pagerduty.KEY_MAX
    assert 1 <= utf16_length(shown["summary"]) <= pagerduty.SUMMARY_MAX
    assert shown["severity"] in ("critical", "error", "warning", "info")
    assert {"summary", "source", "severity"} <= shown.keys()
    for name in ("source", "component", "group", "class"):
        assert 1 <= utf16_length(shown.get(name, "x")) <= pagerduty.FIELD_MAX


def test_the_longest_event_is_within_the_limits() -> None:
    """Every value is present, longer than its limit, and expensive to encode."""
    for card in longest_cards("漢" * 20_000):
        shown = message(card)["payload"]
        details = shown["custom_details"]
        assert utf16_length(shown["summary"]) <= pagerduty.SUMMARY_MAX
        assert utf16_length(shown["group"]) == pagerduty.FIELD_MAX
        assert utf16_length(details.get("text", "")) == (
            pagerduty.CUSTOM_TEXT_MAX if card.body else 0
        )
        assert utf16_length(details["last_log_lines"]) == pagerduty.OUTPUT_MAX[LOGS]
        assert utf16_length(details["last_health_check"]) == pagerduty.OUTPUT_MAX[HEALTH]
        assert len(details["inspect"]) == 20
        sizes = [
            utf16_length(name) + utf16_length(value) for name, value in details["inspect"].items()
        ]
        assert sum(sizes) <= pagerduty.INSPECT_MAX
        assert len(DESTINATION.render(card).body) < pagerduty.PAYLOAD_MAX / 2
    assert utf16_length(shown["summary"]) == pagerduty.SUMMARY_MAX


def test_incidents_match_the_golden_file() -> None:
    """Opened, crash-looping and resolved, ordinary and with hostile names."""
    bodies = (DESTINATION.render(Card(update)).body for update in SINGLE_UPDATES)
    assert format_golden(bodies) == read_golden("pagerduty_incidents.json")


def test_an_incident_has_the_key_of_the_event_that_opened_it() -> None:
    """Keys of alerts that were open before there were incidents stay in use, and a renamed route
    or the next task of a swarm changes none."""
    later = with_fields(named("web.2"), host="node-2")
    updates = [
        update_of(report()),
        update_of(crash_looping(route="renamed"), event=later),
        update_of(resolved(route="renamed", subject="other"), event=later),
    ]
    assert [(it["event_action"], it["dedup_key"]) for it in map(sent, updates)] == [
        ("trigger", key(CRASH, "crashed")),
        ("trigger", key(CRASH, "crashed")),
        ("resolve", key(CRASH, "crashed")),
    ]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_name_opens_and_resolves_one_alert(attack: str) -> None:
    """Whatever a container is called, its alert ends."""
    opened, over = (
        sent(with_hostile_names(update, attack)) for update in (OPENED, RESOLVED_INCIDENT)
    )
    assert (opened["event_action"], over["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == over["dedup_key"] == key(crash_of_attack(attack), "crashed")


def crash_of_attack(attack: str) -> Event:
    """The event that opened the incident with this name."""
    return hostile_notification(attack).events[0]


def test_shows_the_state_of_an_incident() -> None:
    """What programs need is in an object of its own, so that no fact can look like it."""
    looping, over = (
        sent(it)["payload"]["custom_details"]["incident"]
        for it in (CRASH_LOOPING, RESOLVED_INCIDENT)
    )
    assert looping == {
        "id": "inc_3f1d0c5e7a9b4826b1d2c3e4f5a60718",
        "state": "down",
        "crash_looping": True,
        "started_at": "2026-11-23T07:29:49.176843878Z",
        "total": 5,
    }
    assert (over["state"], over["resolution"]) == ("up", "recovered")
    assert over["ended_at"] == "2026-11-23T07:31:49.176843878Z"
    assert "incident" not in sent(NOTIFICATIONS[0])["payload"]["custom_details"]


def test_shows_what_the_engine_answered_for_an_incident() -> None:
    """The logs are those of the notification, or those that came with the incident."""
    included = Included(logs=("bye",))
    for update in (
        update_of(report(included=included)),
        replace(OPENED, include=INCLUDE, included=included),
    ):
        assert sent(update)["payload"]["custom_details"]["last_log_lines"] == "bye"


@given(updates(1))
def test_any_incident_is_an_event_that_pagerduty_takes(update: Notification) -> None:
    """Its summary is not empty, its texts are within the limits, and it resolves at its end."""
    made = sent(update)
    assert made["event_action"] == ("resolve" if update.status == "resolved" else "trigger")
    assert made["payload"]["summary"].strip()
    assert utf16_length(made["payload"]["summary"]) <= pagerduty.SUMMARY_MAX
    assert len(made["dedup_key"]) <= pagerduty.KEY_MAX
    for text in strings(made):
        assert not set("<>") & set(text)
        assert "://" not in text
