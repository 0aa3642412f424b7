"""The terminal's lines."""

import json as stdlib
import re

import msgspec
from hypothesis import given

from relay.core.event import Origin
from relay.core.incident import Status
from relay.core.include import Included
from relay.core.notification import Notification, build_notification
from relay.core.text import utf16_length
from relay.core.zone import UTC_ZONE
from relay.destinations import console
from relay.destinations.common.document import encode_document
from tests.unit.destinations.messages import read_golden
from tests.unit.destinations.samples import (
    INCLUDE,
    NOTIFICATIONS,
    OOM,
    SAMPLE_NOTIFICATIONS,
    container_event,
)
from tests.unit.destinations.strategies import notifications, updates
from tests.unit.destinations.updates import ALL_UPDATES, report, update_of

COLOURS = re.compile(r"\x1b\[(0|2|1;3[1236])m")


def line(notification: Notification) -> str:
    """The readable lines without their colours."""
    return COLOURS.sub("", console.render(notification, colour=True, zone=UTC_ZONE).body.decode())


def test_matches_the_golden_file() -> None:
    """A crash, an OOM, a failing health check and crashes with included data match the file."""
    lines = [
        console.render(it, colour=True, zone=UTC_ZONE).body.decode() for it in SAMPLE_NOTIFICATIONS
    ]
    assert "".join(lines) == read_golden("console.txt")


def test_without_a_terminal_it_is_json_lines() -> None:
    """Piped output is the document of ``format: json``, one line per notification."""
    body = console.render(NOTIFICATIONS[0], colour=False, zone=UTC_ZONE).body
    assert body == encode_document(NOTIFICATIONS[0]) + b"\n"


def test_piped_output_is_printable() -> None:
    """Unprintable characters are escaped, and the JSON is the same."""
    actor = msgspec.structs.replace(OOM.actor, name="a\x7f\x9b31m\u202e\U000e0041é漢🔥")
    piped = build_notification("r", msgspec.structs.replace(OOM, actor=actor))
    body = console.render(piped, colour=False, zone=UTC_ZONE).body
    assert r"a\u007f\u009b31m\u202e\udb40\udc41é漢🔥" in body.decode()
    assert stdlib.loads(body) == stdlib.loads(encode_document(piped))


@given(notifications)
def test_any_piped_output_is_printable(notification: Notification) -> None:
    """Every character before the line end is printable, and nothing is lost."""
    body = console.render(notification, colour=False, zone=UTC_ZONE).body.decode()
    assert body.endswith("\n")
    assert body[:-1].isprintable()
    assert stdlib.loads(body) == stdlib.loads(encode_document(notification))


def test_shows_everything_unusual() -> None:
    """A resolved group from the history, with more held back, on a host without an image."""
    event = msgspec.structs.replace(
        container_event("health_status", 0, "a", {"name": "web-1"}, health="healthy"),
        origin=Origin.REPLAYED,
    )
    group = Notification("ntf_1", "well", (event,), Status.RESOLVED, count=3, suppressed=2)
    assert line(group) == (
        "00:00:00Z RESOLVED Resolved: web-1 is healthy (and 2 more)"
        " (on node-1, route well, replayed, 2 held back)\n"
    )


def test_no_foreign_escape_reaches_the_terminal() -> None:
    """An escape sequence in a name is shown, not obeyed."""
    actor = msgspec.structs.replace(OOM.actor, name="a\x1b[2Jb\u202ec\nd")
    shown = line(build_notification("r", msgspec.structs.replace(OOM, actor=actor)))
    assert r"a\x1b[2Jb\u202ec\nd ran out of memory" in shown


def test_container_output_looks_like_nothing_else() -> None:
    """A bar precedes each line, and a line end within a line does not start another."""
    notification = msgspec.structs.replace(
        build_notification("r", OOM, INCLUDE),
        included=Included(logs=("a\nb", "\x1b[2J"), health="c\nd"),
    )
    assert line(notification).split("\n")[1:] == [
        r"│ a\nb",
        r"│ \x1b[2J",
        "│ health check: c",
        "│ health check: d",
        "",
    ]


@given(notifications)
def test_lines_are_bounded_and_printable(notification: Notification) -> None:
    """Only relay's colours and printable characters, in bounded lines, one for the event."""
    first, *below = line(notification).removesuffix("\n").split("\n")
    assert first.endswith(")")
    assert all(shown.startswith("│ ") for shown in below)
    for shown in (first, *below):
        assert shown.isprintable()
        assert utf16_length(shown) <= 400


def test_incidents_match_the_golden_file() -> None:
    """One incident is one line. Several, and plain events, have a line each below the headline."""
    lines = [console.render(it, colour=True, zone=UTC_ZONE).body.decode() for it in ALL_UPDATES]
    assert "".join(lines) == read_golden("console_incidents.txt")


def test_many_incidents_are_counted() -> None:
    """A terminal gets the first ones, and how many there are besides."""
    reports = [report(subject=f"web-{n}", id=f"inc_{n}") for n in range(100)]
    _, *lines = line(update_of(*reports, more=900)).splitlines()
    assert lines[0].startswith("│ 🔴 web-0 crashed")
    assert "│ and 980 more" in lines


def test_says_whose_output_it_is() -> None:
    """If several containers printed something, each line begins with the name of its container."""
    reports = [report(subject=name, included=Included((f"bye {name}",))) for name in ("db", "api")]
    shown = line(update_of(*reports))
    assert "│ db: bye db\n│ api: bye api\n" in shown


@given(updates(30))
def test_no_incident_controls_the_terminal(notification: Notification) -> None:
    """Every line is printable, and within the limit."""
    for shown in line(notification).removesuffix("\n").split("\n"):
        assert shown.isprintable()
        assert utf16_length(shown) <= 400
