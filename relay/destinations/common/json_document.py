"""The document of ``format: json``: all that relay knows, for programs."""

import msgspec

from relay.core.event import Event, format_rfc3339
from relay.core.exchange import Request
from relay.core.notification import Notification, resolve_severity
from relay.destinations.common.included import get_included

VERSION = 1
"""Of the document; it grows when a receiver would have to change."""

_encode = msgspec.json.Encoder().encode


def render(notification: Notification, url: str) -> Request:
    """The `document` as a request to ``url``."""
    return Request(encode_document(notification), url, {"Content-Type": "application/json"})


def encode_document(notification: Notification) -> bytes:
    """One JSON object in UTF-8 without a line break, its keys in the documented order.

    What is absent is ``null``, never left out.
    """
    return _encode(
        {
            "id": notification.id,
            "version": VERSION,
            "status": notification.status,
            "route": notification.route,
            "severity": resolve_severity(notification),
            "count": notification.count,
            "suppressed": notification.suppressed,
            "events": [event_object(event) for event in notification.events],
            "included": get_included(notification),
        }
    )


def event_object(event: Event) -> dict[str, object]:
    """An event as it stands in the `document`."""
    return {
        "id": event.id,
        "engine": event.engine,
        "host": event.host,
        "type": event.type,
        "action": event.action,
        "detail": event.detail,
        "scope": event.scope,
        "time": format_rfc3339(event.time_ns),
        "time_ns": event.time_ns,
        "actor": event.actor,
        "cause": event.cause,
        "exit_code": event.exit_code,
        "signal": event.signal,
        "health": event.health,
        "origin": event.origin,
    }
