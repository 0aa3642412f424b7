"""The decisions between messages and the store: read them, drop known ones, route the others.

`MessagePipeline` turns pulled messages into commits. It does no I/O, reads no clock and waits for
nothing. What it knows of earlier events and of hosts is part of the commits.
"""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from relay.core.counters import EngineCounters
from relay.core.event import Event, GapReason, unique_id
from relay.core.include import Included, select_included
from relay.core.notification import Notification
from relay.incidents.incidents import Incidents
from relay.ingest.nats.hosts import HostWatch
from relay.ingest.nats.seen import SeenEvents, seen_key
from relay.ingest.nats.unreadable import UnreadableMessages
from relay.nats.message import SentEvent, UnreadableMessage, decode_event, read_sent_at
from relay.nats.puller import PulledMessage
from relay.nats.subjects import parse_subject
from relay.routing.router import Router, RouteResult
from relay.store.records import IngestCommit, SeenChunk

UNREADABLE = "unreadable"
"""How unreadable messages are counted among the malformed records."""


class ProcessedBatch(msgspec.Struct, frozen=True):
    """What a batch of messages leads to."""

    commit: IngestCommit | None
    """None if there is nothing to store: no route wants any of the events."""
    to_ack: Sequence[PulledMessage]
    """The messages that are done once the commit is stored."""
    to_terminate: Sequence[tuple[PulledMessage, str]]
    """Those that are no events, each with the reason: likewise."""


class _Batch(msgspec.Struct):
    """What was found in a batch so far."""

    now_ns: int
    """The steady clock's time, by which deliveries are due."""
    wall_ns: int
    events: list[Event] = msgspec.field(default_factory=list)
    keys: dict[bytes, str] = msgspec.field(default_factory=dict)
    """The ids of the new events, by their `seen_key`."""
    included: dict[str, Included] = msgspec.field(default_factory=dict)
    """What came with the events, by `unique_id`."""
    clocks: dict[str, int] = msgspec.field(default_factory=dict)
    """How far the clock of each host was ahead of the server's when it sent its last message."""
    unreadable: list[tuple[Notification, str]] = msgspec.field(default_factory=list)
    to_ack: list[PulledMessage] = msgspec.field(default_factory=list)
    to_terminate: list[tuple[PulledMessage, str]] = msgspec.field(default_factory=list)


