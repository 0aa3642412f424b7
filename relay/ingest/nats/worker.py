"""The ingest loop of an engine of other hosts: read a batch, process it, commit it, acknowledge it.

A message is acknowledged only after what it leads to is on disk. If relay is killed before, or its
disk fails, the stream delivers the message again, to this relay or to one that stands by.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import time_ns

from relay.core.tasks import LoopMonitor, spawn
from relay.ingest.nats.pipeline import MessagePipeline
from relay.ingest.nats.reader import MessageReader
from relay.ingest.nats.stream import StreamMonitor
from relay.nats.puller import PulledMessage
from relay.store.outbox import Outbox
from relay.store.records import CommitResult


class MessageWorker:
    """Commits the events of one engine."""

    def __init__(
        self,
        reader: MessageReader,
        monitor: StreamMonitor,
        pipeline: MessagePipeline,
        outbox: Outbox,
        now: Callable[[], int],
    ) -> None:
        """``now`` is the clock by which deliveries are due, in nanoseconds since 1970."""
        self.pipeline = pipeline
        self.loop_monitor = LoopMonitor()
        self._reader = reader
        self._monitor = monitor
        self._outbox = outbox
        self._now = now
        self._reading: asyncio.Task[list[PulledMessage]] | None = None
        self._has_ended = False

    def end(self) -> None:
        """Stop reading. `run` returns once what was read is committed."""
        self._has_ended = True
        if self._reading is not None:
            self._reading.cancel()

    async def run(self, on_commit: Callable[[CommitResult], None]) -> None:
        """Process and commit messages until `end` is called."""
        while (messages := await self._read()) is not None:
            is_drained = self._monitor.on_batch(messages)
            await self._take(messages, on_commit, is_drained=is_drained)
        await self._take([], on_commit, is_final=True)

    async def _read(self) -> Sequence[PulledMessage] | None:
        """Return the next messages; None after `end`."""
        if self._has_ended:
            return None
        name = f"engine {self.pipeline.engine}: pull"
        self._reading = reading = spawn(self._reader.read(), name)
        try:
            with self.loop_monitor.idle():
                await asyncio.wait({reading})
        finally:
            reading.cancel()
            self._reading = None
        return None if reading.cancelled() else reading.result()

    async def _take(
        self,
        messages: Sequence[PulledMessage],
        on_commit: Callable[[CommitResult], None],
        *,
        is_drained: bool = False,
        is_final: bool = False,
    ) -> None:
        """Process and commit messages, and acknowledge them then."""
        batch = self.pipeline.process(
            messages, self._now(), time_ns(), is_drained=is_drained, is_final=is_final
        )
        if batch.commit is not None:
            result = await self._outbox.commit(batch.commit, self._now())
            self.pipeline.counters.evicted += result.evicted
            self.pipeline.counters.evicted_dead_letters += result.dead_letters_evicted
            on_commit(result)
        puller = self._monitor.puller
        await puller.ack(batch.to_ack)
        for message, reason in batch.to_terminate:
            await puller.term(message, reason)
