"""The decisions between one engine's bytes and the store: parse, deduplicate, find causes, route.

`EventPipeline` turns batches of buffered items into commits. It makes all of these decisions, does
no I/O and waits for nothing: the worker calls it for every batch, and `relay.dryrun` calls the same
code for a recorded stream. Its state (cursor, known containers, gaps that were not reported yet) is
part of every commit, and lives until the session ends; the next session restores it from the
checkpoint.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta

import msgspec
import structlog

from relay.config import StartFrom
from relay.core.checkpoint import Checkpoint
from relay.core.counters import EngineCounters
from relay.core.event import Event, GapReason
from relay.core.notification import Notification
from relay.ingest.docker.buffer import (
    Connection,
    Item,
    Record,
    RecordsDropped,
    StreamOpened,
    parse_record,
)
from relay.ingest.docker.containers.inference import BlindWindow, Snapshot
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.containers.tracker import ContainerTracker
from relay.ingest.docker.cursor import Cursor
from relay.ingest.docker.engine.container_details import is_self_exec
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import InvalidRecord
from relay.ingest.docker.gaps import DropReporter, Gap, GapDetector, make_gap_event
from relay.routing.router import Router
from relay.store.records import IngestCommit

log = structlog.get_logger()


def resolve_start_ns(start_from: StartFrom, engine_now_ns: int) -> int:
    """Return the engine's time from which a first start accepts events; never less than 1."""
    match start_from:
        case "now":
            return engine_now_ns
        case "oldest":
            return 1
        case timedelta():
            return max(1, engine_now_ns - start_from // timedelta(microseconds=1) * 1000)


class ParsedRecord(msgspec.Struct, frozen=True, gc=False):
    """A parsed record, and the connection that it came over."""

    connection: Connection
    event: Event | InvalidRecord


BatchItem = ParsedRecord | StreamOpened | RecordsDropped | Snapshot | Event
"""An `Event` here is one of relay's own."""

Batch = list[BatchItem]


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
        own_container: str | None = None,
    ) -> None:
        """``checkpoint`` is None for an engine that relay has never connected to.

        ``counters`` are incremented, not reset. ``own_container`` is the id of the container that
        relay runs in; None if it runs in none.
        """
        self.engine = engine
        self._start_from = start_from
        self._router = router
        self._cursor = Cursor(checkpoint) if checkpoint is not None else None
        self._stored_chunks = checkpoint.sealed_count if checkpoint is not None else 0
        """How many of the cursor's full chunks the store holds, or will after the next commit."""
        self._identity = checkpoint.identity if checkpoint is not None else None
        self._tracker = ContainerTracker(registry or ContainerRegistry())
        self._gap_detector = GapDetector(
            BlindWindow(*checkpoint.blind_window)
            if checkpoint and checkpoint.blind_window
            else None
        )
        drops = checkpoint.unreported_drops if checkpoint is not None else ()
        self._drop_reporter = DropReporter(Gap(GapReason(reason), *rest) for reason, *rest in drops)
        self._connection: Connection | None = None
        self._own_container = own_container
        self.counters = counters or EngineCounters()

    @property
    def may_have_missed_deaths(self) -> bool:
        """Whether any container may have died without an event, not only those known to run."""
        return self._gap_detector.may_have_missed_deaths

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

    def select_for_inspection(self, listed: Mapping[str, str], *, thorough: bool) -> list[str]:
        """Return the ids to inspect of the listed containers (id to state); if thorough, all."""
        return [
            id_
            for id_, state in listed.items()
            if thorough or state == "running" or not self._tracker.is_known_dead(id_)
        ]

    def find_missing(self, listed: Collection[str]) -> frozenset[str]:
        """Return the ids of the known containers that the engine does not list."""
        return self._tracker.find_missing(listed)

    def has_unreported(self, snapshots: Iterable[ContainerSnapshot]) -> bool:
        """Whether one of these containers died and its death was not reported yet."""
        return self._tracker.has_unreported(snapshots)

    def parse(self, items: Iterable[Item]) -> Batch:
        """Return the items, with each record parsed."""
        return [
            ParsedRecord(item.connection, parse_record(item.content, item.connection))
            if isinstance(item, Record)
            else item
            for item in items
        ]

    def containers_to_inspect(self, batch: Batch) -> set[str]:
        """Return the ids of the containers to inspect before this batch can be processed."""
        return self._tracker.containers_to_inspect(self._new_events(batch))

    def awaits_evidence(self, batch: Batch) -> bool:
        """Whether an event that is about to arrive can change the cause of a death in the batch."""
        new_events = self._new_events(batch)
        return self._tracker.awaits_evidence(new_events, podman=_is_from_podman(batch))

    def process(
        self, batch: Batch, now_ns: int, snapshots: Mapping[str, ContainerSnapshot] | None = None
    ) -> IngestCommit:
        """Process one batch and return what to commit: notifications, checkpoint, containers.

        ``now_ns`` is the wall clock's time; ``snapshots`` are those of `containers_to_inspect`.
        """
        new_events = self._new_events(batch)
        requested = self._tracker.find_requested(new_events, podman=_is_from_podman(batch))
        context = _BatchContext(snapshots or {}, requested, now_ns)
        events = [event for item in batch for event in self._process_item(item, context)]
        events += self._report_drops(now_ns)
        return self._build_commit(self._route(events))

    def finish(self, now_ns: int) -> IngestCommit:
        """Return the last commit of a session: it reports the drops that were held back."""
        events = self._report_drops(now_ns, is_final=True)
        return self._build_commit(self._route(events))

    def resend_all(self) -> None:
        """Include all that is known in the next commit: the store is a new one."""
        self._stored_chunks = 0
        self._tracker.registry.mark_all_changed()

    def _build_commit(
        self, notifications: Sequence[tuple[Notification, Sequence[str]]]
    ) -> IngestCommit:
        checkpoint, changes = self._checkpoint(), self._tracker.registry.take_changes()
        first_chunk = self._stored_chunks
        if checkpoint is not None:
            self._stored_chunks = checkpoint.sealed_count
        return IngestCommit(
            self.engine,
            checkpoint,
            notifications,
            changes.described,
            changes.removed,
            container_times=changes.timed,
            first_chunk=first_chunk,
        )

    def _route(self, events: Iterable[Event]) -> list[tuple[Notification, Sequence[str]]]:
        return [
            (match.build_notification(event), match.destinations)
            for event in events
            for match in self._router.route(event, self.counters.matches)
        ]

    def _checkpoint(self) -> Checkpoint | None:
        if self._cursor is None:
            return None
        window = self._gap_detector.blind_window
        return self._cursor.checkpoint(
            reported_until_ns=self._tracker.registry.reported_until_ns,
            identity=self._identity,
            blind_window=None if window is None else (window.from_ns, window.until_ns),
            drops=tuple(
                (gap.reason.value, gap.from_ns, gap.until_ns, gap.lost_count)
                for gap in self._drop_reporter.unreported
            ),
        )

    def _new_events(self, batch: Batch) -> list[Event]:
        """Return the batch's events that were not accepted yet.

        Each is listed once, even if two connections of the batch delivered it.
        """
        by_id = {
            item.event.id: item.event
            for item in batch
            if isinstance(item, ParsedRecord) and isinstance(item.event, Event)
        }
        if self._cursor is None:
            return list(by_id.values())
        return self._cursor.filter_new(by_id.values())

    def _process_item(self, item: BatchItem, context: "_BatchContext") -> list[Event]:
        """Apply one item, and return the events to route."""
        match item:
            case ParsedRecord():  # first, because nearly every item is one
                return self._on_record(item, context)
            case Event():
                return [item]
            case StreamOpened():
                return self._on_stream_opened(item, context)
            case RecordsDropped():
                self._on_records_dropped(item, context)
                return []
            case Snapshot():
                return self._on_snapshot(item)

    def _on_record(self, record: ParsedRecord, context: "_BatchContext") -> list[Event]:
        event, cursor = record.event, self._open_cursor
        if isinstance(event, InvalidRecord):
            self._count_invalid(event)
            return []
        self.counters.received += 1
        gap = self._gap_detector.on_event(event, cursor)
        events = self._gap_event(gap, record.connection, context.now_ns)
        if cursor.is_before_start(event):
            if cursor.is_empty:  # a stop that was requested before the start explains a death
                self._tracker.on_event(event, context.snapshots)
        elif cursor.admit(event):
            self.counters.count_event(event)
            if is_self_exec(event, self._own_container):  # accepted, but never routed
                return events
            requested = event.id in context.requested_ids
            events += self._tracker.on_event(
                event, context.snapshots, self._gap_detector.blind_window, requested=requested
            )
            self.counters.count_inferred(events)
        else:
            self.counters.duplicates += 1
        return events

    def _on_stream_opened(self, opened: StreamOpened, context: "_BatchContext") -> list[Event]:
        self.counters.opened += 1
        self._connection = connection = opened.connection
        self._tracker.podman = connection.podman
        # An engine that no longer gives its id is still the same: a proxy may begin to withhold it.
        previous, self._identity = self._identity, connection.identity or self._identity
        if previous != self._identity and previous is not None:
            self._tracker.registry.reset(connection.opened_ns)
            gap: Gap | None = self._gap_detector.on_engine_replaced(self._open_cursor, connection)
        else:
            gap = self._gap_detector.on_stream_opened(opened, self._open_cursor)
        return self._gap_event(gap, connection, context.now_ns)

    def _on_records_dropped(self, dropped: RecordsDropped, context: "_BatchContext") -> None:
        self._connection = connection = dropped.connection
        self.counters.dropped[dropped.reason] += dropped.count
        engine_now_ns = context.now_ns + connection.ahead_ns
        self._drop_reporter.add(
            self._gap_detector.on_records_dropped(dropped, self._open_cursor, engine_now_ns)
        )

    def _report_drops(self, now_ns: int, *, is_final: bool = False) -> list[Event]:
        """Return the gap events for dropped records that are due now; if ``is_final``, all."""
        events: list[Event] = []
        if self._connection is None:  # the engine's host name is not known yet
            return events
        for gap in self._drop_reporter.take_due(now_ns, is_final=is_final):
            log.error("events.dropped", engine=self.engine, count=gap.lost_count, why=gap.reason)
            events += self._gap_event(gap, self._connection, now_ns)
        return events

    def _gap_event(self, gap: Gap | None, connection: Connection, now_ns: int) -> list[Event]:
        """Return the event that declares the gap, in a list; an empty list if there is no gap."""
        if gap is None:
            return []
        self.counters.gaps[gap.reason] += 1
        return [make_gap_event(gap, connection, now_ns)]

    def _on_snapshot(self, snapshot: Snapshot) -> list[Event]:
        events = self._tracker.on_snapshot(snapshot, self._gap_detector.blind_window)
        if snapshot.is_complete:
            self._gap_detector.on_full_snapshot(snapshot.taken_ns)
        self.counters.count_inferred(events)
        return events

    @property
    def _open_cursor(self) -> Cursor:
        assert self._cursor is not None, "since_ns() creates it before a stream opens"
        return self._cursor

    def _count_invalid(self, record: InvalidRecord) -> None:
        """Count a record that is not an event, and log the first of each kind."""
        self.counters.malformed[record.error] += 1
        if self.counters.malformed[record.error] == 1:
            head = record.head.decode(errors="replace")
            log.warning("event.malformed", engine=self.engine, flaw=record.error, head=head)


def _is_from_podman(batch: Batch) -> bool:
    return any(isinstance(item, ParsedRecord) and item.connection.podman for item in batch)


class _BatchContext(msgspec.Struct, frozen=True):
    """What the processing of every item of a batch may need."""

    snapshots: Mapping[str, ContainerSnapshot]
    requested_ids: Collection[str]
    """The event ids of deaths that somebody requested, as later events of the batch prove."""
    now_ns: int