class MessagePipeline:
    """Turns the messages of one engine into commits. Never waits, and does no I/O."""

    def __init__(
        self,
        engine: str,
        router: Router,
        incidents: Incidents,
        seen: SeenEvents,
        hosts: HostWatch,
        counters: EngineCounters,
    ) -> None:
        """``counters`` are incremented, not reset."""
        self.engine = engine
        self.hosts = hosts
        self.counters = counters
        self._router = router
        self._incidents = incidents
        self._seen = seen
        self._unreadable = UnreadableMessages(engine)
        self._is_store_new = False

    def process(
        self,
        messages: Iterable[PulledMessage],
        now_ns: int,
        wall_ns: int,
        *,
        is_drained: bool = True,
        is_final: bool = False,
    ) -> ProcessedBatch:
        """Process messages in the order of the stream; the caller commits the result next.

        ``now_ns`` is the time of the clock by which deliveries are due, ``wall_ns`` that of the
        wall clock. Call it without messages, too: hosts that are silent have to be reported. That
        can be known if ``is_drained``: nothing waits behind these messages.
        """
        batch = _Batch(now_ns, wall_ns)
        for message in sorted(messages, key=lambda message: message.stream_seq):
            self._add(message, batch)
        if is_drained:
            batch.events += self.hosts.find_lost(now_ns, wall_ns)
        gaps = self._unreadable.report(wall_ns, is_final=is_final)
        self.counters.gaps[GapReason.RECORD_INVALID] += len(gaps)
        batch.events += gaps
        commit = self._build_commit(batch)
        return ProcessedBatch(commit, batch.to_ack, batch.to_terminate)

    def resend_all(self) -> None:
        """Include all that is known in the next commit: the store is a new one."""
        self._is_store_new = True
        self.hosts.mark_all_changed()

    def _add(self, message: PulledMessage, batch: _Batch) -> None:
        """Read one message. Who sent it is what its subject says, and nothing else."""
        self.counters.received += 1
        subject = parse_subject(message.subject)
        try:
            if subject is None:
                raise UnreadableMessage("has a subject that is not relay.events.HOST.TYPE.ACTION")
            sent = decode_event(message.body, host=subject.host, via=self.engine)
        except UnreadableMessage as error:
            self.counters.malformed[UNREADABLE] += 1
            host = self.engine if subject is None else subject.host
            notification = self._unreadable.add(message, host, str(error), batch.wall_ns)
            batch.unreadable.append((notification, str(error)))
            batch.to_terminate.append((message, str(error)))
            return
        batch.to_ack.append(message)
        if (sent_ns := read_sent_at(message.headers)) is not None:
            batch.clocks[subject.host] = sent_ns - message.stored_ns
        self._accept(sent, message.stored_ns, batch)

    def _accept(self, sent: SentEvent, stored_ns: int, batch: _Batch) -> None:
        """Add an event to the batch if it is new. The stream took it at ``stored_ns``."""
        event, key = sent.event, seen_key(sent.event)
        if (back := self.hosts.hear(event, batch.now_ns, batch.wall_ns)) is not None:
            batch.events.append(back)
        if key in self._seen or key in batch.keys:
            self.counters.duplicates += 1
            return
        batch.keys[key] = event.id
        self.counters.accepted += 1
        self.counters.last_event_ns = stored_ns  # one clock for all hosts
        batch.events.append(event)
        if sent.included is not None:
            batch.included[unique_id(event)] = sent.included

    def _build_commit(self, batch: _Batch) -> IngestCommit | None:
        """Route the events. Nothing may fail from here to the commit: see
        `relay.incidents.dispatcher`."""
        for host, ahead_ns in batch.clocks.items():
            self._incidents.set_host_clock(self.engine, host, ahead_ns)
        matches = self.counters.matches
        routed = [(event, self._router.route(event, matches)) for event in batch.events]
        immediate = self._incidents.take(routed, included=batch.included)
        rows = self._incidents.take_changes()
        seen = self._remember(batch, routed, changes_incidents=bool(rows))
        changed, forgotten = self.hosts.take_changes()
        if not (immediate or rows or seen or changed or forgotten or batch.unreadable):
            return None
        return IngestCommit(
            self.engine,
            None,
            [(_complete(notification, batch), to) for notification, to in immediate],
            incident_rows=rows,
            seen=seen,
            oldest_seen=self._seen.oldest_number,
            hosts=changed,
            forgotten_hosts=forgotten,
            unreadable=batch.unreadable,
        )

    def _remember(
        self,
        batch: _Batch,
        routed: Sequence[tuple[Event, Sequence[RouteResult]]],
        *,
        changes_incidents: bool,
    ) -> Sequence[SeenChunk]:
        """Return what is to be stored of the batch's new events.

        An event that no route sends and that changes no incident leads to nothing a second time, so
        it need not be known. Which of them changes an incident is not known.
        """
        if changes_incidents:
            keys = list(batch.keys)
        else:
            sent = {event.id for event, results in routed if results}
            keys = [key for key, event_id in batch.keys.items() if event_id in sent]
        chunks = [self._seen.add(keys, batch.now_ns)] if keys else []
        if self._is_store_new:
            self._is_store_new = False
            return self._seen.export()
        return chunks


def _complete(notification: Notification, batch: _Batch) -> Notification:
    """Return a notification with what its route includes: it is there already, or never."""
    include = notification.include
    if include is None:
        return notification
    found = batch.included.get(unique_id(notification.events[0]))
    return replace(notification, include=None, included=select_included(include, found))
