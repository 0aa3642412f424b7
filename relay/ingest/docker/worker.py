"""Loop 1: what an engine says, digested batch by batch and committed to the store."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time_ns

from relay.core.liveness import LoopMonitor
from relay.ingest.docker.buffer import BATCH_BYTES, EventBuffer, Item, StreamOpened, item_bytes
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.inspector import Inspector
from relay.ingest.docker.pipeline import Batch, EventPipeline
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, IngestCommit

BATCH_ITEMS = 500
"""How many items are digested at once, of up to `BATCH_BYTES`: few milliseconds, so that the reader
gets its turn."""

EVIDENCE_POLL_S = 0.1
EVIDENCE_POLLS_MAX = 30
"""How long, and how often, a batch waits for what shows its meaning: Podman tells of a stop behind
the death, some 10 to 90 ms later on an idle machine, and more than a second on a busy one."""

EVIDENCE_BATCHES_MAX = 4
"""How much may be gathered meanwhile, in batches: where so much comes, it is judged as it is."""


@dataclass(frozen=True, slots=True)
class IngestWorker:
    """What the loop of one engine works with."""

    buffer: EventBuffer
    pipeline: EventPipeline
    inspector: Inspector
    outbox: Outbox
    now: Callable[[], int]
    """The clock by which deliveries are due; events carry the wall clock's time."""
    loop_monitor: LoopMonitor = field(default_factory=LoopMonitor)


OnCommit = Callable[[IngestCommit, CommitResult], None]
"""Is told of every commit."""


async def ingest(worker: IngestWorker, on_commit: OnCommit) -> None:
    """Digest and commit what the inbox holds, until it is closed and empty."""
    while await _process_batch(worker, on_commit):
        pass
    last = worker.pipeline.finish(time_ns())
    on_commit(last, await _commit(worker, last))


async def _process_batch(worker: IngestWorker, on_commit: OnCommit) -> bool:
    """One batch, of which nothing is kept behind it; whether there was one."""
    items = await _take_batch(worker)
    if not items:
        return False
    batch = await _wait_for_evidence(worker, items)
    sightings = await worker.inspector.inspect_many(worker.pipeline.containers_to_inspect(batch))
    gaps = worker.pipeline.gap_count
    intake = worker.pipeline.process(batch, time_ns(), sightings)
    on_commit(intake, await _commit(worker, intake))
    if worker.pipeline.gap_count > gaps:
        worker.buffer.gap_found.set()
    for item in batch:
        if isinstance(item, StreamOpened | Snapshot):
            item.committed.set()
    return True


async def _take_batch(worker: IngestWorker) -> list[Item]:
    with worker.loop_monitor.idle():
        return await worker.buffer.take(BATCH_ITEMS)


async def _wait_for_evidence(worker: IngestWorker, items: list[Item]) -> Batch:
    """The items, read, with what came right behind them where that can change what they mean."""
    batch = worker.pipeline.parse(items)
    count, size = EVIDENCE_BATCHES_MAX * BATCH_ITEMS, EVIDENCE_BATCHES_MAX * BATCH_BYTES
    for _ in range(EVIDENCE_POLLS_MAX):
        if not worker.pipeline.awaits_evidence(batch):
            break
        count, size = count - len(items), size - sum(map(item_bytes, items))
        if count <= 0 or size <= 0:
            break
        await asyncio.sleep(EVIDENCE_POLL_S)
        items = worker.buffer.take_ready(min(count, BATCH_ITEMS), min(size, BATCH_BYTES))
        batch += worker.pipeline.parse(items)
    return batch


async def _commit(worker: IngestWorker, intake: IngestCommit) -> CommitResult:
    receipt = await worker.outbox.commit(intake, worker.now())
    worker.pipeline.counters.evicted += receipt.evicted
    worker.pipeline.counters.evicted_dead_letters += receipt.dead_letters_evicted
    return receipt
