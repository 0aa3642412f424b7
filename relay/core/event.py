"""What an engine says has happened, in relay's own words."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

import msgspec


class Cause(StrEnum):
    """Why a container ended; only a ``die`` has one."""

    REQUESTED = "requested"
    """Somebody asked for it: stop, restart, rm -f, kill with a terminating signal."""
    OOM = "oom"
    """The kernel killed it for memory."""
    CRASHED = "crashed"
    """It ended with a non-zero exit code and nobody had asked."""
    FINISHED = "finished"
    """It ended with exit code zero and nobody had asked."""
    UNKNOWN = "unknown"
    """What is known does not tell."""


class Origin(StrEnum):
    """How relay learned of an event."""

    LIVE = "live"
    """It came over the stream as it happened."""
    REPLAYED = "replayed"
    """It came out of the engine's history after a reconnect."""
    INFERRED = "inferred"
    """No event told of it: reconciliation found its effect."""


class GapReason(StrEnum):
    """Why something may be missing: the reason of a ``gap``."""

    HISTORY_OVERRUN = "history_overrun"
    """More happened while nobody listened than the engine remembers."""
    ENGINE_RESTARTED = "engine_restarted"
    """The engine was down, which empties its memory; or its memory, though not full, does not
    reach back to what was heard."""
    UNPROVEN = "unproven"
    """Its memory holds nothing that was heard before, and nothing that speaks against that."""
    ANOTHER_ENGINE = "another_engine"
    """An engine with another id answers at the same place."""
    CLOCK_SET_BACK = "clock_set_back"
    """The engine's time is before that of the last event."""
    BUFFER_FULL = "buffer_full"
    """``ingest.buffer`` had no more room."""
    RECORD_TOO_LONG = "record_too_long"
    """A record outgrew what is kept of one."""
    STORE_FULL = "store_full"
    """Deliveries were given up to stay within ``store.max_size``."""
    STORE_BROKEN = "store_broken"
    """The store was found broken and set aside."""


class Actor(msgspec.Struct, frozen=True, gc=False):
    """What the event is about."""

    id: str
    """The engine's id of the container, image, network …; empty where the engine gives none."""
    name: str | None
    image: str | None
    attributes: Mapping[str, str]
    """The engine's flat map: a container's labels, with ``image``, ``name`` and more among them."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened, normalised: the same words for every engine and API version."""

    id: str
    """``evt_`` and 32 hex digits; the same for the same event, for ever (see `make_event_id`)."""
    engine: str
    """The name that the configuration gives the engine."""
    host: str
    """The name that people know the engine by."""
    type: str
    action: str
    """Without its detail: ``health_status``, not ``health_status: unhealthy``."""
    detail: str | None
    """What stood behind ``": "`` in the engine's action."""
    scope: str
    """``local`` or ``swarm``."""
    time_ns: int
    """The engine's own time, in nanoseconds since 1970."""
    actor: Actor
    cause: Cause | None = None
    exit_code: int | None = None
    signal: int | None = None
    health: str | None = None
    origin: Origin = Origin.LIVE


TYPE_RELAY = "relay"
"""The type of relay's own happenings; only a match that names it takes them."""


RELAY_ENGINE = "relay"
"""The engine that events about relay as a whole carry."""

HEARTBEAT = "heartbeat"
"""The action that says nothing but that relay lives: a newer one makes all before it worthless."""


def make_event_id(
    engine: str,
    time_ns: int,
    type_: str,
    action: str,
    actor_id: str,
    attributes: Mapping[str, str],
) -> str:
    """The id of an event, from everything that tells it from any other.

    ``timeNano`` alone does not: two events can carry the same one. ``action`` is the engine's,
    with its detail.
    """
    identity = msgspec.json.encode(
        [engine, time_ns, type_, action, actor_id, sorted(attributes.items())]
    )
    return "evt_" + hashlib.blake2b(identity, digest_size=16).hexdigest()


def make_self_event(
    action: str,
    *,
    engine: str,
    host: str,
    time_ns: int,
    name: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> Event:
    """An event of ``type: relay``: something that happened to relay itself."""
    facts = dict(attributes or {})
    return Event(
        id=make_event_id(engine, time_ns, TYPE_RELAY, action, "", facts),
        engine=engine,
        host=host,
        type=TYPE_RELAY,
        action=action,
        detail=None,
        scope="local",
        time_ns=time_ns,
        actor=Actor(id="", name=name, image=None, attributes=facts),
    )


def format_rfc3339(time_ns: int) -> str:
    """``time_ns`` in UTC with all nine digits, as in ``2026-11-23T06:48:34.938518046Z``."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return f"{_format_second(seconds)}.{nanos:09d}Z"


@lru_cache(maxsize=16)
def _format_second(seconds: int) -> str:
    """Most of what is told one after the other happened in the same second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
