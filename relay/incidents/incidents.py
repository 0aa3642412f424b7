"""The incidents of a running relay: the dispatcher with a clock, and the changes to be stored.

The loops call `Incidents` as things happen, and take the changes with `take_changes` just before
they submit a commit. So the store gets all changes in the order in which they were made, and most
of them in the transaction of the events that caused them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

import msgspec

from relay.core.event import RELAY_ENGINE, host_source
from relay.core.include import FACTS_ONLY, Include, Included
from relay.core.notification import Notification, Repeat
from relay.incidents.clock import Now
from relay.incidents.dispatcher import Dispatcher, RoutedEvent
from relay.incidents.effect import EffectObserver
from relay.incidents.incident import Incident
from relay.incidents.inquiry import Answer, FindFacts, Inquiry
from relay.incidents.intake import ImmediateNotification
from relay.incidents.journal import Journal
from relay.incidents.life import SECOND_NS
from relay.incidents.message import Message
from relay.incidents.observation import Observation
from relay.incidents.policy import Policies
from relay.incidents.route_counts import Balance
from relay.incidents.rows import RowChanges, RowKey, encode_changes
from relay.incidents.silence import Silence
from relay.incidents.silence_request import SilenceRequest
from relay.incidents.state import NO_CHANGES, Changes, IncidentKey, Rows
from relay.incidents.view import IncidentCounts
from relay.routing.router import Router

ReadClock = Callable[[], int]
"""Returns the nanoseconds since 1970."""

MAX_INQUIRIES = 1000
"""About how many questions to engines may wait. Engines that are not connected answer none."""


WALL_CLOCK_CHECK_S = 10.0
"""How often the loop looks at the wall clock while something is held back."""


MAX_HOSTS = 20_000
"""Of how many other hosts the clocks are known. Those of further ones count as equal to ours."""

HOST_CLOCK_TOLERANCE_NS = 2 * SECOND_NS
"""How much the clock of another host may seem to change by the time that its messages take."""


class EngineClocks:
    """How far the engines' clocks are ahead of relay's steady clock."""

    def __init__(self, steady_ns: ReadClock, wall_ns: ReadClock) -> None:
        """``steady_ns`` never jumps; ``wall_ns`` may be set while relay runs."""
        self._steady_ns = steady_ns
        self._wall_ns = wall_ns
        self._leads_ns: Mapping[str, int | None] = {RELAY_ENGINE: None}
        self._host_leads_ns: dict[str, int] = {}

    def set_lead(self, engine: str, ahead_ns: int, *, is_local: bool) -> None:
        """Note how far an engine's clock is ahead of this machine's wall clock now."""
        lead_ns = None if is_local else ahead_ns + self._wall_ns() - self._steady_ns()
        self._leads_ns = {**self._leads_ns, engine: lead_ns}  # each `Now` keeps the one it has

    def set_host_lead(self, host: str, ahead_ns: int) -> int:
        """Note how far the clock of another host, by `clock.host_of`, is ahead of the wall clock.

        Returns by how much it was set forward, 0 if that is little or the host was not known.
        """
        lead_ns = ahead_ns + self._wall_ns() - self._steady_ns()
        before_ns = self._host_leads_ns.get(host)
        if before_ns is None and len(self._host_leads_ns) >= MAX_HOSTS:
            return 0
        if before_ns is not None and abs(lead_ns - before_ns) <= HOST_CLOCK_TOLERANCE_NS:
            return 0
        self._host_leads_ns[host] = lead_ns
        return 0 if before_ns is None else lead_ns - before_ns

    def now(self) -> Now:
        """Return the present moment by all clocks."""
        steady_ns = self._steady_ns()
        wall_lead_ns = self._wall_ns() - steady_ns
        return Now(steady_ns, self._leads_ns, wall_lead_ns, self._host_leads_ns)


class DueMessages(msgspec.Struct, frozen=True):
    """What is to be sent now."""

    notifications: Sequence[tuple[Notification, Sequence[str]]]
    """Each with its destination."""
    refreshes: Sequence[str]
    """The destinations whose open incidents are to be repeated now."""
    is_complete: bool
    """False if more is due now: the caller should let other tasks run, and ask again."""


class Incidents:
    """The incidents and groups of all destinations, as the loops of the daemon use them."""

    def __init__(
        self,
        rows: Rows,
        policies: Policies,
        router: Router,
        clocks: EngineClocks,
        outstanding: Collection[tuple[str, str]] | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Continue from stored rows; the other parameters as in `Dispatcher`."""
        self._clocks = clocks
        self._journal = journal
        self._dispatcher = Dispatcher(rows, policies, router, clocks.now(), outstanding, journal)
        self.unwatched_at_start = self._dispatcher.unwatched_at_start
        """How many open incidents the configuration no longer watches."""
        self._changes: dict[RowKey, bytes | None] = {}
        self._inquiries: list[Inquiry] = []
        self._asked: dict[str, Include] = {}
        """What routes include that engines were asked and have not answered, by the incident's
        id."""
        self._on_change: Callable[[], None] = lambda: None

    def on_change(self, call: Callable[[], None]) -> None:
        """Call ``call`` whenever there are changes to store, or something may be due earlier."""
        self._on_change = call

    def watch(self, observer: EffectObserver) -> None:
        """Show an observer what is done with each event, as long as it watches."""
        self._dispatcher.effect_observer = observer

    # events and evidence

    def take(
        self,
        events: Iterable[RoutedEvent],
        find_facts: FindFacts = lambda _: None,
        included: Mapping[str, Included] = {},
    ) -> list[ImmediateNotification]:
        """Take events in the order in which they happened; return what is sent at once.

        ``find_facts`` is asked about the containers of incidents. ``included`` is what came with
        the events of other hosts, by their `unique_id`: nobody is asked about these.
        """
        result = self._dispatcher.take(events, self._clocks.now(), find_facts, included)
        if result.changes is NO_CHANGES:  # nearly always: the events belong to no incident
            return result.immediate
        for inquiry in result.inquiries:
            self._inquiries = [*self._inquiries[-MAX_INQUIRIES:], inquiry]
            if inquiry.include != FACTS_ONLY:  # no message waits for facts
                self._asked[inquiry.incident] = inquiry.include
            if len(self._asked) > MAX_INQUIRIES:
                del self._asked[next(iter(self._asked))]
        self._note(result.changes)
        return result.immediate

    def stream_opened(self, engine: str, ahead_ns: int, *, is_local: bool) -> None:
        """Note that an engine's stream was opened.

        ``ahead_ns`` is how far its clock is ahead of this machine's; a local one is the same clock.
        """
        self._clocks.set_lead(engine, ahead_ns, is_local=is_local)
        self._note(self._dispatcher.connected(engine, self._clocks.now()))

    def set_host_clock(self, engine: str, host: str, ahead_ns: int) -> None:
        """Note how far the clock of a host, whose events ``engine`` brings, is ahead of this
        machine's."""
        key = host_source(engine, host)
        by_ns = self._clocks.set_host_lead(key, ahead_ns)
        if by_ns:
            self._note(self._dispatcher.host_clock_set(key, by_ns, self._clocks.now()))

    def stream_ended(self, engine: str) -> None:
        """Note that an engine's stream has ended: until it is back, nothing is confirmed."""
        self._dispatcher.disconnected(engine, self._clocks.now())
        self._on_change()

    def taken_elsewhere(self, engine: str) -> None:
        """Note that another relay takes what an engine brings from other hosts, for the present."""
        self._note(self._dispatcher.taken_elsewhere(engine, self._clocks.now()))

    def caught_up(self, engine: str) -> None:
        """Note that an engine's history was read and, unless it is impossible, reconciled."""
        self._note(self._dispatcher.caught_up(engine, self._clocks.now()))
        self._on_change()

    def observe(self, observation: Observation) -> None:
        """Apply what a reconciliation shows."""
        self._note(self._dispatcher.reconciled(observation, self._clocks.now()))

    def list_containers(self, engine: str) -> frozenset[str]:
        """Return the ids of an engine's containers that have an incident, open or remembered."""
        return self._dispatcher.list_containers(engine)

    # what engines were asked

    def take_inquiries(self, engine: str) -> list[Inquiry]:
        """Return the questions to an engine since the last call."""
        if not self._inquiries:
            return []
        taken = [each for each in self._inquiries if each.event.engine == engine]
        self._inquiries = [each for each in self._inquiries if each.event.engine != engine]
        return taken

    def answered(self, inquiry: Inquiry, answer: Answer) -> None:
        """Add an engine's answer to the incidents of its subject."""
        self._asked.pop(inquiry.incident, None)
        self._note(self._dispatcher.put_answer(inquiry, answer, self._clocks.now()))

    # what is due

    @property
    def due_in_s(self) -> float | None:
        """How long until `due` is to be called, or until this is to be asked again; None for not
        before a change.

        While something is held back, that is soon: silences and intervals end by the wall clock,
        which somebody may set.
        """
        due_ns, now = self._dispatcher.next_due_ns, self._clocks.now()
        due_in_s = None if due_ns is None else (due_ns - now.steady_ns) / 1e9
        if not self._dispatcher.holds_updates:
            return due_in_s
        if self._dispatcher.is_wall_clock_set(now):
            return 0
        return WALL_CLOCK_CHECK_S if due_in_s is None else min(due_in_s, WALL_CLOCK_CHECK_S)

    def due(self) -> DueMessages:
        """Return what is to be sent now. The caller commits it together with the changes."""
        result = self._dispatcher.due(self._clocks.now())
        self._note(result.changes)
        notifications = [
            (self._complete(message), (message.destination,)) for message in result.messages
        ]
        return DueMessages(notifications, result.refreshes, result.is_complete)

    def _complete(self, message: Message) -> Notification:
        """Return the notification of a message.

        Where nothing is reported later, it waits in the store for what its route includes.
        """
        notification = message.to_notification()
        policy = self._dispatcher.policies.destinations.get(message.destination)
        reports = message.update.incidents
        if policy is None or policy.is_limited or not reports or notification.included is not None:
            return notification
        include = self._asked.get(reports[0].id)
        return msgspec.structs.replace(notification, include=include)

    def settled(self, destination: str, message_id: str, *, delivered: bool) -> None:
        """Note that a destination took a message, or that the message was superseded."""
        now = self._clocks.now()
        self._note(self._dispatcher.settled(destination, message_id, now, delivered=delivered))

    def dead_lettered(self, destination: str, message_id: str, *, refused: bool) -> None:
        """Note that a message was given up: for its age, or because it was refused or evicted."""
        now = self._clocks.now()
        self._note(self._dispatcher.dead_lettered(destination, message_id, now, refused=refused))

    def list_outstanding(self) -> list[tuple[str, str]]:
        """Return the messages that are not settled, by destination and id."""
        return self._dispatcher.list_outstanding()

    # operators

    def reload(self, policies: Policies, router: Router) -> int:
        """Use other policies and routes; return how many incidents are watched no longer."""
        unwatched, changes = self._dispatcher.reload(policies, router, self._clocks.now())
        self._note(changes)
        self._on_change()  # with another `resolve_after`, no row changes, but what is due does
        return unwatched

    def close(self, incident_id: str) -> bool:
        """Resolve the incident with this id at every destination; return whether one was open."""
        is_open = any(
            each.id == incident_id and each.is_open for each in self._dispatcher.list_incidents()
        )
        self._note(self._dispatcher.close(incident_id, self._clocks.now()))
        return is_open

    def add_silence(self, request: SilenceRequest) -> Silence:
        """Add a silence. Raises `InvalidSilence`."""
        silence, changes = self._dispatcher.add_silence(request, self._clocks.now())
        self._note(changes)
        return silence

    def expire_silence(self, id_: int, after_ns: int = 0) -> Silence:
        """End a silence now, or after a time. Raises `InvalidSilence`, `UnknownSilence`."""
        silence, changes = self._dispatcher.expire_silence(id_, after_ns, self._clocks.now())
        self._note(changes)
        return silence

    def list_silences(self) -> list[Silence]:
        """Return all silences: those to come, those in force, and those that are over."""
        return self._dispatcher.list_silences()

    def replayed(self, messages: Mapping[tuple[str, str], str]) -> None:
        """Note that dead letters about incidents are deliveries again: see `Dispatcher`."""
        self._note(self._dispatcher.replayed(messages))

    def count(self) -> IncidentCounts:
        """Return how many incidents are open, and how many events were held back."""
        return self._dispatcher.count(self._clocks.now())

    def silent_until_ns(self, engine: str) -> int:
        """Return until when nothing of an engine is reported at the most, by relay's clock.

        After a reconnect and after a start its history is read first. 0 if that is done.
        """
        return self._dispatcher.silent_until_ns(engine)

    def export(self) -> Rows:
        """Return all rows."""
        return self._dispatcher.export()

    def list_incidents(self, destination: str | None = None) -> list[Incident]:
        """Return all incidents, open and remembered, or those of a destination."""
        return self._dispatcher.list_incidents(destination)

    def report_open(self, destination: str) -> list[Repeat]:
        """Return what repeats each incident that is open at a destination and was reported."""
        return [partial(self._repeat, key) for key in self._dispatcher.list_reported(destination)]

    def _repeat(self, key: IncidentKey) -> Notification | None:
        message = self._dispatcher.repeat(key, self._clocks.now())
        return None if message is None else message.to_notification()

    def balance(self, destination: str, route: str) -> Balance:
        """Return where the events are that a route took for a destination."""
        return self._dispatcher.balance(destination, route)

    @property
    def policies(self) -> Policies:
        """The policies in force."""
        return self._dispatcher.policies

    def now(self) -> Now:
        """Return the present moment by all clocks."""
        return self._clocks.now()

    # the store

    def take_changes(self) -> RowChanges:
        """Return the changes since the last call. The caller submits them to the store at once."""
        if not self._changes:
            return {}
        changes, self._changes = self._changes, {}
        return changes

    def mark_all_changed(self) -> None:
        """Write everything with the next changes: the store is a new one."""
        self._changes.update(encode_changes(Changes(self._dispatcher.export())))
        self._on_change()

    def _note(self, changes: Changes) -> None:
        if changes is not NO_CHANGES:
            if self._journal is not None:
                self._journal.flush()
            self._changes.update(encode_changes(changes))
            self._on_change()


def without_incidents() -> Incidents:
    """Return incidents without any policy: every event is sent by itself."""
    return Incidents(Rows(), Policies({}, {}), Router(()), EngineClocks(lambda: 0, lambda: 0))
