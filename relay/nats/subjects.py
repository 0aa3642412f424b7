"""The subjects of events: ``relay.events.HOST.TYPE.ACTION``.

HOST is the name of the relay that publishes the event, and the only part that a server vouches for:
it allows each account its own ``relay.events.HOST.>``. TYPE and ACTION are for filters.
"""

import re
from typing import NamedTuple

from relay.config.nats_keys import MAX_TOKEN_CHARS, NOT_IN_TOKEN

PREFIX = "relay.events"
ALL_EVENTS = f"{PREFIX}.>"
"""The subjects that the stream takes."""

MAX_PART_CHARS = 64
"""Our own limit for a type or an action in a subject."""

_NOT_IN_PART = re.compile(r"[^A-Za-z0-9_-]")


class EventSubject(NamedTuple):
    """The parts of the subject of an event."""

    host: str
    type: str
    action: str


def is_token(text: str) -> bool:
    """Whether a text can be one part of a subject, such as the name of a host."""
    return 0 < len(text) <= MAX_TOKEN_CHARS and NOT_IN_TOKEN.search(text) is None


def make_token(text: str) -> str:
    """Return a text as one part of a subject: ``web-17-example-com`` of ``web-17.example.com``."""
    return NOT_IN_TOKEN.sub("-", text[:MAX_TOKEN_CHARS]) or "-"


def event_subject(host: str, type_: str, action: str) -> str:
    """Return the subject of an event. The host has to be a token; type and action need not."""
    return f"{PREFIX}.{host}.{_make_part(type_)}.{_make_part(action)}"


def host_subjects(host: str) -> str:
    """Return the subjects that a host may publish to."""
    return f"{PREFIX}.{host}.>"


def parse_subject(subject: str) -> EventSubject | None:
    """Return the parts of the subject of an event; None if it is not one."""
    if not subject.startswith(f"{PREFIX}."):
        return None
    tokens = subject[len(PREFIX) + 1 :].split(".")
    if len(tokens) != 3 or not all(map(is_token, tokens)):
        return None
    return EventSubject(*tokens)


def _make_part(text: str) -> str:
    return _NOT_IN_PART.sub("_", text[:MAX_PART_CHARS]) or "_"
