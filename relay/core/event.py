"""An event of an engine, normalised: the same fields for every engine and API version."""

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
    """It ended with a non-zero exit code and nobody had asked for it."""
    FINISHED = "finished"
    """It ended with exit code zero and nobody had asked for it."""
    UNKNOWN = "unknown"
    """The known facts do not decide it."""


class Origin(StrEnum):
    """How relay learned of an event."""

    LIVE = "live"
    """The stream delivered it as it happened."""
    REPLAYED = "replayed"
    """It came from the engine's history after a reconnect."""
    INFERRED = "inferred"
    """The engine sent no event: reconciliation found its effect."""


class ParseErrorKind(StrEnum):
    """Why a record of the engine's stream is not an event."""

    NOT_JSON = "not_json"
    MISSING_FIELD = "missing_field"
    ODD_TYPE = "odd_type"


class GapReason(StrEnum):
    """Why events may be missing: the reason of a ``gap``."""

    HISTORY_OVERRUN = "history_overrun"
    """While relay was not connected, more happened than the engine remembers."""
    ENGINE_RESTARTED = "engine_restarted"
    """The engine was down, which empties its history; or its history is not full, and still does
    not reach back to the last event that relay received."""
    UNPROVEN = "unproven"
    """The history contains no event that relay has received, and nothing that contradicts it."""
    ANOTHER_ENGINE = "another_engine"
    """An engine with another id answers at the same endpoint."""
    CLOCK_SET_BACK = "clock_set_back"
    """The engine's time is before that of the last event."""
    BUFFER_FULL = "buffer_full"
    """``ingest.buffer`` was full."""
    RECORD_TOO_LONG = "record_too_long"
    """A record was longer than the limit for one record."""
    RECORD_INVALID = "record_invalid"
    """A record was not an event, and nothing of it could be kept."""
    CONTAINERS_FULL = "containers_full"
    """What is known of the containers took too much memory, and some of it was given up."""
    STORE_FULL = "store_full"
    """Deliveries were given up to stay within ``store.max_size``."""
    STORE_BROKEN = "store_broken"
    """The store was found corrupt and was set aside."""


class Actor(msgspec.Struct, frozen=True, gc=False):
    """The object that an event is about."""

    id: str
    """The engine's id of the container, image, network …; empty if the engine gives none."""
    name: str | None
    image: str | None
    attributes: Mapping[str, str]
    """The engine's flat map: a container's labels, with ``image``, ``name`` and more among them."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event, normalised. It is stored and sent with these field names."""

    id: str
    """``evt_`` and 32 hex digits; for the same event always the same (see `make_event_id`)."""
    engine: str
    """The engine's name in the configuration."""
    host: str
    """The name that people know the engine by."""
    type: str
    action: str
    """Without its detail: ``health_status``, not ``health_status: unhealthy``."""
    detail: str | None
    """What follows ``": "`` in the engine's action."""
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
    interactive: bool = False
    """Whether relay knows that the container was started in the foreground with a terminal, or is
    an intermediate container of a build: somebody sees how it ends."""
    ran_ns: int | None = None
    """Of a ``die``: how long the container had run, if that is known."""
    via: str | None = None
    """At a hub: the engine of ``type: nats`` that handed the event over. Then ``host`` is the
    identity of the relay that sent it, and ``engine`` the name that this relay uses. None for what
    relay itself took in or made."""


TYPE_RELAY = "relay"
"""The type of relay's own events. Only a match that names it matches them."""

DEFAULT_ENGINE = "local"
"""The name of the engine if none is configured."""

RELAY_ENGINE = "relay"
"""The engine name in events about relay as a whole."""

HOST_ACTIONS = ("engine_lost", "engine_back")
"""Of `RELAY_ENGINE` and another host: its heartbeats have stopped, or come again."""

SCOPE_SWARM = "swarm"
"""The scope of the events that each manager of a Swarm sends."""

HEARTBEAT = "heartbeat"
"""The action that only says that relay is alive. A newer heartbeat makes all older ones useless."""


def source_of(event: Event) -> str:
    """Return the key of the engine that an event is from, other than that of any other engine.

    For an engine of this relay that is its name. The engines of other hosts may all have the same
    name, so the host comes before it; a space separates them, because no name has one. A Swarm's
    events are the same from each of its managers, and relay's own are from no engine of its host.
    """
    if event.via is None:
        return event.engine
    if event.type == TYPE_RELAY:
        return f"{host_source(event.via, event.host)}{RELAY_ENGINE}"
    if event.scope == SCOPE_SWARM:
        return f"{event.via} {SCOPE_SWARM}"
    return affected_source(event)


def unique_id(event: Event) -> str:
    """Return what no other event has. The relay of another host can choose the ids of its events,
    so the host is in it."""
    return event.id if event.via is None else f"{source_of(event)} {event.id}"


def affected_source(event: Event) -> str:
    """Return the key of the engine that one of relay's own events, or another relay's, is about."""
    if event.via is None:
        return event.engine
    return f"{host_source(event.via, event.host)}{event.engine}"


def host_source(via: str, host: str) -> str:
    """Return how the keys of all engines of another host begin."""
    return f"{via} {host} "


def is_self_event(event: Event) -> bool:
    """Whether an event is about this relay, and not one that the relay of another host made."""
    return event.type == TYPE_RELAY and event.via is None


def is_about_host(event: Event) -> bool:
    """Whether an event says that another host is silent or is heard again."""
    return (
        event.action in HOST_ACTIONS
        and event.via is not None
        and (event.type, event.engine) == (TYPE_RELAY, RELAY_ENGINE)
    )


def make_event_id(
    engine: str,
    time_ns: int,
    type_: str,
    action: str,
    actor_id: str,
    attributes: Mapping[str, str],
    scope: str = "local",
) -> str:
    """Compute the id of an event from everything that distinguishes it from any other.

    ``timeNano`` alone does not distinguish them: two events can carry the same one. ``action`` is
    the engine's, with its detail.

    The managers of a Swarm send the same event each, whatever they are called. Its time is the one
    that the Swarm stores, except of a ``remove``, for which each manager takes its own (moby,
    ``daemon/events.go``, ``daemon.logClusterEvent``).
    """
    identity: list[object] = [type_, action, actor_id, sorted(attributes.items())]
    if scope != SCOPE_SWARM:
        identity = [engine, time_ns, *identity]
    elif action != "remove":
        identity = [time_ns, *identity]
    return "evt_" + hashlib.blake2b(msgspec.json.encode(identity), digest_size=16).hexdigest()


def make_self_event(
    action: str,
    *,
    engine: str,
    host: str,
    time_ns: int,
    name: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> Event:
    """Make an event of ``type: relay``: one about relay itself."""
    copied = dict(attributes or {})
    return Event(
        id=make_event_id(engine, time_ns, TYPE_RELAY, action, "", copied),
        engine=engine,
        host=host,
        type=TYPE_RELAY,
        action=action,
        detail=None,
        scope="local",
        time_ns=time_ns,
        actor=Actor(id="", name=name, image=None, attributes=copied),
    )


def format_second(time_ns: int) -> str:
    """Format a time for people, in UTC to the second: ``2026-11-23T06:48:34Z``."""
    return f"{_format_second(time_ns // 1_000_000_000)}Z"


def format_rfc3339(time_ns: int) -> str:
    """Format a time in UTC with all nine digits, as in ``2026-11-23T06:48:34.938518046Z``."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return f"{_format_second(seconds)}.{nanos:09d}Z"


@lru_cache(maxsize=16)  # most events that follow each other happened in the same second
def _format_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
