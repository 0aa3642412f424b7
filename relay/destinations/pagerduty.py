"""Events for PagerDuty's Events API v2: one alert for each thing that is in trouble.

PagerDuty adds all events with the same ``dedup_key`` to one alert until it is resolved
(https://github.com/PagerDuty/developer-docs, ``docs/events-API-v2/02-Trigger-Events.md``). The key
identifies what the events are about, so a container that crashes again and again wakes somebody
once. Of an incident it is made of the event and the route that opened it: so it is the key of that
event alone, and the ``resolve`` has the key of the ``trigger`` if the route has another name by
then.

Names, labels and images are hostile. PagerDuty reads the fields of its common event format as plain
text, but forwards them to chats and mail. So ``<`` and ``>``, between which mentions, links and
tags stand, are replaced, and no address remains a link except those of the configuration.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from pydantic import SecretStr

from relay.config.errors import ConfigIssue, IssueScope
from relay.config.types import Rate, RateLimit, Secret, WebhookUrl
from relay.core.event import Origin, format_rfc3339
from relay.core.exchange import NO_HINT, Request, Response, ResponseHint
from relay.core.incident import Audience, Status, incident_object
from relay.core.text import defuse_links, escape_brackets, truncate_forwarded
from relay.core.zone import UTC_ZONE
from relay.destinations.common.card import Card
from relay.destinations.common.command import is_command
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.facts import list_facts, list_help
from relay.destinations.common.included import get_included
from relay.destinations.common.pieces import FORWARDED, join_forwarded
from relay.destinations.common.responses import parse_object, without
from relay.destinations.common.service import ServiceDestination

# PagerDuty's limits. It refuses an event if one text is too long.
PAYLOAD_MAX = 512 * 1024
"""In bytes: ``01-Overview.md`` in the same folder, "Size Limits"."""
SUMMARY_MAX = 1_024
"""In characters: ``02-Trigger-Events.md``, "Parameters"."""
KEY_MAX = 255
"""The characters of the ``dedup_key``: the same table."""
# Our own limits, in UTF-16 units, for fields that only the size of the payload limits. A unit takes
# at most three bytes of JSON, so all texts together stay below half of that size.
FIELD_MAX = 255
"""The other fields of the common event format, which PagerDuty shows as columns of a table."""
VALUE_MAX = 1_024
"""A value of the details."""
CUSTOM_TEXT_MAX = 8_192
"""The text of the configuration."""
OUTPUT_MAX = {LOGS: 8_192, HEALTH: 8_192}
"""All output of each kind."""
INSPECT_MAX = 20_480
"""All inspect fields together."""
PATH_MAX = 200
"""The path of an inspect field."""

KEY_CHARS = 32
"""The characters of an integration key: ``02-Trigger-Events.md``, "Parameters"."""
_ROUTING_KEY = re.compile(rf"[A-Za-z0-9]{{{KEY_CHARS}}}")


class PagerDutyDestination(ServiceDestination):
    """An integration of a PagerDuty service (Events API v2)."""

    own_urls = r"https://events(\.eu)?\.pagerduty\.com/"
    audience = Audience.PAGER

    type: Literal["pagerduty"] = "pagerduty"
    url: WebhookUrl = SecretStr("https://events.pagerduty.com/v2/enqueue")
    routing_key: Secret
    """The integration key."""
    # https://developer.pagerduty.com/docs/events-api-v2-overview, "Rate Limiting"
    rate_limit: RateLimit | None = Rate(120, 60.0)

    def find_warnings(self) -> Iterable[ConfigIssue]:
        """Warn of a key that is none."""
        if not _ROUTING_KEY.fullmatch(self.routing_key.get_secret_value()):
            message = f"is not an integration key, which has {KEY_CHARS} letters and digits"
            yield ConfigIssue(("routing_key",), message, IssueScope.VALUE)

    @property
    def recipient(self) -> str:
        """The integration, by its key: all integrations have the same URL."""
        return self.routing_key.get_secret_value()

    def render(self, card: Card) -> Request:
        """Return the event that opens an alert, adds to it or resolves it."""
        event = card.event
        labels = event.actor.attributes
        project = labels.get("com.docker.compose.project")
        cause = event.cause or event.health
        what = f"{event.action}: {cause}" if cause else event.action
        payload = {
            "summary": join_forwarded(card.title_pieces(SUMMARY_MAX, FORWARDED)),
            "source": _first_field(event.host, event.engine) or "unknown",
            "severity": card.severity,
            "timestamp": card.precise_time,  # milliseconds, as in examples
            "component": _first_field(event.actor.name, event.actor.id),
            "group": _first_field(project, labels.get("com.docker.swarm.service.name")),
            "class": truncate_forwarded(what, FIELD_MAX),
            "custom_details": _details(card),
        }
        message: dict[str, object] = {
            "routing_key": self.routing_key.get_secret_value(),
            "event_action": "resolve" if card.is_resolved else "trigger",
            "dedup_key": _dedup_key(card),
            "client": "relay",
            "payload": {name: value for name, value in payload.items() if value},
        }
        if card.link:
            message["links"] = [{"href": card.link, "text": card.link_label}]
        return self.json_request(message)

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Check that a 2xx says ``"status": "success"``.

        https://github.com/PagerDuty/developer-docs, ``docs/events-API-v2/01-Overview.md``
        """
        match parse_object(response.body):
            case {"status": "success"}:
                return NO_HINT
        return without(response, '"status": "success"')


