"""An event of PagerDuty's Events API v2: one alert for one thing in trouble.

PagerDuty takes every event with the same ``dedup_key`` for the same alert, until that is resolved
(https://github.com/PagerDuty/developer-docs, ``docs/events-API-v2/02-Trigger-Events.md``). The key
is that of what the events are about, so a container that crashes again and again wakes somebody
once.

Names, labels and images are hostile. PagerDuty reads the fields of its common event format as plain
text, but hands them on to chats and mail, so no ``<`` or ``>`` of theirs is left in those, between
which stand mentions, links and tags, and no address is left whole.
"""

import hashlib

import msgspec

from relay.core.event import Event, Origin, format_rfc3339
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

# PagerDuty's limits. It refuses a whole event for one text that is too long.
PAYLOAD_MAX = 512 * 1024
"""In bytes: ``01-Overview.md`` beside it, "Size Limits"."""
SUMMARY_MAX = 1_024
"""Its characters: ``02-Trigger-Events.md``, "Parameters"."""
KEY_MAX = 255
"""Those of the ``dedup_key``: the same table."""
# Ours, for what PagerDuty bounds by the payload only. A unit of text is at most three bytes of
# JSON, so all of it together stays below half of that.
FIELD_MAX = 255
"""The other fields of the common event format, which are columns of a table."""
VALUE_MAX = 1_024
"""A value of the details."""
CUSTOM_TEXT_MAX = 8_192
"""The configuration's text."""
OUTPUT_MAX = {LOGS: 8_192, HEALTH: 8_192}
"""All that was printed of each kind."""
INSPECT_MAX = 20_480
"""All inspect fields together."""
PATH_MAX = 200
"""The name of one."""

_ESCAPES = {"<": "‹", ">": "›"}


def render(card: Card, url: str, routing_key: str) -> Request:
    """The event that opens an alert, adds to it, or resolves it."""
    event = card.event
    payload = {
        "summary": defuse_links(card.title(SUMMARY_MAX, _escape)),
        "source": _first_field(event.host, event.engine) or "unknown",
        "severity": card.severity,
        "timestamp": f"{format_rfc3339(event.time_ns)[:23]}Z",  # to the millisecond, as in its examples
        "component": _first_field(event.actor.name, event.actor.id),
        "group": _group(event),
        "class": _field(_class(event)),
        "custom_details": _details(card),
    }
    message = {
        "routing_key": routing_key,
        "event_action": "resolve" if card.is_resolved else "trigger",
        "dedup_key": _dedup_key(card),
        "client": "relay",
        "payload": {name: value for name, value in payload.items() if value},
    }
    return Request(msgspec.json.encode(message), url, {"Content-Type": "application/json"})


def _dedup_key(card: Card) -> str:
    """What the alert is about, by this route: not what happened to it, nor when.

    A container is known by its name, which outlives it when it is made anew. The host is part of
    it because two relays may call their engines alike.
    """
    event = card.event
    subject = event.actor.name or event.actor.id
    identity = msgspec.json.encode(
        [card.notification.route, event.engine, event.host, event.type, subject]
    )
    return "relay-" + hashlib.blake2b(identity, digest_size=16).hexdigest()


def _group(event: Event) -> str:
    labels = event.actor.attributes
    return _first_field(
        labels.get("com.docker.compose.project"), labels.get("com.docker.swarm.service.name")
    )


def _class(event: Event) -> str:
    """The action and, where it has one, its cause: ``die: crashed``, ``oom``."""
    more = event.cause or event.health
    return f"{event.action}: {more}" if more else event.action


def _details(card: Card) -> dict[str, object]:
    """The facts and all that leads back to the configuration and the event, by flat names."""
    told, notification = get_included(card.notification), card.notification
    origin = card.event.origin
    texts = {
        **{_detail_name(name): value for name, value in card.all_facts},
        "route": notification.route,
        "event_id": card.event.id,
        "notification_id": notification.id,
        "origin": "" if origin is Origin.LIVE else origin,
        "not_included": told.missing if told and told.missing else "",
    }
    details: dict[str, object] = {
        "text": _display_text(card.body, CUSTOM_TEXT_MAX, truncate_lines),
        **{name: _display_text(value, VALUE_MAX) for name, value in texts.items()},
        "count": notification.count if notification.count > 1 else None,
        "held_back": notification.suppressed,
        **{
            _detail_name(it): _display_text(text, OUTPUT_MAX[it], truncate_start)
            for it, text in card.output
        },
        "inspect": _inspect_values(card),
    }
    return {name: value for name, value in details.items() if value}


def _inspect_values(card: Card) -> dict[str, str]:
    # In an object of their own, so that no path can pass for a fact.
    each = INSPECT_MAX // max(1, len(card.inspect_fields)) - PATH_MAX
    most = min(VALUE_MAX, each)
    return {
        _display_text(path, PATH_MAX): _display_text(value, most)
        for path, value in card.inspect_fields
    }


def _display_text(text: str, limit: int, cut: Truncator = truncate) -> str:
    """A text for people, in which nothing is a link or a mention, wherever it is passed on to."""
    return defuse_links(cut(text, limit, _escape))


def _detail_name(title: str) -> str:
    return title.lower().replace(" ", "_")


def _first_field(*texts: str | None) -> str:
    """The first that is not blank, as a `_field`; empty if all are."""
    return next((_field(text) for text in texts if text and text.strip()), "")


def _field(text: str) -> str:
    return defuse_links(truncate(text, FIELD_MAX, _escape))


def _escape(character: str) -> str:
    return _ESCAPES.get(character) or escape_unprintable(character)
