"""Makes the messages about incidents and plain events.

The id of a message follows from what it reports: its destination and reason, which incidents it is
about and how often each was reported before, and its plain events. So it is the same if relay is
killed before the message is stored, and never the same for something else.
"""

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from relay.core.container_facts import ContainerFacts
from relay.core.event import Event
from relay.core.incident import (
    Condition,
    IncidentReport,
    Status,
    Update,
    UpdateReason,
    describe_problem,
)
from relay.core.include import MAX_INCLUDED
from relay.core.notification import Notification
from relay.core.severity import Severity
from relay.incidents.clock import Now
from relay.incidents.group import Group
from relay.incidents.incident import SEVERITIES, Incident
from relay.incidents.inquiry import Answer, find_current_facts
from relay.incidents.life import find_condition
from relay.incidents.plain import MAX_EVENTS, MAX_NAMES, PlainEvents
from relay.incidents.subject import is_task, subject_key

MAX_INCIDENTS = 100
"""How many incidents a message lists."""

REASONS = tuple(UpdateReason)


class Message(msgspec.Struct, frozen=True):
    """What one destination is sent at one moment."""

    id: str
    """``ntf_`` and 32 hex digits; the same after a restart, never the same for something else."""
    destination: str
    status: Status
    """Firing if any of its incidents is, or if it has only plain events."""
    severity: Severity
    """The highest of its incidents; of a reminder always ``info``."""
    route: str
    """The route of its first incident, else of its first event: its title and text apply."""
    count: int
    """The events that this message stands for and no earlier one did."""
    events: tuple[Event, ...]
    """At most 10, at least one: the last of each incident, in the order of the incidents, then the
    first plain events."""
    update: Update
    suppressed: int = 0
    """How many further events were held back since the message before."""

    def to_notification(self) -> Notification:
        """Return what the destination renders, with what is included for the first incident."""
        reports = self.update.incidents
        return Notification(
            id=self.id,
            route=self.route,
            events=self.events,
            status=self.status,
            count=self.count,
            suppressed=self.suppressed,
            included=reports[0].included if reports else None,
            severity=self.severity,
            update=self.update,
        )


def build_message(
    destination: str,
    incidents: Sequence[Incident],
    plains: Sequence[PlainEvents],
    groups: Sequence[Group],
    now: Now,
    *,
    is_reminder: bool = False,
    with_opening: bool = False,
) -> Message:
    """Return the message about incidents and plain events of these groups.

    ``with_opening`` is whether the destination needs to know how the incidents were opened.
    """
    incidents = sorted(incidents, key=_weight)
    firing = any(each.is_open for each in incidents) or not incidents
    reason = UpdateReason.REMINDER if is_reminder else find_reason(incidents)
    return Message(
        id=make_message_id(destination, reason, incidents, plains),
        destination=destination,
        status=Status.FIRING if firing else Status.RESOLVED,
        severity=Severity.INFO if is_reminder else _find_severity(incidents, plains),
        route=incidents[0].route if incidents else plains[0].route,
        count=sum(each.unreported for each in incidents) + sum(each.count for each in plains),
        events=_select_events(incidents, plains),
        update=Update(
            reason,
            tuple(
                report(
                    incident,
                    now,
                    with_included=number < MAX_INCLUDED,
                    with_opening=with_opening,
                )
                for number, incident in enumerate(incidents[:MAX_INCIDENTS])
            ),
            more=max(0, len(incidents) - MAX_INCIDENTS),
            group=groups[0].fields if len(groups) == 1 else None,
            actions=_add_up(plains),
            names=tuple(dict.fromkeys(name for each in plains for name in each.names))[:MAX_NAMES],
            overflow=any(each.overflow for each in plains),
            more_resolved=sum(not each.is_open for each in incidents[MAX_INCIDENTS:]),
            made_ns=now.wall_ns,
        ),
    )


def repeat_message(incident: Incident, now: Now) -> Message:
    """Return the message that repeats an open incident, for a service whose alerts expire.

    It says what the incident is, and not what changed since it was reported.
    """
    message = build_message(incident.destination, (incident,), (), (), now, with_opening=True)
    reason = UpdateReason.CRASH_LOOPING if incident.crash_looping else UpdateReason.OPENED
    (reported,) = message.update.incidents
    update = replace(message.update, reason=reason, incidents=(replace(reported, reason=reason),))
    return replace(message, update=update)


def _weight(incident: Incident) -> tuple[bool, int, int, str]:
    """Return a sort key: open ones first, then the most severe, then the oldest."""
    severity = -SEVERITIES.index(incident.severity)
    return (not incident.is_open, severity, incident.started_ns, incident.subject)


