"""One destination as long as it is configured: its lanes, one after the other."""

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import structlog

from relay.core.counters import DestinationCounters
from relay.core.exchange import Reason
from relay.core.status import DestinationStatus
from relay.delivery.client import DestinationClient
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.worker import DeliveryWorker, DestinationObserver
from relay.destinations.catalog import Renderer
from relay.store.records import Outbox

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a lane needs to reach the destination, as it is configured."""

    client: DestinationClient
    connections: AsyncExitStack
    """What closes those of the channel."""
    certificates: tuple[bytes, ...]
    """What the files of its ``tls`` held when they were read."""
    rate_limiter: RateLimiter


@dataclass(frozen=True, slots=True)
class DeliveryContext:
    """What all lanes work with."""

    outbox: Outbox
    observer: DestinationObserver
    now: Callable[[], int]
    """The clock by which deliveries are due."""


class DestinationRunner:
    """Delivers to one destination.

    A lane that another follows settles what is under way before the other begins, so that nothing
    is sent twice and all stays in order.
    """

    def __init__(self, attachment: Attachment, context: DeliveryContext) -> None:
        self.name = attachment.client.name
        self._context = context
        self._attachment: Attachment | None = attachment
        self._current = attachment
        self._worker = self._new_worker(attachment)
        self._skip_pause = False
        """Whether no pause is to hold up the lane that follows."""
        self._stopping = False
        self.is_closed = False
        """Whether its destination is no more, and nothing waits for it."""

    @property
    def attachment(self) -> Attachment | None:
        """Where it is to go to; None where the destination is no more."""
        return self._attachment

    @property
    def counters(self) -> DestinationCounters:
        """What came of the attempts so far."""
        return self._worker.counters

    @property
    def status(self) -> DestinationStatus:
        """How the destination is."""
        return self._worker.status

    @property
    def busy_s(self) -> float:
        """See `LoopMonitor.busy_s`; 0.0 where a lane only settles what is under way."""
        return self._worker.loop_monitor.busy_s if self._current is self._attachment else 0.0

    def enable(self) -> bool:
        """See `DeliveryWorker.enable`; a lane that is to follow sends at once, too."""
        self._skip_pause = self._current is not self._attachment
        return self._worker.enable()

    def set_renderer(self, render: Renderer) -> None:
        """The destination is what it was, and told otherwise."""
        assert self._attachment is not None, "what is no more is not told otherwise"
        updated = replace(self._attachment, client=replace(self._attachment.client, render=render))
        if self._current is self._attachment:
            self._current = updated
            self._worker.set_renderer(render)
        self._attachment = updated

    def replace(self, attachment: Attachment | None) -> AsyncExitStack:
        """The destination is another from here on; with None it is no more.

        Returns what closes a way that was to be gone, and will not be.
        """
        obsolete = self._pending_client
        self._attachment = attachment
        self._worker.detach()
        return obsolete

    def stop(self) -> None:
        """See `DeliveryWorker.stop`; what was to follow does not."""
        self._stopping = True
        self._worker.stop()

    async def run(self) -> None:
        """Deliver until told to stop, or until the destination is no more."""
        try:
            await self._run_worker()
            while not self._stopping:
                if self._attachment is not None:
                    await self._switch(self._attachment)
                elif await self._retire():
                    break
        finally:
            await self._pending_client.aclose()

    async def _run_worker(self) -> None:
        async with self._current.connections:
            await self._worker.run()

    async def _switch(self, attachment: Attachment) -> None:
        """Go on this way. What waits for a retry may be taken there at once."""
        # it was another place that asked for time
        if self._skip_pause or attachment.rate_limiter is not self._current.rate_limiter:
            await self._context.outbox.end_pause(self.name)
        await self._context.outbox.retry_now(self.name, self._context.now())
        if self._attachment is attachment and not self._stopping:
            self._current, self._worker, self._skip_pause = (
                attachment,
                self._new_worker(attachment),
                False,
            )
            await self._run_worker()

    async def _retire(self) -> bool:
        """Give up what waits; whether the destination is still no more after that."""
        await retire_destination(self.name, self._context, lambda: self._attachment is None)
        self.is_closed = self._attachment is None
        return self.is_closed

    @property
    def _pending_client(self) -> AsyncExitStack:
        """What closes the way that is to be gone next, if there is one."""
        if self._attachment is None or self._attachment is self._current:
            return AsyncExitStack()
        return self._attachment.connections

    def _new_worker(self, attachment: Attachment) -> DeliveryWorker:
        context = self._context
        return DeliveryWorker(
            attachment.client,
            context.outbox,
            attachment.rate_limiter,
            context.observer,
            context.now,
            random.random,
        )


async def retire_destination(
    name: str, context: DeliveryContext, is_removed: Callable[[], bool]
) -> None:
    """Make dead letters of what waits for a destination that is not configured, and tell of it.

    ``is_gone`` is asked before each commit: what comes for one that is configured again is sent.
    """
    count = own = 0
    try:
        while (
            is_removed()
            and (retired := await context.outbox.drop_destination(name, context.now())).count
        ):
            count, own = count + retired.count, own + retired.self_events
    finally:  # a stop in the midst of it leaves nothing untold
        if count:
            log.warning("destination.removed", destination=name, dead_letters=count)
        if count > own:
            context.observer.dead_lettered(name, Reason.DESTINATION_REMOVED, count - own)
    if is_removed():
        await context.outbox.end_pause(name)
    if is_removed():
        await context.outbox.end_outage(name)
