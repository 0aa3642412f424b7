"""Updates of incidents, as destinations render them."""

from typing import Any

from msgspec.structs import replace

from relay.core.container_facts import ContainerFacts
from relay.core.event import Cause, Event, make_self_event
from relay.core.incident import (
    Condition,
    IncidentReport,
    Problem,
    Resolution,
    Status,
    Update,
    UpdateReason,
    describe_problem,
)
from relay.core.include import Included
from relay.core.notification import Notification
from relay.core.severity import Severity
from relay.destinations.common.card import Card
from tests.unit.destinations.samples import (
    CRASH,
    CUSTOM_CARD,
    SAMPLE_CARDS,
    STARTED,
    crash_of,
    custom_card,
    hostile_notification,
    longest_notification,
    with_fields,
)

SECOND_NS = 10**9
NO_POLICY = ContainerFacts(restart_policy="no")
MINUTE_NS = 60 * SECOND_NS


def problem(**fields: Any) -> Problem:
    """Return the last crash as a problem, with other facts."""
    return replace(describe_problem(CRASH, CRASH), **fields)


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
    """Return an incident that was reported before, and has become a crash loop since."""
    looping = {
        "condition": Condition.RESTARTING,
        "reason": UpdateReason.CRASH_LOOPING,
        "crash_looping": True,
        "count": 4,
        "total": 5,
        "deaths": 5,
        "notified_before": True,
        "sequence": 2,
    }
    return report(event, **{**looping, **fields})


def resolved(event: Event = CRASH, **fields: Any) -> IncidentReport:
    """Return an incident that was reported before, and ended two minutes after it began."""
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


