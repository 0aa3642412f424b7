"""Keeps incidents, groups and the schedule consistent with each other.

Every change of an incident goes through `IncidentTracker.put`, which notes when the incident and
its group are due next.
"""

from enum import StrEnum

from msgspec.structs import replace

from relay.core.event import RELAY_ENGINE
from relay.core.incident import Audience
from relay.incidents import incident as incidents
from relay.incidents.clock import Engines, Now, is_remote, stream_of
from relay.incidents.destination import REFRESH_INTERVAL_NS
from relay.incidents.group import Group, find_due
from relay.incidents.held import HeldReason, Hold
from relay.incidents.hold import Circumstances
from relay.incidents.incident import Incident
from relay.incidents.journal import Journal
from relay.incidents.plain import PlainEvents
from relay.incidents.policy import DestinationPolicy, Policies, RoutePolicy
from relay.incidents.schedule import Schedule
from relay.incidents.state import State
from relay.incidents.subject import is_own


class Task(StrEnum):
    """What is due."""

    CHECK = "check"
    """An incident may be over, overdue, or to be forgotten."""
    NOTIFY = "notify"
    """A group of a destination may be due."""
    REMIND = "remind"
    """A destination is to be reminded of what is open."""
    REFRESH = "refresh"
    """A destination's alerts are to be repeated before they expire."""
    REVIEW = "review"
    """What holds back the update of an incident may be over."""
    REVIEW_GROUP = "review_group"
    """What holds back the plain events of a group may be over."""
    SILENCE = "silence"
    """A silence begins or ends."""
    FORGET = "forget"
    """A group may have nothing left to say about the future."""


DueKey = tuple[Task, str, str]
"""The task, the destination, and the subject, the key of the group, or nothing."""

DEFAULT_ROUTE_POLICY = RoutePolicy()


