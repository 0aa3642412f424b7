"""The JSON document of a notification, for programs: plain, or as the data of a CloudEvent.

The document of ``format: json`` holds everything that relay knows of the events.

A CloudEvent 1.0 adds attributes that any receiver knows. It follows the specification
(https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md), its JSON format
(``formats/json-format.md`` in the same folder) and its HTTP binding
(``bindings/http-protocol-binding.md``), in two modes: structured, with everything in the body, and
binary, with the attributes in headers.

Receivers need not accept, and intermediaries need not forward, a CloudEvent of more than 64 KiB. In
a longer one the last of the engine's attributes are left out, and an attribute named `ELLIPSIS`
says how many. Only if that is not enough are texts truncated, the last incidents left out (``more``
includes them) and the last events (``count`` still includes them).

`join_bodies` makes one request from those of a batch: an array of their documents.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from relay.config.validators import MAX_INSPECT_FIELDS
from relay.core.event import Event, format_rfc3339
from relay.core.exchange import Request
from relay.core.incident import Status, Update, incident_object
from relay.core.include import Included
from relay.core.notification import Notification, resolve_severity
from relay.core.text import ELLIPSIS, escape_json_bytes, truncate
from relay.destinations.common.included import get_included

VERSION = 1
"""The version of the document. It is raised by a change to which receivers have to adapt."""

SIZE_MAX = 65_536
"""The size of a CloudEvent on the wire, in bytes: the specification, "Size Limits"."""
OVERHEAD_MAX = 2_048
"""Our own reserve, in bytes, for the request line and the headers that others add."""
ATTRIBUTE_MAX = 255
"""Our own limit for a context attribute, in UTF-16 units."""
SEGMENT_MAX = 64
"""Our own limit for each part of ``type``, in characters."""
# Our own limits, in bytes of JSON, if texts have to be truncated. One event with everything that
# can be included then takes about 50 KiB at most.
TEXT_MAX = 512
"""A name, an id or a similar text."""
LOGS_MAX = 12_288
"""All log lines together, with two bytes between them; the last lines are kept."""
HEALTH_MAX = 8_192
PATH_MAX = 200
"""The path of an inspect field."""
VALUE_MAX = 600
"""The value of an inspect field."""
FIELD_MAX = 200
"""A name or a value of a group."""
GROUP_MAX = 8
"""How many fields of a group are kept."""

STRUCTURED_TYPE = "application/cloudevents+json; charset=utf-8"
"""The content type of one event in structured mode."""
BATCH_TYPE = "application/cloudevents-batch+json; charset=utf-8"
"""The content type of a JSON array of such events: the HTTP binding, section 3.3, and the JSON
format, section 4."""

_JSON = "application/json"
_NOT_IN_SEGMENT = re.compile(r"[^A-Za-z0-9_-]")
_HEADER_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""The characters of a header value that are not encoded: the HTTP binding, section 3.1.3.2."""
_TEXTS = ("id", "engine", "host", "type", "action", "detail", "scope", "health")

LARGE_BYTES = 64 * 1024
"""A longer document is copied: msgspec's buffer may be half as long again, and a request that waits
for its destination would keep all of it."""

_encoder = msgspec.json.Encoder()


def _encode(value: object) -> bytes:
    """Return JSON in which everything that does not show is escaped: its value stays the same."""
    return escape_json_bytes(_encoder.encode(value))


def render_document(notification: Notification, url: str) -> Request:
    """Return a request to ``url`` with the document as its body."""
    body = encode_document(notification)
    if len(body) > LARGE_BYTES:
        body = bytes(memoryview(body))
    return Request(body, url, {"Content-Type": _JSON})


def encode_document(notification: Notification) -> bytes:
    """Return one JSON object in UTF-8 without a line break, its keys in the documented order.

    Absent values are ``null``. No key is left out, except those of incidents if it is about events
    alone.
    """
    document: dict[str, object] = {
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
    if (update := notification.update) is not None:
        document["group"] = update.group
        document["reason"] = update.reason
        document["incidents"] = [incident_object(report) for report in update.incidents]
        document["more"] = update.more
    return _encode(document)


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
        "interactive": event.interactive,
    }


def render_structured(notification: Notification, url: str) -> Request:
    """Return a request with everything in the body, which is one JSON object."""
    attributes = {**_context_attributes(notification), "datacontenttype": _JSON}
    headers = {"Content-Type": STRUCTURED_TYPE}
    limit = _body_limit(headers) - len(_encode({**attributes, "data": ""}))
    event = {**attributes, "data": msgspec.Raw(_encode_within(notification, limit))}
    return Request(_encode(event), url, headers)


