"""What messages report about incidents: the values between the decision and the message.

An incident is a problem of one container, engine or destination, from its first event until it is
over. `relay.incidents` decides what is reported and when; a destination renders the `Update` of a
notification.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec

from relay.core.container_facts import ContainerFacts, container_object
from relay.core.event import TYPE_RELAY, Cause, Event, Origin, format_rfc3339, is_about_host
from relay.core.include import Included
from relay.core.severity import Severity


class Status(StrEnum):
    """Whether the condition that a notification reports persists or is over."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Notify(StrEnum):
    """What a destination is notified of."""

    INCIDENTS = "incidents"
    EVENTS = "events"


class Audience(StrEnum):
    """Who reads what a destination is sent."""

    PEOPLE = "people"
    """Chats, phones and mail."""
    PAGER = "pager"
    """A service that pages people and resolves its own incidents, such as PagerDuty."""
    ALERTS = "alerts"
    """A service of alerts that expire unless they are repeated, such as Alertmanager."""
    PROGRAMS = "programs"
    """Programs, and logs."""
    RELAYS = "relays"
    """Another relay, which makes incidents of the events itself."""

    @property
    def groups_by_itself(self) -> bool:
        """Whether it is sent one incident at a time, because it makes groups of its own."""
        return self in (Audience.PAGER, Audience.ALERTS)

    @property
    def default_notify(self) -> Notify:
        """What it is notified of if neither the route nor the destination says so."""
        takes_events = self in (Audience.PROGRAMS, Audience.RELAYS)
        return Notify.EVENTS if takes_events else Notify.INCIDENTS

    @property
    def takes_incidents(self) -> bool:
        """Whether it can be notified of incidents at all."""
        return self is not Audience.RELAYS


class UpdateReason(StrEnum):
    """Why a message is sent, the weightiest reason first: a message has the first that applies."""

    OPENED = "opened"
    REOPENED = "reopened"
    """A problem came back within an hour after its end."""
    CRASH_LOOPING = "crash_looping"
    """The third death, or the third time unhealthy, within ten minutes."""
    WORSE = "worse"
    """It was reported as unhealthy, and died; or its severity has risen since it was reported."""
    STAYS_DOWN = "stays_down"
    """It did not come back although it was expected to."""
    RESOLVED = "resolved"
    REMINDER = "reminder"
    EVENTS = "events"
    """There are only events that belong to no incident."""


class Resolution(StrEnum):
    """Why an incident is over."""

    RECOVERED = "recovered"
    """It has been well for long enough."""
    FINISHED = "finished"
    """It ended with exit code 0, and was not started again."""
    STOPPED = "stopped"
    """Somebody stopped it, and it was not started again."""
    REMOVED = "removed"
    """It was removed, and nothing of its name was started."""
    UNWATCHED = "unwatched"
    """Its route, its destination or its engine is no longer configured."""
    CLOSED = "closed"
    """Somebody closed it."""


class Condition(StrEnum):
    """How the subject of an incident is at the moment, as far as relay knows."""

    UP = "up"
    RESTARTING = "restarting"
    """It is down, but was restarted before, and its next restart is not overdue."""
    DOWN = "down"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    """Events may be missing, and no reconciliation was possible since."""

    @property
    def state(self) -> str:
        """The state in a payload: one that is restarting is ``down``."""
        return Condition.DOWN.value if self is Condition.RESTARTING else self.value


def is_flapping(deaths: int, unhealthy: int, *, is_own: bool) -> bool:
    """Whether what happens again and again is no death: it becomes unhealthy, or out of reach.

    ``deaths`` include the times that it became unhealthy, and ``is_own`` is whether the incident
    is about an engine or a destination.
    """
    return is_own or unhealthy == deaths


ERROR_MAX = 200
"""How many characters of an engine's error are kept."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened to a subject last, as far as words need it."""

    type: str
    action: str
    time_ns: int
    """By the engine's clock."""
    engine: str
    host: str
    cause: Cause | None = None
    exit_code: int | None = None
    error: str = ""
    """Why it could not be started, or why relay lost it: at most `ERROR_MAX` characters."""
    is_like_first: bool = True
    """Whether the first problem of the incident was of the same kind."""
    has_first_code: bool = True
    """Whether it had the same exit code."""
    is_about_host: bool = False
    """Whether another host as a whole is silent: see `relay.core.event.is_about_host`."""
    ran_ns: int | None = None
    """How long the life that ended had lasted; None if it did not end, or if that is not known."""


