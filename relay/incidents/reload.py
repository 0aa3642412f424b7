"""A reload: the incidents that are open go on where the new routes still send their first event."""

from msgspec.structs import replace

from relay.core.event import RELAY_ENGINE, is_self_event
from relay.core.incident import Resolution
from relay.incidents import incident as incidents
from relay.incidents.clock import Now
from relay.incidents.group import Group, make_group_key
from relay.incidents.held import HeldReason
from relay.incidents.incident import Incident
from relay.incidents.plain import PlainEvents
from relay.incidents.policy import Policies
from relay.incidents.stored_event import StoredEvent
from relay.incidents.tracker import IncidentTracker
from relay.routing.router import Router


class Reloader:
    """Puts other policies and routes in force."""

    def __init__(self, tracker: IncidentTracker, router: Router) -> None:
        """``router`` has the new routes."""
        self._tracker = tracker
        self._state = tracker.state
        self._router = router

    def reload(self, policies: Policies, now: Now) -> int:
        """Use the policies; return how many open incidents are watched no longer."""
        self._tracker.policies = policies
        unwatched = 0
        for incident in list(self._state.list_incidents()):
            route = self._find_route(incident.first, incident.route, incident.destination)
            if route is None:
                unwatched += incident.is_open
                self._drop(incident, now)
            else:
                self._move(incident, route, now)
        for group in list(self._state.groups.values()):
            if group.destination in policies.destinations:
                self._move_held_plains(group, now)
            else:
                for plain in group.plains:
                    self._drop_plain(plain, group.destination)
                self._state.put_group(replace(group, due_ns=None, plains=()))
                self._state.remove_group(group)
        return unwatched

    def _move_held_plains(self, group: Group, now: Now) -> None:
        """Let plain events wait with the routes that they have now, which may be muted, too."""
        if not group.has_held_plains:
            return
        plains = []
        for plain in group.plains:
            if plain.hold is None:
                plains.append(plain)
            elif route := self._find_route(plain.events[0], plain.route, group.destination):
                plains.append(replace(plain, route=route))
            else:
                self._drop_plain(plain, group.destination)
        self._state.put_group(replace(group, plains=tuple(plains)))
        self._tracker.forget_group(group.destination, group.key, now)

    def _drop_plain(self, plain: PlainEvents, destination: str) -> None:
        for route, count in plain.counts.items():
            self._tracker.hold(destination, route, HeldReason.UNWATCHED, count)

    def _find_route(self, stored: StoredEvent, before: str, destination: str) -> str | None:
        """Return the route that an event belongs to now at a destination; None if none sends it
        there any more."""
        policies, event = self._tracker.policies, stored.decode()
        engine = event.via or event.engine
        is_own = is_self_event(event) and engine == RELAY_ENGINE
        if policies.engines is not None and not is_own and engine not in policies.engines:
            return None
        for result in self._router.explain(event):
            if destination in result.destinations:
                name = result.route.name
                return name if policies.takes_incidents(name, destination) else None
        # Without its attributes the event may not match although the route is as it was.
        if stored.is_trimmed and policies.takes_incidents(before, destination):
            return before
        return None

    def _move(self, incident: Incident, route: str, now: Now) -> None:
        """Let an incident go on with another route, and with the group that it has now."""
        destination = incident.destination
        policy = self._tracker.destination_policy(destination)
        key = make_group_key(incident.first.decode(), policy.group_by)
        group = self._state.get_group(destination, key)
        if (route, group.key) == (incident.route, incident.group):
            self._tracker.schedule_check(incident, now)  # its policy may have changed
            return
        before = self._state.groups.get((destination, incident.group))
        if before is not None and (destination, group.key) not in self._state.groups:
            # Its timers go with it, so that nothing is reported sooner or later.
            due_ns = None if incident.update is None else before.due_ns
            self._state.put_group(replace(group, last_ns=before.last_ns, due_ns=due_ns))
        moved = self._tracker.move_to_route(incident, route)
        self._tracker.put(replace(moved, group=group.key), now)
        if before is not None:
            self._tracker.forget_group(destination, before.key, now)

    def _drop(self, incident: Incident, now: Now) -> None:
        """Stop watching an incident; a service that shows it as firing gets its end."""
        policy = self._tracker.policies.destinations.get(incident.destination)
        is_shown = policy is not None and not policy.is_limited and incident.message_count
        if is_shown and incident.is_open:
            ended_ns = now.at(incident.life.engine)
            self._tracker.put(incidents.resolve(incident, Resolution.UNWATCHED, ended_ns), now)
        elif not is_shown or incident.update is None:
            self._tracker.hold(
                incident.destination, incident.route, HeldReason.UNWATCHED, incident.unreported
            )
            if self._tracker.journal is not None:
                self._tracker.journal.unwatched(incident)
            self._tracker.remove(incident, now)
