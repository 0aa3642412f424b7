"""What one engine's stream comes to: every decision between its bytes and the store."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import InvalidRecord
from relay.ingest.docker.engine.self_container import is_self_exec
from relay.ingest.docker.gaps import DropReporter, Gap, GapDetector, make_gap_event
from relay.routing.router import Router
from relay.store.records import IngestCommit

log = structlog.get_logger()


def resolve_start_ns(start_from: StartFrom, engine_now_ns: int) -> int:
    """From when on a first start takes events, by the engine's time."""
    match start_from:
        case "now":
            return engine_now_ns
        case "oldest":
            return 1
        case timedelta():
            return max(1, engine_now_ns - start_from // timedelta(microseconds=1) * 1000)


class ParsedRecord(msgspec.Struct, frozen=True, gc=False):
    """A record, read."""

    connection: Connection
    event: Event | InvalidRecord


Batch = list[ParsedRecord | StreamOpened | RecordsDropped | Snapshot | Event]


class EventPipeline:
    """Pure, but for the state of the stream that it keeps: it waits for nothing."""

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
        """``bookmark`` is None for an engine that was never heard, until its first connection.

        It counts on in ``tally``. ``own_container`` is the id of the container that relay runs in,
        None outside of one.
        """
        self.engine = engine
        self._start_from = start_from
        self._router = router
        self._cursor = Cursor(checkpoint) if checkpoint is not None else None
        self._identity = checkpoint.identity if checkpoint is not None else None
        self._tracker = ContainerTracker(registry or ContainerRegistry())
        self._gap_detector = GapDetector(
            BlindWindow(*checkpoint.blind_window)
            if checkpoint and checkpoint.blind_window
            else None
        )
        kept = checkpoint.unreported_drops if checkpoint is not None else ()
        self._drop_reporter = DropReporter(Gap(GapReason(why), *stretch) for why, *stretch in kept)
        self._connection: Connection | None = None
        self._own_container = own_container
        self.counters = counters or EngineCounters()

    @property
    def may_have_missed_deaths(self) -> bool:
        """Whether any container may have died unheard, not only one that was seen running."""
        return self._gap_detector.may_have_missed_deaths

    @property
    def gap_count(self) -> int:
        """How many gaps were found so far."""
        return self._gap_detector.found_count

    def since_ns(self, engine_now_ns: int) -> int:
        """From when on to ask the engine; decides where a first start begins."""
        if self._cursor is None:
            mark = Checkpoint.starting_at(resolve_start_ns(self._start_from, engine_now_ns))
            self._cursor = Cursor(mark)
            self._tracker.registry.reset(engine_now_ns)
            self._gap_detector.note_first_connection(engine_now_ns)
        if self._cursor.is_ahead_of(engine_now_ns):
            return self._cursor.since_after_clock_reset_ns(engine_now_ns)
        return self._cursor.since_ns

    @property
    def is_continuous(self) -> bool:
        """Whether the engine's history has to hold an event that was taken in."""
        return self._cursor is not None and self._cursor.is_continuous

    @property
    def position_ns(self) -> int:
        """When the last event happened that was taken in, by the engine's time; 0 before it."""
        return self._cursor.position_ns if self._cursor is not None else 0

    def remembers(self, event: Event) -> bool:
        """Whether the event was taken in, or is not to be."""
        return self._cursor is not None and self._cursor.remembers(event)

    def select_for_inspection(self, listed: Mapping[str, str], *, thorough: bool) -> list[str]:
        """Of the containers that the engine lists, with their states, those to look at."""
        return [
            id_
            for id_, state in listed.items()
            if thorough or state == "running" or not self._tracker.is_known_dead(id_)
        ]

    def find_missing(self, listed: Collection[str]) -> frozenset[str]:
        """The known containers that the engine does not list."""
        return self._tracker.find_missing(listed)

    def has_unreported(self, snapshots: Iterable[ContainerSnapshot]) -> bool:
        """Whether one of these containers died and nothing has told so."""
        return self._tracker.has_unreported(snapshots)

    def parse(self, items: Iterable[Item]) -> Batch:
        """The items, with the records read."""
        return [
            ParsedRecord(item.connection, parse_record(item.content, item.connection))
            if isinstance(item, Record)
            else item
            for item in items
        ]

    def containers_to_inspect(self, batch: Batch) -> set[str]:
        """The ids of the containers that have to be inspected before the batch is taken in."""
        return self._tracker.containers_to_inspect(self._new_events(batch))

    def awaits_evidence(self, batch: Batch) -> bool:
        """Whether the next moment can still change what the batch means."""
        fresh = self._new_events(batch)
        return self._tracker.awaits_evidence(fresh, podman=_is_from_podman(batch))

    def process(
        self, batch: Batch, now_ns: int, snapshots: Mapping[str, ContainerSnapshot] | None = None
    ) -> IngestCommit:
        """The notifications of a batch, and what is known after it."""
        fresh = self._new_events(batch)
        requested = self._tracker.find_requested(fresh, podman=_is_from_podman(batch))
        view = _BatchContext(snapshots or {}, requested, now_ns)
        told = [event for item in batch for event in self._process_item(item, view)]
        told += self._report_drops(now_ns)
        containers, gone = self._tracker.registry.take_changes()
        notifications = self._route(told)
        return IngestCommit(self.engine, self._checkpoint(), notifications, containers, gone)

    def finish(self, now_ns: int) -> IngestCommit:
        """What is left to be told at the end."""
        told = self._report_drops(now_ns, is_final=True)
        return IngestCommit(self.engine, self._checkpoint(), self._route(told))

    def resend_all(self) -> None:
        """What is known of the containers goes into the next batch once more."""
        self._tracker.registry.mark_all_changed()

    def _route(self, events: Iterable[Event]) -> list[tuple[Notification, Sequence[str]]]:
        return [
            (step.build_notification(event), step.destinations)
            for event in events
            for step in self._router.route(event, self.counters.matches)
        ]

    def _checkpoint(self) -> Checkpoint | None:
        if self._cursor is None:
            return None
        unheard = self._gap_detector.blind_window
        return self._cursor.checkpoint(
            reported_until_ns=self._tracker.registry.reported_until_ns,
            identity=self._identity,
            blind_window=None if unheard is None else (unheard.from_ns, unheard.until_ns),
            drops=tuple(
                (gap.reason.value, gap.from_ns, gap.until_ns, gap.lost_count)
                for gap in self._drop_reporter.unreported
            ),
        )

    def _new_events(self, batch: Batch) -> list[Event]:
        """Each once, though two connections in one batch can both bring it."""
        heard = {
            item.event.id: item.event
            for item in batch
            if isinstance(item, ParsedRecord) and isinstance(item.event, Event)
        }
        return (
            list(heard.values())
            if self._cursor is None
            else self._cursor.filter_new(heard.values())
        )

    def _process_item(
        self,
        item: ParsedRecord | StreamOpened | RecordsDropped | Snapshot | Event,
        context: "_BatchContext",
    ) -> list[Event]:
        """The events that are to be routed."""
        match item:
            case ParsedRecord():  # nearly all
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
        told = self._gap_event(
            self._gap_detector.on_event(event, cursor), record.connection, context.now_ns
        )
        if cursor.is_before_start(event):
            if cursor.is_empty:  # what was asked of a container then explains its death
                self._tracker.on_event(event, context.snapshots)
        elif cursor.admit(event):
            self.counters.count_event(event)
            if is_self_exec(event, self._own_container):  # taken in, but nobody is told
                return told
            requested = event.id in context.requested_ids
            told += self._tracker.on_event(
                event, context.snapshots, self._gap_detector.blind_window, requested=requested
            )
            self.counters.count_inferred(told)
        else:
            self.counters.duplicates += 1
        return told

    def _on_stream_opened(self, opened: StreamOpened, context: "_BatchContext") -> list[Event]:
        self.counters.opened += 1
        self._connection = connection = opened.connection
        self._tracker.podman = connection.podman
        before, self._identity = self._identity, connection.identity or self._identity
        if before != self._identity and before is not None:
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
        told: list[Event] = []
        if self._connection is None:  # its host is not known yet
            return told
        for gap in self._drop_reporter.take_due(now_ns, is_final=is_final):
            log.error("events.dropped", engine=self.engine, count=gap.lost_count, why=gap.reason)
            told += self._gap_event(gap, self._connection, now_ns)
        return told

    def _gap_event(self, gap: Gap | None, connection: Connection, now_ns: int) -> list[Event]:
        if gap is None:
            return []
        self.counters.gaps[gap.reason] += 1
        return [make_gap_event(gap, connection, now_ns)]

    def _on_snapshot(self, snapshot: Snapshot) -> list[Event]:
        told = self._tracker.on_snapshot(snapshot, self._gap_detector.blind_window)
        if snapshot.is_complete:
            self._gap_detector.on_full_snapshot(snapshot.taken_ns)
        self.counters.count_inferred(told)
        return told

    @property
    def _open_cursor(self) -> Cursor:
        assert self._cursor is not None, "a connection is opened from a cursor"
        return self._cursor

    def _count_invalid(self, record: InvalidRecord) -> None:
        """Count what is no event, and show the first of each kind."""
        self.counters.malformed[record.error] += 1
        if self.counters.malformed[record.error] == 1:
            head = record.head.decode(errors="replace")
            log.warning("event.malformed", engine=self.engine, flaw=record.error, head=head)


def _is_from_podman(batch: Batch) -> bool:
    return any(isinstance(item, ParsedRecord) and item.connection.podman for item in batch)


@dataclass(frozen=True, slots=True)
class _BatchContext:
    """What is known of a batch beside its items."""

    snapshots: Mapping[str, ContainerSnapshot]
    requested_ids: Collection[str]
    """The ids of deaths that somebody asked for, as what comes behind them shows."""
    now_ns: int
