"""The document of ``format: json``: everything that relay knows of the events, for programs."""

import msgspec

from relay.core.event import Event, format_rfc3339
from relay.core.exchange import Request
from relay.core.notification import Notification, resolve_severity
from relay.destinations.common.included import get_included

VERSION = 1
"""The version of the document. It is raised by a change to which receivers have to adapt."""

_encode = msgspec.json.Encoder().encode


def render(notification: Notification, url: str) -> Request:
    """Return a request to ``url`` with the document as its body."""
    return Request(encode_document(notification), url, {"Content-Type": "application/json"})


def encode_document(notification: Notification) -> bytes:
    """Return one JSON object in UTF-8 without a line break, its keys in the documented order.

    Absent values are ``null``; no key is left out.
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
    """Return the JSON object of an event in the document."""
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
