"""Loop 1: what an engine says, digested batch by batch and committed to the store."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from relay.digest import Batch, Digest
from relay.engine.contact import Contact
from relay.engine.inbox import Inbox, Opened
from relay.engine.inference import Look
from relay.store.outbox import Intake, Outbox, Receipt

BATCH = 500
"""How many items are digested at once: few milliseconds, so that the reader gets its turn."""

SETTLING_S = 0.1
SETTLING_MOST = 10
"""How long, and how often, a batch waits for what shows its meaning: Podman tells of a stop behind
the death, some 10 to 90 ms later on an idle machine."""


@dataclass(frozen=True, slots=True)
class Ways:
    """What the loop of one engine works with."""

    inbox: Inbox
    digest: Digest
    contact: Contact
    outbox: Outbox
    committed: Callable[[Intake, Receipt], None]
    """Told of every commit."""
    now: Callable[[], int]


async def ingest(ways: Ways) -> None:
    """Digest and commit what the inbox holds, until it is closed and empty."""
    while items := await ways.inbox.take(BATCH):
        batch = await _settled(ways, ways.digest.read(items))
        sightings = await ways.contact.sightings(ways.digest.questions(batch))
        now_ns, gaps = ways.now(), ways.digest.gaps
        await _commit(ways, ways.digest.take_in(batch, now_ns, sightings), now_ns)
        if ways.digest.gaps > gaps:
            ways.inbox.lossy.set()
        for item in batch:
            if isinstance(item, Opened | Look):
                item.digested.set()


async def _settled(ways: Ways, batch: Batch) -> Batch:
    """The batch, with what came right behind it where that can change what it means."""
    for _ in range(SETTLING_MOST):
        if not ways.digest.unsettled(batch):
            break
        await asyncio.sleep(SETTLING_S)
        batch = [*batch, *ways.digest.read(ways.inbox.take_ready(BATCH))]
    return batch


async def _commit(ways: Ways, intake: Intake, now_ns: int) -> None:
    receipt = await ways.outbox.take_in(intake, now_ns)
    ways.committed(intake, receipt)
    ways.digest.tally.letters_shed += receipt.letters_shed
    if receipt.shed and (notice := ways.digest.shed(receipt.shed, now_ns)) is not None:
        receipt = await ways.outbox.take_in(notice, now_ns)
        ways.committed(notice, receipt)
        ways.digest.shed(receipt.shed, now_ns)
