"""How an event is sent from one relay to another: as a CloudEvent in structured mode.

The NATS protocol binding (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/
nats-protocol-binding.md) puts the CloudEvent's JSON into the body. Its ``data`` holds the `Event`
with all of its fields, and what its route included. An event that is too long loses attributes and
then included texts, never itself.

Who sent it is not in the message: only the subject says that, because only the subject is checked
by the server.
"""

import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

import msgspec
from msgspec.structs import replace

from relay.config.validators import NAME_PATTERN
from relay.core.event import SCOPE_SWARM, Event, format_rfc3339
from relay.core.include import Included
from relay.core.text import ELLIPSIS

VERSION = 1
"""The version of ``data``. A change to which readers have to adapt raises it."""
CONTENT_TYPE = "application/cloudevents+json"
MAX_BYTES = 2**20
"""The longest body: nats-server's default of ``max_payload``. Also our own limit for what is read,
because a server may take more."""
SENT_AT = "Relay-Sent-At"
"""The header with the sender's clock at the attempt, in nanoseconds since 1970: the hub finds out
from it how far the clocks are apart."""
HEADROOM_BYTES = 1024
"""What headers and the protocol may take of the longest message."""
MAX_TEXT_CHARS = 512
"""Our own limit for names and ids of an event that is too long even without attributes."""

_EVENT_ID = re.compile(r"evt_[0-9a-f]{32}")
_NOT_IN_SEGMENT = re.compile(r"[^A-Za-z0-9_-]")
MAX_DEPTH = 32
"""How deeply what was included may be nested: an engine's inspection has some five levels. Deeper
values could be read here, and not where less of the stack is left."""
MAX_TIME_NS = 2**63 - 1
"""The year 2262: what the store keeps as a number."""

_encode = msgspec.json.Encoder().encode


class UnreadableMessage(Exception):
    """A message that is not the event of a relay. The text says why."""


class SentEvent(msgspec.Struct, frozen=True):
    """An event, and what its route at the sender included."""

    event: Event
    included: Included | None = None


class _Data(msgspec.Struct, frozen=True):
    event: Event
    version: int = VERSION
    included: Included | None = None


class _CloudEvent(msgspec.Struct, frozen=True):
    data: _Data
    specversion: str = "1.0"


_decode = msgspec.json.Decoder(_CloudEvent).decode


def message_id(host: str, event: Event) -> str:
    """Return the ``Nats-Msg-Id``: a stream drops a second message with the same one.

    The managers of a swarm all report the same events, so of these the id holds no host.
    """
    return event.id if event.scope == SCOPE_SWARM else f"{host}:{event.id}"


def message_headers(host: str, event: Event) -> dict[str, str]:
    """Return the headers of the message with an event."""
    return {"Nats-Msg-Id": message_id(host, event), "Content-Type": CONTENT_TYPE}


def read_sent_at(headers: Mapping[str, str]) -> int | None:
    """Return when a message was published, by the sender's clock; None if it does not say so."""
    text = headers.get(SENT_AT, "")
    is_time = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_TIME_NS))
    return min(int(text), MAX_TIME_NS) if is_time else None


def encode_event(
    host: str, event: Event, included: Included | None = None, max_bytes: int = MAX_BYTES
) -> bytes:
    """Return the body of a message of at most ``max_bytes``, which are 32 KiB or more."""
    body = _encode_message(host, event, included)
    if len(body) <= max_bytes:
        return body
    short = _without_attributes(event)
    included = _trim_included(host, short, included, max_bytes)
    free = max_bytes - len(_encode_message(host, short, included))
    return _encode_message(host, _with_attributes(short, event, free), included)


def decode_event(body: bytes, *, host: str, via: str) -> SentEvent:
    """Return the event in a message from ``host`` that the engine ``via`` handed over.

    Raises `UnreadableMessage`.
    """
    if len(body) > MAX_BYTES:
        raise UnreadableMessage(f"has {len(body)} bytes; relay reads {MAX_BYTES}")
    try:
        data = _decode(body).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableMessage(f"is not the event of a relay: {error}"[:300]) from error
    if data.version != VERSION:
        raise UnreadableMessage(
            f"has version {data.version}; this relay reads {VERSION}: update the older relay"
        )
    if fault := _find_fault(data.event) or _find_depth(data.included):
        raise UnreadableMessage(f"is not the event of a relay: {fault}")
    return SentEvent(replace(data.event, host=host, via=via), data.included)


