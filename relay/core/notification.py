"""A notification: one event or a group of events, with the route that selected it."""

import hashlib
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from relay.core.event import Event, unique_id
from relay.core.incident import Status, Update
from relay.core.include import Include, Included
from relay.core.severity import Severity, default_severity

LATE_NS = 5 * 60 * 10**9
"""A message about incidents that is sent so long after it was made says when that was. The first
retries, and the pauses of services' own rate limits, are shorter."""


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
    update: Update | None = None
    """What it reports about incidents and groups; None if it stands for its events alone."""


Repeat = Callable[[], Notification | None]
"""Returns what repeats an open incident as it is then; None if it is over."""


def build_notification(
    route: str, event: Event, include: Include | None = None, severity: Severity | None = None
) -> Notification:
    """Build the notification of one event by one route."""
    return Notification(
        id=make_notification_id(route, unique_id(event)),
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


def mark_late(notification: Notification, now_ns: int) -> Notification:
    """Return a notification as it is sent now, by the wall clock: see `LATE_NS`."""
    update = notification.update
    if update is None or now_ns - update.made_ns <= LATE_NS:
        return notification
    return replace(notification, update=replace(update, late_ns=now_ns))