def describe_problem(first: Event, last: Event) -> Problem:
    """Return the last problem of an incident. ``first`` is the event that opened it."""
    attributes, error = last.actor.attributes, None
    if last.type == TYPE_RELAY:
        error = attributes.get("reason")
    elif last.action == "start_failed" and last.origin is Origin.INFERRED:  # else it is a label
        error = attributes.get("error")
    return Problem(
        type=last.type,
        action=last.action,
        time_ns=last.time_ns,
        engine=last.engine,
        host=last.host,
        cause=last.cause,
        exit_code=last.exit_code,
        error=(error or "")[:ERROR_MAX],
        is_like_first=(first.action, first.cause) == (last.action, last.cause),
        has_first_code=first.exit_code == last.exit_code,
        is_about_host=is_about_host(last),
        ran_ns=last.ran_ns,
    )


class IncidentReport(msgspec.Struct, frozen=True):
    """One incident in a message, as it was when the message was made."""

    id: str
    """``inc_`` and 32 hex digits; the same at every destination."""
    status: Status
    condition: Condition
    route: str
    severity: Severity
    subject: str
    """The name that people know the subject by."""
    reason: UpdateReason
    crash_looping: bool
    started_ns: int
    """When its first event happened, by the engine's clock."""
    ended_ns: int | None
    resolution: Resolution | None
    count: int
    """The events that this message stands for and no earlier one did."""
    total: int
    """All events so far."""
    deaths: int
    """How often it died without being asked to, or became unhealthy, so far."""
    unhealthy: int
    """How many of these times it became unhealthy."""
    notified_before: bool
    """Whether the destination took an earlier message that reported it, as far as relay knows."""
    sequence: int
    """How many messages have reported it, this one included."""
    opening_route: str
    """The route that opened it, whatever it is called now. Keys at services are made of it."""
    problem: Problem
    """What happened last."""
    opening_event: Event | None = None
    """The event that opened it, for services whose keys and labels are made of it; else None."""
    opening_severity: Severity | None = None
    """Its severity when it was opened, for the same services; else None."""
    unknown_since_ns: int | None = None
    """Since when events of it may be missing; None while none are."""
    included: Included | None = None
    """What its route includes; only for the first incidents of a message."""
    container: ContainerFacts | None = None
    """What is known of the container; None if nothing is, or if it is about something else."""
    given_up: bool = False
    """Whether it is down after a problem, and its engine is known not to restart it by itself: its
    restart policy says no, or has restarted it as often as it may."""
    ending: Resolution | None = None
    """How its subject ended, if that was no problem: it finished, or somebody stopped or removed
    it. Its incident is over unless the subject is started again."""


class Update(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a notification reports: incidents, plain events, or both."""

    reason: UpdateReason
    incidents: tuple[IncidentReport, ...] = ()
    """At most 100, those that fire and are most severe first."""
    more: int = 0
    """How many incidents are not listed."""
    group: Mapping[str, str] | None = None
    """What its events have in common; None if it is for several groups."""
    actions: Mapping[str, int] = {}
    """How many plain events of each action it stands for."""
    names: tuple[str, ...] = ()
    """The names of the objects of the plain events, at most 25."""
    overflow: bool = False
    """Whether problems are among the plain events because there are too many incidents."""
    more_resolved: int = 0
    """How many of the incidents that are not listed are over."""
    made_ns: int = 0
    """When the message was made, by relay's wall clock."""
    late_ns: int | None = None
    """When it is sent, if that is long after that: see `relay.core.notification.mark_late`."""


def incident_object(
    report: IncidentReport, format_time: Callable[[int], str] = format_rfc3339
) -> dict[str, object]:
    """Return an incident as programs and templates get it: plain values by name."""
    return {
        "id": report.id,
        "status": report.status.value,
        "state": report.condition.state,
        "route": report.route,
        "severity": report.severity.value,
        "subject": report.subject,
        "host": report.problem.host,
        "crash_looping": report.crash_looping,
        "started_at": format_time(report.started_ns),
        "ended_at": None if report.ended_ns is None else format_time(report.ended_ns),
        "resolution": None if report.resolution is None else report.resolution.value,
        "count": report.count,
        "total": report.total,
        "notified_before": report.notified_before,
        **container_object(report.container, report.problem.ran_ns),
    }