def _dedup_key(card: Card) -> str:
    """Return a key for the route and the thing that the alert is about, not for what happened.

    A container is identified by its name, which stays the same when it is recreated. The host is
    part of the key because two relays may use the same name for their engines.
    """
    route, event, _ = card.opening
    subject = event.actor.name or event.actor.id
    identity = msgspec.json.encode([route, event.engine, event.host, event.type, subject])
    return "relay-" + hashlib.blake2b(identity, digest_size=16).hexdigest()


def _details(card: Card) -> dict[str, object]:
    """Return the facts, and the ids that lead back to the configuration and the event, by name."""
    notification = card.notification
    included = get_included(notification)
    origin = card.event.origin
    texts = {
        **{_detail_name(name): value for name, value in [*list_facts(card.event), *_help(card)]},
        "route": notification.route,
        "event_id": card.event.id,
        "notification_id": notification.id,
        "origin": "" if origin is Origin.LIVE else origin,
        "not_included": included.missing if included and included.missing else "",
        "no_link": card.link_fault,
    }
    details: dict[str, object] = {
        "text": join_forwarded(card.body_pieces(CUSTOM_TEXT_MAX, FORWARDED)),
        **{name: truncate_forwarded(value, VALUE_MAX) for name, value in texts.items()},
        "count": notification.count if notification.count > 1 else None,
        "held_back": notification.suppressed,
        "incident": _incident_details(card),
        **{
            _detail_name(it.title): defuse_links(it.fit(OUTPUT_MAX[it.title], escape_brackets))
            for it in card.output
        },
        "inspect": _inspect_values(card),
    }
    return {name: value for name, value in details.items() if value}


def _help(card: Card) -> Sequence[tuple[str, str]]:
    """Return what explains an incident that is open; none of its names is that of other details."""
    report = card.incident
    if report is None or report.status is Status.RESOLVED:
        return ()
    return [
        ("Command" if is_command(name) else name, value)
        for name, value in list_help(card.event, report)
    ]


def _incident_details(card: Card) -> dict[str, object]:
    """Return the state of the incident, under the names that JSON documents have for it.

    People read it: times are in their zone.
    """
    if (report := card.incident) is None:
        return {}
    format_time = format_rfc3339 if card.zone == UTC_ZONE else card.zone.format_rfc3339
    values = incident_object(report, format_time)
    names = ("id", "state", "crash_looping", "started_at", "ended_at", "resolution", "total")
    return {name: values[name] for name in names if values[name]}


def _inspect_values(card: Card) -> dict[str, str]:
    # They are in an object of their own, so that no path can look like a fact.
    each = card.share_inspect(INSPECT_MAX) - PATH_MAX
    most = min(VALUE_MAX, each)
    return {
        truncate_forwarded(path, PATH_MAX): truncate_forwarded(value, most)
        for path, value in card.inspect_fields
    }


def _detail_name(title: str) -> str:
    return title.lower().replace(" ", "_")


def _first_field(*texts: str | None) -> str:
    """Return the first text that is not blank, as a field of the common event format, else ""."""
    shown = next((text for text in texts if text and text.strip()), "")
    return truncate_forwarded(shown, FIELD_MAX)
