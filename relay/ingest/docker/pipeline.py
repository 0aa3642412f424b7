"""What one engine's stream comes to: every decision between its bytes and the store."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import structlog

from relay.config import StartFrom
from relay.core.checkpoint import Bookmark
from relay.core.counters import EngineTally
from relay.core.event import Event, Why
from relay.core.notification import Notification
from relay.ingest.docker.buffer import Connection, Dropped, Item, Opened, Record, read
from relay.ingest.docker.containers.inference import Look, Unheard
from relay.ingest.docker.containers.registry import Roster
from relay.ingest.docker.containers.tracker import Chronicle
from relay.ingest.docker.cursor import Cursor
from relay.ingest.docker.engine.inspection import Sighting
from relay.ingest.docker.engine.parser import Malformed
from relay.ingest.docker.engine.self_container import is_own_exec
from relay.ingest.docker.gaps import Drops, Gap, Gaps, declaration
from relay.routing.router import Router
from relay.store.records import Intake

log = structlog.get_logger()


def beginning_ns(start_from: StartFrom, engine_now_ns: int) -> int:
    """From when on a first start takes events, by the engine's time."""
    match start_from:
        case "now":
            return engine_now_ns
        case "oldest":
            return 1
        case timedelta():
            return max(1, engine_now_ns - start_from // timedelta(microseconds=1) * 1000)


class Heard(msgspec.Struct, frozen=True, gc=False):
    """A record, read."""

    connection: Connection
    event: Event | Malformed


Batch = list[Heard | Opened | Dropped | Look | Event]


class Digest:
    """Pure, but for the state of the stream that it keeps: it waits for nothing."""

    def __init__(
        self,
        engine: str,
        start_from: StartFrom,
        router: Router,
        bookmark: Bookmark | None = None,
        roster: Roster | None = None,
        tally: EngineTally | None = None,
        own_container: str | None = None,
    ) -> None:
        """``bookmark`` is None for an engine that was never heard, until its first connection.

        It counts on in ``tally``. ``own_container`` is the id of the container that relay runs in,
        None outside of one.
        """
        self.engine = engine
        self._start_from = start_from
        self._router = router
        self._cursor = Cursor(bookmark) if bookmark is not None else None
        self._identity = bookmark.identity if bookmark is not None else None
        self._chronicle = Chronicle(roster or Roster())
        self._gaps = Gaps(Unheard(*bookmark.unheard) if bookmark and bookmark.unheard else None)
        kept = bookmark.drops if bookmark is not None else ()
        self._drops = Drops(Gap(Why(why), *stretch) for why, *stretch in kept)
        self._connection: Connection | None = None
        self._own_container = own_container
        self.tally = tally or EngineTally()

    @property
    def in_doubt(self) -> bool:
        """Whether any container may have died unheard, not only one that was seen running."""
        return self._gaps.in_doubt

    @property
    def gaps(self) -> int:
        """How many gaps were found so far."""
        return self._gaps.found

    def since_ns(self, engine_now_ns: int) -> int:
        """From when on to ask the engine; decides where a first start begins."""
        if self._cursor is None:
            mark = Bookmark.beginning(beginning_ns(self._start_from, engine_now_ns))
            self._cursor = Cursor(mark)
            self._chronicle.roster.start_over(engine_now_ns)
            self._gaps.begin(engine_now_ns)
        if self._cursor.is_ahead(engine_now_ns):
            return self._cursor.since_behind(engine_now_ns)
        return self._cursor.since_ns

    @property
    def anchored(self) -> bool:
        """Whether the engine's history has to hold an event that was taken in."""
        return self._cursor is not None and self._cursor.anchored

    @property
    def position_ns(self) -> int:
        """When the last event happened that was taken in, by the engine's time; 0 before it."""
        return self._cursor.position_ns if self._cursor is not None else 0

    def remembers(self, event: Event) -> bool:
        """Whether the event was taken in, or is not to be."""
        return self._cursor is not None and self._cursor.remembers(event)

    def to_inspect(self, listed: Mapping[str, str], *, thorough: bool) -> list[str]:
        """Of the containers that the engine lists, with their states, those to look at."""
        return [
            id_
            for id_, state in listed.items()
            if thorough or state == "running" or not self._chronicle.knows_as_dead(id_)
        ]

    def missing(self, listed: Collection[str]) -> frozenset[str]:
        """The known containers that the engine does not list."""
        return self._chronicle.missing(listed)

    def untold(self, sightings: Iterable[Sighting]) -> bool:
        """Whether one of these containers died and nothing has told so."""
        return self._chronicle.untold(sightings)

    def read(self, items: Iterable[Item]) -> Batch:
        """The items, with the records read."""
        return [
            Heard(item.connection, read(item.content, item.connection))
            if isinstance(item, Record)
            else item
            for item in items
        ]

    def questions(self, batch: Batch) -> set[str]:
        """The ids of the containers that have to be inspected before the batch is taken in."""
        return self._chronicle.questions(self._fresh_events(batch))

    def unsettled(self, batch: Batch) -> bool:
        """Whether the next moment can still change what the batch means."""
        fresh = self._fresh_events(batch)
        return self._chronicle.unsettled(fresh, podman=_is_of_podman(batch))

    def take_in(
        self, batch: Batch, now_ns: int, sightings: Mapping[str, Sighting] | None = None
    ) -> Intake:
        """The notifications of a batch, and what is known after it."""
        fresh = self._fresh_events(batch)
        requested = self._chronicle.requested(fresh, podman=_is_of_podman(batch))
        view = _View(sightings or {}, requested, now_ns)
        told = [event for item in batch for event in self._events(item, view)]
        told += self._told_of_drops(now_ns)
        containers, gone = self._chronicle.roster.changes()
        notifications = self._notifications(told)
        return Intake(self.engine, self._bookmark(), notifications, containers, gone)

    def finish(self, now_ns: int) -> Intake:
        """What is left to be told at the end."""
        told = self._told_of_drops(now_ns, finally_=True)
        return Intake(self.engine, self._bookmark(), self._notifications(told))

    def tell_all_again(self) -> None:
        """What is known of the containers goes into the next batch once more."""
        self._chronicle.roster.renew()

    def _notifications(self, events: Iterable[Event]) -> list[tuple[Notification, Sequence[str]]]:
        return [
            (step.notification(event), step.destinations)
            for event in events
            for step in self._router.route(event, self.tally.matches)
        ]

    def _bookmark(self) -> Bookmark | None:
        if self._cursor is None:
            return None
        unheard = self._gaps.unheard
        return self._cursor.bookmark(
            assumed_ns=self._chronicle.roster.assumed_ns,
            identity=self._identity,
            unheard=None if unheard is None else (unheard.from_ns, unheard.until_ns),
            drops=tuple(
                (gap.why.value, gap.from_ns, gap.until_ns, gap.lost) for gap in self._drops.untold
            ),
        )

    def _fresh_events(self, batch: Batch) -> list[Event]:
        """Each once, though two connections in one batch can both bring it."""
        heard = {
            item.event.id: item.event
            for item in batch
            if isinstance(item, Heard) and isinstance(item.event, Event)
        }
        return list(heard.values()) if self._cursor is None else self._cursor.news(heard.values())

    def _events(self, item: Heard | Opened | Dropped | Look | Event, view: "_View") -> list[Event]:
        """The events that are to be routed."""
        match item:
            case Heard():  # nearly all
                return self._heard(item, view)
            case Event():
                return [item]
            case Opened():
                return self._opened(item, view)
            case Dropped():
                self._dropped(item, view)
                return []
            case Look():
                return self._looked(item)

    def _heard(self, heard: Heard, view: "_View") -> list[Event]:
        event, cursor = heard.event, self._started
        if isinstance(event, Malformed):
            self._complain(event)
            return []
        self.tally.received += 1
        told = self._declared(self._gaps.heard(event, cursor), heard.connection, view.now_ns)
        if cursor.is_before(event):
            if cursor.empty:  # what was asked of a container then explains its death
                self._chronicle.hear(event, view.sightings)
        elif cursor.admit(event):
            self.tally.take(event)
            if is_own_exec(event, self._own_container):  # taken in, but nobody is told
                return told
            requested = event.id in view.requested
            told += self._chronicle.hear(
                event, view.sightings, self._gaps.unheard, requested=requested
            )
            self.tally.infer(told)
        else:
            self.tally.repeated += 1
        return told

    def _opened(self, opened: Opened, view: "_View") -> list[Event]:
        self.tally.opened += 1
        self._connection = connection = opened.connection
        self._chronicle.podman = connection.podman
        before, self._identity = self._identity, connection.identity or self._identity
        if before != self._identity and before is not None:
            self._chronicle.roster.start_over(connection.opened_ns)
            gap: Gap | None = self._gaps.replaced(self._started, connection)
        else:
            gap = self._gaps.opened(opened, self._started)
        return self._declared(gap, connection, view.now_ns)

    def _dropped(self, dropped: Dropped, view: "_View") -> None:
        self._connection = connection = dropped.connection
        self.tally.dropped[dropped.why] += dropped.count
        engine_now_ns = view.now_ns + connection.ahead_ns
        self._drops.add(self._gaps.dropped(dropped, self._started, engine_now_ns))

    def _told_of_drops(self, now_ns: int, *, finally_: bool = False) -> list[Event]:
        told: list[Event] = []
        if self._connection is None:  # its host is not known yet
            return told
        for gap in self._drops.due(now_ns, finally_=finally_):
            log.error("events.dropped", engine=self.engine, count=gap.lost, why=gap.why)
            told += self._declared(gap, self._connection, now_ns)
        return told

    def _declared(self, gap: Gap | None, connection: Connection, now_ns: int) -> list[Event]:
        if gap is None:
            return []
        self.tally.gaps[gap.why] += 1
        return [declaration(gap, connection, now_ns)]

    def _looked(self, look: Look) -> list[Event]:
        told = self._chronicle.look(look, self._gaps.unheard)
        if look.thorough:
            self._gaps.settled(look.taken_ns)
        self.tally.infer(told)
        return told

    @property
    def _started(self) -> Cursor:
        assert self._cursor is not None, "a connection is opened from a cursor"
        return self._cursor

    def _complain(self, record: Malformed) -> None:
        """Count what is no event, and show the first of each kind."""
        self.tally.malformed[record.flaw] += 1
        if self.tally.malformed[record.flaw] == 1:
            head = record.head.decode(errors="replace")
            log.warning("event.malformed", engine=self.engine, flaw=record.flaw, head=head)


def _is_of_podman(batch: Batch) -> bool:
    return any(isinstance(item, Heard) and item.connection.podman for item in batch)


@dataclass(frozen=True, slots=True)
class _View:
    """What is known of a batch beside its items."""

    sightings: Mapping[str, Sighting]
    requested: Collection[str]
    """The ids of deaths that somebody asked for, as what comes behind them shows."""
    now_ns: int
