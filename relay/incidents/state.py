"""All incidents and groups, as rows in memory, with what is needed to find them.

Rows are values that never change; `State` replaces them and notes which were replaced, so that the
store can write exactly those. Everything that is not a row is derived from the rows.
"""

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from relay.incidents.destination import DestinationState
from relay.incidents.group import OVERFLOW_GROUP, Group
from relay.incidents.incident import Incident
from relay.incidents.route_counts import RouteCounts
from relay.incidents.silence import Silence, Silences
from relay.incidents.stored_event import MAX_EVENT_BYTES, SMALL_EVENT_BYTES

MAX_INCIDENTS = 20_000
"""How many incidents are kept at most, at all destinations together."""

MAX_GROUPS = 20_000
"""How many groups are kept at most. Beyond that, events go to the destination's common group."""

MAX_FINISHES = 10_000
"""Of how many subjects without an incident the ends with exit code 0 are remembered."""

KEPT_BYTES = 16 * 2**20
"""If the events and engines' answers that are kept take more, further events are kept without most
attributes, and further answers not at all."""

IncidentKey = tuple[str, str]
"""The destination and the subject."""
GroupKey = tuple[str, str]
"""The destination and the key of the group there."""


class Finishes(msgspec.Struct, frozen=True):
    """When a subject without an incident ended with exit code 0. It is stored as one row."""

    subject: str
    engine: str
    """The key of the engine."""
    times_ns: tuple[int, ...]
    """The last two, by the engine's clock."""


class Rows(msgspec.Struct, frozen=True):
    """The rows of a state: all of them, or those that changed."""

    incidents: list[Incident] = msgspec.field(default_factory=list)
    groups: list[Group] = msgspec.field(default_factory=list)
    destinations: list[DestinationState] = msgspec.field(default_factory=list)
    route_counts: list[RouteCounts] = msgspec.field(default_factory=list)
    finishes: list[Finishes] = msgspec.field(default_factory=list)
    silences: list[Silence] = msgspec.field(default_factory=list)


class Changes(msgspec.Struct, frozen=True):
    """What changed since the last changes: the rows to write and the keys of those to delete."""

    rows: Rows
    removed_incidents: list[IncidentKey] = msgspec.field(default_factory=list)
    removed_groups: list[GroupKey] = msgspec.field(default_factory=list)
    removed_finishes: list[str] = msgspec.field(default_factory=list)
    removed_silences: list[int] = msgspec.field(default_factory=list)


NO_CHANGES = Changes(Rows())
"""Nothing has to be written."""


class Waiting(msgspec.Struct):
    """What a message is about that is not settled yet."""

    incidents: list[IncidentKey] = msgspec.field(default_factory=list)
    groups: list[GroupKey] = msgspec.field(default_factory=list)


