"""An incident: the problems of one subject at one destination, until it has been well for a while.

An incident is opened by a problem that a route takes, counts what routes take of its subject until
its end is reported, and is remembered for an hour: a problem within that hour opens it again.
Whether there is something to report follows from what was reported last and what is known now, so
an update that is no longer true is withdrawn by itself. Everything here is pure.
"""

import msgspec
from msgspec.structs import replace

from relay.core.container_facts import ContainerFacts
from relay.core.event import Event
from relay.core.incident import Condition, Resolution, Status, UpdateReason
from relay.core.include import Included
from relay.core.severity import Severity
from relay.incidents import life as lives
from relay.incidents.enable_label import read_enable_label
from relay.incidents.evidence import Evidence, Fact
from relay.incidents.held import Hold
from relay.incidents.life import HOUR_NS, Life
from relay.incidents.stored_event import StoredEvent

REMEMBERED_NS = HOUR_NS
"""How long after its end a problem opens an incident again."""

SEVERITIES = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)


class LastReport(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What the last message about an incident reported."""

    status: Status
    condition: Condition
    severity: Severity
    crash_looping: bool = False


class Incident(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The problems of one subject at one destination. It is stored as one row."""

    id: str
    """``inc_`` and 32 hex digits; the same at every destination."""
    destination: str
    subject: str
    """The subject's key."""
    name: str
    """The name that people know the subject by."""
    route: str
    """The route that it belongs to at the moment."""
    opening_route: str
    """The route that opened it, whatever it is called now: keys at services are made of it."""
    group: str
    """The key of its group at the destination."""
    started_ns: int
    """When its first event happened, by the engine's clock."""
    life: Life
    severity: Severity
    """The highest of its events so far."""
    opening_severity: Severity
    first: StoredEvent
    """The event that opened it."""
    last_event_ns: int
    """When its last event happened, by the engine's clock."""
    later: StoredEvent | None = None
    """The last problem after the first event that a route took; None if there was none."""
    status: Status = Status.FIRING
    ended_ns: int | None = None
    resolution: Resolution | None = None
    total: int = 0
    """All its events."""
    unreported: int = 0
    """Its events since it was reported last."""
    deaths: int = 0
    """How often it died without being asked to, or became unhealthy."""
    unhealthy: int = 0
    """How many of these times it became unhealthy."""
    crash_looping: bool = False
    was_reopened: bool = False
    """Whether a problem opened it again after its end was reported, and that is not reported
    yet."""
    died_after_unhealthy: bool = False
    """Whether it died after it was reported as unhealthy."""
    stays_down: bool = False
    """Whether it did not come back although it was reported as restarting or up."""
    reported: LastReport | None = None
    """None if it was not reported, or if its last message was given up for its age."""
    was_refused: bool = False
    """Whether the destination refused the last message about it."""
    message_count: int = 0
    """How many messages reported it."""
    named_ns: int | None = None
    """When a message that reported it was made, or taken by the destination, by relay's clock."""
    waiting: str | None = None
    """The id of the message that reported it last, until that is settled."""
    included: Included | None = None
    """What its route includes of the container, as the engine answered."""
    container: ContainerFacts | None = None
    """What is known of the container of its life; None if nothing is."""
    asked_ns: int | None = None
    """When the event happened about which its engine was asked last, by the engine's clock; None
    if the engine was not asked about this container."""
    counted_deaths: int = 0
    """How many `deaths` it had when its engine said what is known of the container."""
    hold: Hold | None = None
    """What holds its update back or, if that is final, why the last one was not reported; None if
    it was."""
    reopened_ns: int | None = None
    """When a problem opened it again, by the engine's clock; None if none did."""
    enable_label: bool | None = None
    """What the label `ENABLE_LABEL` of the container said that had its last problem; None if it
    had no such label."""

    @property
    def last(self) -> StoredEvent:
        """The last problem that a route took."""
        return self.later or self.first

    @property
    def is_open(self) -> bool:
        """Whether it is not over."""
        return self.status is Status.FIRING

    @property
    def opened_ns(self) -> int:
        """Since when it is open, or when it was opened last, by the engine's clock."""
        return self.started_ns if self.reopened_ns is None else self.reopened_ns

    @property
    def is_held(self) -> bool:
        """Whether its update waits until a reason to hold it back is over."""
        return self.hold is not None and not self.hold.is_final

    @property
    def is_unwatched(self) -> bool:
        """Whether it is over because the configuration no longer has its route."""
        return self.resolution is Resolution.UNWATCHED

    @property
    def update(self) -> UpdateReason | None:
        """Why it is to be reported; None if there is no reason."""
        reported = self.reported
        if reported is None:
            return UpdateReason.OPENED
        if reported.status is Status.RESOLVED:
            if not self.was_reopened:
                return None
            return UpdateReason.REOPENED if self.message_count else UpdateReason.OPENED
        if not self.is_open:
            return UpdateReason.RESOLVED
        if self.crash_looping and not reported.crash_looping:
            return UpdateReason.CRASH_LOOPING
        if self.died_after_unhealthy or is_higher(self.severity, reported.severity):
            return UpdateReason.WORSE
        return UpdateReason.STAYS_DOWN if self.stays_down else None

    @property
    def accepts_events(self) -> bool:
        """Whether every event of the subject belongs to it: it is open or its end is not
        reported."""
        return self.is_open or self.update is not None


def is_higher(one: Severity, other: Severity) -> bool:
    """Whether one severity is higher than another."""
    return SEVERITIES.index(one) > SEVERITIES.index(other)


def may_reopen(incident: Incident, evidence: Evidence) -> bool:
    """Whether a problem that a route takes opens this incident again, and not a new one."""
    ended_ns = incident.ended_ns
    return ended_ns is None or evidence.time_ns - ended_ns <= REMEMBERED_NS


def apply(incident: Incident, evidence: Evidence, resolve_after_ns: int) -> Incident:
    """Return the incident after evidence. It is the same object if the evidence says nothing new.

    A problem opens an incident again whose end was not reported yet. Reopening one whose end was
    reported is up to the route: see `reopen`.
    """
    if not lives.is_news(incident.life, evidence):
        return incident
    if evidence.engine == incident.life.engine:  # the time before it has passed without evidence
        incident = advance(incident, resolve_after_ns, evidence.time_ns)
    problem = lives.is_problem(incident.life, evidence)
    before, life = incident.life, lives.apply(incident.life, evidence)
    incident = replace(incident, life=life)
    if life.container != before.container:  # it was created anew, maybe otherwise
        incident = replace(incident, container=None, asked_ns=None)
    if problem and not incident.is_open and incident.update and not incident.is_unwatched:
        incident = reopen(incident, evidence.time_ns)
    if life.is_up:
        incident = replace(incident, stays_down=False)
    if life.failures_ns == before.failures_ns:
        return incident
    return replace(
        incident,
        deaths=incident.deaths + 1,
        unhealthy=incident.unhealthy + (evidence.fact is Fact.UNHEALTHY),
        crash_looping=incident.crash_looping or _loops(incident),
        died_after_unhealthy=incident.died_after_unhealthy
        or (evidence.fact is Fact.DIED and _was_reported_unhealthy(incident)),
    )


def _loops(incident: Incident) -> bool:
    return incident.is_open and lives.is_loop(incident.life.failures_ns)


def _was_reported_unhealthy(incident: Incident) -> bool:
    reported = incident.reported
    return reported is not None and reported.condition is Condition.UNHEALTHY


def reopen(incident: Incident, time_ns: int) -> Incident:
    """Return the incident open again since the engine's time: its id, its counts and its spells go
    on."""
    reported = incident.reported
    opened = replace(
        incident,
        status=Status.FIRING,
        ended_ns=None,
        resolution=None,
        reopened_ns=time_ns,
        was_reopened=reported is not None and reported.status is Status.RESOLVED,
    )
    return replace(opened, crash_looping=_loops(opened))


def count(incident: Incident, time_ns: int) -> Incident:
    """Return the incident with one more event that a route takes, at the engine's time."""
    return replace(
        incident,
        total=incident.total + 1,
        unreported=incident.unreported + 1,
        last_event_ns=max(incident.last_event_ns, time_ns),
    )


def keep_problem(
    incident: Incident, event: Event, stored: StoredEvent, severity: Severity
) -> Incident:
    """Return the incident with one more problem that a route takes as its last."""
    highest = max(severity, incident.severity, key=SEVERITIES.index)
    label = read_enable_label(event)
    return replace(incident, later=stored, severity=highest, enable_label=label)


def advance(incident: Incident, resolve_after_ns: int, until_ns: int) -> Incident:
    """Return the incident at ``until_ns``, up to which it is known that nothing happened.

    It may be over, or overdue to come back. ``until_ns`` is the engine's time.
    """
    if not incident.is_open:
        return incident
    end = lives.find_end(incident.life, resolve_after_ns)
    if end is not None and end[0] <= until_ns:
        return resolve(incident, end[1], end[0])
    overdue_ns = find_overdue(incident)
    if overdue_ns is not None and overdue_ns <= until_ns:
        return replace(incident, stays_down=True)
    return incident


def find_overdue(incident: Incident) -> int | None:
    """Return when to report that it stays down; None if it is up, or was reported as down."""
    reported = incident.reported
    if reported is None or incident.stays_down:
        return None
    if reported.condition not in (Condition.RESTARTING, Condition.UP):
        return None
    return lives.find_overdue(incident.life)


def find_next_change(incident: Incident, resolve_after_ns: int) -> int | None:
    """Return when `advance` changes the incident next, by the engine's clock; None for never.

    For an incident that is over, that is when it need no longer be remembered.
    """
    if not incident.is_open:
        assert incident.ended_ns is not None, "it is over"
        return incident.ended_ns + REMEMBERED_NS if incident.update is None else None
    end = lives.find_end(incident.life, resolve_after_ns)
    times_ns = (None if end is None else end[0], find_overdue(incident))
    return min((time_ns for time_ns in times_ns if time_ns is not None), default=None)


def resolve(incident: Incident, resolution: Resolution, ended_ns: int) -> Incident:
    """Return the incident as it is over."""
    return replace(
        incident,
        status=Status.RESOLVED,
        resolution=resolution,
        ended_ns=ended_ns,
        crash_looping=False,
        died_after_unhealthy=False,
        stays_down=False,
    )


def mark_reported(
    incident: Incident,
    message_id: str | None,
    now_ns: int,
    engine_ns: int,
    hold: Hold | None = None,
) -> Incident:
    """Return the incident after a message reported it, or after its update was held back for good.

    ``message_id`` is None if it was held back, and ``hold`` says why. ``now_ns`` is relay's time,
    ``engine_ns`` the engine's.
    """
    reported = LastReport(
        incident.status,
        lives.find_condition(incident.life, engine_ns),
        incident.severity,
        incident.crash_looping,
    )
    marked = replace(
        incident,
        reported=reported,
        unreported=0,
        was_reopened=False,
        died_after_unhealthy=False,
        stays_down=False,
        hold=hold,
    )
    if message_id is None:
        return marked
    return replace(
        marked,
        was_refused=False,
        message_count=incident.message_count + 1,
        named_ns=now_ns,
        waiting=message_id,
    )


def mark_dead(incident: Incident, *, refused: bool) -> Incident:
    """Return an incident after the message that said that it is open was given up.

    It counts as not reported: it is reported at once or, if the destination refused the message,
    with the next message about it.
    """
    if refused:
        return replace(incident, waiting=None, was_refused=True)
    return replace(incident, waiting=None, reported=None)


def mark_replayed(incident: Incident, message_id: str) -> Incident:
    """Return the incident after a message that was refused waits to be delivered once more."""
    return replace(incident, waiting=message_id, was_refused=False)


def shift(incident: Incident, by_ns: int) -> Incident:
    """Return the incident by a clock that was set: all times are moved."""
    return replace(
        incident,
        life=lives.shift(incident.life, by_ns),
        started_ns=incident.started_ns + by_ns,
        reopened_ns=None if incident.reopened_ns is None else incident.reopened_ns + by_ns,
        ended_ns=None if incident.ended_ns is None else incident.ended_ns + by_ns,
        last_event_ns=incident.last_event_ns + by_ns,
        asked_ns=None if incident.asked_ns is None else incident.asked_ns + by_ns,
    )