def render_binary(notification: Notification, url: str) -> Request:
    """Return a request with the attributes in headers and the document as the body."""
    attributes = _context_attributes(notification).items()
    headers = {f"ce-{name}": quote(value, safe=_HEADER_SAFE) for name, value in attributes}
    headers["Content-Type"] = _JSON
    return Request(_encode_within(notification, _body_limit(headers)), url, headers)


def join_bodies(requests: Sequence[Request]) -> Request:
    """Return one request that holds the bodies of all requests, of which there is at least one.

    The requests have the same URL and headers. A single body becomes an array too, so that
    receivers have to read one form only. The bodies are not changed.
    """
    first, *_ = requests
    is_cloudevent = first.headers["Content-Type"] == STRUCTURED_TYPE
    return replace(
        first,
        body=b"[" + b",".join(request.body for request in requests) + b"]",
        headers={**first.headers, "Content-Type": BATCH_TYPE} if is_cloudevent else first.headers,
    )


def _context_attributes(notification: Notification) -> dict[str, str]:
    """Return the context attributes, without characters that they must not contain.

    The id of a notification depends on its route and its events, or on its incidents and how many
    messages about them came before, so it is unique within a source.
    """
    event = notification.events[0]
    host = "" if event.via is None else f"/hosts/{_source_segment(event.host)}"
    occurrence = _describe_occurrence(notification)
    return {
        "specversion": "1.0",
        "id": truncate(notification.id, ATTRIBUTE_MAX),
        "source": f"{host}/engines/{_source_segment(event.engine)}",
        "type": f"com.docker.{_type_segment(occurrence.type)}.{_type_segment(occurrence.action)}",
        **({"subject": truncate(it, ATTRIBUTE_MAX)} if (it := occurrence.subject) else {}),
        "time": format_rfc3339(occurrence.time_ns),
    }


def _source_segment(name: str) -> str:
    return quote(truncate(name, SEGMENT_MAX), safe="")


class _Occurrence(NamedTuple):
    """What a CloudEvent says that happened."""

    type: str
    action: str
    subject: str
    time_ns: int


def _describe_occurrence(notification: Notification) -> _Occurrence:
    """Return the first event, or what became of incidents: ``incident.resolved`` at their end."""
    event, update = notification.events[0], notification.update
    if update is None or not update.incidents:
        subject = event.actor.name or event.actor.id
        return _Occurrence(event.type, event.action, subject, event.time_ns)
    is_single = len(update.incidents) == 1 and not update.more
    ends_ns = [report.ended_ns for report in update.incidents if report.ended_ns is not None]
    is_resolved = notification.status is Status.RESOLVED and ends_ns
    return _Occurrence(
        type="incident",
        action=update.reason,
        subject=update.incidents[0].subject if is_single else "",
        time_ns=max(ends_ns) if is_resolved else event.time_ns,
    )


def _type_segment(text: str) -> str:
    """Return a text as exactly one part of a dotted name."""
    return _NOT_IN_SEGMENT.sub("_", text[:SEGMENT_MAX]) or "_"


def _body_limit(headers: Mapping[str, str]) -> int:
    """Return how many bytes are left for the body."""
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return SIZE_MAX - OVERHEAD_MAX - sum(map(len, lines))


def _encode_within(notification: Notification, limit: int) -> bytes:
    """Return the document in at most ``limit`` bytes."""
    document = encode_document(notification)
    if len(document) <= limit:
        return document
    return encode_document(_trim_attributes(notification, limit))


def _trim_attributes(notification: Notification, limit: int) -> Notification:
    """Return the notification with as many attributes as fit in ``limit`` bytes."""
    events = tuple(
        _with_attributes(event, _omission_mark(len(event.actor.attributes)))
        for event in notification.events
    )
    trimmed = replace(notification, events=events)
    if len(encode_document(trimmed)) > limit:
        trimmed = _trim_texts(trimmed, limit)
    free = limit - len(encode_document(trimmed))
    kept_events = list(trimmed.events)
    for at, event in enumerate(notification.events[: len(kept_events)]):
        attributes = event.actor.attributes
        kept = _take_attributes(attributes, free)
        free -= sum(_encoded_size(name, value) for name, value in kept.items())
        left_out = len(attributes) - len(kept)
        kept_events[at] = _with_attributes(kept_events[at], {**kept, **_omission_mark(left_out)})
        if left_out:
            break
    return replace(trimmed, events=tuple(kept_events))


def _with_attributes(event: Event, attributes: Mapping[str, str]) -> Event:
    return replace(event, actor=replace(event.actor, attributes=attributes))


