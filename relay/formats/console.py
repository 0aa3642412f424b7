"""The terminal: a line to read, or a line of JSON where nobody watches."""

from relay.event import Origin, rfc3339
from relay.exchange import Request
from relay.formats import json
from relay.formats.phrase import headline
from relay.formats.text import fit
from relay.notification import Notification, Severity, Status, severity

HEADLINE_MAX = 160
IMAGE_MAX = 70
NAME_MAX = 40
"""Of a host and of a route."""

_RESET, _DIM, _GREEN = "\x1b[0m", "\x1b[2m", "\x1b[1;32m"
_COLOURS = {
    Severity.CRITICAL: "\x1b[1;31m",
    Severity.WARNING: "\x1b[1;33m",
    Severity.INFO: "\x1b[1;36m",
}


def render(notification: Notification, *, colour: bool) -> Request:
    """With ``colour`` a readable line, else the document of ``format: json``; both end in ``\\n``.

    The readable line has no control characters but its own colours, and at most 400 UTF-16 units
    beside them.
    """
    line = _line(notification).encode() if colour else json.document(notification)
    return Request(body=line + b"\n")


def _line(notification: Notification) -> str:
    event = notification.events[0]
    time = f"{rfc3339(event.time_ns)[11:19]}Z"
    level = severity(event)
    word, shade = level.upper(), _COLOURS[level]
    if notification.status is Status.RESOLVED:
        word, shade = "RESOLVED", _GREEN
    parts = [
        f"{_DIM}{time}{_RESET}",
        f"{shade}{word:<8}{_RESET}",
        headline(notification, HEADLINE_MAX),
        f"{_DIM}({_where(notification)}){_RESET}",
    ]
    return " ".join(parts)


def _where(notification: Notification) -> str:
    event = notification.events[0]
    host = fit(event.host, NAME_MAX)
    parts = [
        f"{fit(event.actor.image, IMAGE_MAX)} on {host}" if event.actor.image else f"on {host}",
        f"route {fit(notification.route, NAME_MAX)}",
    ]
    if event.origin is not Origin.LIVE:
        parts.append(event.origin)
    if notification.suppressed:
        parts.append(f"{notification.suppressed} held back")
    return ", ".join(parts)
