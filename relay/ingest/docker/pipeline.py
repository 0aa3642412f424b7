"""The decisions between one engine's bytes and the store: parse, deduplicate, find causes, route.

`EventPipeline` turns batches of buffered items into commits. It makes all of these decisions, does
no I/O and waits for nothing: the worker calls it for every batch, and `relay.dryrun` calls the same
code for a recorded stream. Its state (cursor, known containers, gaps that were not reported yet) is
part of every commit, and lives until the session ends; the next session restores it from the
checkpoint.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import structlog

from relay.config import StartFrom
from relay.core.checkpoint import Checkpoint
from relay.core.counters import EngineCounters
from relay.core.event import Event, GapReason
from relay.core.notification import Notification
from relay.incidents.incidents import Incidents, without_incidents
from relay.ingest.docker.batch import Batch, BatchItem, ParsedRecord, parse_items
from relay.ingest.docker.buffer import Connection, Item, RecordsDropped, StreamOpened
from relay.ingest.docker.containers.inference import BlindWindow, Snapshot
from relay.ingest.docker.containers.observation import observe
from relay.ingest.docker.containers.questions import (
    BEGINNING_ACTIONS,
    DOUBTFUL_ACTIONS,
    NOTHING_MISSING,
    Findings,
    Question,
)
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.containers.tracker import FOLLOWED_ACTIONS, ContainerTracker
from relay.ingest.docker.cursor import Cursor, resolve_start_ns
from relay.ingest.docker.engine.inspection import ContainerSnapshot, Inspection
from relay.ingest.docker.engine.parser import InvalidRecord
from relay.ingest.docker.engine.self_container import is_self_exec
from relay.ingest.docker.gaps import DropReporter, Gap, GapDetector, make_gap_event
from relay.ingest.docker.held import HeldItems
from relay.ingest.docker.known_containers import KnownContainers
from relay.ingest.shared_events import SharedEvents
from relay.routing.router import Router
from relay.store.records import IngestCommit

log = structlog.get_logger()


class EventPipeline:
    """Turns the items of one engine's stream into commits. Never waits, and does no I/O."""

    def __init__(
        self,
        engine: str,
        start_from: StartFrom,
        router: Router,
        checkpoint: Checkpoint | None = None,
        registry: ContainerRegistry | None = None,
        counters: EngineCounters | None = None,
        incidents: Incidents | None = None,
    ) -> None:
        """``checkpoint`` is None for an engine that relay has never connected to.

        ``counters`` are incremented, not reset. Without ``incidents`` each event is sent by itself.
        """
        self.engine = engine
        self._start_from = start_from
        self._router = router
        self._cursor = Cursor(checkpoint) if checkpoint is not None else None
        self._stored_chunks = checkpoint.sealed_count if checkpoint is not None else 0
        """How many of the cursor's full chunks are in the store, or in a commit under way."""
        self._identity = checkpoint.identity if checkpoint is not None else None
        self._tracker = ContainerTracker(registry or ContainerRegistry())
        window = checkpoint.blind_window if checkpoint is not None else None
        self._gap_detector = GapDetector(BlindWindow(*window) if window else None)
        self._incidents = incidents or without_incidents()
        self.containers = KnownContainers(
            engine, self._tracker, self._gap_detector, self._incidents
        )
        drops = checkpoint.unreported_drops if checkpoint is not None else ()
        self._drop_reporter = DropReporter(Gap(GapReason(reason), *rest) for reason, *rest in drops)
        self._connection: Connection | None = None
        self.own_container: str | None = None
        """The id of the container that relay runs in: the commands that are run in it are accepted,
        but never routed."""
        self._backlog: deque[BatchItem] = deque()
        """Parsed items that do not fit while others wait."""
        self._held = HeldItems()
        self._applied: list[StreamOpened | Snapshot] = []
        self.shared_events = SharedEvents()
        """Those that other engines report, too: the same object for all of them."""
        self.counters = counters or EngineCounters()

    @property
    def gap_count(self) -> int:
        """How many gaps were found since the session started."""
        return self._gap_detector.found_count

    def since_ns(self, engine_now_ns: int) -> int:
        """Return the engine's time from which to request events. The first call fixes the start.

        ``engine_now_ns`` is the engine's current time.
        """
        if self._cursor is None:
            start_ns = resolve_start_ns(self._start_from, engine_now_ns)
            self._cursor = Cursor(Checkpoint.starting_at(start_ns))
            self._tracker.registry.reset(engine_now_ns)
            self._gap_detector.note_first_connection(engine_now_ns)
        if self._cursor.is_ahead_of(engine_now_ns):
            return self._cursor.since_after_clock_reset_ns(engine_now_ns)
        return self._cursor.since_ns

    @property
    def is_continuous(self) -> bool:
        """Whether a complete history of the engine must contain an accepted event."""
        return self._cursor is not None and self._cursor.is_continuous

    @property
    def position_ns(self) -> int:
        """The engine's time of the last accepted event; 0 before the first connection."""
        return self._cursor.position_ns if self._cursor is not None else 0

    def remembers(self, event: Event) -> bool:
        """Whether the event was accepted, or never will be: it is before the start."""
        return self._cursor is not None and self._cursor.remembers(event)

    def stream_ended(self) -> None:
        """Note that the engine's stream has ended."""
        self._incidents.stream_ended(self.engine)

    @property
    def questions(self) -> Sequence[Question]:
        """What has to be answered before the events that wait can be processed."""
        return self._held.questions

    @property
    def is_full(self) -> bool:
        """Whether so much waits that `process` must get no further items."""
        return bool(self._backlog)

    def answer(self, event_id: str, inspection: Inspection) -> None:
        """Answer a question for an inspection."""
        self._held.answer(event_id, inspection)

    def give_up_evidence(self, event_ids: Iterable[str]) -> None:
        """Decide these deaths without further evidence."""
        self._held.give_up_evidence(event_ids)

    def process(
        self,
        items: Iterable[Item | ParsedRecord],
        now_ns: int,
        snapshots: Mapping[str, ContainerSnapshot] | None = None,
        following: Sequence[BatchItem] = (),
    ) -> IngestCommit:
        """Process items and return what to commit: notifications, checkpoint, containers.

        An event that has to wait for the answer to one of the `questions`, and what has to wait
        behind it, are processed by the first call after the answer. If ``snapshots`` are given,
        nothing waits: they are the inspections, by container. ``following`` are the items after
        these, if they are known: they may be evidence. ``now_ns`` is the wall clock's time.
        """
        self._backlog.extend(parse_items(items))
        batch = Batch(now_ns, snapshots is None, snapshots or {}, following)
        self._decide(batch)
        self._report_drops(batch)
        return self._build_commit(batch)

    def finish(self, now_ns: int) -> IngestCommit:
        """Return the last commit of a session.

        It decides what still waits, and reports the drops that were held back.
        """
        batch = Batch(now_ns, may_wait=False)
        self._decide(batch)
        self._report_drops(batch, is_final=True)
        return self._build_commit(batch)

    def report_wait_s(self, now_ns: int) -> float | None:
        """Return in how many seconds `process` is to report dropped records.

        None if there are none that were not reported. ``now_ns`` is the wall clock's time.
        """
        wait_ns = self._drop_reporter.wait_ns(now_ns)
        return None if wait_ns is None or self._connection is None else wait_ns / 1e9

    def take_applied(self) -> list[StreamOpened | Snapshot]:
        """Return the items in the last commit whose ``committed`` event is to be set."""
        applied, self._applied = self._applied, []
        return applied

    def resend_all(self) -> None:
        """Include all that is known in the next commit: the store is a new one."""
        self._stored_chunks = 0
        self._tracker.registry.mark_all_changed()

    def _build_commit(self, batch: Batch) -> IngestCommit:
        changes = self._tracker.registry.take_changes()
        checkpoint, first_chunk = None, self._stored_chunks
        if self._cursor is not None:
            window = self._gap_detector.blind_window
            checkpoint = self._cursor.checkpoint(
                reported_until_ns=self._tracker.registry.reported_until_ns,
                identity=self._identity,
                blind_window=None if window is None else (window.from_ns, window.until_ns),
                drops=self._drop_reporter.describe() if self._drop_reporter.unreported else (),
            )
            self._stored_chunks = checkpoint.sealed_count
        return IngestCommit(
            self.engine,
            checkpoint,
            self._route(batch),  # last: see `relay.incidents.dispatcher`
            changes.described,
            changes.removed,
            container_times=changes.timed,
            first_chunk=first_chunk,
            incident_rows=self._incidents.take_changes(),
        )

    def _route(self, batch: Batch) -> list[tuple[Notification, Sequence[str]]]:
        """Return what is sent at once; the incidents keep what is reported later."""
        matches = self.counters.matches
        is_repeated = self.shared_events.is_repeated
        events = [event for event in batch.events if not is_repeated(event)]
        routed = [(event, self._router.route(event, matches)) for event in events]
        immediate = self._incidents.take(routed, self._tracker.registry.find_facts)
        for snapshot in batch.observed:
            self._incidents.observe(observe(snapshot, podman=self._tracker.podman))
        return immediate

    def _decide(self, batch: Batch) -> None:
        """Apply what no longer waits, then what is new, as far as it fits."""
        held, backlog = self._held, self._backlog
        while True:
            if held.items:
                batch.waiting = held.take_all()
                for item in batch.waiting:
                    self._apply(item, batch)
                if not held.items:
                    held.forget_answers()
                    self._open_cursor.release()
            while backlog and not (held.items and held.is_full(self._open_cursor.passed_count)):
                self._apply(backlog.popleft(), batch)
            hopeless = [each.event_id for each in held.questions if each.evidence_wait_s]
            if not backlog or not hopeless:
                break
            held.give_up_evidence(hopeless)  # nothing is read until these deaths are decided

    def _apply(self, item: BatchItem, batch: Batch) -> None:
        """Apply one item, or let it wait."""
        if self._held.is_blocked:
            self._held.keep(item)
            return
        match item:
            case ParsedRecord():  # first, because nearly every item is one
                if isinstance(item.event, InvalidRecord):
                    self._on_invalid_record(item.event, item.connection, batch)
                else:
                    self._on_event(item, item.event, batch)
            case Event():
                batch.events.append(item)
            case _ if self._held.items:
                self._held.keep(item)
            case StreamOpened():
                self._applied.append(item)
                self._on_stream_opened(item, batch)
            case RecordsDropped():
                self._on_records_dropped(item, batch)
            case Snapshot():
                self._applied.append(item)
                self._on_snapshot(item, batch)

    def _on_event(self, record: ParsedRecord, event: Event, batch: Batch) -> None:
        """Accept an event, unless it has to wait."""
        held, cursor = self._held, self._open_cursor
        if self._gap_detector.expected_ids is not None:
            gap = self._gap_detector.on_event(event, cursor)
            self._add_gap(gap, record.connection, batch)
        findings = NOTHING_MISSING
        is_doubtful = event.action in DOUBTFUL_ACTIONS or (
            self._router.uses_interactive and event.action in BEGINNING_ACTIONS
        )
        if (
            (is_doubtful or held.containers)
            and event.type == "container"
            and event.actor.id
            and not cursor.remembers(event)
        ):
            must_wait = event.actor.id in held.containers
            if is_doubtful and not must_wait:
                find_later = partial(batch.find_later, event, self._backlog, cursor.remembers)
                findings = self._tracker.assess(event, find_later)
                must_wait = batch.may_wait and held.ask(event, findings)
            if must_wait:
                cursor.hold()
                held.keep(record)
                return
        self._accept(event, findings, batch)

    def _accept(self, event: Event, findings: Findings, batch: Batch) -> None:
        """Accept an event if it is new, and add what is to be routed."""
        counters = self.counters
        counters.received += 1
        if not self._open_cursor.admit(event):
            self._on_known_event(event)
            return
        counters.count_event(event)
        if event.type != "container" or event.action not in FOLLOWED_ACTIONS:
            if not is_self_exec(event, self.own_container):
                if self._router.uses_interactive:
                    event = self._tracker.mark_interactive(event)
                batch.events.append(event)
            return
        inspected = None
        if findings is not NOTHING_MISSING:
            inspected = self._held.take_answer(event) or batch.snapshots.get(event.actor.id)
        emitted = self._tracker.on_event(
            event,
            inspected,
            blind_window=self._gap_detector.blind_window,
            later_cause=findings.later_cause,
        )
        if len(emitted) > 1:  # one that the engine did not send, before this one
            counters.count_inferred(emitted)
        batch.events += emitted

    def _on_known_event(self, event: Event) -> None:
        """Handle an event that was accepted before, or that happened before the start."""
        cursor = self._open_cursor
        if not cursor.is_before_start(event):
            self.counters.duplicates += 1
        elif cursor.is_empty:  # a stop that was requested before the start explains a death
            self._tracker.on_event(event)

    def _on_stream_opened(self, opened: StreamOpened, batch: Batch) -> None:
        cursor, connection = self._open_cursor, opened.connection
        cursor.release()  # nothing waits any longer, or this item would wait too
        self.counters.opened += 1
        self._connection = connection
        self._tracker.podman = connection.podman
        # An engine that no longer gives its id is still the same: a proxy may begin to withhold it.
        previous, self._identity = self._identity, connection.identity or self._identity
        if previous != self._identity and previous is not None:
            self._tracker.registry.reset(connection.opened_ns)
            gap: Gap | None = self._gap_detector.on_engine_replaced(cursor, connection)
        else:
            gap = self._gap_detector.on_stream_opened(opened, cursor)
        self._add_gap(gap, connection, batch)
        self._incidents.stream_opened(
            self.engine, connection.ahead_ns, is_local=connection.is_local
        )

    def _on_records_dropped(self, dropped: RecordsDropped, batch: Batch) -> None:
        self._open_cursor.release()  # as above: the loss begins at the last accepted event
        self._connection = connection = dropped.connection
        self.counters.dropped[dropped.reason] += dropped.count
        engine_now_ns = batch.now_ns + connection.ahead_ns
        self._drop_reporter.add(
            self._gap_detector.on_records_dropped(dropped, self._open_cursor, engine_now_ns)
        )

    def _on_snapshot(self, snapshot: Snapshot, batch: Batch) -> None:
        events = self._tracker.on_snapshot(snapshot, self._gap_detector.blind_window)
        if snapshot.is_complete:
            self._gap_detector.on_full_snapshot(snapshot.taken_ns)
        self.counters.count_inferred(events)
        batch.events += events
        batch.observed.append(snapshot)

    def _report_drops(self, batch: Batch, *, is_final: bool = False) -> None:
        """Add the gap events that are due now, or all if ``is_final``.

        They declare dropped records, and what is no longer known of containers.
        """
        if given_up := self._tracker.registry.take_given_up():
            at_ns = self.position_ns
            self._drop_reporter.add(Gap(GapReason.CONTAINERS_FULL, at_ns, at_ns, given_up))
        if self._connection is None or not self._drop_reporter.unreported:
            return  # before the first connection the engine's host name is not known
        for gap in self._drop_reporter.take_due(batch.now_ns, is_final=is_final):
            log.error("events.dropped", engine=self.engine, count=gap.lost_count, why=gap.reason)
            self._add_gap(gap, self._connection, batch)

    def _add_gap(self, gap: Gap | None, connection: Connection, batch: Batch) -> None:
        """Add the event that declares the gap, if there is one."""
        if gap is not None:
            self.counters.gaps[gap.reason] += 1
            batch.events.append(make_gap_event(gap, connection, batch.now_ns))

    @property
    def _open_cursor(self) -> Cursor:
        assert self._cursor is not None, "since_ns() creates it before a stream opens"
        return self._cursor

    def _on_invalid_record(
        self, record: InvalidRecord, connection: Connection, batch: Batch
    ) -> None:
        """Count a record that is not an event, log the first of each kind, and declare the loss.

        A record that the engine repeats is declared only once.
        """
        self.counters.malformed[record.error] += 1
        if self.counters.malformed[record.error] == 1:
            head = record.head.decode(errors="replace")
            log.warning("event.malformed", engine=self.engine, flaw=record.error, head=head)
        if not self._drop_reporter.is_repeated(record.digest):
            self._apply(RecordsDropped(connection, 1, GapReason.RECORD_INVALID), batch)
