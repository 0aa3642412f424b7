"""The terminal: lines to read, or a line of JSON where nobody watches."""

import json as stdlib

from relay.core.event import Origin, format_rfc3339
from relay.core.exchange import Request
from relay.core.notification import Notification, Severity, Status, resolve_severity
from relay.core.text import truncate
from relay.destinations.common import json_document
from relay.destinations.common.headline import headline
from relay.destinations.common.included import format_inspect_fields, get_included

HEADLINE_MAX = 160
IMAGE_MAX = 70
NAME_MAX = 40
"""Of a host and of a route."""
DETAIL_MAX = 400
"""Of a line of what is included."""

_RESET, _DIM, _GREEN = "\x1b[0m", "\x1b[2m", "\x1b[1;32m"
_COLOURS = {
    Severity.CRITICAL: "\x1b[1;31m",
    Severity.WARNING: "\x1b[1;33m",
    Severity.INFO: "\x1b[1;36m",
}


def render(notification: Notification, *, colour: bool) -> Request:
    """With ``colour`` readable lines, else the document of ``format: json``; both end in ``\\n``.

    The readable lines have no control characters but their own colours, and at most 400 UTF-16
    units each beside them. What the notification includes stands below the first, indented.
    """
    if not colour:
        return Request(
            body=_escape_unprintable(json_document.encode_document(notification)) + b"\n"
        )
    below = (
        f"{_DIM}│ {_RESET}{truncate(line, DETAIL_MAX - 2)}" for line in _detail_lines(notification)
    )
    return Request(
        body="".join(f"{line}\n" for line in (_summary_line(notification), *below)).encode()
    )


def _escape_unprintable(document: bytes) -> bytes:
    """The same JSON, all of it printable: it may reach a terminal all the same."""
    text = document.decode()
    if text.isprintable():
        return document
    return "".join(it if it.isprintable() else stdlib.dumps(it)[1:-1] for it in text).encode()


def _detail_lines(notification: Notification) -> list[str]:
    told = get_included(notification)
    if told is None:
        return []
    health = told.health.split("\n") if told.health else []
    return [
        *(told.logs or ()),
        *(f"health check: {line}" for line in health),
        *(f"{path}: {value}" for path, value in format_inspect_fields(told)),
        *([f"not included: {told.missing}"] if told.missing else []),
    ]


def _summary_line(notification: Notification) -> str:
    event = notification.events[0]
    time = f"{format_rfc3339(event.time_ns)[11:19]}Z"
    level = resolve_severity(notification)
    word, shade = level.upper(), _COLOURS[level]
    if notification.status is Status.RESOLVED:
        word, shade = "RESOLVED", _GREEN
    parts = [
        f"{_DIM}{time}{_RESET}",
        f"{shade}{word:<8}{_RESET}",
        headline(notification, HEADLINE_MAX),
        f"{_DIM}({_location(notification)}){_RESET}",
    ]
    return " ".join(parts)


def _location(notification: Notification) -> str:
    event = notification.events[0]
    host = truncate(event.host, NAME_MAX)
    parts = [
        f"{truncate(event.actor.image, IMAGE_MAX)} on {host}"
        if event.actor.image
        else f"on {host}",
        f"route {truncate(notification.route, NAME_MAX)}",
    ]
    if event.origin is not Origin.LIVE:
        parts.append(event.origin)
    if notification.suppressed:
        parts.append(f"{notification.suppressed} held back")
    return ", ".join(parts)
