"""Decides what people are notified of: events go in, messages and the rows that changed come out.

The ingest loop calls `Dispatcher.take` with each batch and stores the changes in the transaction of
the cursor. A loop of its own sleeps until `Dispatcher.next_due_ns`, calls `due`, and stores the
messages with the changes in one transaction. Delivery reports what became of messages with
`settled` and `dead_lettered`. Nothing here waits, reads a clock, or does I/O.

The state in memory is ahead of the store until the changes are committed. So the caller commits
them in the order in which it got them, and does nothing between `take` and the commit that can
fail: events that it would take again would be counted twice.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

import msgspec

from relay.core.event import Event
from relay.core.include import Included
from relay.incidents.actions import close_incidents, mark_replayed
from relay.incidents.clock import Engines, Now, is_remote, stream_of
from relay.incidents.effect import EffectObserver, find_effects
from relay.incidents.incident import Incident
from relay.incidents.inquiry import Answer, FindFacts, Inquiry
from relay.incidents.intake import ImmediateNotification, Intake
from relay.incidents.journal import Journal
from relay.incidents.message import Message
from relay.incidents.observation import Observation
from relay.incidents.policy import Policies
from relay.incidents.reload import Reloader
from relay.incidents.reminder import Reminder
from relay.incidents.repetition import Repetition
from relay.incidents.reporter import Reporter
from relay.incidents.review import HoldReview
from relay.incidents.route_counts import Balance
from relay.incidents.set_clocks import limit_times, shift_times, shift_times_of_host
from relay.incidents.settlement import Settlement
from relay.incidents.silence import Silence
from relay.incidents.silence_changes import SilenceChanges
from relay.incidents.silence_request import SilenceRequest
from relay.incidents.state import Changes, IncidentKey, Rows, State
from relay.incidents.subject import destination_key, engine_key, subject_key
from relay.incidents.tracker import IncidentTracker, Task
from relay.incidents.view import IncidentCounts, count_incidents
from relay.routing.router import Router, RouteResult

RoutedEvent = tuple[Event, Sequence[RouteResult]]
"""An event with the routes that send it somewhere."""


class TakeResult(msgspec.Struct, frozen=True, gc=False):
    """What a batch of events leads to."""

    changes: Changes
    immediate: list[ImmediateNotification]
    """What is sent at once, in the order of the events."""
    inquiries: list[Inquiry]
    """What the engines are to be asked. Call `Dispatcher.put_answer` with the answers."""


class DueResult(msgspec.Struct, frozen=True):
    """What is to be sent now."""

    changes: Changes
    messages: list[Message]
    refreshes: list[str]
    """The destinations whose open incidents are to be repeated now."""
    is_complete: bool = True
    """False if more is due now."""


MAX_CHECKS = 500
"""How many incidents and groups one call of `Dispatcher.due` checks, which takes some 10 ms."""
_CHECKS = (Task.CHECK, Task.REVIEW, Task.REVIEW_GROUP)


class Dispatcher:
    """Incidents, groups and messages of all destinations."""

    def __init__(
        self,
        rows: Rows,
        policies: Policies,
        router: Router,
        now: Now,
        outstanding: Collection[tuple[str, str]] | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Continue from stored rows, which may be of another configuration.

        ``outstanding`` are the messages that are not settled, by destination and id; None for those
        that wait in the rows. A message that was settled just before relay was killed may still
        wait there. ``journal`` logs what becomes of incidents.
        """
        state = State(rows)
        self._state = state
        self._engines = Engines(now.steady_ns)
        self._tracker = IncidentTracker(state, policies, self._engines, journal)
        self._to_report: dict[str, None] = {}
        """The destinations of which a group may be due now, in the order in which it became due."""
        self._to_remind: dict[str, None] = {}
        """The destinations that may have to be reminded now."""
        self._intake = Intake(self._tracker)
        self._review = HoldReview(self._tracker, now)
        self._reporter = Reporter(self._tracker, self._review)
        self._reminder = Reminder(self._tracker, self._review, self._reporter)
        self._silence_changes = SilenceChanges(self._tracker, self._review)
        self._settlement = Settlement(self._tracker)
        self._repetition = Repetition(self._tracker)
        self.effect_observer: EffectObserver | None = None
        """Watches what is done with each event; None for nobody."""
        self._engines.find_set_clocks(now)
        for incident in state.list_incidents():
            if incident.is_open and not incident.life.is_up and is_remote(incident.life.engine):
                self._engines.follow(incident.last.decode())
        self.unwatched_at_start = self._configure(policies, router, now)
        """How many open incidents the configuration no longer watches."""
        limit_times(self._tracker, now)
        self._tracker.schedule_all(now)
        self._repetition.schedule_all(now)
        self._review.review_all(now)
        self._silence_changes.follow(now)
        if outstanding is not None:
            for settled in set(self._settlement.list_outstanding()).difference(outstanding):
                self._settlement.settle(*settled, now)

    @property
    def next_due_ns(self) -> int | None:
        """When `due` is to be called next, by the steady clock; None for not before a change."""
        return self._tracker.schedule.next_ns

    @property
    def holds_updates(self) -> bool:
        """Whether something is held back, maybe until some time of the wall clock."""
        return bool(self._state.held or self._state.held_groups)

    def is_wall_clock_set(self, now: Now) -> bool:
        """Whether the wall clock was set since the last call of `due`, which has to be called."""
        return self._review.is_wall_clock_set(now)

    @property
    def awaits_change(self) -> bool:
        """Whether anything will be due by itself except reminders and repetitions."""
        others = (Task.REMIND, Task.REFRESH, Task.SILENCE)
        return any(task not in others for task, _, _ in self._tracker.schedule)

    @property
    def policies(self) -> Policies:
        """The policies in force."""
        return self._tracker.policies

    def take(
        self,
        events: Iterable[RoutedEvent],
        now: Now,
        find_facts: FindFacts = lambda _: None,
        included: Mapping[str, Included] = {},
    ) -> TakeResult:
        """Take events in the order in which they happened.

        ``find_facts`` is asked about the containers of incidents. ``included`` is what came with
        the events of other hosts, by their `unique_id`.

        An event on which an unexpected error occurs is sent by itself, and the error is logged;
        without a journal it is raised.
        """
        if set_clocks := self._engines.find_set_clocks(now):
            shift_times(self._tracker, set_clocks, now)
        self._intake.find_facts, self._intake.included = find_facts, included
        observer, take_one = self.effect_observer, self._intake.take
        if observer is not None and observer.is_watching:
            take_one = partial(self._take_watched, observer)
        immediate: list[ImmediateNotification] = []
        streams: set[str] = set()
        """Those that say which engines of other hosts were lost or are back."""
        for event, results in events:
            if event.via is not None and self._engines.follow(event):
                streams.add(event.via)
            try:
                immediate += take_one(event, results, now)
            except Exception:
                if self._tracker.journal is None:
                    raise
                self._tracker.journal.failed(event)
                immediate += [
                    (each.build_notification(event), each.destinations) for each in results
                ]
        for stream in streams:
            self._tracker.check_engine(stream, now)
        return TakeResult(self._state.take_changes(), immediate, self._intake.inquiries.take())

    def _take_watched(
        self, observer: EffectObserver, event: Event, results: Sequence[RouteResult], now: Now
    ) -> list[ImmediateNotification]:
        """Take an event, and show the observer what that did."""
        subject = subject_key(event)
        before = dict(self._state.by_subject.get(subject, {}))
        self._intake.held.clear()
        immediate = self._intake.take(event, results, now)
        after = self._state.by_subject.get(subject, {})
        policies = self._tracker.policies
        held = self._intake.held
        observer.on_effects(event, find_effects(results, before, after, immediate, policies, held))
        return immediate

    def due(self, now: Now) -> DueResult:
        """Return what is to be sent now. Call it when `next_due_ns` has come.

        One call does not take long: if more than `MAX_CHECKS` incidents and groups are due, it is
        not complete and has to be repeated.
        """
        shift_times(self._tracker, self._engines.find_set_clocks(now), now)
        self._review.follow_wall_clock(now)
        messages: list[Message] = []
        refreshes: list[str] = []
        checks, schedule = 0, self._tracker.schedule
        while True:
            # What an incident has become is decided before its group is reported, and reminders are
            # about what no message names.
            if (key := schedule.pop(now.steady_ns)) is not None:
                task, destination, name = key
                if task is Task.REFRESH:
                    refreshes += self._repetition.refresh(destination, now)
                else:
                    self._update(task, destination, name, now)
                    checks += task in _CHECKS
                if checks == MAX_CHECKS:
                    changes = self._state.take_changes()
                    return DueResult(changes, messages, refreshes, is_complete=False)
            elif self._to_report:
                to_report, self._to_report = self._to_report, {}
                for destination in to_report:
                    messages += self._reporter.report_due(destination, now)
            elif self._to_remind:
                to_remind, self._to_remind = self._to_remind, {}
                for destination in to_remind:
                    messages += self._reminder.remind(destination, now)
            else:
                break
        return DueResult(self._state.take_changes(), messages, refreshes)

    def _update(self, task: Task, destination: str, name: str, now: Now) -> None:
        """Do what is due, and makes no message by itself."""
        match task:
            case Task.CHECK:
                self._tracker.check(destination, name, now)
            case Task.REVIEW:
                self._review.review(destination, name, now)
            case Task.REVIEW_GROUP:
                self._review.review_group(destination, name, now)
            case Task.SILENCE:
                self._silence_changes.follow(now)
            case Task.FORGET:
                self._tracker.forget_group(destination, name, now)
            case Task.REMIND:
                self._to_remind[destination] = None
            case _:
                self._to_report[destination] = None

    def settled(self, destination: str, message_id: str, now: Now, *, delivered: bool) -> Changes:
        """Note that a message waits no longer: the destination took it, or it was superseded."""
        if delivered:
            self._intake.recover_own(destination_key(destination), now)
        self._settlement.settle(destination, message_id, now, delivered=delivered)
        return self._state.take_changes()

    def dead_lettered(
        self, destination: str, message_id: str, now: Now, *, refused: bool
    ) -> Changes:
        """Note that a message was given up: for its age, or because the destination refused it.

        Those of its incidents that are still open are reported once more. If one is over that the
        refused message called open, its end is reported as the first message about it.
        """
        self._settlement.give_up(destination, message_id, now, refused=refused)
        return self._state.take_changes()

    def connected(self, engine: str, now: Now) -> Changes:
        """Note that the stream of an engine was opened: its history is to come."""
        self._engines.connect(engine, now)
        self._intake.recover_own(engine_key(engine), now)
        return self._state.take_changes()

    def disconnected(self, engine: str, now: Now) -> None:
        """Note that the stream of an engine has ended: until it is back, nothing is confirmed."""
        self._engines.disconnect(engine, now)
        for incident in self._state.list_incidents():
            if stream_of(incident.life.engine) == engine:
                self._tracker.schedule_check(incident, now)

    def taken_elsewhere(self, engine: str, now: Now) -> Changes:
        """Note that another relay takes what an engine brings from other hosts.

        How the subjects of open incidents are is not known from here on, until they are heard of.
        """
        self._intake.doubt(engine, now)
        return self._state.take_changes()

    def host_clock_set(self, host: str, by_ns: int, now: Now) -> Changes:
        """Note that the clock of another host, by `clock.host_of`, was set forward."""
        shift_times_of_host(self._tracker, host, by_ns, now)
        return self._state.take_changes()

    def reconciled(self, observation: Observation, now: Now) -> Changes:
        """Apply what a reconciliation shows. It is evidence like events."""
        self._intake.observe(observation, now)
        return self._state.take_changes()

    def caught_up(self, engine: str, now: Now) -> Changes:
        """Note that an engine's history was read and, unless it is impossible, reconciled."""
        self._engines.settle(engine, now)
        self._tracker.check_engine(engine, now)
        return self._state.take_changes()

    def put_answer(self, inquiry: Inquiry, answer: Answer, now: Now) -> Changes:
        """Add the answer to a question."""
        self._intake.put_answer(inquiry, answer, now)
        return self._state.take_changes()

    def close(self, incident_id: str, now: Now) -> Changes:
        """Resolve the incident with this id at every destination."""
        for closed in close_incidents(self._state.list_incidents(), incident_id, now):
            self._tracker.put(closed, now)
        return self._state.take_changes()

    def add_silence(self, request: SilenceRequest, now: Now) -> tuple[Silence, Changes]:
        """Add a silence. Raises `InvalidSilence`."""
        return self._silence_changes.add(request, now), self._state.take_changes()

    def expire_silence(self, id_: int, after_ns: int, now: Now) -> tuple[Silence, Changes]:
        """End a silence now, or after a time. Raises `InvalidSilence`, `UnknownSilence`."""
        return self._silence_changes.expire(id_, after_ns, now), self._state.take_changes()

    def list_silences(self) -> list[Silence]:
        """Return all silences: those to come, those in force, and those that are over."""
        return list(self._state.silences)

    def replayed(self, messages: Mapping[tuple[str, str], str]) -> Changes:
        """Note that dead letters about incidents are deliveries again.

        ``messages`` are their ids, by destination and id of an incident.
        """
        for incident in mark_replayed(self._state.list_incidents(), messages):
            self._state.put_incident(incident)
        return self._state.take_changes()

    def reload(self, policies: Policies, router: Router, now: Now) -> tuple[int, Changes]:
        """Use other policies and routes; return how many incidents are watched no longer."""
        unwatched = self._configure(policies, router, now)
        self._repetition.schedule_all(now)
        self._review.review_all(now)
        return unwatched, self._state.take_changes()

    def _configure(self, policies: Policies, router: Router, now: Now) -> int:
        unwatched = Reloader(self._tracker, router).reload(policies, now)
        for destination, message_id in self._settlement.list_outstanding():
            if destination not in policies.destinations:  # nobody reports what becomes of it
                self._settlement.settle(destination, message_id, now)
        return unwatched

    def count(self, now: Now) -> IncidentCounts:
        """Return how many incidents are open, and how many events were held back."""
        state = self._state
        counts = state.route_counts.values()
        return count_incidents(state.list_incidents(), counts, state.silences, now)

    def list_incidents(self, destination: str | None = None) -> list[Incident]:
        """Return all incidents, open and remembered, or those of a destination."""
        return list(self._state.list_incidents(destination))

    def list_containers(self, engine: str) -> frozenset[str]:
        """Return the ids of an engine's containers that have an incident, open or remembered."""
        lives = (each.life for each in self._state.list_incidents())
        return frozenset(
            life.container for life in lives if life.engine == engine and life.container
        )

    def find_incident(self, destination: str, subject: str) -> Incident | None:
        """Return the incident of a subject at a destination, open or remembered."""
        return self._state.get_incident((destination, subject))

    def list_reported(self, destination: str) -> list[IncidentKey]:
        """Return the keys of what is open at a destination and was reported."""
        return self._repetition.list_reported(destination)

    def repeat(self, key: IncidentKey, now: Now) -> Message | None:
        """Return what repeats an incident as it is now; None if it is no longer open."""
        return self._repetition.repeat(key, now)

    def balance(self, destination: str, route: str) -> Balance:
        """Return where the events are that a route took for a destination."""
        waiting = sum(
            each.unreported
            for each in self._state.list_incidents(destination)
            if each.route == route
        )
        for group in self._state.groups.values():
            if group.destination == destination:
                waiting += sum(plain.counts.get(route, 0) for plain in group.plains)
        counts = self._state.get_counts(destination, route)
        return Balance(counts.taken, counts.reported, waiting, counts.held)

    def list_outstanding(self) -> list[tuple[str, str]]:
        """Return the messages that count as not settled, by destination and id."""
        return self._settlement.list_outstanding()

    def silent_until_ns(self, engine: str) -> int:
        """Return until when nothing of an engine is reported at the most: see `Engines`."""
        return self._engines.silent_until_ns(engine)

    def export(self) -> Rows:
        """Return all rows."""
        return self._state.export()
