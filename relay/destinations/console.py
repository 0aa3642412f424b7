"""Standard output: readable lines on a terminal, otherwise one line of JSON per notification."""

from collections.abc import Sequence
from typing import Literal

from relay.config.destination import (
    DestinationConfig,
    OnTemplateError,
    Renderer,
    RouteTexts,
    Transport,
)
from relay.core.event import Origin
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.core.severity import Severity
from relay.core.text import escape_json, truncate
from relay.core.zone import TimeZone
from relay.destinations.common.card import Card
from relay.destinations.common.document import encode_document
from relay.destinations.common.event_text import describe_image
from relay.destinations.common.headline import headline
from relay.destinations.common.pieces import join
from relay.destinations.common.update_text import is_about_one

HEADLINE_MAX = 160
IMAGE_MAX = 70
NAME_MAX = 40
"""The limit for a host and for a route. All limits are our own, in UTF-16 units."""
DETAIL_MAX = 400
"""The limit for a line of an incident, and of what the notification includes."""
INCIDENTS_MAX = 20 * DETAIL_MAX
"""The limit for the lines of all incidents."""

_RESET, _DIM, _GREEN = "\x1b[0m", "\x1b[2m", "\x1b[1;32m"
_COLOURS = {
    Severity.CRITICAL: "\x1b[1;31m",
    Severity.WARNING: "\x1b[1;33m",
    Severity.INFO: "\x1b[1;36m",
}


class ConsoleDestination(DestinationConfig):
    """Standard output."""

    transport = Transport.CONSOLE

    type: Literal["console"] = "console"

    def build_renderer(
        self,
        routes: Sequence[RouteTexts],
        on_template_error: OnTemplateError,
        *,
        colour: bool,
        zone: TimeZone,
    ) -> Renderer:
        """See `DestinationConfig`. ``routes`` is not used: the lines show no text of a route."""
        return lambda notification: render(notification, colour=colour, zone=zone)


def render(notification: Notification, *, colour: bool, zone: TimeZone) -> Request:
    """Return readable lines if ``colour`` is set, else the document of ``format: json``.

    Both end with a line break. The readable lines have no control characters except their own
    colours, and at most 400 UTF-16 units besides these; their times are in ``zone``. The first line
    is the headline; several incidents, and what the notification includes, are indented below it.
    """
    if not colour:
        # escaped, because somebody may show it on a terminal
        line = escape_json(encode_document(notification).decode())
        return Request(body=f"{line}\n".encode())
    card = Card(notification, zone=zone)
    details = (truncate(line, DETAIL_MAX - 2) for line in _detail_lines(card))
    lines = [_summary_line(card), *(f"{_DIM}│ {_RESET}{line}" for line in details)]
    return Request(body="".join(f"{line}\n" for line in lines).encode())


def _detail_lines(card: Card) -> list[str]:
    """Return a line for each incident, if there are several, and what the notification includes."""
    lines = join(card.body_pieces(INCIDENTS_MAX)).split("\n") if card.lines else []
    for name, included in card.included:
        prefix = f"{name}: " if name else ""
        health = included.health.split("\n") if included.health else []
        lines += (f"{prefix}{line}" for line in included.logs or ())
        lines += (f"{prefix}health check: {line}" for line in health)
    lines += (f"{path}: {value}" for path, value in card.inspect_fields)
    missing = [included.missing for _, included in card.included if included.missing]
    return [*lines, *(f"not included: {text}" for text in missing[:1])]


def _summary_line(card: Card) -> str:
    label, colour = card.severity.upper(), _COLOURS[card.severity]
    if card.is_resolved:
        label, colour = "RESOLVED", _GREEN
    parts = [
        f"{_DIM}{card.time[11:]}{_RESET}",
        f"{colour}{label:<8}{_RESET}",
        headline(card.notification, HEADLINE_MAX, zone=card.zone),
        f"{_DIM}({_location(card.notification)}){_RESET}",
    ]
    return " ".join(parts)


def _location(notification: Notification) -> str:
    update, event = notification.update, notification.events[0]
    parts = []
    if is_single := update is None or is_about_one(update):
        host = truncate(event.host, NAME_MAX)
        image = truncate(describe_image(event.actor.image or ""), IMAGE_MAX)
        parts.append(f"{image} on {host}" if image else f"on {host}")
    parts.append(f"route {truncate(notification.route, NAME_MAX)}")
    if is_single and event.origin is not Origin.LIVE:
        parts.append(event.origin)
    if notification.suppressed:
        parts.append(f"{notification.suppressed} held back")
    return ", ".join(parts)