class State:
    """The incidents and groups of all destinations."""

    def __init__(self, rows: Rows) -> None:
        self.by_subject: dict[str, dict[str, Incident]] = {}
        """The incidents by subject, then by destination."""
        self.groups: dict[GroupKey, Group] = {}
        self.destinations: dict[str, DestinationState] = {}
        self.route_counts: dict[tuple[str, str], RouteCounts] = {}
        self.finishes: dict[str, Finishes] = {}
        self.silences = Silences(rows.silences, self._note_change)
        self.incident_count = 0
        self.unreported: defaultdict[GroupKey, dict[str, None]] = defaultdict(dict)
        """The subjects of the incidents of a group that have an update which is not held back."""
        self.held: dict[IncidentKey, None] = {}
        """The incidents whose update is held back."""
        self.held_groups: dict[GroupKey, None] = {}
        """The groups with plain events that are held back."""
        self.pending: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """The keys of the groups of a destination that have something to report."""
        self.waiting: dict[tuple[str, str], Waiting] = {}
        """By destination and id of the message."""
        self._members: defaultdict[GroupKey, int] = defaultdict(int)
        self._remembered: dict[IncidentKey, None] = {}
        self._kept_bytes = 0
        self._forget_changes()
        for incident in sorted(rows.incidents, key=lambda each: each.ended_ns or 0):
            self.put_incident(incident)
        for group in rows.groups:
            self.put_group(group)
        self.destinations.update((each.name, each) for each in rows.destinations)
        self.route_counts.update(
            ((each.destination, each.route), each) for each in rows.route_counts
        )
        self.finishes.update((each.subject, each) for each in rows.finishes)
        self._forget_changes()

    def _note_change(self) -> None:
        self._has_changes = True

    def _forget_changes(self) -> None:
        self._has_changes = False
        # Dictionaries, because they keep the order.
        self._changed_incidents: dict[IncidentKey, None] = {}
        self._changed_groups: dict[GroupKey, None] = {}
        self._changed_destinations: dict[str, None] = {}
        self._changed_counts: dict[tuple[str, str], None] = {}
        self._changed_finishes: dict[str, None] = {}

    def get_incident(self, key: IncidentKey) -> Incident | None:
        """Return the incident of a destination and a subject."""
        return self.by_subject.get(key[1], {}).get(key[0])

    def list_incidents(self, destination: str | None = None) -> Iterable[Incident]:
        """Yield all incidents, or those of a destination."""
        for incidents in self.by_subject.values():
            if destination is None:
                yield from incidents.values()
            elif (incident := incidents.get(destination)) is not None:
                yield incident

    def put_incident(self, incident: Incident) -> None:
        """Add or replace an incident."""
        key = (incident.destination, incident.subject)
        before = self.get_incident(key)
        if before is incident:
            return
        if before is not None:
            self._unlink(before)
        self.by_subject.setdefault(incident.subject, {})[incident.destination] = incident
        self.incident_count += 1
        group = (incident.destination, incident.group)
        self._members[group] += 1
        if incident.update is not None:
            if incident.is_held:
                self.held[key] = None
            else:
                self.unreported[group][incident.subject] = None
        elif not incident.is_open:
            self._remembered[key] = None
        if incident.waiting is not None:
            known = before is not None and before.waiting == incident.waiting
            if not known:
                self._get_waiting(incident.destination, incident.waiting).incidents.append(key)
        self._kept_bytes += _count_bytes(incident)
        self._changed_incidents[key] = None
        self._has_changes = True

    def remove_incident(self, incident: Incident) -> None:
        """Remove an incident."""
        key = (incident.destination, incident.subject)
        self._unlink(incident)
        incidents = self.by_subject[incident.subject]
        del incidents[incident.destination]
        if not incidents:
            del self.by_subject[incident.subject]
        self._changed_incidents[key] = None
        self._has_changes = True

    def _unlink(self, incident: Incident) -> None:
        key = (incident.destination, incident.subject)
        group = (incident.destination, incident.group)
        self.incident_count -= 1
        self._members[group] -= 1
        if not self._members[group]:
            del self._members[group]
        unreported = self.unreported.get(group)
        if unreported is not None:
            unreported.pop(incident.subject, None)
            if not unreported:
                del self.unreported[group]
        self._remembered.pop(key, None)
        self.held.pop(key, None)
        self._kept_bytes -= _count_bytes(incident)

    @property
    def is_full(self) -> bool:
        """Whether no more incidents may be added."""
        return self.incident_count >= MAX_INCIDENTS

    def find_oldest_remembered(self) -> Incident | None:
        """Return the incident that ended first, has nothing to report, and is only remembered."""
        key = next(iter(self._remembered), None)
        return None if key is None else self.get_incident(key)

    @property
    def is_crowded(self) -> bool:
        """Whether the events and engines' answers that are kept take much memory."""
        return self._kept_bytes >= KEPT_BYTES

    @property
    def event_limit(self) -> int:
        """How long an event may be that is kept, in bytes."""
        return SMALL_EVENT_BYTES if self.is_crowded else MAX_EVENT_BYTES

    def get_group(self, destination: str, key: str) -> Group:
        """Return a group, or a new one. While there are too many, that is the common one."""
        group = self.groups.get((destination, key))
        if group is not None:
            return group
        if len(self.groups) >= MAX_GROUPS and key != OVERFLOW_GROUP:
            return self.get_group(destination, OVERFLOW_GROUP)
        return Group(destination, key)

    def put_group(self, group: Group) -> None:
        """Add or replace a group. One that says nothing about the future is removed."""
        key = (group.destination, group.key)
        before = self.groups.get(key)
        self._kept_bytes += _count_plain_bytes(group) - _count_plain_bytes(before)
        self.groups[key] = group
        if group.has_held_plains:
            self.held_groups[key] = None
        else:
            self.held_groups.pop(key, None)
        if group.due_ns is None:
            self.pending[group.destination].pop(group.key, None)
        else:
            self.pending[group.destination][group.key] = None
        if group.waiting is not None and (before is None or before.waiting != group.waiting):
            self._get_waiting(group.destination, group.waiting).groups.append(key)
        self._changed_groups[key] = None
        self._has_changes = True

    def remove_group(self, group: Group) -> None:
        """Remove a group that has nothing to report."""
        self.held_groups.pop((group.destination, group.key), None)
        del self.groups[group.destination, group.key]
        self._changed_groups[group.destination, group.key] = None
        self._has_changes = True

    def has_members(self, group: Group) -> bool:
        """Whether incidents belong to a group, open or remembered."""
        return (group.destination, group.key) in self._members

    def _get_waiting(self, destination: str, message_id: str) -> Waiting:
        return self.waiting.setdefault((destination, message_id), Waiting())

    def get_destination(self, name: str) -> DestinationState:
        """Return the state of a destination, or a new one."""
        return self.destinations.get(name) or DestinationState(name)

    def put_destination(self, state: DestinationState) -> None:
        """Add or replace the state of a destination."""
        self.destinations[state.name] = state
        self._changed_destinations[state.name] = None
        self._has_changes = True

    def get_counts(self, destination: str, route: str) -> RouteCounts:
        """Return the counts of a route at a destination, or a new one."""
        return self.route_counts.get((destination, route)) or RouteCounts(destination, route)

    def put_counts(self, counts: RouteCounts) -> None:
        """Add or replace the counts of a route at a destination."""
        self.route_counts[counts.destination, counts.route] = counts
        self._changed_counts[counts.destination, counts.route] = None
        self._has_changes = True

    def put_finishes(self, finishes: Finishes) -> None:
        """Remember when a subject ended with exit code 0, as the last of those remembered."""
        self.remove_finishes(finishes.subject)
        if len(self.finishes) >= MAX_FINISHES:
            self.remove_finishes(next(iter(self.finishes)))
        self.finishes[finishes.subject] = finishes

    def remove_finishes(self, subject: str) -> None:
        """Forget when a subject ended with exit code 0."""
        self.finishes.pop(subject, None)
        self._changed_finishes[subject] = None
        self._has_changes = True

    def take_changes(self) -> Changes:
        """Return what changed since the last call; `NO_CHANGES` if nothing did."""
        if not self._has_changes:
            return NO_CHANGES
        incidents = {key: self.get_incident(key) for key in self._changed_incidents}
        groups = {key: self.groups.get(key) for key in self._changed_groups}
        finishes = {key: self.finishes.get(key) for key in self._changed_finishes}
        silences, removed_silences = self.silences.take_changes()
        changes = Changes(
            Rows(
                [each for each in incidents.values() if each is not None],
                [each for each in groups.values() if each is not None],
                [self.destinations[name] for name in self._changed_destinations],
                [self.route_counts[key] for key in self._changed_counts],
                [each for each in finishes.values() if each is not None],
                silences,
            ),
            [key for key, each in incidents.items() if each is None],
            [key for key, each in groups.items() if each is None],
            [key for key, each in finishes.items() if each is None],
            removed_silences,
        )
        self._forget_changes()
        return changes

    def export(self) -> Rows:
        """Return all rows."""
        return Rows(
            list(self.list_incidents()),
            list(self.groups.values()),
            list(self.destinations.values()),
            list(self.route_counts.values()),
            list(self.finishes.values()),
            list(self.silences),
        )


def _count_plain_bytes(group: Group | None) -> int:
    """Return how much memory the plain events of a group take."""
    if group is None or not group.plains:
        return 0
    return sum(len(each.content) for plain in group.plains for each in plain.events)


def _count_bytes(incident: Incident) -> int:
    """Return how much memory the events of an incident and the engine's answer take."""
    later, included = incident.later, incident.included
    return (
        len(incident.first.content)
        + (0 if later is None else len(later.content))
        + (0 if included is None else len(msgspec.json.encode(included)))
    )
