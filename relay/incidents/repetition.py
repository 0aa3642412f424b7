"""What is reported again while nothing changes: reminders for people, and alerts that expire."""

from msgspec.structs import replace

from relay.core.incident import Audience, UpdateReason
from relay.incidents.clock import Now
from relay.incidents.destination import REFRESH_INTERVAL_NS
from relay.incidents.incident import Incident
from relay.incidents.message import Message, repeat_message
from relay.incidents.state import IncidentKey
from relay.incidents.tracker import IncidentTracker, Task


class Repetition:
    """Schedules reminders, and repeats the incidents that are open where alerts expire."""

    def __init__(self, tracker: IncidentTracker) -> None:
        self._tracker = tracker
        self._state = tracker.state

    def refresh(self, destination: str, now: Now) -> list[str]:
        """Return the destination if its open incidents are to be repeated."""
        policy = self._tracker.policies.destinations.get(destination)
        if policy is None or policy.audience is not Audience.ALERTS:
            return []
        if not any(map(_is_repeated, self._state.list_incidents(destination))):
            return []
        state = self._state.get_destination(destination)
        self._state.put_destination(replace(state, refreshed_ns=now.steady_ns))
        self._tracker.schedule_repetition(destination, now)
        return [destination]

    def schedule_all(self, now: Now) -> None:
        """Note when open incidents are reported again, after a start or a reload."""
        for destination, policy in self._tracker.policies.destinations.items():
            if policy.repeat_interval_ns:
                self._tracker.schedule.set((Task.REMIND, destination, ""), now.steady_ns)
            if policy.audience is Audience.ALERTS:
                refreshed_ns = self._state.get_destination(destination).refreshed_ns
                due_ns = 0 if refreshed_ns is None else refreshed_ns + REFRESH_INTERVAL_NS
                due_ns = max(due_ns, now.steady_ns)
                self._tracker.schedule.set((Task.REFRESH, destination, ""), due_ns)

    def list_reported(self, destination: str) -> list[IncidentKey]:
        """Return the keys of what is open at a destination and was reported."""
        return [
            (destination, each.subject)
            for each in self._state.list_incidents(destination)
            if _is_repeated(each)
        ]

    def repeat(self, key: IncidentKey, now: Now) -> Message | None:
        """Return what repeats an incident as it is now; None if it is no longer open."""
        incident = self._state.get_incident(key)
        return repeat_message(incident, now) if incident and _is_repeated(incident) else None


def _is_repeated(incident: Incident) -> bool:
    """Whether alerts of an incident are reported again before they expire: it is open, and was
    reported. One that a problem opened again is not, while that is held back."""
    is_opening = incident.update in (UpdateReason.OPENED, UpdateReason.REOPENED)
    return incident.is_open and incident.message_count > 0 and not (incident.is_held and is_opening)
