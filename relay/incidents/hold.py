"""Why something is not reported: each event that is held back is counted with its reason."""

from enum import StrEnum

from relay.core.incident import UpdateReason
from relay.incidents.incident import Incident
from relay.incidents.policy import DestinationPolicy, RoutePolicy
from relay.incidents.subject import is_own


class HeldReason(StrEnum):
    """Why events are not reported. The word is the same in logs, metrics and commands."""

    BRIEF = "brief"
    """The problem was over before it could be reported, and the destination wants open ones
    only."""
    SEND_RESOLVED = "send_resolved"
    """The end is not reported, because ``send_resolved`` is false."""
    UNWATCHED = "unwatched"
    """The route, the destination or the engine is no longer configured."""


def find_reason(
    incident: Incident, route: RoutePolicy, destination: DestinationPolicy
) -> HeldReason | None:
    """Return why the update of an incident is not reported; None if it is.

    It is asked when the incident's group is due. An outage of an engine or of a destination that
    is over before it is reported is worth no message.
    """
    if incident.is_open:
        return None
    if incident.update in (UpdateReason.OPENED, UpdateReason.REOPENED):  # it was not reported
        is_reported = destination.reports_brief and not is_own(incident.subject)
        return None if is_reported else HeldReason.BRIEF
    return None if route.send_resolved else HeldReason.SEND_RESOLVED
