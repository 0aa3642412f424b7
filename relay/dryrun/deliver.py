"""Notifications of a recording, really sent: from a store in memory, by the daemon's own lanes."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from msgspec.structs import replace

from relay.config import Config
from relay.core.clock import SteadyClock
from relay.core.event import RELAY_ENGINE
from relay.core.exchange import Reason
from relay.core.notification import Notification
from relay.core.shutdown import DRAIN_S, Shutdown
from relay.delivery.circuit_breaker import HealthChange
from relay.delivery.client import ConsoleOutput, open_client
from relay.delivery.rate_limit import RateLimiters
from relay.delivery.worker import DeliveryWorker
from relay.dryrun.simulator import PlannedNotification
from relay.store.outbox import open_outbox
from relay.store.records import IngestCommit, Outbox

BATCH_SIZE = 500
"""So many notifications are committed at once."""
POLL_INTERVAL_S = 0.1
_UNLIMITED_BYTES = 2**40
"""What is to be sent is in memory already."""

PrintLine = Callable[[str], None]
Progress = Callable[[int], None]
"""Is told how many more deliveries came to an end."""


@dataclass(frozen=True, slots=True)
class DeliverySummary:
    """What became of the deliveries to one destination."""

    delivered: int
    given_up: int
    not_sent: int
    """Those that were neither when it was ended."""
    reasons: Mapping[str, int]
    """How many attempts failed, by why."""


@dataclass(frozen=True, slots=True)
class ProgressMonitor:
    """Who looks at a delivery, and how long nothing may come of it."""

    patience_s: float
    """It is ended when nothing was delivered or given up for so long."""
    print_line: PrintLine
    progress: Progress


async def deliver(
    sent: Sequence[PlannedNotification],
    config: Config,
    terminal: ConsoleOutput,
    stop: Shutdown,
    watch: ProgressMonitor,
) -> dict[str, DeliverySummary]:
    """Send all of it, until it is delivered or given up; by destination what became of it.

    Order, rate limits, retries and the ids are the daemon's. What routes include is left out: the
    containers are not what they were.
    """
    names = [name for name in config.destinations if any(name in it.destinations for it in sent)]
    unordered = [name for name in names if config.destinations[name].ordering == "none"]
    clock, valve = SteadyClock(), RateLimiters().assign(config.destinations)
    async with AsyncExitStack() as resources:
        outbox: Outbox = await resources.enter_async_context(
            open_outbox(None, max_size=_UNLIMITED_BYTES, unordered=unordered)
        )
        lanes: list[DeliveryWorker] = []
        for name in names:
            way = open_client(name, config.destinations[name], config.routes, terminal)
            opened = await resources.enter_async_context(way)
            gossip = _FailureReporter(watch.print_line)
            lanes.append(
                DeliveryWorker(opened, outbox, valve[name], gossip, clock.now_ns, random.random)
            )
        for batch in _split_batches(sent):
            await outbox.commit(IngestCommit(RELAY_ENGINE, None, batch), clock.now_ns())
        await _run(lanes, outbox, stop, watch)
        pending = await outbox.pending()
    return {lane.name: _summarize(lane, pending.get(lane.name, 0)) for lane in lanes}


def _split_batches(
    sent: Sequence[PlannedNotification],
) -> Iterator[list[tuple[Notification, Sequence[str]]]]:
    for start in range(0, len(sent), BATCH_SIZE):
        yield [
            (replace(it.notification, include=None), it.destinations)
            for it in sent[start : start + BATCH_SIZE]
        ]


async def _run(
    lanes: Sequence[DeliveryWorker], outbox: Outbox, stop: Shutdown, watch: ProgressMonitor
) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(lane.run()) for lane in lanes]
        await _wait_until_done(outbox, stop, watch)
        for lane in lanes:
            lane.stop()
        if running:
            await asyncio.wait(running, timeout=DRAIN_S)
        for task in running:
            task.cancel()


async def _wait_until_done(outbox: Outbox, stop: Shutdown, watch: ProgressMonitor) -> None:
    """Return when nothing is left, when it is told to stop, or out of patience."""
    loop = asyncio.get_running_loop()
    left, since_s = sum((await outbox.pending()).values()), loop.time()
    while left and not stop.requested.is_set():
        await asyncio.sleep(POLL_INTERVAL_S)
        now_left = sum((await outbox.pending()).values())
        if now_left != left:
            watch.progress(left - now_left)
            left, since_s = now_left, loop.time()
        elif loop.time() - since_s > watch.patience_s:
            watch.print_line(
                f"nothing came to an end for {watch.patience_s:g} s: the rest is not sent"
            )
            return


def _summarize(lane: DeliveryWorker, left: int) -> DeliverySummary:
    attempts = lane.counters.attempts
    delivered = sum(count for (what, _), count in attempts.items() if what == "delivered")
    reasons = Counter[str]()
    for (what, reason), count in attempts.items():
        if what != "delivered":
            reasons[reason.value] += count
    return DeliverySummary(delivered, lane.counters.dead_letters, left, reasons)


class _FailureReporter:
    """Says what lanes say of their destinations; no event is made of it."""

    def __init__(self, say: PrintLine) -> None:
        self._print_line = say

    def health_changed(
        self, change: HealthChange, destination: str, facts: Mapping[str, str]
    ) -> None:
        """It began to fail, or works again."""
        if change is HealthChange.FAILING:
            self._print_line(f"{destination} fails: {facts['reason']}")
        else:
            self._print_line(f"{destination} works again")

    def dead_lettered(self, destination: str, reason: Reason, count: int = 1) -> None:
        """Deliveries were given up: the end says how many."""
