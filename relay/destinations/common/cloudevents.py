"""CloudEvents 1.0: the document of ``format: json`` with attributes that any receiver knows.

The specification (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md), its JSON
format (``formats/json-format.md`` beside it) and its HTTP binding
(``bindings/http-protocol-binding.md``): structured, with everything in the body, and binary, with
the attributes in headers.

Receivers need not take, nor those in between pass on, an event of more than 64 KiB. Of one that
would be longer the engine's attributes are left out from the last one on, and `MARK` says how many.
Only where that is not enough are texts cut and, of a group, the last events left out; ``count``
still counts these.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from relay.config.validators import MAX_INSPECT_FIELDS
from relay.core.event import Event, format_rfc3339
from relay.core.exchange import Request
from relay.core.notification import Included, Notification
from relay.core.text import ELLIPSIS, truncate
from relay.destinations.common import json_document

SIZE_MAX = 65_536
"""Of an event on the wire, in bytes: the specification, "Size Limits"."""
OVERHEAD_MAX = 2_048
"""Ours: how much of that is kept for the request's first line and the headers of others."""
ATTRIBUTE_MAX = 255
"""Ours: of an attribute of CloudEvents, in UTF-16 units."""
SEGMENT_MAX = 64
"""Ours: of each part of ``type``."""
# Ours, in bytes of JSON, where texts have to be cut: one event with all that can be included is
# then some 50 KiB at most.
TEXT_MAX = 512
"""A name, an id and the like; all that one is made of."""
LOGS_MAX = 12_288
"""All log lines together, with two bytes for what parts them; the last ones are kept."""
HEALTH_MAX = 8_192
PATH_MAX = 200
"""The name of an inspect field."""
VALUE_MAX = 600
"""Its value."""

STRUCTURED_TYPE = "application/cloudevents+json; charset=utf-8"
"""The content type of one event that is all in the body."""
BATCH_TYPE = "application/cloudevents-batch+json; charset=utf-8"
"""That of several, as a JSON array of such bodies: the HTTP binding, section 3.3, and the JSON
format, section 4."""

_JSON = "application/json"
_NOT_IN_SEGMENT = re.compile(r"[^A-Za-z0-9_-]")
_HEADER_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What a header's value keeps as it is: the HTTP binding, section 3.1.3.2."""
_TEXTS = ("id", "engine", "host", "type", "action", "detail", "scope", "health")
_encode = msgspec.json.Encoder().encode


def render_structured(notification: Notification, url: str) -> Request:
    """Everything in the body, which is one JSON object."""
    head = {**_context_attributes(notification), "datacontenttype": _JSON}
    headers = {"Content-Type": STRUCTURED_TYPE}
    room = _body_limit(headers) - len(_encode({**head, "data": ""}))
    event = {**head, "data": msgspec.Raw(_encode_document(notification, room))}
    return Request(_encode(event), url, headers)


def render_binary(notification: Notification, url: str) -> Request:
    """The attributes in headers, the document as the body."""
    context = _context_attributes(notification).items()
    headers = {f"ce-{name}": quote(value, safe=_HEADER_SAFE) for name, value in context}
    headers["Content-Type"] = _JSON
    return Request(_encode_document(notification, _body_limit(headers)), url, headers)


def _context_attributes(notification: Notification) -> dict[str, str]:
    """The context attributes, free of the characters that none may hold.

    A notification's id is made of its route and its events, so no two of a source have the same.
    """
    event = notification.events[0]
    subject = event.actor.name or event.actor.id
    return {
        "specversion": "1.0",
        "id": truncate(notification.id, ATTRIBUTE_MAX),
        "source": f"/engines/{quote(truncate(event.engine, SEGMENT_MAX), safe='')}",
        "type": f"com.docker.{_type_segment(event.type)}.{_type_segment(event.action)}",
        **({"subject": truncate(subject, ATTRIBUTE_MAX)} if subject else {}),
        "time": format_rfc3339(event.time_ns),
    }


def _type_segment(text: str) -> str:
    """A part of a dotted name that is no more than one part."""
    return _NOT_IN_SEGMENT.sub("_", text[:SEGMENT_MAX]) or "_"


def _body_limit(headers: Mapping[str, str]) -> int:
    """How many bytes are left for the body."""
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return SIZE_MAX - OVERHEAD_MAX - sum(map(len, lines))


