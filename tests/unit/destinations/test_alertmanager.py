"""Alertmanager alerts."""

import json
import re
from typing import Any

import pytest
from hypothesis import given

from relay.core.event import Actor, Origin
from relay.core.incident import Status
from relay.core.notification import Notification, build_notification
from relay.core.severity import Severity
from relay.core.text import utf16_length
from relay.destinations import alertmanager
from relay.destinations.alertmanager import AlertmanagerDestination
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import LOGS
from tests.unit.destinations.contract import SEVERITY_NAMES, TAGS, Contract
from tests.unit.destinations.messages import format_golden, read_golden, strings
from tests.unit.destinations.samples import (
    ATTACKS,
    CONTAINER_GONE,
    CRASH,
    NOTIFICATIONS,
    RESOLVED,
    SAMPLE_CARDS,
    UNHEALTHY,
    container_event,
    crash_of,
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
)
from tests.unit.destinations.updates import RESOLVED as RESOLVED_INCIDENT

NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")  # prometheus/common, model/labels.go
any_card = given(cards())
DESTINATION = AlertmanagerDestination.model_validate({"url": "http://a.example"})
CONTRACT = Contract(
    keys="url: 'https://x/am?tenant=7'",
    endpoint="https://x/am/api/v2/alerts?tenant=7",
    sample=DESTINATION,
    golden=(*SAMPLE_CARDS, Card(RESOLVED)),
    dangerous=TAGS,
    severity=lambda sent: sent[0]["labels"]["severity"],
    shown=SEVERITY_NAMES,
)


def alert(card: Card) -> Any:
    """The alert as Alertmanager reads it."""
    (only,) = json.loads(DESTINATION.render(card).body)
    return only


def labels(notification: Notification) -> Any:
    """An alert's labels."""
    return alert(Card(notification))["labels"]


def annotations(notification: Notification) -> Any:
    """An alert's annotations."""
    return alert(Card(notification))["annotations"]


def test_labels_say_who_where_and_what_kind() -> None:
    """There are exactly these labels: each is part of the alert's identity."""
    assert labels(NOTIFICATIONS[0]) == {
        "alertname": "crashed",
        "severity": "critical",
        "type": "container",
        "action": "die",
        "cause": "crashed",
        "engine": "here",
        "instance": "node-1",
        "container": "shop-web-1",
        "compose_project": "shop",
        "compose_service": "web",
    }
    assert labels(NOTIFICATIONS[1]).keys().isdisjoint({"cause", "compose_project"})


def test_the_same_trouble_is_the_same_alert() -> None:
    """The next crash of a container recreated from a newer image changes no label."""
    facts = {**CRASH.actor.attributes, "exitCode": "1", "execDuration": "9"}
    later = with_fields(
        CRASH,
        id="evt_2",
        time_ns=CRASH.time_ns + 1,
        exit_code=1,
        origin=Origin.REPLAYED,
        actor=Actor("b", CRASH.actor.name, "bb:2", facts),
    )
    again = Notification("ntf_2", "crashed", (later,), suppressed=2, count=2)
    assert labels(again) == labels(NOTIFICATIONS[0])


def test_names_other_things_as_such() -> None:
    """A volume is not a container; without a name its id is used."""
    volume = with_fields(CRASH, type="volume", actor=Actor("v1", None, None, {}))
    assert labels(build_notification("r", volume))["name"] == "v1"
    assert "container" not in labels(build_notification("r", volume))


def test_names_the_swarm_service() -> None:
    """A swarm task is identified by its service."""
    task = container_event(
        "die", 1, "a", {"com.docker.swarm.service.name": "svc", "name": "svc.1.8sje"}
    )
    assert labels(build_notification("r", task))["swarm_service"] == "svc"


def test_fires_until_alertmanager_forgets_it() -> None:
    """A firing alert has no ``endsAt``: a late delivery would be over before it arrives."""
    sent = alert(Card(NOTIFICATIONS[0]))
    assert sent["startsAt"] == "2026-11-23T07:29:49.176843878Z"
    assert "endsAt" not in sent


def test_a_resolved_alert_ends_with_the_last_event() -> None:
    """A resolved alert has the same labels, and ends with its last event."""
    later = with_fields(UNHEALTHY, time_ns=UNHEALTHY.time_ns + 1_000_000_000, health="healthy")
    over = alert(Card(Notification("ntf_1", "unhealthy", (UNHEALTHY, later), Status.RESOLVED)))
    assert (over["startsAt"], over["endsAt"]) == (
        "2026-11-23T07:29:43.890810214Z",
        "2026-11-23T07:29:44.890810214Z",
    )
    assert over["labels"] == labels(NOTIFICATIONS[2])
    backwards = alert(Card(Notification("ntf_1", "r", (later, UNHEALTHY), Status.RESOLVED)))
    assert backwards["endsAt"] == backwards["startsAt"]


