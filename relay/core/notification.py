"""A notification: one event or a group of events, with the route that selected it."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from relay.core.event import Cause, Event


class Status(StrEnum):
    """Whether the condition that a notification reports persists or is over."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How serious an event is. Formats choose colour, emoji and priority by it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Include(msgspec.Struct, frozen=True):
    """What a route wants to know about the container in addition to the event."""

    logs: int = 0
    """How many of its last log lines."""
    health: bool = False
    """Whether the output of its last health check is wanted."""
    inspect: tuple[str, ...] = ()
    """Fields of the engine's ``inspect``, as dotted paths: ``RestartCount``, ``State.Pid``."""


class Included(msgspec.Struct, frozen=True):
    """The engine's answer to `Include`. Whoever runs the container controls all of its content."""

    logs: tuple[str, ...] | None = None
    """The last log lines, oldest first, without control characters; None if there are none."""
    health: str | None = None
    inspect: Mapping[str, object] = {}
    """JSON values by path; None for a field that does not exist."""
    missing: str | None = None
    """Why something that was asked for is missing; None if nothing is."""


class Notification(msgspec.Struct, frozen=True):
    """One message for one or more destinations. It is stored with these field names."""

    id: str
    """``ntf_`` and 32 hex digits; for the same events and the same route always the same."""
    route: str
    events: tuple[Event, ...]
    """In the order in which they happened; at least one."""
    status: Status = Status.FIRING
    count: int = 1
    """How many events it stands for."""
    suppressed: int = 0
    """How many further events noise control held back."""
    include: Include | None = None
    """What its route wants in addition to the events; None for nothing."""
    included: Included | None = None
    """The answer to that; None until the engine was asked, and if its answer came too late."""
    severity: Severity | None = None
    """The severity that its route sets; None to derive it from the event (see
    `resolve_severity`)."""


def build_notification(
    route: str, event: Event, include: Include | None = None, severity: Severity | None = None
) -> Notification:
    """Build the notification of one event by one route."""
    return Notification(
        id=make_notification_id(route, event.id),
        route=route,
        events=(event,),
        include=include,
        severity=severity,
    )


def make_notification_id(route: str, *event_ids: str) -> str:
    """Compute a notification's id from its route and its events, and from nothing that can
    change."""
    identity = "\0".join((route, *event_ids)).encode()
    return "ntf_" + hashlib.blake2b(identity, digest_size=16).hexdigest()


def resolve_severity(notification: Notification) -> Severity:
    """Return the severity that the route sets, else the default for the first event."""
    return notification.severity or default_severity(notification.events[0])


def default_severity(event: Event) -> Severity:
    """Derive the severity of an event from its action and cause.

    Critical: a container was killed for memory, crashed, cannot be started, or fails its health
    check; relay missed events, lost an engine, or cannot reach a destination. Warning: a container
    ended for an unknown reason or was killed; a node is down; a service has no replicas, or its
    update is paused or rolled back; relay gave up a delivery. Everything else is information.
    """
    match event.action:
        case "oom" | "start_failed" | "gap" | "engine_lost" | "destination_failing":
            return Severity.CRITICAL
        case "dead_letter":
            return Severity.WARNING
        case "die" if event.cause in (Cause.CRASHED, Cause.OOM):
            return Severity.CRITICAL
        case "health_status" if event.health == "unhealthy":
            return Severity.CRITICAL
        case "die" if event.cause is Cause.UNKNOWN:
            return Severity.WARNING
        case "kill":
            return Severity.WARNING
        case "update" if _is_worse(event):
            return Severity.WARNING
        case _:
            return Severity.INFO


# The values of moby's api/types/swarm: node.go (NodeState), service.go (UpdateState).
_WORSE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "node": {"state.new": ("down", "disconnected")},
    "service": {
        "replicas.new": ("0",),
        "updatestate.new": ("paused", "rollback_started", "rollback_paused", "rollback_completed"),
    },
}


def _is_worse(event: Event) -> bool:
    """Whether an ``update`` leaves a node or a service in trouble. Other types have labels."""
    attributes = event.actor.attributes
    return any(
        attributes.get(name) in values for name, values in _WORSE.get(event.type, {}).items()
    )
