"""What would become of one event, if nothing else happened."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from relay.core.event import Event
from relay.core.include import FACTS_ONLY, Included
from relay.core.notification import Notification
from relay.dryrun.incidents import PlannedNotification, SimulatedIncidents
from relay.incidents.clock import Now
from relay.incidents.group import make_group_key
from relay.incidents.held import Hold
from relay.incidents.inquiry import Answer, Inquiry
from relay.incidents.policy import Policies, without_holds
from relay.routing.router import Router, RouteResult


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of an event at one destination if it were the first of its subject."""

    destination: str
    notification: Notification
    """What the destination would be sent, if nothing held it back."""
    wait_ns: int
    """How long that waits for others."""
    incident: str | None
    """The name of the subject whose incident it opens; None if it opens none."""
    group: tuple[str, ...] | None = None
    """What it has in common with the others in its message; None if it is reported alone."""


def forecast(
    policies: Policies,
    event: Event,
    result: RouteResult,
    destination: str,
    included: Included | None = None,
) -> Forecast:
    """Return what a destination would be sent of an event, if nothing else happened.

    ``result`` is that of a route that sends it there, and ``included`` the engine's answer to what
    the route includes.
    """
    free = without_holds(policies)
    incidents = SimulatedIncidents(free, Router([result.route]), event.via or event.engine)
    planned = incidents.take(event, [replace(result, destinations=(destination,))])
    if planned:
        notification = planned[0].notification
        return Forecast(destination, replace(notification, included=included), 0, None)
    incident = incidents.find_incident(destination, event)
    if incident is not None and included is not None:
        inquiry = Inquiry(incident.id, event, FACTS_ONLY)
        incidents.dispatcher.put_answer(inquiry, Answer(included), Now(event.time_ns))
    first, policy = incidents.finish()[0], policies.destinations[destination]
    return Forecast(
        destination,
        first.notification,
        first.at_ns - event.time_ns,
        None if incident is None else incident.name,
        _name_group(event, policy.group_by) if policy.is_limited else None,
    )


def find_holds(
    policies: Policies, event: Event, result: RouteResult, destination: str
) -> list[Hold]:
    """Return what holds back the message of `forecast`, in the order of time."""
    incidents = SimulatedIncidents(policies, Router([result.route]), event.via or event.engine)
    incidents.is_watching = True
    sent: list[PlannedNotification] | None
    sent = incidents.take(event, [replace(result, destinations=(destination,))])
    effect = incidents.effects.get(destination)
    found = {} if effect is None or effect.hold is None else {effect.hold.reason: effect.hold}
    while sent == []:
        sent = incidents.advance()
        hold = incidents.find_hold(destination, event)
        if hold is not None:
            found.setdefault(hold.reason, hold)
    return list(found.values())


def _name_group(event: Event, group_by: Sequence[str]) -> tuple[str, ...]:
    fields = msgspec.json.decode(make_group_key(event, group_by), type=dict[str, str])
    return tuple(fields[name] for name in group_by)