def test_annotations_describe_this_event() -> None:
    """Everything that differs between events is in annotations."""
    assert annotations(NOTIFICATIONS[0]) == {
        "summary": "shop-web-1 crashed with exit code 42",
        "description": "Host: node-1 (engine “here”)\nImage: bb:1\n"
        "Logs: docker logs --since 2026-11-23T07:28:49Z shop-web-1",
        "id": CRASH.actor.id,
        "image": "bb:1",
        "exit_code": "42",
        "event_id": CRASH.id,
        "notification_id": NOTIFICATIONS[0].id,
    }


def test_shows_what_is_unusual() -> None:
    """Its origin, the number of events, and the number of suppressed ones are shown."""
    event = with_fields(CRASH, origin=Origin.INFERRED)
    expected = annotations(Notification("ntf_1", "r", (event,), count=3, suppressed=7))
    assert {"origin": "inferred", "count": "3", "held_back": "7"}.items() <= expected.items()


def test_shows_what_the_route_includes() -> None:
    """Logs keep their lines. Each inspect field has one line, even if its path has a line break."""
    expected = annotations(
        crash_with_included(logs=("a", "b"), health="no", inspect={"State.Pid": 7, "x\ny": "1\n2"})
    )
    assert (expected["logs"], expected["health_check"]) == ("a\nb", "no")
    assert expected["inspect"] == "State.Pid: 7\nx\\ny: 1\\n2"
    assert annotations(CONTAINER_GONE)["not_included"] == "the container is gone"


def test_shows_title_and_text_of_the_configuration() -> None:
    """A title becomes the summary, and a text the description."""
    expected = alert(custom_card(NOTIFICATIONS[0], "Shop is down", "Call\nAda"))["annotations"]
    assert (expected["summary"], expected["description"]) == ("Shop is down", "Call\nAda")


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_label_cannot_pass_for_another_fact(attack: str) -> None:
    """A line break in an image does not start a line of the description."""
    lines = annotations(build_notification("r", crash_of(attack)))["description"].split("\n")
    assert [line.split(": ")[0] for line in lines] == ["Host", "Image"]


@any_card
def test_no_hostile_text_becomes_markup(card: Card) -> None:
    """There are no mentions, links or tags, and no control character except line breaks."""
    sent = alert(card)
    assert all(text.isprintable() for text in sent["labels"].values())
    assert all(text.replace("\n", "").isprintable() for text in sent["annotations"].values())
    for text in strings([sent["labels"], sent["annotations"]]):
        assert not set("<>") & set(text)
        assert "://" not in text


def test_no_address_remains_a_link() -> None:
    """The colon of an address is replaced by a ratio sign, so no chat makes it a link."""
    address = "http://evil.example"
    expected = alert(custom_card(hostile_notification(address), address, address))
    shown = "http∶//evil.example"
    for name in ("summary", "description", "logs", "health_check", "not_included", "id", "image"):
        assert expected["annotations"][name] == shown
    assert expected["annotations"]["inspect"] == f"{shown}: {shown}"
    assert expected["labels"]["instance"] == expected["labels"]["container"] == shown


@any_card
def test_is_an_alert_that_alertmanager_takes(card: Card) -> None:
    """Names are valid, no text is empty, and the end is not before the start."""
    sent = alert(card)
    both = [*sent["labels"].items(), *sent["annotations"].items()]
    assert all(NAME.fullmatch(name) and text.strip() for name, text in both)
    assert sent.keys() - {"endsAt"} == {"labels", "annotations", "startsAt"}
    assert sent.get("endsAt", sent["startsAt"]) >= sent["startsAt"]
    assert ("endsAt" in sent) == (card.is_resolved or card.incident is not None)


@any_card
def test_is_bounded(card: Card) -> None:
    """An alert is at most 64 KiB, because Alertmanager keeps whole groups in memory."""
    sent = alert(card)
    assert all(utf16_length(text) <= alertmanager.LABEL_MAX for text in sent["labels"].values())
    assert utf16_length(sent["annotations"]["summary"]) <= alertmanager.SUMMARY_MAX
    assert len(DESTINATION.render(card).body) <= 65_536


def test_the_longest_alert_is_within_the_limits() -> None:
    """Every value is present, longer than its limit, and expensive to encode."""
    for card in longest_cards("漢" * 20_000):
        expected = alert(card)["annotations"]
        assert utf16_length(expected["logs"]) == alertmanager.OUTPUT_MAX[LOGS]
        assert len(expected["inspect"].split("\n")) == 20
        assert 49_000 < len(DESTINATION.render(card).body) <= 65_536


MINUTE_NS = 60 * 10**9


def at(time_ns: int) -> type[AlertmanagerDestination]:
    """The type of destination at this time of the wall clock."""

    class AtThatTime(AlertmanagerDestination):
        clock = lambda: time_ns  # noqa: E731 - read from the class

    return AtThatTime