def find_reason(incidents: Sequence[Incident]) -> UpdateReason:
    """Return the weightiest reason of the incidents' updates; without incidents `EVENTS`."""
    reasons = (_reason_of(each) for each in incidents)
    return min(reasons, key=REASONS.index, default=UpdateReason.EVENTS)


def _reason_of(incident: Incident) -> UpdateReason:
    """Return why an incident is reported. What was refused before is reported as if for the first
    time."""
    if incident.was_refused and incident.is_open:
        return UpdateReason.OPENED
    return incident.update or UpdateReason.REMINDER


def report(
    incident: Incident, now: Now, *, with_included: bool = False, with_opening: bool = False
) -> IncidentReport:
    """Return an incident as a message reports it."""
    reported, first = incident.reported, incident.first.decode()
    last = first if incident.later is None else incident.later.decode()
    condition = find_condition(incident.life, now.at(incident.life.engine))
    return IncidentReport(
        id=incident.id,
        status=incident.status,
        condition=condition,
        route=incident.route,
        severity=incident.severity,
        subject=incident.name,
        reason=_reason_of(incident),
        crash_looping=incident.crash_looping,
        started_ns=incident.started_ns,
        ended_ns=incident.ended_ns,
        resolution=incident.resolution,
        count=incident.unreported,
        total=incident.total,
        deaths=incident.deaths,
        unhealthy=incident.unhealthy,
        notified_before=reported is not None
        and incident.message_count > 0
        and not incident.was_refused,
        sequence=incident.message_count + 1,
        opening_route=incident.opening_route,
        problem=describe_problem(first, last),
        opening_event=first if with_opening else None,
        opening_severity=incident.opening_severity if with_opening else None,
        unknown_since_ns=incident.life.unknown_since_ns,
        included=incident.included if with_included else None,
        container=find_current_facts(incident),
        given_up=condition is Condition.DOWN and _is_given_up(incident),
        ending=incident.life.ended,
    )


def _is_given_up(incident: Incident) -> bool:
    """Whether the engine does not restart by itself what is down after a problem.

    A policy that says no is no proof that nobody else starts it soon, so it does not make the
    incident one that stays down.
    """
    facts, life = incident.container, incident.life
    if life.ended is not None or is_task(incident.subject):
        return False
    return not life.will_restart or (facts is not None and facts.restart_policy == "no")


def add_answer(notification: Notification, answer: Answer) -> Notification:
    """Return a message that waited for what its route includes, with the engine's answer."""
    notification = replace(notification, included=answer.included)
    update, facts = notification.update, answer.facts
    if update is None or not update.incidents or facts is None:
        return notification
    first, *rest = update.incidents
    if is_task(subject_key(notification.events[0])):
        facts = ContainerFacts(memory_limit=facts.memory_limit)
    first = replace(first, container=facts)
    is_down = first.ending is None and first.condition in (Condition.DOWN, Condition.RESTARTING)
    if answer.is_final and is_down:
        first = replace(first, condition=Condition.DOWN, given_up=True)
    return replace(notification, update=replace(update, incidents=(first, *rest)))


def make_message_id(
    destination: str,
    reason: UpdateReason,
    incidents: Sequence[Incident],
    plains: Sequence[PlainEvents],
) -> str:
    """Compute the id of a message from what it reports."""
    identity = msgspec.json.encode(
        [
            destination,
            reason,
            sorted((each.id, each.message_count) for each in incidents),
            sorted(each.digest for each in plains),
        ]
    )
    return "ntf_" + hashlib.blake2b(identity, digest_size=16).hexdigest()


def _find_severity(incidents: Sequence[Incident], plains: Sequence[PlainEvents]) -> Severity:
    severities = [each.severity for each in (incidents or plains)]
    return max(severities, key=SEVERITIES.index)


def _select_events(
    incidents: Sequence[Incident], plains: Sequence[PlainEvents]
) -> tuple[Event, ...]:
    """Return the last event of each incident, then the plain events, as far as there is room.

    They are in the order of the incidents: the first event is what a route's title is about, and
    that of the first incident.
    """
    stored = [each.last for each in incidents[:MAX_EVENTS]]
    for plain in plains:
        stored += plain.events[: MAX_EVENTS - len(stored)]
    return tuple(each.decode() for each in stored)


def _add_up(plains: Sequence[PlainEvents]) -> dict[str, int]:
    total: dict[str, int] = {}
    for plain in plains:
        for action, count in plain.actions.items():
            total[action] = total.get(action, 0) + count
    return total
