"""Reminds people of what is open."""

from msgspec.structs import replace

from relay.incidents.clock import Now
from relay.incidents.destination import find_budget_time
from relay.incidents.incident import Incident
from relay.incidents.message import Message
from relay.incidents.reporter import Reporter, is_reminded
from relay.incidents.review import HoldReview
from relay.incidents.tracker import IncidentTracker, Task


class Reminder:
    """Makes the reminders that are due: one for each destination, of all that is open there."""

    def __init__(self, tracker: IncidentTracker, review: HoldReview, reporter: Reporter) -> None:
        self._tracker = tracker
        self._state = tracker.state
        self._review = review
        self._reporter = reporter

    def remind(self, destination: str, now: Now) -> list[Message]:
        """Return the reminder of what is open at a destination, if it is due."""
        policy = self._tracker.policies.destinations.get(destination)
        if policy is None or not policy.repeat_interval_ns:
            return []
        state = self._state.get_destination(destination)
        if state.reminder is not None:
            return []  # it is scheduled again when that is settled
        opened = self._state.list_incidents(destination)
        reminded = [
            each for each in opened if is_reminded(each, now) and self._tracker.is_followed(each)
        ]
        if not reminded:
            return []
        due_ns = [self._find_due_ns(each, policy.repeat_interval_ns) for each in reminded]
        first_ns: int | None = min(due_ns)
        if first_ns is not None and first_ns <= now.steady_ns:
            reminded, first_ns = self._leave_out_held(reminded, due_ns, now)
        if first_ns is not None:
            first_ns = max(first_ns, find_budget_time(state))
        if first_ns is None or first_ns > now.steady_ns:
            self._tracker.schedule.set((Task.REMIND, destination, ""), first_ns)
            return []
        reminded = [
            each for each in reminded if self._tracker.silent_until_ns(each) <= now.steady_ns
        ]
        message = self._reporter.report_reminder(destination, reminded, now)
        spent = self._state.get_destination(destination)
        self._state.put_destination(replace(spent, reminder=message.id))
        return [message]

    def _find_due_ns(self, incident: Incident, repeat_interval_ns: int) -> int:
        """Return when to remind of an incident, if nothing holds that back."""
        due_ns = (incident.named_ns or 0) + repeat_interval_ns
        return max(due_ns, self._tracker.silent_until_ns(incident))

    def _leave_out_held(
        self, incidents: list[Incident], due_ns: list[int], now: Now
    ) -> tuple[list[Incident], int | None]:
        """Return the incidents that nothing holds back now, and when the first of all is due.

        The time is None if all are held back for a time that is not known.
        """
        free: list[Incident] = []
        times_ns: list[int] = []
        for incident, each_ns in zip(incidents, due_ns, strict=True):
            free_ns = self._review.find_reminder_ns(incident, now)
            if free_ns is not None:
                times_ns.append(max(each_ns, free_ns))
                if free_ns <= now.steady_ns:
                    free.append(incident)
        return free, min(times_ns, default=None)