def update_of(*reports: IncidentReport, event: Event | None = None, **fields: Any) -> Notification:
    """Return the notification of these incidents; ``event`` is the last one of the first."""
    first = reports[0]
    last = event or first.opening_event or CRASH
    return Notification(
        id="ntf_9c1b2d3e4f5061728394a5b6c7d8e9f0",
        route=first.route,
        events=(last,),
        status=first.status,
        count=sum(each.count for each in reports),
        included=first.included,
        severity=first.severity,
        update=Update(
            first.reason,
            reports,
            **{"group": {"engine": last.engine, "project": "shop"}, **fields},
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
            problem=replace(each.problem, engine=name, host=name),
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
GOLDEN_CARDS = (
    *SAMPLE_CARDS,
    *map(Card, (OPENED, CRASH_LOOPING, RESOLVED, SEVERAL, with_hostile_names(SEVERAL))),
    CUSTOM_CARD,
)
"""Messages about events and incidents, for the golden files of mail and Apprise."""


def made(notification: Notification, after_s: float = 3.0, **fields: Any) -> Notification:
    """The same notification, made this many seconds after its first event."""
    update = notification.update
    assert update is not None
    made_ns = notification.events[0].time_ns + round(after_s * SECOND_NS)
    return replace(notification, update=replace(update, made_ns=made_ns, **fields))


def with_all_events(notification: Notification) -> Notification:
    """The same with the event of each incident, of which `update_of` has the first."""
    update = notification.update
    assert update is not None
    events = (each.opening_event for each in update.incidents)
    return replace(notification, events=tuple(each for each in events if each is not None))


def _named(name: str, *, over: bool = False, **fields: Any) -> IncidentReport:
    event = crash_of(name)
    return (resolved if over else report)(event, subject=name, **fields)


_LOGS = Included(logs=("starting", "panic: no route to db-1"), inspect={"RestartCount": 5})
_THREE = (
    _named("shop-db-1", condition=Condition.UP, included=_LOGS),
    _named("shop-api-1", condition=Condition.RESTARTING, included=_LOGS),
    _named("shop-worker-1"),
)
_SICK = with_fields(CRASH, action="health_status", health="unhealthy", cause=None, exit_code=None)
_OOM_DEATH = with_fields(CRASH, cause=Cause.OOM, exit_code=137)
_NOT_FOUND = with_fields(CRASH, exit_code=127)
_FAILED = problem(action="start_failed", cause=None, exit_code=None, error=HOSTILE_NAME)
_LOST = make_self_event(
    "engine_lost",
    engine="edge",
    host="node-2",
    time_ns=CRASH.time_ns,
    attributes={"reason": "connection refused"},
)
_REMINDED: dict[str, Any] = {"reason": UpdateReason.REMINDER, "count": 0}
_CHANGED = tuple(
    with_fields(
        crash_of(name), action=action, cause=None, exit_code=None, time_ns=CRASH.time_ns + number
    )
    for number, (name, action) in enumerate(
        (name, action)
        for name in ("db", "api", "worker")
        for action in ("stop", "destroy", "start")
    )
)

FOR_PEOPLE = {
    "opened": made(OPENED),
    "opened, a group": made(with_all_events(update_of(*_THREE))),
    "crash-looping": made(
        update_of(crash_looping(started_ns=CRASH.time_ns - 3 * SECOND_NS, included=_LOGS))
    ),
    "flapping": made(
        update_of(
            crash_looping(
                _SICK,
                condition=Condition.UNHEALTHY,
                count=2,
                total=3,
                deaths=3,
                unhealthy=3,
                started_ns=_SICK.time_ns - 80 * SECOND_NS,
            ),
            event=_SICK,
        )
    ),
    "reopened": made(
        update_of(
            report(
                reason=UpdateReason.REOPENED,
                condition=Condition.UP,
                deaths=2,
                total=2,
                started_ns=CRASH.time_ns - 180 * SECOND_NS,
                notified_before=True,
            )
        )
    ),
    "worse": made(
        update_of(report(reason=UpdateReason.WORSE, deaths=2, unhealthy=1, notified_before=True))
    ),
    "stays down": made(
        update_of(report(reason=UpdateReason.STAYS_DOWN, deaths=5, notified_before=True)), 120
    ),
    "given up": made(
        update_of(
            report(
                _NOT_FOUND,
                deaths=4,
                total=4,
                started_ns=CRASH.time_ns - 2 * SECOND_NS,
                given_up=True,
                container=ContainerFacts(
                    restart_policy="on-failure", max_retries=3, restart_count=3
                ),
            ),
        ),
    ),
    "out of memory": made(
        update_of(
            report(
                _OOM_DEATH,
                condition=Condition.RESTARTING,
                problem=replace(
                    describe_problem(_OOM_DEATH, _OOM_DEATH), ran_ns=2 * 3600 * SECOND_NS
                ),
                container=ContainerFacts(
                    restart_policy="always", restart_count=1, memory_limit=256 * 2**20
                ),
            ),
        ),
    ),
    "engine lost": made(update_of(report(_LOST, subject="edge"), group={"engine": "edge"})),
    "resolved": made(
        update_of(resolved(deaths=69, total=69, ended_ns=CRASH.time_ns + 3709 * SECOND_NS)), 3709
    ),
    "mixed": made(
        update_of(
            _named("shop-worker-1", condition=Condition.UP),
            _named("shop-db-1", over=True),
            _named("shop-api-1", over=True),
        ),
        60,
    ),
    "reminder": made(
        replace(
            update_of(report(**_REMINDED), _named("db", **_REMINDED), group=None),
            severity=Severity.INFO,
        ),
        86_400,
    ),
    "reminder of one": made(
        replace(
            update_of(report(given_up=True, container=NO_POLICY, **_REMINDED), group=None),
            severity=Severity.INFO,
        ),
        86_400,
    ),
    "plain events": made(
        replace(
            PLAIN_EVENTS,
            events=_CHANGED,
            count=9,
            update=Update(
                UpdateReason.EVENTS,
                group={"engine": "here", "project": "shop"},
                actions={"stop": 3, "destroy": 3, "start": 3},
                names=("db", "api", "worker"),
            ),
        )
    ),
    "more plain events than are listed": made(
        replace(
            PLAIN_EVENTS,
            events=_CHANGED,
            count=13,
            update=Update(
                UpdateReason.EVENTS,
                group={"engine": "here", "project": "shop"},
                actions={"stop": 4, "destroy": 4, "start": 5},
                names=("db", "api", "worker", "cron", "mail"),
            ),
        )
    ),
    "100 incidents and 9,900 more": made(
        update_of(*(_named(f"web-{n}") for n in range(100)), more=9_900, group=None)
    ),
    "delayed": made(OPENED, late_ns=CRASH.time_ns + 8 * 3_600 * SECOND_NS),
    "hostile names": made(
        with_hostile_names(
            update_of(
                *(replace(each, problem=_FAILED) for each in _THREE),
                actions={HOSTILE_NAME: 2},
                overflow=True,
            ),
        )
    ),
}
"""Updates as chats and phones get them, by what they report."""


def longest_update(filler: str, output: str | None = None, *, incidents: int = 1) -> Notification:
    """The `longest_notification` as one of incidents, whose sentences are as long as possible."""
    base, most = longest_notification(filler, output), 2**62
    event = with_fields(base.events[0], action="start_failed")
    longest = report(
        event,
        id="inc_" + "f" * 32,
        condition=Condition.UNHEALTHY,
        route=filler,
        crash_looping=True,
        started_ns=0,
        count=most,
        total=most,
        deaths=most,
        unhealthy=most - 2,
        opening_route=filler,
        problem=Problem(
            "service",
            "start_failed",
            most,
            filler,
            filler,
            exit_code=-(2**31),
            error=filler[:200],
            has_first_code=False,
        ),
        opening_event=None,
        opening_severity=None,
        unknown_since_ns=0,
        included=base.included,
        container=ContainerFacts(restart_policy=filler, restart_count=most, memory_limit=most),
    )
    update = Update(
        UpdateReason.REOPENED,
        (longest,) * incidents,
        more=(incidents - 1) * 10**6,
        group={"project": filler},
        actions={filler: most} if incidents > 1 else {},
        overflow=incidents > 1,
        made_ns=0,
        late_ns=most,
    )
    return replace(base, events=(event,), include=None, update=update)


def longest_death(filler: str, output: str | None = None) -> Notification:
    """The `longest_update` about a kill for memory, which has the most facts."""
    made = longest_update(filler, output)
    update = made.update
    assert update is not None
    incident = replace(
        update.incidents[0],
        problem=problem(action="die", cause=Cause.OOM, exit_code=-(2**31), ran_ns=2**62),
        reason=UpdateReason.REMINDER,
    )
    event = with_fields(made.events[0], actor=replace(made.events[0].actor, id="f53eb17c442d"))
    return replace(made, events=(event,), update=replace(update, incidents=(incident,)))


def longest_cards(filler: str, output: str | None = None) -> list[Card]:
    """The longest notifications, with and without custom texts that are as long."""
    choices = ("", filler)
    return [
        custom_card(notification, title, text)
        for notification in (longest_notification(filler, output), longest_death(filler, output))
        for title in choices
        for text in choices
    ]