def _encode_document(notification: Notification, room: int) -> bytes:
    """The document in at most ``room`` bytes."""
    whole = json_document.encode_document(notification)
    return (
        whole
        if len(whole) <= room
        else json_document.encode_document(_trim_attributes(notification, room))
    )


def _trim_attributes(notification: Notification, room: int) -> Notification:
    """The notification with as many attributes as there is room for."""
    cut = replace(notification, events=tuple(_without_attributes(it) for it in notification.events))
    if len(json_document.encode_document(cut)) > room:
        cut = _trim_texts(cut, room)
    spare = room - len(json_document.encode_document(cut))
    events = list(cut.events)
    for at, event in enumerate(notification.events[: len(events)]):
        attributes = event.actor.attributes
        kept = _take_attributes(attributes, spare)
        spare -= sum(_encoded_size(name, value) for name, value in kept.items())
        left_out = len(attributes) - len(kept)
        events[at] = _with_attributes(events[at], {**kept, **_omission_mark(left_out)})
        if left_out:
            break
    return replace(cut, events=tuple(events))


def _without_attributes(event: Event) -> Event:
    return _with_attributes(event, _omission_mark(len(event.actor.attributes)))


def _with_attributes(event: Event, attributes: Mapping[str, str]) -> Event:
    return replace(event, actor=replace(event.actor, attributes=attributes))


def _omission_mark(left_out: int) -> dict[str, str]:
    return {ELLIPSIS: f"{left_out} attributes left out"} if left_out else {}


def _take_attributes(attributes: Mapping[str, str], room: int) -> dict[str, str]:
    """The first of them, in at most ``room`` bytes; an attribute called `MARK` ends them too."""
    kept = {}
    for name, value in attributes.items():
        room -= _encoded_size(name, value)
        if room < 0 or name == ELLIPSIS:
            break
        kept[name] = value
    return kept


def _encoded_size(name: str, value: str) -> int:
    """What it adds to an object: of its braces one stands for the comma."""
    return len(_encode({name: value})) - 1


def _trim_texts(notification: Notification, room: int) -> Notification:
    """The notification, its attributes left out already, in at most ``room`` bytes."""
    events = [_trim_event(event) for event in notification.events]
    told = notification.included
    short = replace(
        notification,
        id=_clip(notification.id, TEXT_MAX),
        route=_clip(notification.route, TEXT_MAX),
        events=(events[0],),
        included=None if told is None else _trim_included(told),
    )
    room -= len(json_document.encode_document(short))
    return replace(short, events=(events[0], *_take_events(events[1:], room)))


def _take_events(events: Iterable[Event], room: int) -> Iterator[Event]:
    for event in events:
        room -= len(_encode(json_document.event_object(event))) + 1
        if room < 0:
            return
        yield event


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


def _trim_included(told: Included) -> Included:
    return Included(
        logs=told.logs and _last_lines(told.logs),
        health=told.health and _clip_end(told.health, HEALTH_MAX),
        inspect={
            _clip(path, PATH_MAX): _trim_value(value)
            for path, value in islice(told.inspect.items(), MAX_INSPECT_FIELDS)
        },
        missing=told.missing and _clip(told.missing, TEXT_MAX),
    )


def _last_lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    text = "\n".join(lines)
    return lines if _size_bytes(text) <= LOGS_MAX else tuple(_clip_end(text, LOGS_MAX).split("\n"))


def _trim_value(value: object) -> object:
    """One that is too long becomes a text, if it is none yet, and that is cut."""
    encoded = _encode(value)
    if len(encoded) <= VALUE_MAX:
        return value
    return _clip(value if isinstance(value, str) else encoded.decode(), VALUE_MAX)


def _clip(text: str, limit: int) -> str:
    """The text in at most ``limit`` bytes of JSON, without the quotes; where it is cut, a mark."""
    if _size_bytes(text) <= limit:
        return text
    room, at = limit - _size_bytes(ELLIPSIS), 0
    while (room := room - _size_bytes(text[at])) >= 0:
        at += 1
    return text[:at] + ELLIPSIS


def _clip_end(text: str, limit: int) -> str:
    """As `_clip`, but the end is what is kept."""
    return text if _size_bytes(text) <= limit else _clip(text[::-1], limit)[::-1]


def _size_bytes(text: str) -> int:
    return len(_encode(text)) - 2
