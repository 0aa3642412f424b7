"""Runs one destination for as long as it is configured.

A reload can change a destination while requests to it are open. Then the worker of the old client
starts no further attempt and commits the outcomes of the open ones; only after that a worker with
the new client starts. So nothing is sent twice, and deliveries stay in order. If a reload removes
the destination, its deliveries become dead letters and the runner ends, unless another reload adds
it again before that.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import msgspec
import structlog

from relay.config import Renderer
from relay.core.counters import DestinationCounters
from relay.core.exchange import Reason
from relay.core.notification import Repeat
from relay.core.status import DestinationStatus
from relay.delivery.client import DestinationClient
from relay.delivery.health import DestinationObserver
from relay.delivery.queue import MemoryBudget
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.worker import DeliveryWorker
from relay.store.outbox import Outbox

log = structlog.get_logger()


class Attachment(msgspec.Struct, frozen=True):
    """What a worker needs to reach the destination as it is configured."""

    client: DestinationClient
    connections: AsyncExitStack
    """Closes the connections of the client."""
    certificates: tuple[bytes, ...]
    """The contents of the files of ``tls`` when they were read."""
    rate_limiter: RateLimiter


class DeliveryContext(msgspec.Struct, frozen=True):
    """What the workers of all destinations share."""

    outbox: Outbox
    observer: DestinationObserver
    now: Callable[[], int]
    """The clock by which deliveries are due."""
    memory: MemoryBudget = msgspec.field(default_factory=MemoryBudget)


class DestinationRunner:
    """Delivers to one destination, with one worker at a time."""

    def __init__(self, attachment: Attachment, context: DeliveryContext) -> None:
        self.name = attachment.client.name
        self._context = context
        self._attachment: Attachment | None = attachment
        self._current = attachment
        """What the current worker uses; differs from `attachment` until the worker is replaced."""
        self._worker = self._new_worker(attachment)
        self._skip_pause = False
        """Whether the next worker ignores the pause that the destination asked for: `enable` was
        called while a replacement was pending."""
        self._stopping = False
        self.is_closed = False
        """Whether the destination is removed and nothing waits for it any more."""

    @property
    def attachment(self) -> Attachment | None:
        """The attachment of the current worker or of its successor; None if removed."""
        return self._attachment

    @property
    def counters(self) -> DestinationCounters:
        """Counters of the attempts so far."""
        return self._worker.counters

    @property
    def status(self) -> DestinationStatus:
        """Whether the destination is failing, stopped or paused."""
        return self._worker.status

    @property
    def busy_s(self) -> float:
        """See `LoopMonitor.busy_s`; 0.0 while a replaced worker commits its last outcomes."""
        return self._worker.loop_monitor.busy_s if self._current is self._attachment else 0.0

    def enable(self) -> bool:
        """See `DeliveryWorker.enable`; a worker that is about to follow sends at once, too."""
        self._skip_pause = self._current is not self._attachment
        return self._worker.enable()

    def set_renderer(self, render: Renderer) -> None:
        """Use another renderer from now on. Everything else about the destination is unchanged."""
        assert self._attachment is not None, "a removed destination has no renderer"
        client = msgspec.structs.replace(self._attachment.client, render=render)
        updated = msgspec.structs.replace(self._attachment, client=client)
        if self._current is self._attachment:
            self._current = updated
            self._worker.set_renderer(render)
        self._attachment = updated

    def refresh(self, incidents: Sequence[Repeat]) -> None:
        """Repeat incidents that are open; see `DeliveryWorker.refresh`."""
        if self._current is self._attachment:
            self._worker.refresh(incidents)

    def replace(self, attachment: Attachment | None) -> AsyncExitStack:
        """Reach the destination with ``attachment`` from now on; None removes the destination.

        Returns the exit stack of a prepared client that this call has made obsolete.
        """
        obsolete = self._pending_client
        self._attachment = attachment
        self._worker.detach()
        return obsolete

    def stop(self) -> None:
        """See `DeliveryWorker.stop`; no other worker follows."""
        self._stopping = True
        self._worker.stop()

    async def run(self) -> None:
        """Deliver until `stop`, or until the destination is removed and nothing waits for it."""
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
        """Continue with a new worker. Retries are due at once: they may succeed now."""
        # With another rate limiter, the URL or recipient that asked for the pause is not used now.
        if self._skip_pause or attachment.rate_limiter is not self._current.rate_limiter:
            await self._context.outbox.end_pause(self.name)
        await self._context.outbox.retry_now(self.name, self._context.now())
        if self._attachment is attachment and not self._stopping:
            self._current, self._worker = attachment, self._new_worker(attachment)
            self._skip_pause = False
            await self._run_worker()

    async def _retire(self) -> bool:
        """Give up all deliveries. Returns whether the destination is still removed after that."""
        await retire_destination(self.name, self._context, lambda: self._attachment is None)
        self.is_closed = self._attachment is None
        return self.is_closed

    @property
    def _pending_client(self) -> AsyncExitStack:
        """Closes the client that is to follow the current one, if there is one."""
        if self._attachment is None or self._attachment is self._current:
            return AsyncExitStack()
        return self._attachment.connections

    def _new_worker(self, attachment: Attachment) -> DeliveryWorker:
        context = self._context
        return DeliveryWorker(
            attachment.client,
            context.outbox,
            attachment.rate_limiter,
            context.memory,
            context.observer,
            context.now,
            random.random,
        )


async def retire_destination(
    name: str, context: DeliveryContext, is_removed: Callable[[], bool]
) -> None:
    """Make dead letters of everything that waits for a destination that is no longer configured.

    ``is_removed`` is called before each commit: if a reload adds the destination again, the rest is
    sent. The observer is informed of the dead letters.
    """
    outbox = context.outbox
    count = self_events = 0
    try:
        while (
            is_removed() and (given_up := await outbox.drop_destination(name, context.now())).count
        ):
            count, self_events = count + given_up.count, self_events + given_up.self_events
    finally:  # also after a cancellation: what was committed must be reported
        if count:
            log.warning("destination.removed", destination=name, dead_letters=count)
        if count > self_events:
            context.observer.dead_lettered(name, Reason.DESTINATION_REMOVED, count - self_events)
    if is_removed():
        await outbox.end_pause(name)
    if is_removed():
        await outbox.end_outage(name)
