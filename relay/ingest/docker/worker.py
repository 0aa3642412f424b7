"""The ingest loop of one engine: take a batch from the buffer, process it, commit it.

It decouples the reader, which never waits, from the store, which may be slow. Each batch is one
commit that holds its notifications and the cursor. While a few events wait for an answer (see
`relay.ingest.docker.held`), the loop goes on with all others. It ends when the buffer is closed and
empty.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import time_ns

from relay.core.tasks import LoopMonitor
from relay.ingest.docker.buffer import EventBuffer, Item
from relay.ingest.docker.engine.inspector import Inspector
from relay.ingest.docker.evidence import EvidenceCollector
from relay.ingest.docker.pipeline import EventPipeline
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, IngestCommit

BATCH_ITEMS = 500
"""At most this many items, and `buffer.BATCH_BYTES`, are processed at once. That takes a few
milliseconds, so the reader gets its turn in between."""

OnCommit = Callable[[IngestCommit, CommitResult], None]
"""Called with every commit and its result."""


class IngestWorker:
    """Commits the events of one engine."""

    def __init__(
        self,
        buffer: EventBuffer,
        pipeline: EventPipeline,
        inspector: Inspector,
        outbox: Outbox,
        now: Callable[[], int],
    ) -> None:
        """``now`` is the clock by which deliveries are due, in nanoseconds since 1970.

        Events carry the time of the wall clock.
        """
        self.buffer = buffer
        self.pipeline = pipeline
        self.inspector = inspector
        self.outbox = outbox
        self.now = now
        self.loop_monitor = LoopMonitor()

    async def run(self, on_commit: OnCommit) -> None:
        """Process and commit what the buffer holds, until it is closed and empty."""
        collector = EvidenceCollector(self.pipeline, self.inspector)
        try:
            while (items := await self._take(collector)) is not None:
                await self._process(items, collector, on_commit)
            await collector.finish()
        finally:
            collector.cancel()
        await self._commit(self.pipeline.finish(time_ns()), on_commit)

    async def _take(self, collector: EvidenceCollector) -> Sequence[Item] | None:
        """Return the next items, or none when there is an answer or something to report.

        None if the buffer is closed and empty.
        """
        wait_s = self.pipeline.report_wait_s(time_ns())
        with self.loop_monitor.idle():
            if self.pipeline.questions or collector.is_taking:
                return await collector.take(self.buffer, BATCH_ITEMS, wait_s)
            if wait_s is None:
                return await self.buffer.take(BATCH_ITEMS) or None
            with suppress(TimeoutError):  # nothing may follow that would cause the report
                async with asyncio.timeout(wait_s):
                    return await self.buffer.take(BATCH_ITEMS) or None
            return ()

    async def _process(
        self, items: Sequence[Item], collector: EvidenceCollector, on_commit: OnCommit
    ) -> None:
        """Process and commit a batch.

        A method of its own, so that no reference to the batch survives it.
        """
        gaps_before = self.pipeline.gap_count
        commit = self.pipeline.process(items, time_ns())
        collector.collect(self.pipeline.questions)
        await self._commit(commit, on_commit)
        if self.pipeline.gap_count > gaps_before:
            self.buffer.gap_found.set()

    async def _commit(self, commit: IngestCommit, on_commit: OnCommit) -> None:
        applied = self.pipeline.take_applied()
        result = await self.outbox.commit(commit, self.now())
        self.pipeline.counters.evicted += result.evicted
        self.pipeline.counters.evicted_dead_letters += result.dead_letters_evicted
        on_commit(commit, result)
        for item in applied:
            item.committed.set()
