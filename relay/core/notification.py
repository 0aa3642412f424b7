"""What is sent: an event or a group of them, with the route that chose it."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from relay.core.event import Cause, Event


class Status(StrEnum):
    """Whether what a notification tells of goes on or is over."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How much it matters; formats pick colour, emoji and priority by it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Include(msgspec.Struct, frozen=True):
    """What a route wants to be told of a container beside the event."""

    logs: int = 0
    """How many of its last log lines."""
    health: bool = False
    """What its last health check printed."""
    inspect: tuple[str, ...] = ()
    """Fields of the engine's ``inspect``, as dotted paths: ``RestartCount``, ``State.Pid``."""


class Included(msgspec.Struct, frozen=True):
    """What the engine told of it. All of it was written by whoever runs the container."""

    logs: tuple[str, ...] | None = None
    """The last log lines, oldest first, free of control characters; None if there are none."""
    health: str | None = None
    inspect: Mapping[str, object] = {}
    """JSON values by path; a field that is not there is None."""
    missing: str | None = None
    """Why something that was asked for is not here; None if nothing is missing."""


class Notification(msgspec.Struct, frozen=True):
    """One message for one or more destinations."""

    id: str
    """``ntf_`` and 32 hex digits; the same for the same events by the same route, for ever."""
    route: str
    events: tuple[Event, ...]
    """In the order in which they happened, at least one."""
    status: Status = Status.FIRING
    count: int = 1
    """How many events it stands for."""
    suppressed: int = 0
    """How many further events noise control held back."""
    include: Include | None = None
    """What its route wants beside the events; None for nothing."""
    included: Included | None = None
    """What came of that; None until it was asked for, and if the time for it ran out."""
    severity: Severity | None = None
    """What its route says of it; None leaves it to its event (see `severity`)."""


def build_notification(
    route: str, event: Event, include: Include | None = None, severity: Severity | None = None
) -> Notification:
    """The notification of one event by one route."""
    return Notification(
        id=make_notification_id(route, event.id),
        route=route,
        events=(event,),
        include=include,
        severity=severity,
    )


def make_notification_id(route: str, *event_ids: str) -> str:
    """The id of a notification: of its route and its events, and of nothing that could change."""
    identity = "\0".join((route, *event_ids)).encode()
    return "ntf_" + hashlib.blake2b(identity, digest_size=16).hexdigest()


def resolve_severity(notification: Notification) -> Severity:
    """How much it matters: what its route says, else what its first event is."""
    return notification.severity or default_severity(notification.events[0])


def default_severity(event: Event) -> Severity:
    """How much an event matters, from its action and cause.

    Critical: a container was killed for memory, crashed, or fails its health check; relay lost
    sight of something, or cannot tell somebody. Warning: a container ended for no known reason or
    was killed; relay gave up a delivery. Everything else is information.
    """
    match event.action:
        case "oom" | "gap" | "engine_lost" | "destination_failing":
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
        case _:
            return Severity.INFO
