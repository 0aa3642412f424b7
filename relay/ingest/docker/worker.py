"""The ingest loop of one engine: take a batch from the buffer, process it, commit it.

It decouples the reader, which never waits, from the store, which may be slow. Each batch is one
commit that holds its notifications and the cursor after its last event. The loop keeps nothing of a
batch after its commit. It ends when the buffer is closed and empty.
"""

import asyncio
from collections.abc import Callable
from time import time_ns

import msgspec

from relay.core.tasks import LoopMonitor
from relay.ingest.docker.buffer import BATCH_BYTES, EventBuffer, Item, StreamOpened, item_bytes
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.inspector import Inspector
from relay.ingest.docker.pipeline import Batch, EventPipeline
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, IngestCommit

BATCH_ITEMS = 500
"""At most this many items, and `BATCH_BYTES`, are processed at once. That takes a few milliseconds,
so the reader gets its turn in between."""

EVIDENCE_POLL_S = 0.1
EVIDENCE_POLLS_MAX = 30
"""How often, and how many times, a batch is extended while it waits for evidence of why a container
died. Podman reports a stop after the death: some 10 to 90 ms later on an idle machine, and more
than a second later on a busy one."""

EVIDENCE_BATCHES_MAX = 4
"""At most this many batches are collected while waiting for evidence. If more events arrive, the
cause of the death is decided without it."""

OnCommit = Callable[[IngestCommit, CommitResult], None]
"""Called with every commit and its result."""


class IngestWorker(msgspec.Struct, frozen=True):
    """Commits the events of one engine."""

    buffer: EventBuffer
    pipeline: EventPipeline
    inspector: Inspector
    outbox: Outbox
    now: Callable[[], int]
    """The clock by which deliveries are due, in nanoseconds since 1970; events carry the time of
    the wall clock."""
    loop_monitor: LoopMonitor = msgspec.field(default_factory=LoopMonitor)

    async def run(self, on_commit: OnCommit) -> None:
        """Process and commit what the buffer holds, until it is closed and empty."""
        while await self._process_batch(on_commit):
            pass
        last = self.pipeline.finish(time_ns())
        on_commit(last, await self._commit(last))

    async def _process_batch(self, on_commit: OnCommit) -> bool:
        """Process and commit one batch. Returns False if the buffer is closed and empty.

        A method of its own, so that no reference to the batch survives it.
        """
        items = await self._take_batch()
        if not items:
            return False
        batch = await self._wait_for_evidence(items)
        snapshots = await self.inspector.inspect_many(self.pipeline.containers_to_inspect(batch))
        gaps_before = self.pipeline.gap_count
        commit = self.pipeline.process(batch, time_ns(), snapshots)
        on_commit(commit, await self._commit(commit))
        if self.pipeline.gap_count > gaps_before:
            self.buffer.gap_found.set()
        for item in batch:
            if isinstance(item, StreamOpened | Snapshot):
                item.committed.set()
        return True

    async def _take_batch(self) -> list[Item]:
        with self.loop_monitor.idle():
            return await self.buffer.take(BATCH_ITEMS)

    async def _wait_for_evidence(self, items: list[Item]) -> Batch:
        """Parse the items, and add what arrives next while it can change what they mean."""
        batch = self.pipeline.parse(items)
        count, size = EVIDENCE_BATCHES_MAX * BATCH_ITEMS, EVIDENCE_BATCHES_MAX * BATCH_BYTES
        for _ in range(EVIDENCE_POLLS_MAX):
            if not self.pipeline.awaits_evidence(batch):
                break
            count, size = count - len(items), size - sum(map(item_bytes, items))
            if count <= 0 or size <= 0:
                break
            await asyncio.sleep(EVIDENCE_POLL_S)
            items = self.buffer.take_ready(min(count, BATCH_ITEMS), min(size, BATCH_BYTES))
            batch += self.pipeline.parse(items)
        return batch

    async def _commit(self, commit: IngestCommit) -> CommitResult:
        result = await self.outbox.commit(commit, self.now())
        self.pipeline.counters.evicted += result.evicted
        self.pipeline.counters.evicted_dead_letters += result.dead_letters_evicted
        return result
