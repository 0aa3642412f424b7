"""Loop 1: what an engine says, digested batch by batch and committed to the store."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time_ns

from relay.core.liveness import Pulse
from relay.ingest.docker.buffer import BATCH_SIZE, Inbox, Item, Opened, cost
from relay.ingest.docker.containers.inference import Look
from relay.ingest.docker.engine.inspector import Contact
from relay.ingest.docker.pipeline import Batch, Digest
from relay.store.records import Intake, Outbox, Receipt

BATCH = 500
"""How many items are digested at once, of up to `BATCH_SIZE`: few milliseconds, so that the reader
gets its turn."""

SETTLING_S = 0.1
SETTLING_MOST = 30
"""How long, and how often, a batch waits for what shows its meaning: Podman tells of a stop behind
the death, some 10 to 90 ms later on an idle machine, and more than a second on a busy one."""

SETTLING_BATCHES = 4
"""How much may be gathered meanwhile, in batches: where so much comes, it is judged as it is."""


@dataclass(frozen=True, slots=True)
class Ways:
    """What the loop of one engine works with."""

    inbox: Inbox
    digest: Digest
    contact: Contact
    outbox: Outbox
    now: Callable[[], int]
    """The clock by which deliveries are due; events carry the wall clock's time."""
    pulse: Pulse = field(default_factory=Pulse)


Committed = Callable[[Intake, Receipt], None]
"""Is told of every commit."""


async def ingest(ways: Ways, committed: Committed) -> None:
    """Digest and commit what the inbox holds, until it is closed and empty."""
    while await _one(ways, committed):
        pass
    last = ways.digest.finish(time_ns())
    committed(last, await _commit(ways, last))


async def _one(ways: Ways, committed: Committed) -> bool:
    """One batch, of which nothing is kept behind it; whether there was one."""
    items = await _next(ways)
    if not items:
        return False
    batch = await _settled(ways, items)
    sightings = await ways.contact.sightings(ways.digest.questions(batch))
    gaps = ways.digest.gaps
    intake = ways.digest.take_in(batch, time_ns(), sightings)
    committed(intake, await _commit(ways, intake))
    if ways.digest.gaps > gaps:
        ways.inbox.lossy.set()
    for item in batch:
        if isinstance(item, Opened | Look):
            item.digested.set()
    return True


async def _next(ways: Ways) -> list[Item]:
    with ways.pulse.resting():
        return await ways.inbox.take(BATCH)


async def _settled(ways: Ways, items: list[Item]) -> Batch:
    """The items, read, with what came right behind them where that can change what they mean."""
    batch = ways.digest.read(items)
    count, size = SETTLING_BATCHES * BATCH, SETTLING_BATCHES * BATCH_SIZE
    for _ in range(SETTLING_MOST):
        if not ways.digest.unsettled(batch):
            break
        count, size = count - len(items), size - sum(map(cost, items))
        if count <= 0 or size <= 0:
            break
        await asyncio.sleep(SETTLING_S)
        items = ways.inbox.take_ready(min(count, BATCH), min(size, BATCH_SIZE))
        batch += ways.digest.read(items)
    return batch


async def _commit(ways: Ways, intake: Intake) -> Receipt:
    receipt = await ways.outbox.take_in(intake, ways.now())
    ways.digest.tally.shed += receipt.shed
    ways.digest.tally.letters_shed += receipt.letters_shed
    return receipt
