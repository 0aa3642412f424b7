"""Decides which groups of a destination are reported now, and makes their messages.

A group is reported when it is due. If many groups of a destination are due at about the same time,
or if its budget of messages is used up, they are reported together. Nothing is dropped for that.
"""

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from relay.incidents import incident as incidents
from relay.incidents.clock import Now
from relay.incidents.destination import (
    DestinationState,
    count_budget,
    find_budget_time,
    spend,
)
from relay.incidents.group import Group
from relay.incidents.hold import find_reason
from relay.incidents.incident import Incident
from relay.incidents.life import HOUR_NS
from relay.incidents.message import Message, build_message
from relay.incidents.plain import PlainEvents
from relay.incidents.tracker import IncidentTracker, Task

STORM_GROUPS = 3
"""More groups of a destination that are due within its ``group_wait`` are reported together."""

REMINDED_NS = 7 * 24 * HOUR_NS
"""A reminder leaves out incidents that have had no event for so long."""


class Reporter:
    """Makes the messages that are due."""

    def __init__(self, tracker: IncidentTracker) -> None:
        self._tracker = tracker
        self._state = tracker.state
        self._silent_until_ns = tracker.silent_until_ns

    def report_due(self, destination: str, now: Now) -> list[Message]:
        """Return the messages about the groups of a destination that are due."""
        due = self._list_due(destination, now.steady_ns, now)
        if self._hold_updates(due, now):
            due = self._list_due(destination, now.steady_ns, now)
        messages = [
            self._report(destination, together, now)
            for together in self._arrange(destination, due, now)
        ]
        self._schedule_next(destination, now)
        return messages

    def _list_due(self, destination: str, until_ns: int, now: Now) -> list[Group]:
        """Return the groups that are due until then and may be reported now, the longest due
        first."""
        found = []
        for key in self._state.pending.get(destination, ()):
            group = self._state.groups[destination, key]
            if group.due_ns is None or group.due_ns > until_ns or group.waiting is not None:
                continue
            if self._find_reportable_ns(group, now) <= now.steady_ns:
                found.append(group)
        return sorted(found, key=lambda group: (group.due_ns, group.key))

    def _find_reportable_ns(self, group: Group, now: Now) -> int:
        """Return from when on something of a group may be reported."""
        engines = self._tracker.engines
        times_ns = [self._silent_until_ns(each) for each in self._list_unreported(group)]
        if group.plain is not None:
            times_ns.append(engines.silent_until_ns(group.plain.engine))
        return min(times_ns, default=now.steady_ns)

    def _list_unreported(self, group: Group) -> list[Incident]:
        """Return the incidents of a group that have an update."""
        destination = group.destination
        subjects = self._state.unreported.get((destination, group.key), {})
        return [self._state.by_subject[subject][destination] for subject in subjects]

    def _list_reportable(self, group: Group, now: Now) -> list[Incident]:
        """Return the incidents of a group that have an update which may be reported now."""
        return [
            each
            for each in self._list_unreported(group)
            if self._silent_until_ns(each) <= now.steady_ns
        ]

    def _hold_updates(self, groups: Sequence[Group], now: Now) -> bool:
        """Hold back the updates for which there is a reason; return whether there was one."""
        found = False
        for group in groups:
            policy = self._tracker.destination_policy(group.destination)
            for incident in self._list_reportable(group, now):
                reason = find_reason(incident, self._tracker.route_policy(incident), policy)
                if reason is not None:
                    self._tracker.hold_update(incident, reason, now)
                    found = True
        return found

    def _arrange(self, destination: str, due: Sequence[Group], now: Now) -> list[list[Group]]:
        """Return the groups of each message that is sent now."""
        if not due:
            return []
        policy = self._tracker.destination_policy(destination)
        if not policy.is_limited:
            return [[group] for group in due]
        budget = count_budget(self._state.get_destination(destination), now.steady_ns)
        if budget < 1:
            return []
        soon = self._list_due(destination, now.steady_ns + policy.group_wait_ns, now)
        if len(soon) > STORM_GROUPS:
            if self._hold_updates(soon, now):
                soon = self._list_due(destination, now.steady_ns + policy.group_wait_ns, now)
            return [soon]
        return [list(due)] if len(due) > budget else [[group] for group in due]

    def _report(self, destination: str, groups: Sequence[Group], now: Now) -> Message:
        """Make the message about some groups."""
        reported = [each for group in groups for each in self._list_reportable(group, now)]
        reportable = [self._get_reportable_plain(group, now) for group in groups]
        plains = [plain for plain in reportable if plain is not None]
        alone = not self._tracker.destination_policy(destination).is_limited
        message = build_message(destination, reported, plains, groups, now, with_opening=alone)
        message = replace(message, suppressed=self._spend(destination, now).suppressed)
        self._log_reported(message)
        self._mark_reported(reported, message, now)
        for plain in plains:
            for route, count in plain.counts.items():
                self._tracker.add_to_counts(destination, route, reported=count)
        for group, reported_plain in zip(groups, reportable, strict=True):
            left = group.plain if reported_plain is None else None
            self._finish_group(replace(group, plain=left), message, now)
        return message

    def _get_reportable_plain(self, group: Group, now: Now) -> PlainEvents | None:
        """Return the plain events of a group if they may be reported now."""
        plain = group.plain
        if plain is None or self._tracker.engines.silent_until_ns(plain.engine) > now.steady_ns:
            return None
        return plain

    def _log_reported(self, message: Message) -> None:
        if self._tracker.journal is not None:
            self._tracker.journal.reported(message)

    def _mark_reported(self, reported: Sequence[Incident], message: Message, now: Now) -> None:
        counts: Counter[str] = Counter()
        for incident in reported:
            counts[incident.route] += incident.unreported
            engine_ns = now.at(incident.life.engine)
            marked = incidents.mark_reported(incident, message.id, now.steady_ns, engine_ns)
            self._state.put_incident(marked)
            self._tracker.schedule_check(marked, now)
        for route, count in counts.items():
            self._tracker.add_to_counts(message.destination, route, reported=count)
        if reported:
            self._tracker.schedule_repetition(message.destination, now)

    def _finish_group(self, group: Group, message: Message, now: Now) -> None:
        """Note that a message reported a group, and when it is due again if something is left."""
        reported = replace(group, last_ns=now.steady_ns, due_ns=None, waiting=message.id)
        self._state.put_group(reported)
        self._tracker.refresh_group(reported, now)

    def _spend(self, destination: str, now: Now) -> DestinationState:
        """Note that the destination is sent a message; return its state before that."""
        state = spent = self._state.get_destination(destination)
        if self._tracker.destination_policy(destination).is_limited:
            spent = spend(state, now.steady_ns)
        if spent.suppressed:
            spent = replace(spent, suppressed=0)
        if spent is not state:
            self._state.put_destination(spent)
        return state

    def _schedule_next(self, destination: str, now: Now) -> None:
        """Note when a group of the destination is due next."""
        times_ns = []
        for key in self._state.pending.get(destination, ()):
            group = self._state.groups[destination, key]
            if group.due_ns is not None and group.waiting is None:
                times_ns.append(max(group.due_ns, self._find_reportable_ns(group, now)))
        next_ns = min(times_ns, default=None)
        if next_ns is not None and self._tracker.destination_policy(destination).is_limited:
            state = self._state.get_destination(destination)
            next_ns = max(next_ns, find_budget_time(state))
        self._tracker.schedule.set((Task.NOTIFY, destination, ""), next_ns)

    def remind(self, destination: str, now: Now) -> list[Message]:
        """Return the reminder of what is open at a destination, if it is due."""
        policy = self._tracker.policies.destinations.get(destination)
        if policy is None or not policy.repeat_interval_ns:
            return []
        state = self._state.get_destination(destination)
        if state.reminder is not None:
            return []  # it is scheduled again when that is settled
        reported = self._state.list_incidents(destination)
        reminded = [each for each in reported if _is_reminded(each, now)]
        if not reminded:
            return []
        due_ns = max(
            find_budget_time(state),
            min(
                max((each.named_ns or 0) + policy.repeat_interval_ns, self._silent_until_ns(each))
                for each in reminded
            ),
        )
        if due_ns > now.steady_ns:
            self._tracker.schedule.set((Task.REMIND, destination, ""), due_ns)
            return []
        reminded = [each for each in reminded if self._silent_until_ns(each) <= now.steady_ns]
        message = build_message(destination, reminded, [], [], now, is_reminder=True)
        message = replace(message, suppressed=self._spend(destination, now).suppressed)
        self._log_reported(message)
        self._mark_reported(reminded, message, now)
        spent = self._state.get_destination(destination)
        self._state.put_destination(replace(spent, reminder=message.id))
        return [message]


def _is_reminded(incident: Incident, now: Now) -> bool:
    """Whether a reminder names it: it is open and was reported, and nothing of it waits."""
    if not incident.is_open or incident.named_ns is None:
        return False
    if incident.update is not None or incident.waiting is not None:
        return False
    return now.at(incident.life.engine) < incident.last_event_ns + REMINDED_NS