class IncidentTracker:
    """The state with its policies and its schedule."""

    def __init__(
        self, state: State, policies: Policies, engines: Engines, journal: Journal | None = None
    ) -> None:
        """``journal`` logs what becomes of incidents; None for a dry run."""
        self.state = state
        self.policies = policies
        self.engines = engines
        self.journal = journal
        self.schedule: Schedule[DueKey] = Schedule()

    def route_policy(self, incident: Incident) -> RoutePolicy:
        """Return the policy of an incident's route; the default if that is no longer there."""
        key = (incident.route, incident.destination)
        return self.policies.routes.get(key, DEFAULT_ROUTE_POLICY)

    def circumstances(self, route: str, destination: str, now: Now) -> Circumstances:
        """Return what decides whether something of a route is held back at a destination."""
        return Circumstances(
            self.policies.routes.get((route, destination), DEFAULT_ROUTE_POLICY),
            self.policies.destinations[destination],
            self.policies.labels,
            self.state.silences,
            now,
        )

    def destination_policy(self, destination: str) -> DestinationPolicy:
        """Return the policy of a destination that is configured."""
        return self.policies.destinations[destination]

    def known_until_ns(self, incident: Incident, now: Now) -> int:
        """Return until when everything that happened to its subject is known."""
        if is_own(incident.subject):
            return now.wall_ns
        return self.engines.known_until_ns(incident.life.engine, now)

    def plain_silent_until_ns(self, plain: PlainEvents) -> int:
        """Return until when nothing of the engine of plain events is reported; 0 if they may be
        reported."""
        return 0 if plain.engine == RELAY_ENGINE else self.engines.silent_until_ns(plain.engine)

    def silent_until_ns(self, incident: Incident) -> int:
        """Return until when nothing of an incident's engine is reported; 0 if it may be
        reported."""
        return 0 if is_own(incident.subject) else self.engines.silent_until_ns(incident.life.engine)

    def is_followed(self, incident: Incident) -> bool:
        """Whether relay hears of an incident. What other hosts send may go to another relay."""
        engine = incident.life.engine
        return not is_remote(engine) or self.engines.is_connected(stream_of(engine))

    def put(self, incident: Incident, now: Now) -> None:
        """Add or replace an incident, and note when it and its group are due."""
        before = self.state.get_incident((incident.destination, incident.subject))
        if self.journal is not None:
            self.journal.changed(before, incident)
        if incident.is_held and before is not None:
            incident = self._keep_hold(before, incident, now)
        self.state.put_incident(incident)
        self.schedule_check(incident, now)
        if incident.update is None:  # maybe it was withdrawn, or its last event was long ago
            self.schedule_reminder(incident, now)
        if before is not None and before.group != incident.group:
            self.refresh_group(self.state.get_group(incident.destination, before.group), now)
        self.refresh_group(self.state.get_group(incident.destination, incident.group), now)

    def _keep_hold(self, before: Incident, incident: Incident, now: Now) -> Incident:
        """Note that the reason to hold back an incident's update is to be asked for again, if it
        may be another one now.

        That is done when its group would be due. If the update was withdrawn, nothing is held back.
        """
        key = (Task.REVIEW, incident.destination, incident.subject)
        if incident.update is None:
            self.schedule.set(key, None)
            return replace(incident, hold=None)
        if incident is not before and _what_decides(incident) != _what_decides(before):
            wait_ns = self.destination_policy(incident.destination).group_wait_ns
            self.schedule.bring_forward(key, now.steady_ns + wait_ns)
        return incident

    def remove(self, incident: Incident, now: Now) -> None:
        """Remove an incident."""
        self.schedule.set((Task.CHECK, incident.destination, incident.subject), None)
        self.schedule.set((Task.REVIEW, incident.destination, incident.subject), None)
        self.state.remove_incident(incident)
        group = self.state.groups.get((incident.destination, incident.group))
        if group is not None:
            self.refresh_group(group, now)
            self.forget_group(incident.destination, incident.group, now)

    def make_room(self, now: Now) -> bool:
        """Return whether one more incident may be added. The oldest remembered one is forgotten."""
        if not self.state.is_full:
            return True
        oldest = self.state.find_oldest_remembered()
        if oldest is None:
            return False
        self.remove(oldest, now)
        return True

    def schedule_all(self, now: Now) -> None:
        """Note, after a start, when incidents and groups change or are due."""
        for incident in list(self.state.list_incidents()):
            self.schedule_check(incident, now)
        for group in list(self.state.groups.values()):
            self.refresh_group(group, now)
            self.forget_group(group.destination, group.key, now)

    def schedule_check(self, incident: Incident, now: Now) -> None:
        """Note when the incident changes next if nothing happens.

        While its engine is not connected, nothing changes; `check_engine` goes on.
        """
        key = (Task.CHECK, incident.destination, incident.subject)
        resolve_after_ns = self.route_policy(incident).resolve_after_ns
        change_ns = incidents.find_next_change(incident, resolve_after_ns)
        if change_ns is None:
            self.schedule.set(key, None)
            return
        engine = incident.life.engine
        engine_ns = now.at(engine)
        is_heard = self.known_until_ns(incident, now) >= engine_ns
        if incident.is_open and not is_heard and change_ns > self.known_until_ns(incident, now):
            self.schedule.set(key, None)
            return
        self.schedule.set(key, change_ns - (engine_ns - now.steady_ns))

    def check(self, destination: str, subject: str, now: Now) -> None:
        """Let the time that has passed change an incident."""
        incident = self.state.get_incident((destination, subject))
        if incident is None:
            return
        if incident.is_open or incident.update is not None:
            resolve_after_ns = self.route_policy(incident).resolve_after_ns
            until_ns = self.known_until_ns(incident, now)
            self.put(incidents.advance(incident, resolve_after_ns, until_ns), now)
            return
        forget_ns = incidents.find_next_change(incident, 0)
        if forget_ns is not None and forget_ns <= now.at(incident.life.engine):
            self.remove(incident, now)
        else:
            self.schedule_check(incident, now)

    def check_engine(self, engine: str, now: Now) -> None:
        """Let the time that has passed change the incidents of an engine, or of those whose events
        it brings; then groups may be due."""
        for incident in list(self.state.list_incidents()):
            if stream_of(incident.life.engine) == engine:
                self.check(incident.destination, incident.subject, now)
        self.recheck_groups(now)

    def recheck_groups(self, now: Now) -> None:
        """Decide now whether groups are due: what held them back may have changed."""
        for destination in self.state.pending:
            self.schedule.bring_forward((Task.NOTIFY, destination, ""), now.steady_ns)

    def refresh_group(self, group: Group, now: Now) -> None:
        """Note when a group is due, if it has something to report."""
        key = (group.destination, group.key)
        if key not in self.state.unreported and not group.has_free_plains:
            if group.due_ns is not None:
                self.state.put_group(replace(group, due_ns=None, after_mute=False))
            return
        due_ns = group.due_ns
        if due_ns is None:
            due_ns = find_due(group, self.destination_policy(group.destination), now.steady_ns)
            self.state.put_group(replace(group, due_ns=due_ns))
        if group.waiting is None:
            self.schedule.bring_forward((Task.NOTIFY, group.destination, ""), due_ns)

    def release_group(self, group: Group, now: Now, *, after_mute: bool) -> None:
        """Note that something of a group is no longer held back: it is due at once, unless the last
        message of the group was made shortly before."""
        due_ns = now.steady_ns
        if group.last_ns is not None:
            interval_ns = self.destination_policy(group.destination).group_interval_ns
            due_ns = max(due_ns, group.last_ns + interval_ns)
        if group.due_ns is not None:
            due_ns = min(due_ns, group.due_ns)
        group = replace(group, due_ns=due_ns, after_mute=group.after_mute or after_mute)
        self.state.put_group(group)
        if group.waiting is None:
            self.schedule.bring_forward((Task.NOTIFY, group.destination, ""), due_ns)

    def forget_group(self, destination: str, key: str, now: Now) -> None:
        """Remove a group that has nothing to report and that delays nothing."""
        group = self.state.groups.get((destination, key))
        if group is None or group.due_ns is not None or group.waiting is not None:
            return
        if group.plains or self.state.has_members(group):
            return
        policy = self.policies.destinations.get(destination)
        free_ns = (group.last_ns or 0) + (0 if policy is None else policy.group_interval_ns)
        if free_ns > now.steady_ns:
            self.schedule.set((Task.FORGET, destination, key), free_ns)
        else:
            self.state.remove_group(group)

    def add_to_counts(
        self, destination: str, route: str, *, taken: int = 0, reported: int = 0
    ) -> None:
        """Count events of a route at a destination."""
        if taken or reported:
            counts = self.state.get_counts(destination, route)
            self.state.put_counts(counts.add(taken=taken, reported=reported))

    def move_to_route(self, incident: Incident, route: str) -> Incident:
        """Return an incident with another route, which its unreported events count for from now
        on."""
        if route == incident.route:
            return incident
        unreported = incident.unreported
        self.add_to_counts(incident.destination, incident.route, taken=-unreported)
        self.add_to_counts(incident.destination, route, taken=unreported)
        return replace(incident, route=route)

    def hold(self, destination: str, route: str, reason: HeldReason, count: int) -> None:
        """Count events that are not reported."""
        if not count:
            return
        self.state.put_counts(self.state.get_counts(destination, route).hold(reason, count))
        if destination in self.policies.destinations:
            state = self.state.get_destination(destination)
            self.state.put_destination(replace(state, suppressed=state.suppressed + count))

    def hold_plain(self, destination: str, route: str, hold: Hold) -> None:
        """Hold back for good an event that belongs to no incident, and count it."""
        self.hold(destination, route, hold.reason, 1)
        if hold.silence is not None:
            self.state.silences.count_held(hold.silence, events=1)

    def hold_update(self, incident: Incident, hold: Hold, now: Now) -> None:
        """Hold back an incident's update for good, and count its events with the reason."""
        if self.journal is not None:
            self.journal.held(incident, hold)
        self.hold(incident.destination, incident.route, hold.reason, incident.unreported)
        if hold.silence is not None:
            self.state.silences.count_held(hold.silence, events=incident.unreported, incidents=1)
        engine_ns = now.at(incident.life.engine)
        self.schedule.set((Task.REVIEW, incident.destination, incident.subject), None)
        self.put(incidents.mark_reported(incident, None, now.steady_ns, engine_ns, hold), now)

    def schedule_reminder(self, incident: Incident, now: Now) -> None:
        """Note when to remind of an incident, unless something new of it is reported before."""
        repeat_ns = self.destination_policy(incident.destination).repeat_interval_ns
        if incident.waiting is not None or not incident.is_open:
            return
        if incident.named_ns is not None and repeat_ns:
            due_ns = max(now.steady_ns, incident.named_ns + repeat_ns)
            self.schedule.bring_forward((Task.REMIND, incident.destination, ""), due_ns)

    def schedule_repetition(self, destination: str, now: Now) -> None:
        """Note when open incidents are to be reported again, after a message that reported some."""
        policy = self.destination_policy(destination)
        if policy.repeat_interval_ns:
            due_ns = now.steady_ns + policy.repeat_interval_ns
            self.schedule.bring_forward((Task.REMIND, destination, ""), due_ns)
        if policy.audience is Audience.ALERTS:
            due_ns = now.steady_ns + REFRESH_INTERVAL_NS
            self.schedule.bring_forward((Task.REFRESH, destination, ""), due_ns)


def _what_decides(incident: Incident) -> tuple[object, ...]:
    """Return what decides whether an update is held back, and how many events are."""
    life, unreported = incident.life, incident.unreported
    return incident.update, incident.status, incident.later, incident.route, life, unreported
