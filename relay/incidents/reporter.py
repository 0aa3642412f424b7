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
from relay.incidents.incident import Incident
from relay.incidents.life import HOUR_NS
from relay.incidents.message import Message, build_message
from relay.incidents.plain import PlainEvents
from relay.incidents.review import HoldReview
from relay.incidents.tracker import IncidentTracker, Task

STORM_GROUPS = 3
"""More groups of a destination that are due within its ``group_wait`` are reported together."""

REMINDED_NS = 7 * 24 * HOUR_NS
"""A reminder leaves out incidents that have had no event for so long."""


class Reporter:
    """Makes the messages that are due."""

    def __init__(self, tracker: IncidentTracker, review: HoldReview) -> None:
        self._tracker = tracker
        self._review = review
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
        times_ns = [self._silent_until_ns(each) for each in self._list_unreported(group)]
        for plain in group.plains:
            if plain.hold is None:
                times_ns.append(self._tracker.plain_silent_until_ns(plain))
        return min(times_ns, default=now.steady_ns)

    def _list_unreported(self, group: Group) -> list[Incident]:
        """Return the incidents of a group that have an update which is not held back."""
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
            found |= self._review.hold_updates(self._list_reportable(group, now), now)
            known = self._state.groups.get((group.destination, group.key))
            found |= known is not None and self._review.hold_plains(known, now)
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
            asked = {group.key for group in due}
            if self._hold_updates([group for group in soon if group.key not in asked], now):
                soon = self._list_due(destination, now.steady_ns + policy.group_wait_ns, now)
            return [soon]
        return [list(due)] if len(due) > budget else [[group] for group in due]

    def report_reminder(self, destination: str, reminded: Sequence[Incident], now: Now) -> Message:
        """Make the message that reminds of incidents."""
        message = build_message(destination, reminded, [], [], now, is_reminder=True)
        message = replace(message, suppressed=self._spend(destination, now).suppressed)
        self._log_reported(message)
        self._mark_reported(reminded, message, now)
        return message

    def _report(self, destination: str, groups: Sequence[Group], now: Now) -> Message:
        """Make the message about some groups."""
        reported = [each for group in groups for each in self._list_reportable(group, now)]
        if reported:
            reported += self._list_still_open(destination, groups, now)
        reportable = [self._list_reportable_plains(group, now) for group in groups]
        plains = [plain for each in reportable for plain in each]
        alone = not self._tracker.destination_policy(destination).is_limited
        message = build_message(destination, reported, plains, groups, now, with_opening=alone)
        message = replace(message, suppressed=self._spend(destination, now).suppressed)
        self._log_reported(message)
        self._mark_reported(reported, message, now)
        for plain in plains:
            for route, count in plain.counts.items():
                self._tracker.add_to_counts(destination, route, reported=count)
        for group, reported_plains in zip(groups, reportable, strict=True):
            left = tuple(each for each in group.plains if each not in reported_plains)
            self._finish_group(replace(group, plains=left), message, now)
        return message

    def _list_reportable_plains(self, group: Group, now: Now) -> list[PlainEvents]:
        """Return the plain events of a group that may be reported now."""
        return [
            plain
            for plain in group.plains
            if plain.hold is None and self._tracker.plain_silent_until_ns(plain) <= now.steady_ns
        ]

    def _list_still_open(
        self, destination: str, groups: Sequence[Group], now: Now
    ) -> list[Incident]:
        """Return what was reported before and is still open, in groups that were muted."""
        keys = {group.key for group in groups if group.after_mute}
        if not keys:
            return []
        return [
            each
            for each in self._state.list_incidents(destination)
            if each.group in keys
            and is_reminded(each, now)
            and self._silent_until_ns(each) <= now.steady_ns
            and self._review.find(each, now) is None
        ]

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
        reported = replace(
            group, last_ns=now.steady_ns, due_ns=None, waiting=message.id, after_mute=False
        )
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


def is_reminded(incident: Incident, now: Now) -> bool:
    """Whether a reminder names it: it is open and was reported, and nothing of it waits."""
    if not incident.is_open or incident.named_ns is None:
        return False
    if incident.update is not None or incident.waiting is not None:
        return False
    return now.at(incident.life.engine) < incident.last_event_ns + REMINDED_NS