def _omission_mark(left_out: int) -> dict[str, str]:
    return {ELLIPSIS: f"{left_out} attributes left out"} if left_out else {}


def _take_attributes(attributes: Mapping[str, str], limit: int) -> dict[str, str]:
    """Return the first attributes in at most ``limit`` bytes, up to one named `ELLIPSIS`."""
    kept = {}
    for name, value in attributes.items():
        limit -= _encoded_size(name, value)
        if limit < 0 or name == ELLIPSIS:
            break
        kept[name] = value
    return kept


def _encoded_size(name: str, value: str) -> int:
    """Return what an attribute adds to a JSON object, with the comma before it."""
    return len(_encode({name: value})) - 1  # two braces less, one comma more


def _trim_texts(notification: Notification, limit: int) -> Notification:
    """Return a notification, whose attributes are left out already, in at most ``limit`` bytes."""
    events = [_trim_event(event) for event in notification.events]
    included, update = notification.included, notification.update
    short = replace(
        notification,
        id=_clip(notification.id, TEXT_MAX),
        route=_clip(notification.route, TEXT_MAX),
        events=(events[0],),
        included=None if included is None else _trim_included(included),
    )
    if update is not None:
        short = _trim_incidents(short, update, limit)
    limit -= len(encode_document(short))
    kept = events[:1]
    for event in events[1:]:
        limit -= len(_encode(event_object(event))) + 1
        if limit < 0:
            break
        kept.append(event)
    return replace(short, events=tuple(kept))


def _trim_incidents(notification: Notification, update: Update, limit: int) -> Notification:
    """Return the notification with as many incidents of its update as fit in ``limit`` bytes."""
    group = None
    if update.group is not None:
        fields = islice(update.group.items(), GROUP_MAX)
        group = {_clip(name, FIELD_MAX): _clip(text, FIELD_MAX) for name, text in fields}
    total = len(update.incidents) + update.more
    bare = replace(update, group=group, incidents=(), more=total)
    limit -= len(encode_document(replace(notification, update=bare)))
    kept = []
    for report in update.incidents:
        short = replace(
            report,
            route=_clip(report.route, TEXT_MAX),
            subject=_clip(report.subject, TEXT_MAX),
            problem=replace(report.problem, host=_clip(report.problem.host, TEXT_MAX)),
        )
        limit -= len(_encode(incident_object(short))) + 1
        if limit < 0:
            break
        kept.append(short)
    fitting = replace(bare, incidents=tuple(kept), more=total - len(kept))
    return replace(notification, update=fitting)


def _trim_event(event: Event) -> Event:
    texts = {name: getattr(event, name) for name in _TEXTS}
    short = {name: _clip(text, TEXT_MAX) for name, text in texts.items() if text}
    actor = event.actor
    return replace(
        event,
        **short,
        actor=replace(
            actor,
            id=_clip(actor.id, TEXT_MAX),
            name=actor.name and _clip(actor.name, TEXT_MAX),
            image=actor.image and _clip(actor.image, TEXT_MAX),
        ),
    )


def _trim_included(included: Included) -> Included:
    logs = included.logs
    if logs and _size_bytes(text := "\n".join(logs)) > LOGS_MAX:
        logs = tuple(_clip_end(text, LOGS_MAX).split("\n"))
    return Included(
        logs=logs,
        health=included.health and _clip_end(included.health, HEALTH_MAX),
        inspect={
            _clip(path, PATH_MAX): _trim_value(value)
            for path, value in islice(included.inspect.items(), MAX_INSPECT_FIELDS)
        },
        missing=included.missing and _clip(included.missing, TEXT_MAX),
    )


def _trim_value(value: object) -> object:
    """Return a value that is too long as a truncated text."""
    encoded = _encode(value)
    if len(encoded) <= VALUE_MAX:
        return value
    return _clip(value if isinstance(value, str) else encoded.decode(), VALUE_MAX)


def _clip(text: str, limit: int) -> str:
    """Return the text in at most ``limit`` bytes of JSON, without quotes. An ellipsis marks the
    cut."""
    if _size_bytes(text) <= limit:
        return text
    free, end = limit - _size_bytes(ELLIPSIS), 0
    while (free := free - _size_bytes(text[end])) >= 0:
        end += 1
    return text[:end] + ELLIPSIS


def _clip_end(text: str, limit: int) -> str:
    """Return the end of the text in at most ``limit`` bytes of JSON: see `_clip`."""
    return text if _size_bytes(text) <= limit else _clip(text[::-1], limit)[::-1]


def _size_bytes(text: str) -> int:
    return len(_encode(text)) - 2
