"""Messages in the time zone of their readers, whose clocks show an hour twice."""

import json
import re

import pytest
from msgspec.structs import replace

from relay.core.incident import Condition, UpdateReason
from relay.core.notification import Notification, build_notification
from relay.core.zone import UTC_ZONE, TimeZone
from relay.destinations.alertmanager import AlertmanagerDestination
from relay.destinations.console import ConsoleDestination, render
from tests.unit.destinations.messages import format_golden, read_golden
from tests.unit.destinations.samples import CRASH, crash_of, with_fields
from tests.unit.destinations.test_catalog import fail_on_template_error
from tests.unit.destinations.test_every_destination import (
    CHATS_AND_PHONES,
    PROGRAM_FORMATS,
    SERVICES,
    destination,
)
from tests.unit.destinations.updates import report, update_of

BERLIN = TimeZone("Europe/Berlin")
SECOND_NS = 10**9
FIRST_NS = 1_792_888_200 * SECOND_NS
"""2026-10-25, 02:30 CEST; an hour later it is 02:30 CET."""
HOUR_NS = 3600 * SECOND_NS

CRASHED = with_fields(CRASH, time_ns=FIRST_NS)
LATE = update_of(
    report(CRASHED, started_ns=FIRST_NS, condition=Condition.DOWN),
    event=CRASHED,
    made_ns=FIRST_NS + HOUR_NS,
    late_ns=FIRST_NS + 2 * HOUR_NS,
)
"""A message that was made when the clocks showed 02:30 for the second time, and is sent late."""
_OPEN = report(CRASHED, started_ns=FIRST_NS, reason=UpdateReason.REMINDER, condition=Condition.DOWN)
REMINDED = update_of(
    _OPEN,
    replace(_OPEN, subject="shop-db-1"),
    event=CRASHED,
    made_ns=FIRST_NS + 25 * HOUR_NS,
)
SINGLE = build_notification("crashed", CRASHED)


def body(kind: str, notification: Notification, zone: TimeZone = BERLIN) -> str:
    """What the daemon sends if the configuration has this zone."""
    to = destination(kind)
    made = to.build_renderer((), fail_on_template_error, colour=False, zone=zone)
    return made(notification).body.decode()


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AlertmanagerDestination, "clock", lambda: FIRST_NS)


def test_matches_the_golden_file() -> None:
    """All services, in the hour that is repeated."""
    shown = [
        b'{"to": %s, "sent": [%s]}'
        % (
            json.dumps(kind).encode(),
            ",".join(body(kind, each) for each in (LATE, REMINDED, SINGLE)).encode(),
        )
        for kind in SERVICES
    ]
    assert format_golden(shown) == read_golden("time_zone.json")


@pytest.mark.parametrize("kind", SERVICES)
def test_the_two_hours_have_their_own_abbreviations(kind: str) -> None:
    """So nobody takes the one for the other; nothing that people read is in UTC."""
    assert "(02:30 CET, delayed)" in body(kind, LATE).replace("\\", "")
    assert "since 2026-10-25 02:30 CEST" in body(kind, REMINDED).replace("\\", "")
    for notification in (LATE, REMINDED, SINGLE):
        assert "UTC" not in body(kind, notification)


@pytest.mark.parametrize("kind", CHATS_AND_PHONES)
def test_only_what_services_show_in_the_zone_of_each_reader_is_in_utc(kind: str) -> None:
    """Discord reads a time and shows it by the reader's clock; a command is for Docker."""
    shown = re.sub(r"--since \S+Z", "", body(kind, SINGLE).replace("\\", ""))
    found = set(re.findall(r"\d\d:\d\d:\d\d[.\d]*Z", shown))
    assert found == ({"00:30:00.000Z"} if kind == "discord" else set())


@pytest.mark.parametrize("kind", PROGRAM_FORMATS)
def test_what_programs_get_is_the_same(kind: str) -> None:
    """Payloads are in UTC."""
    for notification in (LATE, REMINDED, SINGLE):
        assert body(kind, notification) == body(kind, notification, UTC_ZONE)


def test_the_terminal() -> None:
    """Lines begin with the time of the zone."""
    assert isinstance(destination("console"), ConsoleDestination)
    line = render(SINGLE, colour=True, zone=BERLIN).body.decode()
    assert "02:30:00 CEST" in line
    assert "UTC" not in render(LATE, colour=True, zone=BERLIN).body.decode()


def test_templates() -> None:
    """Their times are in the zone, by RFC 3339, and can be converted to UTC."""
    title = (
        "{{ event.time[11:16] }} {{ event.time }} {{ event.time | utc }} {{ incident.started_at }}"
    )
    to = destination("ntfy", f", title: '{title}', text: '{{{{ headline }}}}'")
    made = to.build_renderer((), fail_on_template_error, colour=False, zone=BERLIN)
    sent = json.loads(made(LATE).body)
    assert (
        "02:30 2026-10-25T02:30:00+02:00 2026-10-25T00:30:00Z 2026-10-25T02:30:00+02:00"
        in sent["title"]
    )
    assert "(02:30 CET, delayed)" in sent["message"]


def test_a_body_is_for_programs() -> None:
    """Its times are in UTC; a headline in it is for people."""
    to = destination(
        "http", ", format: template, body: {at: '{{ event.time }}', text: '{{ headline }}'}"
    )
    made = to.build_renderer((), fail_on_template_error, colour=False, zone=BERLIN)
    sent = json.loads(made(LATE).body)
    assert sent["at"] == "2026-10-25T00:30:00.000000000Z"
    assert sent["text"].startswith("(02:30 CET, delayed) ")


def test_a_hostile_name_is_no_time() -> None:
    """What a container is called stays as it is, even if it looks like a time."""
    name = "2026-10-25T00:30:00Z UTC"
    assert name in json.loads(body("slack", build_notification("r", crash_of(name))))["text"]
