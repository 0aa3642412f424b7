"""Updates of incidents, as destinations render them."""

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from relay.core.event import Event
from relay.core.incident import (
    Condition,
    IncidentReport,
    Resolution,
    Status,
    Update,
    UpdateReason,
    describe_problem,
)
from relay.core.include import Included
from relay.core.notification import Notification
from relay.core.severity import Severity
from tests.unit.destinations.samples import (
    CRASH,
    STARTED,
    crash_of,
    events,
    hostile,
    hostile_notification,
    notifications,
)

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
        unhealthy=0,
        notified_before=False,
        sequence=1,
        opening_route="crashed",
        problem=describe_problem(event, event),
        opening_event=event,
        opening_severity=Severity.CRITICAL,
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


HOSTILE_NAME = '<!channel> [x](http://evil.example) "quoted" *b* \x1b[31m\u202egnp & @here'
"""Mentions, links, markup and what would change a terminal, in the place of a name."""
OPENED = update_of(report())
CRASH_LOOPING = update_of(crash_looping())
RESOLVED = update_of(resolved())
"""One incident, from its first message to its last."""


def with_hostile_names(notification: Notification, name: str = HOSTILE_NAME) -> Notification:
    """The same, with every name that others choose replaced by an attack."""
    update = notification.update
    assert update is not None
    event = hostile_notification(name).events[0]
    reports = tuple(
        replace(
            each,
            subject=name,
            opening_event=event,
            included=Included((name,), name, {name: name}, name),
        )
        for each in update.incidents
    )
    return replace(
        notification,
        events=(event,),
        included=reports[0].included if reports else None,
        update=replace(update, incidents=reports, group={"engine": name, "project": name}),
    )


SINGLE_UPDATES = (
    OPENED,
    CRASH_LOOPING,
    RESOLVED,
    *map(with_hostile_names, (OPENED, CRASH_LOOPING, RESOLVED)),
)
"""Updates of one incident each, as a pager gets them: ordinary, and with hostile names."""
SEVERAL = update_of(
    crash_looping(),
    report(crash_of("shop-api-1"), subject="shop-api-1", severity=Severity.WARNING),
    resolved(subject=HOSTILE_NAME),
    more=3,
    group=None,
)
"""Several incidents of several groups, one of them resolved, and more that are not listed."""
PLAIN_EVENTS = Notification(
    id="ntf_0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f6",
    route="started",
    events=(STARTED,),
    count=3,
    severity=Severity.INFO,
    update=Update(
        UpdateReason.EVENTS,
        group={"engine": "here", "project": "shop"},
        actions={"start": 3},
        names=("db", "api", HOSTILE_NAME),
    ),
)
"""A group of plain events."""
ALL_UPDATES = (*SINGLE_UPDATES, SEVERAL, PLAIN_EVENTS)

_times = st.integers(0, 2**62)
_reports = st.builds(
    IncidentReport,
    id=st.integers(0, 2**128 - 1).map("inc_{:032x}".format),
    status=st.sampled_from(Status),
    condition=st.sampled_from(Condition),
    route=hostile,
    severity=st.sampled_from(Severity),
    subject=hostile,
    reason=st.sampled_from(UpdateReason),
    crash_looping=st.booleans(),
    started_ns=_times,
    ended_ns=st.none() | _times,
    resolution=st.none() | st.sampled_from(Resolution),
    count=st.integers(0, 2**62),
    total=st.integers(1, 2**62),
    deaths=st.integers(0, 2**62),
    unhealthy=st.integers(0, 2**62),
    notified_before=st.booleans(),
    sequence=st.integers(1, 9),
    opening_route=hostile,
    problem=st.builds(describe_problem, events, events),
    opening_event=events,
    opening_severity=st.sampled_from(Severity),
)


def updates(max_incidents: int = 100) -> st.SearchStrategy[Notification]:
    """Any update with at most this many incidents, and at least one."""
    update = st.builds(
        Update,
        reason=st.sampled_from(UpdateReason),
        incidents=st.lists(_reports, min_size=1, max_size=max_incidents).map(tuple),
        more=st.integers(0, 20_000),
        made_ns=_times,
        group=st.none() | st.dictionaries(hostile, hostile, max_size=4),
    )
    return st.builds(
        lambda notification, update: replace(notification, include=None, update=update),
        notifications,
        update,
    )
