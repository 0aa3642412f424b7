"""An alert for a Prometheus Alertmanager (API v2).

Labels say which alert it is: what is sent with the same ones is the same alert, told again
(https://prometheus.io/docs/alerting/latest/alerts_api/). So they hold who it is about, where and
what kind of trouble it is, and nothing that differs from one event of that trouble to the next;
all of that is in annotations.

Alertmanager resolves an alert by itself once nobody has told of it for its ``resolve_timeout``
(five minutes, if nothing is set). ``endsAt`` is left to that except for what is over: an event that
is delivered late would otherwise be over before it arrives.

Names, labels and images are hostile. Alertmanager never reads templates in them, and escapes them
in mail, but not for Slack (``notify/slack/slack.go``): there a mention stands between ``<`` and
``>``, of which none is left, and an address becomes a link by its ``://``: see `unlinked`.
"""

from collections.abc import Mapping

import msgspec

from relay.core.event import Origin, format_rfc3339
from relay.core.exchange import Request
from relay.core.text import (
    Truncator,
    defuse_links,
    escape_unprintable,
    truncate,
    truncate_lines,
    truncate_start,
)
from relay.destinations.common.card import HEALTH, LOGS, Card
from relay.destinations.common.included import get_included

# All ours: Alertmanager has no limits, but keeps every alert in memory, and what it sends to others
# holds a whole group of alerts. One is at most 64 KiB.
LABEL_MAX = 255
"""A label's value: longer than any name, and still a line in a list."""
SUMMARY_MAX = 1_024
"""What PagerDuty takes, the strictest of those that Alertmanager sends summaries to."""
VALUE_MAX = 512
"""Any other annotation, and each fact of the description."""
CUSTOM_TEXT_MAX = 4_096
"""The configuration's text."""
OUTPUT_MAX = {LOGS: 4_096, HEALTH: 2_048}
"""All that was printed of each kind."""
INSPECT_MAX = 4_096
"""All inspect fields together."""

_OUTPUT_NAMES = {LOGS: "logs", HEALTH: "health_check"}
_ESCAPES = {"<": "‹", ">": "›"}


def render(card: Card, url: str) -> Request:
    """A list of one alert, firing or resolved."""
    alert = {
        "labels": _labels(card),
        "annotations": _annotations(card),
        "startsAt": format_rfc3339(card.event.time_ns),
    }
    if card.is_resolved:
        alert["endsAt"] = format_rfc3339(max(event.time_ns for event in card.notification.events))
    return Request(msgspec.json.encode([alert]), url, {"Content-Type": "application/json"})


def _labels(card: Card) -> dict[str, str]:
    event = card.event
    attributes = event.actor.attributes
    labels = {
        "alertname": card.notification.route,
        "severity": card.severity,
        "type": event.type,
        "action": event.action,
        "cause": event.cause,
        "engine": event.engine,
        "instance": event.host,
        "container" if event.type == "container" else "name": event.actor.name or event.actor.id,
        "compose_project": attributes.get("com.docker.compose.project"),
        "compose_service": attributes.get("com.docker.compose.service"),
        "swarm_service": attributes.get("com.docker.swarm.service.name"),
    }
    return _drop_blank({name: _label_value(value or "") for name, value in labels.items()})


def _annotations(card: Card) -> dict[str, str]:
    return {
        "summary": defuse_links(card.title(SUMMARY_MAX, _escape)),
        **_drop_blank({"description": _description(card)}),
        **_drop_blank(
            {name: _annotation_value(value or "") for name, value in _details(card).items()}
        ),
        **{
            _OUTPUT_NAMES[it]: _display_text(text, OUTPUT_MAX[it], truncate_start)
            for it, text in card.output
        },
        **_drop_blank({"inspect": _inspect_text(card)}),
    }


def _description(card: Card) -> str:
    if card.body:
        return _display_text(card.body, CUSTOM_TEXT_MAX, truncate_lines)
    # The line break is ours: `fit` leaves none in a value, so no value can pass for a fact.
    return "\n".join(f"{name}: {_annotation_value(value)}" for name, value in card.facts)


def _details(card: Card) -> Mapping[str, str | None]:
    event, notification = card.event, card.notification
    told = get_included(notification)
    return {
        "id": event.actor.id,
        "image": event.actor.image,
        "exit_code": None if event.exit_code is None else str(event.exit_code),
        "health": event.health,
        "origin": None if event.origin is Origin.LIVE else event.origin,
        "count": str(notification.count) if notification.count > 1 else None,
        "held_back": str(notification.suppressed) if notification.suppressed else None,
        "not_included": told.missing if told else None,
        "event_id": event.id,
        "notification_id": notification.id,
    }


def _inspect_text(card: Card) -> str:
    """A line for each: their paths are no names that an annotation may have."""
    each = INSPECT_MAX // max(1, len(card.inspect_fields)) - 1
    lines = (f"{truncate(path, each // 2)}: {value}" for path, value in card.inspect_fields)
    return "\n".join(_display_text(line, each) for line in lines)


def _drop_blank(texts: Mapping[str, str]) -> dict[str, str]:
    """Those that are not blank: Alertmanager takes an empty label for an absent one."""
    return {name: text for name, text in texts.items() if text.strip()}


def _annotation_value(text: str) -> str:
    return _display_text(text, VALUE_MAX)


def _display_text(text: str, limit: int, cut: Truncator = truncate) -> str:
    """A text for people, in which nothing is a link or a mention, wherever it is passed on to."""
    return defuse_links(cut(text, limit, _escape))


def _label_value(text: str) -> str:
    """As it is, so that it can be matched, but for what would make it a link in a message."""
    return defuse_links(truncate(text, LABEL_MAX, _escape))


def _escape(character: str) -> str:
    return _ESCAPES.get(character) or escape_unprintable(character)
