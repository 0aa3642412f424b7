"""Sends planned notifications: the daemon's delivery workers, fed from a store in memory.

`relay replay --deliver` is built on it. It ends when every delivery has succeeded or was given up,
when it is asked to stop, or when no delivery has finished within the caller's patience.
"""

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
from relay.core.tasks import DRAIN_S, Shutdown, spawn
from relay.core.zone import TimeZone
from relay.delivery.circuit_breaker import HealthChange
from relay.delivery.client import ConsoleOutput, open_client
from relay.delivery.queue import MemoryBudget
from relay.delivery.rate_limit import RateLimiters
from relay.delivery.worker import DeliveryWorker
from relay.dryrun.incidents import PlannedNotification
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import IngestCommit

BATCH_SIZE = 500
"""How many notifications are committed at once."""
POLL_INTERVAL_S = 0.1
"""How often the store is asked how many deliveries are left."""
_UNLIMITED_BYTES = 2**40
"""The store needs no limit: everything in it was in memory before."""

PrintLine = Callable[[str], None]
Advance = Callable[[int], None]
"""Called with how many more deliveries have finished."""


@dataclass(frozen=True, slots=True)
class DeliverySummary:
    """How the deliveries to one destination ended."""

    delivered: int
    given_up: int
    not_sent: int
    """Deliveries that were neither made nor given up when the sending ended."""
    reasons: Mapping[str, int]
    """How many attempts failed, by reason."""


@dataclass(frozen=True, slots=True)
class ProgressMonitor:
    """How progress is reported, and when sending ends because there is none."""

    patience_s: float
    """Sending ends if no delivery has succeeded or was given up for this long."""
    print_line: PrintLine
    advance: Advance


async def deliver(
    planned: Sequence[PlannedNotification],
    config: Config,
    console: ConsoleOutput,
    shutdown: Shutdown,
    monitor: ProgressMonitor,
) -> dict[str, DeliverySummary]:
    """Send the notifications and return, for each of their destinations, how that went.

    Order, rate limits, retries and ids are the daemon's. What a route includes (log lines, health,
    inspected fields) is left out: the containers have changed since the events were recorded.
    """
    names = [name for name in config.destinations if any(name in it.destinations for it in planned)]
    clock, rate_limiters = SteadyClock(), RateLimiters().assign(config.destinations)
    async with AsyncExitStack() as resources:
        outbox: Outbox = await resources.enter_async_context(
            open_outbox(None, max_size=_UNLIMITED_BYTES, unordered=config.unordered)
        )
        workers: list[DeliveryWorker] = []
        memory, zone = MemoryBudget(), TimeZone(config.time_zone)
        for name in names:
            destination = config.destinations[name]
            opening = open_client(name, destination, config.routes, console, zone=zone)
            client = await resources.enter_async_context(opening)
            observer = _FailureReporter(monitor.print_line)
            limiter = rate_limiters[name]
            workers.append(
                DeliveryWorker(
                    client, outbox, limiter, memory, observer, clock.now_ns, random.random
                )
            )
        for batch in _split_batches(planned):
            await outbox.commit(IngestCommit(RELAY_ENGINE, None, batch), clock.now_ns())
        await _run(workers, outbox, shutdown, monitor)
        pending = await outbox.pending()
    return {worker.name: _summarize(worker, pending.get(worker.name, 0)) for worker in workers}


def _split_batches(
    planned: Sequence[PlannedNotification],
) -> Iterator[list[tuple[Notification, Sequence[str]]]]:
    for start in range(0, len(planned), BATCH_SIZE):
        yield [
            (replace(it.notification, include=None), it.destinations)
            for it in planned[start : start + BATCH_SIZE]
        ]


async def _run(
    workers: Sequence[DeliveryWorker],
    outbox: Outbox,
    shutdown: Shutdown,
    monitor: ProgressMonitor,
) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = [
            spawn(worker.run(), f"destination {worker.name}: worker", tasks) for worker in workers
        ]
        await _wait_until_done(outbox, shutdown, monitor)
        for worker in workers:
            worker.stop()
        if running:
            await asyncio.wait(running, timeout=DRAIN_S)
        for task in running:
            task.cancel()


async def _wait_until_done(outbox: Outbox, shutdown: Shutdown, monitor: ProgressMonitor) -> None:
    """Return when nothing is left, a stop is requested, or patience has run out."""
    loop = asyncio.get_running_loop()
    left, since_s = sum((await outbox.pending()).values()), loop.time()
    while left and not shutdown.requested.is_set():
        await asyncio.sleep(POLL_INTERVAL_S)
        now_left = sum((await outbox.pending()).values())
        if now_left != left:
            monitor.advance(left - now_left)
            left, since_s = now_left, loop.time()
        elif loop.time() - since_s > monitor.patience_s:
            monitor.print_line(
                f"no delivery has finished for {monitor.patience_s:g} s: the rest is not sent"
            )
            return


def _summarize(worker: DeliveryWorker, left: int) -> DeliverySummary:
    attempts = worker.counters.attempts
    delivered = sum(count for (kind, _), count in attempts.items() if kind == "delivered")
    reasons = Counter[str]()
    for (kind, reason), count in attempts.items():
        if kind != "delivered":
            reasons[reason.value] += count
    return DeliverySummary(delivered, worker.counters.dead_letters, left, reasons)


class _FailureReporter:
    """Prints when a destination fails and when it works again; emits no events.

    A `relay.delivery.health.DestinationObserver`.
    """

    def __init__(self, print_line: PrintLine) -> None:
        self._print_line = print_line

    def health_changed(
        self, change: HealthChange, destination: str, facts: Mapping[str, str]
    ) -> None:
        """Print the change."""
        if change is HealthChange.FAILING:
            self._print_line(f"{destination} fails: {facts['reason']}")
        else:
            self._print_line(f"{destination} works again")

    def dead_lettered(self, destination: str, reason: Reason, count: int = 1) -> None:
        """Print nothing: the summary says how many were given up."""

    def message_settled(
        self, destination: str, message_id: str, given_up: Reason | None = None
    ) -> None:
        """Print nothing, as above."""
