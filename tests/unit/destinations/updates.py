"""Updates of incidents, as destinations render them."""

from typing import Any

from msgspec.structs import replace

from relay.core.event import Event
from relay.core.incident import (
    Condition,
    IncidentReport,
    Resolution,
    Status,
    Update,
    UpdateReason,
)
from relay.core.notification import Notification
from relay.core.severity import Severity
from tests.unit.destinations.samples import CRASH

MINUTE_NS = 60 * 10**9


def report(event: Event = CRASH, **fields: Any) -> IncidentReport:
    """Return an incident that this event opened."""
    opened = IncidentReport(
        id="inc_3f1d0c5e7a9b4826b1d2c3e4f5a60718",
        status=Status.FIRING,
        condition=Condition.DOWN,
        route="crashed",
        severity=Severity.CRITICAL,
        subject=event.actor.name or event.actor.id,
        reason=UpdateReason.OPENED,
        crash_looping=False,
        started_ns=event.time_ns,
        ended_ns=None,
        resolution=None,
        count=1,
        total=1,
        deaths=1,
        notified_before=False,
        sequence=1,
        opening_route="crashed",
        opening_event=event,
    )
    return replace(opened, **fields)


def crash_looping(event: Event = CRASH, **fields: Any) -> IncidentReport:
    """Return an incident that was told, and turned into a crash loop since."""
    told = {
        "condition": Condition.RESTARTING,
        "reason": UpdateReason.CRASH_LOOPING,
        "crash_looping": True,
        "count": 4,
        "total": 5,
        "deaths": 5,
        "notified_before": True,
        "sequence": 2,
    }
    return report(event, **{**told, **fields})


def resolved(event: Event = CRASH, **fields: Any) -> IncidentReport:
    """Return an incident that was told and is over, two minutes after it began."""
    over = {
        "status": Status.RESOLVED,
        "condition": Condition.UP,
        "reason": UpdateReason.RESOLVED,
        "ended_ns": event.time_ns + 2 * MINUTE_NS,
        "resolution": Resolution.RECOVERED,
        "count": 0,
        "notified_before": True,
        "sequence": 2,
    }
    return report(event, **{**over, **fields})


def update_of(*reports: IncidentReport, event: Event = CRASH, **fields: Any) -> Notification:
    """Return the notification of these incidents; ``event`` is the last one of the first."""
    first = reports[0]
    return Notification(
        id="ntf_9c1b2d3e4f5061728394a5b6c7d8e9f0",
        route=first.route,
        events=(event,),
        status=first.status,
        count=sum(each.count for each in reports),
        included=first.included,
        severity=first.severity,
        update=Update(
            first.reason,
            reports,
            **{"group": {"engine": event.engine, "project": "shop"}, **fields},
        ),
    )
