"""A batch of items in the ingest pipeline, with its records parsed."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from relay.core.event import Event
from relay.ingest.docker.buffer import (
    Connection,
    Item,
    Record,
    RecordsDropped,
    StreamOpened,
    parse_record,
)
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import InvalidRecord


class ParsedRecord(msgspec.Struct, frozen=True, gc=False):
    """A parsed record, and the connection that it came over."""

    connection: Connection
    event: Event | InvalidRecord
    size_bytes: int = 0
    """The record's length."""


BatchItem = ParsedRecord | StreamOpened | RecordsDropped | Snapshot | Event
"""An `Event` here is one of relay's own."""


def parse_items(items: Iterable[Item | ParsedRecord]) -> list[BatchItem]:
    """Return the items, with each record parsed."""
    return [
        ParsedRecord(
            item.connection, parse_record(item.content, item.connection), len(item.content)
        )
        if isinstance(item, Record)
        else item
        for item in items
    ]


class Batch(msgspec.Struct):
    """What the processing of every item of a batch may need, and what it has found so far."""

    now_ns: int
    """The wall clock's time."""
    may_wait: bool = True
    """Whether an event may wait for an answer."""
    snapshots: Mapping[str, ContainerSnapshot] = {}
    """The inspections that are known from the start, by container."""
    following: Sequence[BatchItem] = ()
    """The items after this batch, if they are known."""
    waiting: Sequence[BatchItem] = ()
    """The items that waited before this batch."""
    events: list[Event] = msgspec.field(default_factory=list)
    """The events to route."""
    observed: list[Snapshot] = msgspec.field(default_factory=list)
    """What was seen of containers beside the stream."""
    _by_container: dict[str, dict[str, Event]] | None = None
    """The new events of each container, by id; None until they are needed."""

    def find_later(
        self, event: Event, backlog: Iterable[BatchItem], is_known: Callable[[Event], bool]
    ) -> Sequence[Event]:
        """Return the new events of the same container that arrived after this one.

        ``backlog`` are the items of the batch that were not applied yet.
        """
        if self._by_container is None:
            items = (*self.waiting, *backlog, *self.following)
            self._by_container = _new_events_by_container(items, is_known)
        own = self._by_container.get(event.actor.id, {})
        later = list(own.values())
        if event.id in own:  # it was applied after the events were listed
            del later[: list(own).index(event.id) + 1]
        return later


def _new_events_by_container(
    items: Iterable[BatchItem], is_known: Callable[[Event], bool]
) -> dict[str, dict[str, Event]]:
    """Return the events of each container that are not known yet, each once, by its id."""
    found: dict[str, dict[str, Event]] = {}
    for item in items:
        if not isinstance(item, ParsedRecord):
            continue
        event = item.event
        if isinstance(event, Event) and event.type == "container" and not is_known(event):
            found.setdefault(event.actor.id, {}).setdefault(event.id, event)
    return found