def alert_at(time_ns: int, notification: Notification) -> Any:
    """The alert as it is sent at this time."""
    destination = at(time_ns).model_validate({"url": "http://a.example"})
    (only,) = json.loads(destination.render(Card(notification)).body)
    return only


def test_incidents_match_the_golden_file() -> None:
    """Opened, crash-looping and resolved, ordinary and with hostile names."""
    destination = at(CRASH.time_ns + 3 * MINUTE_NS).model_validate({"url": "http://a.example"})
    bodies = (destination.render(Card(update)).body for update in SINGLE_UPDATES)
    assert format_golden(bodies) == read_golden("alertmanager_incidents.json")


def test_an_incident_has_the_labels_of_the_event_that_opened_it() -> None:
    """Another cause, host or severity later, or another name of the route, is the same alert."""
    later = with_fields(CRASH, cause=None, host="node-2", actor=Actor("b", "other", None, {}))
    changed: dict[str, Any] = {
        "route": "renamed",
        "severity": Severity.CRITICAL,
        "subject": "other",
    }
    opening: dict[str, Any] = {"severity": Severity.WARNING, "opening_severity": Severity.WARNING}
    first = labels(update_of(report(**opening)))
    assert first == {**labels(NOTIFICATIONS[0]), "severity": "warning"}
    for make in (crash_looping, resolved):
        reported = update_of(make(opening_severity=Severity.WARNING, **changed), event=later)
        assert labels(reported) == first
        assert annotations(reported)["severity"] == "critical"
    assert "severity" not in annotations(update_of(report(**opening)))


def test_an_open_incident_ends_in_a_quarter_of_an_hour() -> None:
    """Its start never changes, and its end is later each time that it is sent."""
    now_ns = CRASH.time_ns + 60 * MINUTE_NS
    for minutes, ends in ((0, "08:44:49"), (4, "08:48:49")):
        sent = alert_at(now_ns + minutes * MINUTE_NS, CRASH_LOOPING)
        assert sent["startsAt"] == "2026-11-23T07:29:49.176843878Z"
        assert sent["endsAt"] == f"2026-11-23T{ends}.176843878Z"


def test_a_resolved_incident_has_ended() -> None:
    """Its end is the same, however late it is sent."""
    for minutes in (3, 600):
        sent = alert_at(CRASH.time_ns + minutes * MINUTE_NS, RESOLVED_INCIDENT)
        assert sent["startsAt"] == "2026-11-23T07:29:49.176843878Z"
        assert sent["endsAt"] == "2026-11-23T07:31:49.176843878Z"


def test_a_clock_that_is_ahead_keeps_nothing_firing_and_is_not_refused() -> None:
    """If the engine's clock is ahead, the end is now; and it is never before the beginning."""
    over = alert_at(CRASH.time_ns + MINUTE_NS, RESOLVED_INCIDENT)
    assert over["endsAt"] == "2026-11-23T07:30:49.176843878Z"
    long_ago_ns = CRASH.time_ns - 600 * MINUTE_NS
    for update in (OPENED, RESOLVED_INCIDENT):
        sent = alert_at(long_ago_ns, update)
        assert sent["endsAt"] == sent["startsAt"]


def test_shows_the_state_of_an_incident() -> None:
    """The annotations are those of the last message, so they do not depend on its id."""
    looping, over = annotations(CRASH_LOOPING), annotations(RESOLVED_INCIDENT)
    assert looping["incident_id"] == over["incident_id"] == "inc_3f1d0c5e7a9b4826b1d2c3e4f5a60718"
    assert (looping["state"], looping["count"]) == ("down", "5")
    assert (over["state"], over["resolution"]) == ("up", "recovered")
    assert "notification_id" not in looping


def test_one_request_repeats_many() -> None:
    """The alerts of all requests are in one array, unchanged."""
    requests = [DESTINATION.render(Card(update)) for update in (OPENED, CRASH_LOOPING)]
    joined = DESTINATION.join_refresh(requests)
    assert json.loads(joined.body) == [json.loads(request.body)[0] for request in requests]
    assert (joined.url, joined.headers) == (requests[0].url, requests[0].headers)
    assert DESTINATION.join_refresh(requests[:1]) == requests[0]


@given(updates(1))
def test_any_incident_is_an_alert_that_alertmanager_takes(update: Notification) -> None:
    """Names are valid, no text is empty or markup, and the end is not before the start."""
    sent = alert(Card(update))
    both = [*sent["labels"].items(), *sent["annotations"].items()]
    assert all(NAME.fullmatch(name) and text.strip() for name, text in both)
    assert sent.keys() == {"labels", "annotations", "startsAt", "endsAt"}
    assert sent["endsAt"] >= sent["startsAt"]
    for text in strings([sent["labels"], sent["annotations"]]):
        assert not set("<>") & set(text)
        assert "://" not in text