def _find_fault(event: Event) -> str | None:
    """Return what no relay would have sent; None if there is nothing."""
    if _EVENT_ID.fullmatch(event.id) is None:
        return "the id of the event is none"
    if not 0 <= event.time_ns <= MAX_TIME_NS:
        return "the time of the event is none"
    for name in ("exit_code", "signal", "ran_ns"):
        value = getattr(event, name)
        if value is not None and not -MAX_TIME_NS <= value <= MAX_TIME_NS:
            return f"{name} is no number of an event"
    if NAME_PATTERN.fullmatch(event.engine) is None:
        return "the name of its engine is none"
    if not (event.type and event.action):
        return "it has no type or no action"
    return None


def _find_depth(included: Included | None) -> str | None:
    """Return what is wrong with what was included; None if it is not nested too deeply."""
    level: list[Any] = [] if included is None else list(included.inspect.values())
    for _ in range(MAX_DEPTH):
        nested = [it for it in level if isinstance(it, dict | list)]
        if not nested:
            return None
        parts = (it.values() if isinstance(it, dict) else it for it in nested)
        level = list(chain.from_iterable(parts))
    return f"what was included has more than {MAX_DEPTH} levels"


def _encode_message(host: str, event: Event, included: Included | None) -> bytes:
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": message_id(host, event),
        "source": f"/hosts/{host}/engines/{_segment(event.engine)}",
        "type": f"com.docker.{_segment(event.type)}.{_segment(event.action)}",
        "time": format_rfc3339(event.time_ns),
        "datacontenttype": "application/json",
        "data": {"version": VERSION, "event": event, "included": included},
    }
    return _encode(document)


def _segment(text: str) -> str:
    return _NOT_IN_SEGMENT.sub("_", text[:64]) or "_"


def _without_attributes(event: Event) -> Event:
    actor = event.actor
    return replace(
        event,
        type=event.type[:MAX_TEXT_CHARS],
        action=event.action[:MAX_TEXT_CHARS],
        detail=_clip(event.detail),
        health=_clip(event.health),
        actor=replace(
            actor,
            id=actor.id[:MAX_TEXT_CHARS],
            name=_clip(actor.name),
            image=_clip(actor.image),
            attributes={},
        ),
    )


def _with_attributes(short: Event, event: Event, free: int) -> Event:
    """Return the event with as many of its attributes as fit into ``free`` more bytes.

    As in relay's other CloudEvents, an attribute named `ELLIPSIS` says how many are left out.
    """
    attributes = event.actor.attributes
    free -= _entry_bytes(ELLIPSIS, str(len(attributes)))
    kept: dict[str, str] = {}
    for name, value in attributes.items():
        free -= _entry_bytes(name, value)
        if free < 0:
            break
        kept[name] = value
    if len(kept) < len(attributes):
        kept[ELLIPSIS] = str(len(attributes) - len(kept))
    return replace(short, actor=replace(short.actor, attributes=kept))


def _trim_included(
    host: str, event: Event, included: Included | None, max_bytes: int
) -> Included | None:
    """Return what was included if it fits; else the last log lines that do, and why no more."""
    reserve = 2 * _entry_bytes(ELLIPSIS, "9999")
    if included is None or _fits(host, event, included, max_bytes - reserve):
        return included
    bare = Included(missing="too long to be sent to the hub")
    free = max_bytes - reserve - len(_encode_message(host, event, bare))
    kept: list[str] = []
    for line in reversed(included.logs or ()):
        free -= len(_encode(line)) + 1
        if free < 0:
            break
        kept.append(line)
    return replace(bare, logs=tuple(reversed(kept)) or None)


def _fits(host: str, event: Event, included: Included, max_bytes: int) -> bool:
    return len(_encode_message(host, event, included)) <= max_bytes


def _entry_bytes(name: str, value: str) -> int:
    return len(_encode(name)) + len(_encode(value)) + 2


def _clip(text: str | None) -> str | None:
    return None if text is None else text[:MAX_TEXT_CHARS]
