"""Gets the answers to a pipeline's questions, beside the stream.

An inspection is one request to the engine, and may take `inspector.TIMEOUT_S` at most; evidence
arrives with the stream, or does not; the question says how long to wait for it. Meanwhile the
worker processes the events of other containers.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from relay.core.clock import loop_time_s
from relay.core.tasks import spawn
from relay.ingest.docker.buffer import EventBuffer, Item
from relay.ingest.docker.containers.questions import Question
from relay.ingest.docker.engine.inspector import Inspector
from relay.ingest.docker.pipeline import EventPipeline

if TYPE_CHECKING:
    from relay.ingest.docker.engine.inspection import Inspection


class EvidenceCollector:
    """Gets the answers that one pipeline waits for. It lives as long as its worker runs."""

    def __init__(self, pipeline: EventPipeline, inspector: Inspector) -> None:
        self._pipeline = pipeline
        self._inspector = inspector
        self._inspections: dict[str, asyncio.Task[Inspection]] = {}
        """The inspections under way, by the id of the event that waits."""
        self._deadlines_s: dict[str, float] = {}
        """Until when each event waits for evidence, by the loop's clock."""
        self._taking: asyncio.Task[list[Item]] | None = None

    def collect(self, questions: Sequence[Question]) -> None:
        """Begin to get the answers. ``questions`` are all that are open, new or not.

        An inspection that is no longer needed, because evidence has arrived, is cancelled.
        """
        deadlines_s: dict[str, float] = {}
        open_ids = {question.event_id for question in questions}
        for id_ in self._inspections.keys() - open_ids:
            self._inspections.pop(id_).cancel()
        for question in questions:
            id_ = question.event_id
            if question.needs_inspection and id_ not in self._inspections:
                name = f"engine {self._pipeline.engine}: inspection"
                self._inspections[id_] = spawn(self._inspector.inspect(question.container), name)
            if question.evidence_wait_s:
                until_s = loop_time_s() + question.evidence_wait_s
                deadlines_s[id_] = self._deadlines_s.get(id_, until_s)
        self._deadlines_s = deadlines_s

    @property
    def is_taking(self) -> bool:
        """Whether the buffer's next items were requested, and `take` has not returned them yet."""
        return self._taking is not None

    async def take(
        self, buffer: EventBuffer, max_items: int, max_wait_s: float | None
    ) -> Sequence[Item] | None:
        """Return the buffer's next items, or none as soon as there is an answer.

        Also returns none after ``max_wait_s``, if that is not None. None if the buffer is closed
        and empty. Takes nothing while the pipeline is full.
        """
        if self._taking is None and not self._pipeline.is_full:
            name = f"engine {self._pipeline.engine}: next events"
            self._taking = spawn(buffer.take(max_items), name)
        taking = None if self._pipeline.is_full else self._taking
        await self._wait(taking, max_wait_s)
        if taking is None or not taking.done():
            return ()
        self._taking = None
        return taking.result() or None

    async def finish(self) -> None:
        """Wait for the inspections under way, which is never long; pass on their answers.

        Evidence can no longer arrive.
        """
        self._deadlines_s = {}
        while self._inspections:
            await self._wait(None)

    async def _wait(
        self, taking: asyncio.Task[list[Item]] | None, max_wait_s: float | None = None
    ) -> None:
        """Wait until there is an answer, or ``taking`` is done; pass on the answers."""
        timeout_s = max_wait_s
        if self._deadlines_s:
            next_s = max(0.0, min(self._deadlines_s.values()) - loop_time_s())
            timeout_s = next_s if timeout_s is None else min(next_s, timeout_s)
        awaited: list[asyncio.Future[Any]] = [*self._inspections.values()]
        if taking is not None:
            awaited.append(taking)
        await asyncio.wait(awaited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for id_, inspection in list(self._inspections.items()):
            if inspection.done():
                del self._inspections[id_]
                self._pipeline.answer(id_, inspection.result())
        now_s = loop_time_s()
        late = [id_ for id_, until_s in self._deadlines_s.items() if until_s <= now_s]
        self._pipeline.give_up_evidence(late)

    def cancel(self) -> None:
        """Stop everything that is under way."""
        for inspection in self._inspections.values():
            inspection.cancel()
        if self._taking is not None:
            self._taking.cancel()
