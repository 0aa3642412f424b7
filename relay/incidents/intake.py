"""Takes events: as evidence for the incidents of their subjects, and as what routes send.

A route sends an event to a destination as it is, or the destination is notified of incidents. Then
the event is counted by the incident of its subject; or it is a problem, which opens one; or it is a
plain event, which is reported with its group.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from relay.core.event import RELAY_ENGINE, TYPE_RELAY, Event, source_of, unique_id
from relay.core.include import Include, Included, select_included
from relay.core.notification import Notification
from relay.core.severity import Severity, default_severity
from relay.incidents import incident as incidents
from relay.incidents import life as lives
from relay.incidents import observation as observations
from relay.incidents.clock import Now, find_affected, is_affected, is_remote, stream_of
from relay.incidents.evidence import Evidence, Fact, find_evidence
from relay.incidents.group import make_group_key
from relay.incidents.held import Hold
from relay.incidents.hold import find_mute_hold, find_plain_hold
from relay.incidents.incident import Incident
from relay.incidents.inquiry import (
    Answer,
    FindFacts,
    Inquiries,
    Inquiry,
    add_facts,
    learn,
    needs_facts,
    subject_of,
)
from relay.incidents.life import LOOP_WINDOW_NS
from relay.incidents.observation import Observation, ObservedContainer
from relay.incidents.opening import Opening, open_incident
from relay.incidents.plain import add_event, raise_severity
from relay.incidents.state import Finishes
from relay.incidents.stored_event import StoredEvent, store_event
from relay.incidents.subject import container_key, is_own, subject_key
from relay.incidents.tracker import IncidentTracker
from relay.routing.router import RouteResult

TOO_MUCH_IS_KEPT = "relay keeps no more of it while so many incidents are open"

ImmediateNotification = tuple[Notification, Sequence[str]]
"""A notification of one event, with its destinations."""


class Intake:
    """Takes events one by one, in the order in which they happened."""

    def __init__(self, tracker: IncidentTracker) -> None:
        self._tracker = tracker
        self._state = tracker.state
        self.inquiries = Inquiries()
        """What the engines are to be asked."""
        self.find_facts: FindFacts = lambda _: None
        """Knows the containers of the events that are taken."""
        self.included: Mapping[str, Included] = {}
        """What came with the events of other hosts that are taken, by the id of the event."""
        self.held = dict[str, Hold]()
        """What held back an event that belongs to no incident, by destination; until somebody who
        watches empties it."""

    def take(
        self, event: Event, results: Sequence[RouteResult], now: Now
    ) -> list[ImmediateNotification]:
        """Take an event with the routes that send it, and return what is sent of it at once."""
        by_subject = self._state.by_subject
        if not results and not by_subject:
            return []
        takers = self._find_takers(results)
        if event.action == "gap" and event.type == TYPE_RELAY:
            self._on_gap(event, now)
        known = by_subject.get(subject_key(event)) if by_subject else None
        if known is None and not takers:  # nearly every event
            return [(result.build_notification(event), result.destinations) for result in results]
        evidence = find_evidence(event)
        is_taken, problems = bool(takers), dict[str, bool]()
        for incident in list((known or {}).values()):
            result = takers.get(incident.destination)
            is_problem = evidence is not None and _is_new_problem(incident, evidence)
            if self._apply(incident, event, evidence, result, now, is_problem=is_problem):
                del takers[incident.destination]
            else:
                problems[incident.destination] = is_problem
        if takers:
            self._take_new(event, evidence, takers, problems, now)
        if is_taken and evidence is not None and evidence.fact is Fact.FINISHED:
            self._remember_finish(event)
        return self._select_immediate(event, results, takers)

    def _find_takers(self, results: Sequence[RouteResult]) -> dict[str, RouteResult]:
        """Return the destinations that are notified of incidents, each with its route."""
        wanted = self._tracker.policies.incident_destinations
        if not wanted:
            return {}
        takers: dict[str, RouteResult] = {}
        for result in results:
            name = result.route.name
            if name in wanted:
                for destination in result.destinations:
                    if destination in wanted[name]:
                        takers[destination] = result
        return takers

    def _select_immediate(
        self, event: Event, results: Sequence[RouteResult], takers: Mapping[str, RouteResult]
    ) -> list[ImmediateNotification]:
        """Return what is sent at once: to destinations of events, and what is in no group."""
        policies = self._tracker.policies
        selected: list[ImmediateNotification] = []
        for result in results:
            name = result.route.name
            to = []
            for destination in result.destinations:
                if not policies.takes_incidents(name, destination):
                    to.append(destination)
                elif destination in takers:
                    to.append(destination)
                    self._tracker.add_to_counts(destination, name, taken=1, reported=1)
            if to:
                selected.append((result.build_notification(event), to))
        return selected

    def _apply(
        self,
        incident: Incident,
        event: Event,
        evidence: Evidence | None,
        result: RouteResult | None,
        now: Now,
        *,
        is_problem: bool,
    ) -> bool:
        """Apply an event to an incident of its subject; return whether the incident counts it.

        ``result`` is the route that takes the event for the incident's destination, if one does.
        """
        before, accepts = incident, incident.accepts_events
        if evidence is not None:
            incident = self._apply_evidence(incident, evidence)
            may_reopen = is_problem and incidents.may_reopen(incident, evidence)
            if result is not None and may_reopen and (not accepts or incident.is_unwatched):
                if incident.is_unwatched:
                    incident = self._tracker.move_to_route(incident, result.route.name)
                incident, accepts = incidents.reopen(incident, evidence.time_ns), True
        if result is not None and accepts:
            incident = incidents.count(incident, event.time_ns)
            self._tracker.add_to_counts(incident.destination, incident.route, taken=1)
            if is_problem:
                severity = _find_severity(result, event)
                incident = incidents.keep_problem(incident, event, self._store(event), severity)
            if incident.crash_looping and not before.crash_looping:
                incident = self._ask(incident, event, result, now)
            elif is_problem and needs_facts(incident, event):
                incident = self._ask(incident, event, None, now)
        if incident is not before:
            self._tracker.put(incident, now)
        return result is not None and accepts

    def _take_new(
        self,
        event: Event,
        evidence: Evidence | None,
        takers: dict[str, RouteResult],
        problems: Mapping[str, bool],
        now: Now,
    ) -> None:
        """Take an event for destinations at which no incident counts it.

        Those that are reported at once remain in ``takers``. ``problems`` says whether the event is
        a problem at destinations that remember an incident of its subject.
        """
        subject = subject_key(event)
        finishes = self._state.finishes.get(subject)
        finishes_ns = () if finishes is None else finishes.times_ns
        is_new_problem = evidence is not None and lives.is_problem(None, evidence, finishes_ns)
        for destination, result in list(takers.items()):
            is_problem = problems.get(destination, is_new_problem)
            if evidence is not None and is_problem and self._tracker.make_room(now):
                self._open(event, evidence, destination, result, now)
                del takers[destination]
            elif self._take_plain(event, destination, result, now, overflow=is_problem):
                del takers[destination]

    def _open(
        self, event: Event, evidence: Evidence, destination: str, result: RouteResult, now: Now
    ) -> None:
        policy = self._tracker.destination_policy(destination)
        finishes = self._state.finishes.get(subject_key(event))
        group = self._state.get_group(destination, make_group_key(event, policy.group_by))
        opening = Opening(
            event=event,
            evidence=evidence,
            stored=self._store(event),
            route=result.route.name,
            destination=destination,
            group=group.key,
            severity=_find_severity(result, event),
        )
        incident = open_incident(opening, () if finishes is None else finishes.times_ns)
        self._tracker.add_to_counts(destination, opening.route, taken=1)
        self._tracker.put(self._ask(incident, event, result, now), now)

    def _take_plain(
        self, event: Event, destination: str, result: RouteResult, now: Now, *, overflow: bool
    ) -> bool:
        """Hold back an event for good, or add it to its group; return False if it is to be sent at
        once.

        What is sent at once is held back while its route is muted. Services that group by
        themselves have no use for it later; others get it with its group.
        """
        route = result.route.name
        at = self._tracker.circumstances(route, destination, now)
        hold = find_plain_hold(event, route, at)
        groups_it = at.destination.groups_plain_events
        if hold is None and (event.type == TYPE_RELAY or not groups_it):
            mute = find_mute_hold(at.route.mute, at.now.wall_ns)
            if mute is None:
                return False
            hold = None if groups_it else replace(mute, until_ns=None, is_final=True)
        self._tracker.add_to_counts(destination, route, taken=1)
        if hold is not None:
            self._tracker.hold_plain(destination, route, hold)
            self.held[destination] = hold
        else:
            self._add_plain(event, destination, result, now, overflow=overflow)
        return True

    def _add_plain(
        self, event: Event, destination: str, result: RouteResult, now: Now, *, overflow: bool
    ) -> None:
        """Add an event to those of its group whose routes are muted at the same times."""
        policy, route = self._tracker.destination_policy(destination), result.route.name
        group = self._state.get_group(destination, make_group_key(event, policy.group_by))
        mute = self._tracker.circumstances(route, destination, now).route.mute
        before = None
        for plain in group.plains:
            if self._tracker.circumstances(plain.route, destination, now).route.mute == mute:
                before = plain
        is_first = before is None or not before.events
        stored = self._store(event) if is_first or not self._state.is_crowded else None
        plain = add_event(before, event, stored, route)
        plain = raise_severity(plain, _find_severity(result, event), overflow=overflow)
        others = tuple(each for each in group.plains if each is not before)
        group = replace(group, plains=(*others, plain))
        self._state.put_group(group)
        self._tracker.refresh_group(group, now)

    def _store(self, event: Event) -> StoredEvent:
        return store_event(event, self._state.event_limit)

    def _remember_finish(self, event: Event) -> None:
        """Remember that a subject ended with exit code 0: the third time soon is a problem."""
        subject, known = subject_key(event), self._state.finishes
        while known:  # those that are too old to matter are at the front
            oldest = next(iter(known.values()))
            if oldest.times_ns[-1] >= event.time_ns - LOOP_WINDOW_NS:
                break
            self._state.remove_finishes(oldest.subject)
        before_ns = known[subject].times_ns if subject in known else ()
        times_ns = (*before_ns, event.time_ns)[1 - lives.LOOP_FAILURES :]
        self._state.put_finishes(Finishes(subject, source_of(event), times_ns))

    def _ask(
        self, incident: Incident, event: Event, result: RouteResult | None, now: Now
    ) -> Incident:
        """Ask the engine about the container, also for what the route includes, if there is one.

        Returns the incident with what is known without asking; it is the same object if nothing is
        and the engine was asked too often.
        """
        if event.type != "container":
            return incident
        include = None if result is None else result.route.include.request
        if event.via is not None:
            return self._take_included(incident, event, include)
        if incident.container is None and incident.life.container == event.actor.id:
            incident = add_facts(incident, self.find_facts(event.actor.id))
        is_asked = self.inquiries.ask(incident.id, event, include, now.steady_ns)
        return replace(incident, asked_ns=event.time_ns) if is_asked else incident

    def _take_included(self, incident: Incident, event: Event, include: Include | None) -> Incident:
        """Return an incident of another host with what came with the event: the relay there has
        asked its engine."""
        incident = replace(incident, asked_ns=event.time_ns)
        if include is None:
            return incident
        included = select_included(include, self.included.get(unique_id(event)))
        if self._state.is_crowded:
            included = Included(missing=TOO_MUCH_IS_KEPT)
        return replace(incident, included=included)

    def put_answer(self, inquiry: Inquiry, answer: Answer, now: Now) -> None:
        """Add the answer to a question to the incidents of its subject."""
        if answer.included is not None and self._state.is_crowded:
            answer = replace(answer, included=Included(missing=TOO_MUCH_IS_KEPT))
        for incident in list(self._state.by_subject.get(subject_of(inquiry), {}).values()):
            self._tracker.put(learn(incident, inquiry, answer), now)

    def _on_gap(self, gap: Event, now: Now) -> None:
        """Note that events of an engine may be missing: nothing is confirmed by time alone.

        The relay of another host looks for what ended meanwhile and sends it, but it does not send
        what came back. So there only what was not well is in doubt.
        """
        affected = find_affected(gap)
        for incident in list(self._state.list_incidents()):
            life = incident.life
            if not is_affected(life.engine, affected) or is_own(incident.subject):
                continue
            if life.unknown_since_ns is None and (gap.via is None or not life.is_well):
                life = replace(life, unknown_since_ns=gap.time_ns)
                self._tracker.put(replace(incident, life=life), now)

    def doubt(self, engine: str, now: Now) -> None:
        """Note that nothing is known any longer of what an engine brings from other hosts."""
        for incident in list(self._state.list_incidents()):
            life = incident.life
            is_brought = is_remote(life.engine) and stream_of(life.engine) == engine
            if is_brought and incident.is_open and life.unknown_since_ns is None:
                life = replace(life, unknown_since_ns=now.at(life.engine))
                self._tracker.put(replace(incident, life=life), now)

    def recover_own(self, subject: str, now: Now) -> None:
        """Apply that an engine was reached, or that a destination took a message."""
        for incident in list(self._state.by_subject.get(subject, {}).values()):
            if not incident.life.is_up:
                evidence = Evidence(Fact.STARTED, now.wall_ns, RELAY_ENGINE)
                self._tracker.put(self._apply_evidence(incident, evidence), now)

    def observe(self, observation: Observation, now: Now) -> None:
        """Apply what a reconciliation shows."""
        if not self._state.by_subject:
            return
        seen_subjects = set()
        for seen in observation.containers:
            subject = container_key(observation.engine, seen.name, seen.id, seen.labels)
            seen_subjects.add(subject)
            for incident in list(self._state.by_subject.get(subject, {}).values()):
                self._tracker.put(self._apply_observed(incident, seen, observation), now)
        if observation.missing:
            self._remove_missing(seen_subjects, observation, now)

    def _apply_observed(
        self, incident: Incident, seen: ObservedContainer, observation: Observation
    ) -> Incident:
        for evidence in observations.find_evidence(incident.life, seen, observation):
            incident = self._apply_evidence(incident, evidence)
        if seen.id == incident.life.container:
            incident = add_facts(incident, seen.facts)
        life = observations.observe(incident.life, seen, observation)
        return incident if life is incident.life else replace(incident, life=life)

    def _remove_missing(self, seen: set[str], observation: Observation, now: Now) -> None:
        """Apply that containers with incidents are no longer there, or services start again."""
        for incident in list(self._state.list_incidents()):
            subject, life = incident.subject, incident.life
            if life.engine != observation.engine or life.container not in observation.missing:
                continue
            if subject in seen:  # another container of that name runs
                continue
            evidence = observations.find_absence(subject, life, observation)
            if evidence is not None:
                self._tracker.put(self._apply_evidence(incident, evidence), now)
            elif life.unknown_since_ns is not None and life.changed_ns < observation.taken_ns:
                life = replace(life, unknown_since_ns=None)
                self._tracker.put(replace(incident, life=life), now)

    def _apply_evidence(self, incident: Incident, evidence: Evidence) -> Incident:
        policy = self._tracker.route_policy(incident)
        return incidents.apply(incident, evidence, policy.resolve_after_ns)


def _is_new_problem(incident: Incident, evidence: Evidence) -> bool:
    """Whether the evidence is a problem, given what is known of the incident's subject."""
    life = incident.life
    return lives.is_news(life, evidence) and lives.is_problem(life, evidence)


def _find_severity(result: RouteResult, event: Event) -> Severity:
    return result.route.severity or default_severity(event)
