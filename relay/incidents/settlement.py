"""What becomes of messages: the destination takes them, or they are given up."""

from msgspec.structs import replace

from relay.core.incident import UpdateReason
from relay.incidents import incident as incidents
from relay.incidents.clock import Now
from relay.incidents.tracker import IncidentTracker, Task


class Settlement:
    """Notes that messages wait no longer."""

    def __init__(self, tracker: IncidentTracker) -> None:
        self._tracker = tracker
        self._state = tracker.state

    def list_outstanding(self) -> list[tuple[str, str]]:
        """Return the messages that count as not settled, by destination and id."""
        reminders = [
            (state.name, state.reminder)
            for state in self._state.destinations.values()
            if state.reminder is not None
        ]
        return [*self._state.waiting, *reminders]

    def settle(
        self, destination: str, message_id: str, now: Now, *, delivered: bool = False
    ) -> None:
        """Note that a message waits no longer: its destination took it, or will never take it."""
        state = self._state.get_destination(destination)
        if state.reminder == message_id:
            self._state.put_destination(replace(state, reminder=None))
            self._tracker.schedule.bring_forward((Task.REMIND, destination, ""), now.steady_ns)
        waiting = self._state.waiting.pop((destination, message_id), None)
        if waiting is None:
            return
        for incident in map(self._state.get_incident, waiting.incidents):
            if incident is not None and incident.waiting == message_id:
                named_ns = now.steady_ns if delivered else incident.named_ns
                settled = replace(incident, waiting=None, named_ns=named_ns)
                self._state.put_incident(settled)
                self._tracker.schedule_reminder(settled, now)
        for key in waiting.groups:
            group = self._state.groups.get(key)
            if group is not None and group.waiting == message_id:
                free = replace(group, waiting=None)
                self._state.put_group(free)
                self._tracker.refresh_group(free, now)
                self._tracker.forget_group(*key, now)

    def give_up(self, destination: str, message_id: str, now: Now, *, refused: bool) -> None:
        """Note that a message was given up: see `Dispatcher.dead_lettered`."""
        waiting = self._state.waiting.get((destination, message_id))
        keys = [] if waiting is None else list(waiting.incidents)
        for incident in map(self._state.get_incident, keys):
            if incident is None or incident.waiting != message_id:
                continue
            has_end_to_report = incident.update is UpdateReason.RESOLVED
            if incident.is_open or (refused and has_end_to_report):
                dead = incidents.mark_dead(incident, refused=refused)
                self._tracker.put(dead, now)
                self._tracker.schedule_reminder(dead, now)
        self.settle(destination, message_id, now)
