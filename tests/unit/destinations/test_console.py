"""The terminal's lines."""

import json as stdlib
import re

import msgspec
from hypothesis import given

from relay.core.event import Origin
from relay.core.notification import Included, Notification, Status, build_notification
from relay.core.text import utf16_length
from relay.destinations import console
from relay.destinations.common import json_document
from tests.unit.destinations.messages import read_golden
from tests.unit.destinations.samples import (
    INCLUDE,
    NOTIFICATIONS,
    OOM,
    SAMPLE_NOTIFICATIONS,
    container_event,
    notifications,
)

COLOURS = re.compile(r"\x1b\[(0|2|1;3[1236])m")


def line(notification: Notification) -> str:
    """The readable lines without their colours."""
    return COLOURS.sub("", console.render(notification, colour=True).body.decode())


def test_reads_as_it_was_approved() -> None:
    """A crash, an OOM, a failing health check, and crashes with more are as in the golden file."""
    lines = [console.render(it, colour=True).body.decode() for it in SAMPLE_NOTIFICATIONS]
    assert "".join(lines) == read_golden("console.txt")


def test_without_a_terminal_it_is_json_lines() -> None:
    """What is piped is the document of format json, one line each."""
    body = console.render(NOTIFICATIONS[0], colour=False).body
    assert body == json_document.encode_document(NOTIFICATIONS[0]) + b"\n"


def test_what_is_piped_prints_throughout() -> None:
    """It may reach a terminal all the same; it is the same JSON."""
    actor = msgspec.structs.replace(OOM.actor, name="a\x7f\x9b31m\u202e\U000e0041é漢🔥")
    piped = build_notification("r", msgspec.structs.replace(OOM, actor=actor))
    body = console.render(piped, colour=False).body
    assert r"a\u007f\u009b31m\u202e\udb40\udc41é漢🔥" in body.decode()
    assert stdlib.loads(body) == stdlib.loads(json_document.encode_document(piped))


@given(notifications)
def test_whatever_is_piped_prints(notification: Notification) -> None:
    """All of it but the line's end, and none of it is lost."""
    body = console.render(notification, colour=False).body.decode()
    assert body.endswith("\n")
    assert body[:-1].isprintable()
    assert stdlib.loads(body) == stdlib.loads(json_document.encode_document(notification))


def test_says_all_that_is_special() -> None:
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


def test_nobody_elses_escape_reaches_the_terminal() -> None:
    """An escape sequence in a name is shown, not obeyed."""
    actor = msgspec.structs.replace(OOM.actor, name="a\x1b[2Jb\u202ec\nd")
    shown = line(build_notification("r", msgspec.structs.replace(OOM, actor=actor)))
    assert r"a\x1b[2Jb\u202ec\nd ran out of memory" in shown


def test_what_a_container_printed_passes_for_nothing_else() -> None:
    """Each of its lines stands behind a bar, and a line end in one starts no other."""
    told = msgspec.structs.replace(
        build_notification("r", OOM, INCLUDE),
        included=Included(logs=("a\nb", "\x1b[2J"), health="c\nd"),
    )
    assert line(told).split("\n")[1:] == [
        r"│ a\nb",
        r"│ \x1b[2J",
        "│ health check: c",
        "│ health check: d",
        "",
    ]


@given(notifications)
def test_lines_are_bounded_and_printable(notification: Notification) -> None:
    """Whatever comes: our colours, printable characters, bounded widths, one line for the event."""
    first, *below = line(notification).removesuffix("\n").split("\n")
    assert first.endswith(")")
    assert all(shown.startswith("│ ") for shown in below)
    for shown in (first, *below):
        assert shown.isprintable()
        assert utf16_length(shown) <= 400
