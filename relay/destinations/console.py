"""Standard output: readable lines on a terminal, otherwise one line of JSON per notification."""

from collections.abc import Sequence
from typing import Literal

from relay.config.destination import DestinationConfig, OnTemplateError, Renderer, RouteTexts
from relay.core.event import Origin, format_rfc3339
from relay.core.exchange import Request
from relay.core.incident import Status
from relay.core.notification import Notification, resolve_severity
from relay.core.severity import Severity
from relay.core.text import escape_json, truncate
from relay.destinations.common.card import format_inspect_fields, get_included
from relay.destinations.common.document import encode_document
from relay.destinations.common.event_text import describe_image
from relay.destinations.common.headline import headline

HEADLINE_MAX = 160
IMAGE_MAX = 70
NAME_MAX = 40
"""The limit for a host and for a route. All limits are our own, in UTF-16 units."""
DETAIL_MAX = 400
"""The limit for a line of what the notification includes."""

_RESET, _DIM, _GREEN = "\x1b[0m", "\x1b[2m", "\x1b[1;32m"
_COLOURS = {
    Severity.CRITICAL: "\x1b[1;31m",
    Severity.WARNING: "\x1b[1;33m",
    Severity.INFO: "\x1b[1;36m",
}


class ConsoleDestination(DestinationConfig):
    """Standard output."""

    type: Literal["console"] = "console"

    def build_renderer(
        self, routes: Sequence[RouteTexts], on_template_error: OnTemplateError, *, colour: bool
    ) -> Renderer:
        """See `DestinationConfig`. ``routes`` is not used: the lines show no text of a route."""
        return lambda notification: render(notification, colour=colour)


def render(notification: Notification, *, colour: bool) -> Request:
    """Return readable lines if ``colour`` is set, else the document of ``format: json``.

    Both end with a line break. The readable lines have no control characters except their own
    colours, and at most 400 UTF-16 units besides these. The first line is the headline; what the
    notification includes is indented below it.
    """
    if not colour:
        # escaped, because somebody may show it on a terminal
        line = escape_json(encode_document(notification).decode())
        return Request(body=f"{line}\n".encode())
    details = (truncate(line, DETAIL_MAX - 2) for line in _detail_lines(notification))
    lines = [_summary_line(notification), *(f"{_DIM}│ {_RESET}{line}" for line in details)]
    return Request(body="".join(f"{line}\n" for line in lines).encode())


def _detail_lines(notification: Notification) -> list[str]:
    included = get_included(notification)
    if included is None:
        return []
    health = included.health.split("\n") if included.health else []
    return [
        *(included.logs or ()),
        *(f"health check: {line}" for line in health),
        *(f"{path}: {value}" for path, value in format_inspect_fields(included)),
        *([f"not included: {included.missing}"] if included.missing else []),
    ]


def _summary_line(notification: Notification) -> str:
    event = notification.events[0]
    time = f"{format_rfc3339(event.time_ns)[11:19]}Z"
    severity = resolve_severity(notification)
    label, colour = severity.upper(), _COLOURS[severity]
    if notification.status is Status.RESOLVED:
        label, colour = "RESOLVED", _GREEN
    parts = [
        f"{_DIM}{time}{_RESET}",
        f"{colour}{label:<8}{_RESET}",
        headline(notification, HEADLINE_MAX),
        f"{_DIM}({_location(notification)}){_RESET}",
    ]
    return " ".join(parts)


def _location(notification: Notification) -> str:
    event = notification.events[0]
    host = truncate(event.host, NAME_MAX)
    parts = [
        f"{truncate(describe_image(event.actor.image), IMAGE_MAX)} on {host}"
        if event.actor.image
        else f"on {host}",
        f"route {truncate(notification.route, NAME_MAX)}",
    ]
    if event.origin is not Origin.LIVE:
        parts.append(event.origin)
    if notification.suppressed:
        parts.append(f"{notification.suppressed} held back")
    return ", ".join(parts)
