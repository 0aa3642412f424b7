"""The items that wait for an answer, and those that have to wait behind them.

A death may have to wait for an inspection, or for events that prove a request (see
`relay.ingest.docker.containers.questions`). Only events of the same container wait behind it; those
of others pass. What says something about the whole stream (it was opened, records were dropped, the
containers were inspected) waits for everything before it, and everything after it waits too.

Nothing that waits can get lost: while anything does, the cursor stays where it was before the first
of these items, and forgets none of the events that pass (`relay.ingest.docker.cursor.Cursor.hold`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from relay.core.checkpoint import REMEMBERED_EVENTS
from relay.core.event import Event
from relay.ingest.docker.buffer import (
    Connection,
    Item,
    Record,
    RecordsDropped,
    StreamOpened,
)
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.containers.questions import NOTHING_MISSING, Findings, Question
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event

HELD_EVENTS_MAX = REMEMBERED_EVENTS * 7 // 8
"""While anything waits, at most this many events are taken in. That is fewer than a cursor
remembers, so that another process that continues from here remembers them until the engine has
repeated all of them."""

HELD_BYTES_MAX = 4 * 1024 * 1024
"""Nothing more is taken in while records of this size wait."""


class ParsedRecord(msgspec.Struct, frozen=True, gc=False):
    """A parsed record, and the connection that it came over."""

    connection: Connection
    event: Event | InvalidRecord
    size_bytes: int = 0


BatchItem = ParsedRecord | StreamOpened | RecordsDropped | Snapshot | Event
"""An `Event` here is one of relay's own."""


class Batch(msgspec.Struct):
    """What the processing of every item of a batch may need."""

    now_ns: int
    snapshots: Mapping[str, ContainerSnapshot] | None
    """If given, nothing waits: these are the answers, by container."""
    following: Sequence[BatchItem] = ()
    """Items after this batch, if they are known."""
    events: list[Event] = msgspec.field(default_factory=list)
    """The events to route."""
    waiting: Sequence[BatchItem] = ()
    """The items that waited before this batch."""
    by_container: dict[str, dict[str, Event]] | None = None
    """The new events of each container, by id; None until they are needed."""


def parse_items(items: Iterable[Item | ParsedRecord]) -> list[BatchItem]:
    """Return the items, with each record parsed."""
    parsed: list[BatchItem] = []
    for item in items:
        if isinstance(item, Record):
            connection, content = item.connection, item.content
            event = parse_event(
                content,
                engine=connection.engine,
                host=connection.host,
                live_from_ns=connection.opened_ns,
                podman=connection.podman,
            )
            parsed.append(ParsedRecord(connection, event, len(content)))
        else:
            parsed.append(item)
    return parsed


def new_events_by_container(
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


class HeldItems:
    """What waits, in the order of the stream, and the questions about it."""

    def __init__(self) -> None:
        self.items: list[BatchItem] = []
        self.containers: set[str] = set()
        """The containers whose events have to wait."""
        self.is_blocked = False
        """Whether everything that follows has to wait."""
        self.questions: list[Question] = []
        """What has to be answered before the items can be processed."""
        self._size_bytes = 0
        self._answers: dict[str, ContainerSnapshot | None] = {}
        self._undecided: set[str] = set()
        """The ids of deaths for which no evidence came in time."""

    def is_full(self, passed: int) -> bool:
        """Whether nothing more may be taken in, after ``passed`` events have passed."""
        return len(self.items) + passed >= HELD_EVENTS_MAX or self._size_bytes >= HELD_BYTES_MAX

    def take_all(self) -> list[BatchItem]:
        """Take all items, to see for each of them whether it still has to wait."""
        items, self.items = self.items, []
        self.containers, self.questions = set(), []
        self.is_blocked, self._size_bytes = False, 0
        return items

    def keep(self, item: BatchItem) -> None:
        """Let an item wait, and what has to wait for it."""
        self.items.append(item)
        if isinstance(item, ParsedRecord):
            self._size_bytes += item.size_bytes
            if isinstance(item.event, Event):
                self.containers.add(item.event.actor.id)
        else:
            self.is_blocked = True

    def answer(self, event_id: str, snapshot: ContainerSnapshot | None) -> None:
        """Answer the question for an inspection; None if there was none."""
        self._answers[event_id] = snapshot

    def give_up_evidence(self, event_ids: Iterable[str]) -> None:
        """Decide these deaths without any further evidence."""
        self._undecided.update(event_ids)

    def must_wait(self, event: Event, findings: Findings) -> bool:
        """Whether an answer is missing; if so, adds the question."""
        missing = Findings(
            needs_inspection=findings.needs_inspection and event.id not in self._answers,
            awaits_evidence=findings.awaits_evidence and event.id not in self._undecided,
        )
        if missing == NOTHING_MISSING:
            return False
        self.questions.append(Question(event.id, event.actor.id, missing))
        return True

    def take_answer(self, event: Event) -> ContainerSnapshot | None:
        """Return the inspection for an event that waits no longer."""
        return self._answers.pop(event.id, None)

    def forget_answers(self) -> None:
        """Forget all answers: nothing waits any longer."""
        self._answers.clear()
        self._undecided.clear()
