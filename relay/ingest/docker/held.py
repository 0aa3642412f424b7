"""The items that wait for an answer, and those that have to wait behind them.

A death may have to wait for an inspection, or for events that show its cause (see
`relay.ingest.docker.containers.questions`). Only events of the same container wait behind it; those
of others pass. What says something about the whole stream (it was opened, records were dropped, the
containers were inspected) waits for everything before it, and everything after it waits too.

Nothing that waits can get lost: while anything does, the cursor stays where it was before the first
of these items, and forgets none of the events that pass (`relay.ingest.docker.cursor.Cursor.hold`).
"""

from collections.abc import Iterable

from relay.core.checkpoint import REMEMBERED_EVENTS
from relay.core.event import Event
from relay.ingest.docker.batch import BatchItem, ParsedRecord
from relay.ingest.docker.containers.questions import Findings, Question
from relay.ingest.docker.engine.inspection import ContainerSnapshot, Inspection

HELD_EVENTS_MAX = REMEMBERED_EVENTS * 7 // 8
"""While anything waits, at most this many events are taken in. That is fewer than a cursor
remembers, so that another process that continues from here remembers them until the engine has
repeated all of them."""

HELD_BYTES_MAX = 4 * 1024 * 1024
"""Nothing more is taken in while records of this size wait."""


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
        self._answers: dict[str, Inspection] = {}
        """The inspections, by the event that waits for them."""
        self._no_evidence: set[str] = set()
        """The ids of deaths that no longer wait for evidence: it did not come in time."""

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

    def ask(self, event: Event, findings: Findings) -> bool:
        """Add the question for what is missing, and return True; False if nothing is missing."""
        needs_inspection = findings.needs_inspection and event.id not in self._answers
        is_decided = event.id in self._no_evidence or self._decides(event.id, findings)
        wait_s = 0 if is_decided else findings.evidence_wait_s
        if not (needs_inspection or wait_s):
            return False
        self.questions.append(Question(event.id, event.actor.id, needs_inspection, wait_s))
        return True

    def _decides(self, event_id: str, findings: Findings) -> bool:
        """Whether the inspection for an event leaves no evidence to wait for."""
        answer = self._answers.get(event_id)
        if answer is None:
            return False
        if answer.snapshot is not None:
            return answer.snapshot.shows_cause
        return answer.is_removed and findings.removal_ends_wait

    def answer(self, event_id: str, inspection: Inspection) -> None:
        """Answer the question for an inspection."""
        self._answers[event_id] = inspection

    def give_up_evidence(self, event_ids: Iterable[str]) -> None:
        """Decide these deaths without further evidence."""
        self._no_evidence.update(event_ids)

    def take_answer(self, event: Event) -> ContainerSnapshot | None:
        """Return the inspection for an event that no longer waits; None if there is none."""
        answer = self._answers.pop(event.id, None)
        return None if answer is None else answer.snapshot

    def forget_answers(self) -> None:
        """Forget all answers: nothing waits any longer."""
        self._answers.clear()
        self._no_evidence.clear()
