"""Which messages about incidents would be sent, and when, by the clock of the events.

The daemon's own dispatcher decides. The time is that of the last event, and passes from one event
to the next; each message is taken at once by its destination. All that is known of an engine is in
its events: nothing is inspected or reconciled.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relay.core.event import Event, is_self_event
from relay.core.notification import Notification
from relay.incidents.clock import Now
from relay.incidents.dispatcher import Dispatcher
from relay.incidents.effect import Effect
from relay.incidents.held import Hold
from relay.incidents.incident import Incident
from relay.incidents.message import Message
from relay.incidents.policy import Policies
from relay.incidents.reporter import REMINDED_NS
from relay.incidents.silence_request import SilenceRequest
from relay.incidents.state import Rows
from relay.incidents.subject import subject_key
from relay.routing.router import Router, RouteResult

RUN_FOR_NS = REMINDED_NS
"""No reminder is sent when this much time has passed since the last event."""


@dataclass(frozen=True, slots=True)
class PlannedNotification:
    """One notification that would be sent."""

    notification: Notification
    destinations: tuple[str, ...]
    at_ns: int
    """When it would be sent, by the events' clock."""


@dataclass(frozen=True, slots=True)
class Totals:
    """How many events at destinations of incidents no notification stands for."""

    held: Mapping[str, int]
    """How many are never reported, by reason."""
    waiting: int
    """How many are counted, and will be reported with the next update of their incidents."""


class SimulatedIncidents:
    """The incidents of a configuration, from the first event on."""

    def __init__(self, policies: Policies, router: Router, engine: str) -> None:
        """``engine`` is the engine that sends the events."""
        self._policies = policies
        self._router = router
        self._engine = engine
        self._order = {name: number for number, name in enumerate(policies.destinations)}
        self._now_ns = 0
        self._dispatcher: Dispatcher | None = None
        self.is_watching = False
        """Whether `effects` are computed."""
        self.effects: Mapping[str, Effect] = {}
        """What the last event did, by destination."""

    @property
    def dispatcher(self) -> Dispatcher:
        """The daemon's dispatcher, as it would be now. It begins with the first event."""
        if self._dispatcher is None:
            self._dispatcher = Dispatcher(Rows(), self._policies, self._router, Now(self._now_ns))
            self._dispatcher.effect_observer = self
            self._connect(self._engine)
        return self._dispatcher

    def on_effects(self, event: Event, effects: Mapping[str, Effect]) -> None:
        """Note what an event did. It is the last one."""
        self.effects = effects

    def add_silence(self, request: SilenceRequest, at_ns: int) -> None:
        """Add a silence at a time that is not later than the first event."""
        self.run_until(at_ns)
        self.dispatcher.add_silence(request, Now(at_ns))

    def take(self, event: Event, results: Sequence[RouteResult]) -> list[PlannedNotification]:
        """Take an event with the routes that send it somewhere.

        Return what is sent before it, since the last event, and what is sent of it at once.
        """
        planned = self.run_until(event.time_ns)
        now = Now(self._now_ns)
        self._follow_stream(event)
        for notification, to in self.dispatcher.take([(event, results)], now).immediate:
            planned.append(PlannedNotification(notification, tuple(to), self._now_ns))
        return planned

    def run_until(self, until_ns: int) -> list[PlannedNotification]:
        """Let time pass, and return what is sent meanwhile. An earlier time changes nothing."""
        planned: list[PlannedNotification] = []
        if self._dispatcher is None:
            self._now_ns = until_ns
            return planned
        last_ns = self._now_ns + RUN_FOR_NS
        while (due_ns := self._dispatcher.next_due_ns) is not None and due_ns <= until_ns:
            if due_ns > last_ns and not self._dispatcher.awaits_change:
                break  # only alerts are repeated, for as long as they are open
            planned += self._report(due_ns)
        self._now_ns = max(self._now_ns, until_ns)
        return planned

    def finish(self, until_ns: int = 0) -> list[PlannedNotification]:
        """Let time pass until ``until_ns``, then until nothing but reminders is due."""
        planned = self.run_until(until_ns)
        while (sent := self.advance()) is not None:
            planned += sent
        return planned

    def advance(self) -> list[PlannedNotification] | None:
        """Let time pass until something is due, and return what is sent then.

        None if nothing is due any more, or only reminders.
        """
        if self._dispatcher is None or not self._dispatcher.awaits_change:
            return None
        due_ns = self._dispatcher.next_due_ns
        assert due_ns is not None, "something is due"
        return self._report(due_ns)

    def count_totals(self) -> Totals:
        """Return how many events no notification stands for."""
        held, waiting = Counter[str](), 0
        for route, destinations in self._policies.incident_destinations.items():
            for destination in destinations:
                balance = self.dispatcher.balance(destination, route)
                held.update(balance.held)
                waiting += balance.waiting
        return Totals(held, waiting)

    def find_incident(self, destination: str, event: Event) -> Incident | None:
        """Return the incident that an event belongs to."""
        return self.dispatcher.find_incident(destination, subject_key(event))

    def find_hold(self, destination: str, event: Event) -> Hold | None:
        """Return what holds back what an event is part of: an incident, or plain events."""
        if (incident := self.find_incident(destination, event)) is not None:
            return incident.hold
        groups = self.dispatcher.export().groups
        holds = (
            plain.hold for it in groups if it.destination == destination for plain in it.plains
        )
        return next(filter(None, holds), None)

    def _report(self, due_ns: int) -> list[PlannedNotification]:
        """Let the time come at which something is due, and return what is sent then."""
        self._now_ns = max(self._now_ns, due_ns)
        now, dispatcher = Now(self._now_ns), self.dispatcher
        messages, is_complete = list[Message](), False
        while not is_complete:
            result = dispatcher.due(now)
            messages += result.messages
            is_complete = result.is_complete
        for message in messages:
            # Not as delivered: whether a destination works again is up to the events.
            dispatcher.settled(message.destination, message.id, now, delivered=False)
        messages.sort(key=lambda message: self._order[message.destination])
        return [
            PlannedNotification(message.to_notification(), (message.destination,), self._now_ns)
            for message in messages
        ]

    def _follow_stream(self, event: Event) -> None:
        """Note that an engine is lost or back, if the event says so."""
        if not is_self_event(event):
            return
        if event.action == "engine_lost":
            self.dispatcher.disconnected(event.engine, Now(self._now_ns))
        elif event.action == "engine_back":
            self._connect(event.engine)

    def _connect(self, engine: str) -> None:
        now = Now(self._now_ns)
        self.dispatcher.connected(engine, now)
        self.dispatcher.caught_up(engine, now)
