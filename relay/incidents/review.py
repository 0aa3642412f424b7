"""Asks what holds updates back, and notes the answers: see `relay.incidents.hold`.

An update that is held back leaves its group. It comes back when the reason is over, or is counted
when the reason is final. The reason is asked for again when it should be over, when something new
is known of the incident, and when silences, the configuration or the wall clock have changed.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from relay.incidents.clock import Now
from relay.incidents.group import Group
from relay.incidents.held import HeldReason, Hold
from relay.incidents.hold import find_hold, find_mute_hold
from relay.incidents.incident import Incident
from relay.incidents.life import SECOND_NS
from relay.incidents.tracker import IncidentTracker, Task

WALL_TOLERANCE_NS = SECOND_NS
"""If the wall clock was set by more, what ends by it is asked for again."""


class HoldReview:
    """Holds updates back, and releases them."""

    def __init__(self, tracker: IncidentTracker, now: Now) -> None:
        self._tracker = tracker
        self._state = tracker.state
        self._wall_lead_ns = _find_wall_lead(now)

    def find(self, incident: Incident, now: Now) -> Hold | None:
        """Return what holds back the update of an incident now, or a reminder of it."""
        return find_hold(
            incident,
            self._tracker.circumstances(incident.route, incident.destination, now),
        )

    def find_reminder_ns(self, incident: Incident, now: Now) -> int | None:
        """Return from when on a reminder may name an incident, by the steady clock; None if that is
        not known."""
        hold = self.find(incident, now)
        return 0 if hold is None else _find_end(hold, now)

    def hold_updates(self, incidents: Iterable[Incident], now: Now) -> bool:
        """Hold back the updates for which there is a reason; return whether there was one."""
        found = False
        for incident in incidents:
            hold = self.find(incident, now)
            if hold is not None:
                self._hold(incident, hold, now)
                found = True
        return found

    def hold_plains(self, group: Group, now: Now) -> bool:
        """Hold back the plain events of a group that is muted; return whether it is."""
        plains = tuple(
            replace(plain, hold=hold) if plain.hold is None and hold is not None else plain
            for plain in group.plains
            for hold in (self._find_plain_hold(group.destination, plain.route, now),)
        )
        if plains == group.plains:
            return False
        self._put_plains(replace(group, plains=plains), now)
        return True

    def review(self, destination: str, subject: str, now: Now) -> None:
        """Ask again what holds back the update of an incident."""
        incident = self._state.get_incident((destination, subject))
        if incident is None or not incident.is_held:
            return
        hold = self.find(incident, now)
        if hold is not None:
            self._hold(incident, hold, now)
            return
        self._state.put_incident(replace(incident, hold=None))
        group = self._state.get_group(destination, incident.group)
        self._tracker.release_group(group, now, after_mute=_is_mute(incident.hold))

    def review_group(self, destination: str, key: str, now: Now) -> None:
        """Ask again what holds back the plain events of a group."""
        group = self._state.groups.get((destination, key))
        if group is None or not group.has_held_plains:
            return
        plains = tuple(
            replace(plain, hold=plain.hold and self._find_plain_hold(destination, plain.route, now))
            for plain in group.plains
        )
        was_free = group.has_free_plains
        group = replace(group, plains=plains)
        self._put_plains(group, now)
        if group.has_free_plains and not was_free:
            self._tracker.release_group(group, now, after_mute=True)

    def review_all(self, now: Now) -> None:
        """Ask again what holds back anything, and whether reminders are due."""
        schedule = self._tracker.schedule
        for destination, subject in self._state.held:
            schedule.set((Task.REVIEW, destination, subject), now.steady_ns)
        for destination, key in self._state.held_groups:
            schedule.set((Task.REVIEW_GROUP, destination, key), now.steady_ns)
        for name, policy in self._tracker.policies.destinations.items():
            if policy.repeat_interval_ns:
                schedule.bring_forward((Task.REMIND, name, ""), now.steady_ns)

    def is_wall_clock_set(self, now: Now) -> bool:
        """Whether the wall clock was set since `follow_wall_clock` was called last."""
        return abs(_find_wall_lead(now) - self._wall_lead_ns) > WALL_TOLERANCE_NS

    def follow_wall_clock(self, now: Now) -> None:
        """Ask again for everything if the wall clock was set."""
        if self.is_wall_clock_set(now):
            self._wall_lead_ns = _find_wall_lead(now)
            self.review_all(now)

    def _hold(self, incident: Incident, hold: Hold, now: Now) -> None:
        if hold.is_final:
            self._tracker.hold_update(incident, hold, now)
            return
        if hold.reason is HeldReason.OPTED_OUT and incident.unreported:
            # It has no end to wait for, so it is counted at once.
            self._tracker.hold(
                incident.destination, incident.route, hold.reason, incident.unreported
            )
            incident = replace(incident, unreported=0)
        if incident.hold != hold and self._tracker.journal is not None:
            self._tracker.journal.waits(incident, hold)
        self._state.put_incident(replace(incident, hold=hold))
        key = (Task.REVIEW, incident.destination, incident.subject)
        self._tracker.schedule.set(key, _find_end(hold, now))
        group = self._state.get_group(incident.destination, incident.group)
        self._tracker.refresh_group(group, now)

    def _find_plain_hold(self, destination: str, route: str, now: Now) -> Hold | None:
        at = self._tracker.circumstances(route, destination, now)
        return find_mute_hold(at.route.mute, at.now.wall_ns)

    def _put_plains(self, group: Group, now: Now) -> None:
        self._state.put_group(group)
        ends = [_find_end(each.hold, now) for each in group.plains if each.hold is not None]
        end_ns = min((each for each in ends if each is not None), default=None)
        self._tracker.schedule.set((Task.REVIEW_GROUP, group.destination, group.key), end_ns)
        self._tracker.refresh_group(group, now)


def _is_mute(hold: Hold | None) -> bool:
    return hold is not None and hold.reason is HeldReason.MUTED


def _find_wall_lead(now: Now) -> int:
    """Return how far the wall clock is ahead of the steady clock."""
    return now.wall_ns - now.steady_ns


def _find_end(hold: Hold, now: Now) -> int | None:
    """Return when a hold ends, by the steady clock; None if no end is known."""
    return None if hold.until_ns is None else now.wall_to_steady_ns(hold.until_ns)
