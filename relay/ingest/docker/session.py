"""One session of one engine: a reader, a worker and an enricher, built from the last checkpoint.

`EngineSession.start` spawns every task of an engine:

- ``engine NAME: reader``: `StreamReader` connects and puts records into the buffer. It also runs
  the connection's watchdog and the `Reconciler`.
- ``engine NAME: worker``: `IngestWorker` takes batches out of the buffer and commits them.
- ``engine NAME: enrichment``: `Enricher` asks the engine for what committed notifications include.

After `EngineSession.end` the reader and the enricher stop at once; the worker stops when the buffer
is empty.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from time import time_ns

import msgspec

from relay.config import DockerEngineConfig, ReconcileConfig
from relay.core.counters import EngineCounters
from relay.core.status import EngineStatus, StreamStatus
from relay.core.tasks import LoopMonitor, spawn
from relay.incidents.incidents import Incidents
from relay.ingest.docker.buffer import EventBuffer
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.engine.client import connect
from relay.ingest.docker.engine.endpoint import Endpoint
from relay.ingest.docker.engine.inspector import Inspector
from relay.ingest.docker.engine.self_container import find_self_container
from relay.ingest.docker.enrichment import Enricher
from relay.ingest.docker.pipeline import EventPipeline
from relay.ingest.docker.reconciler import Reconciler
from relay.ingest.docker.stream import ReconnectPolicy, StreamReader
from relay.ingest.docker.worker import IngestWorker
from relay.ingest.source import IngestContext
from relay.store.records import CommitResult, IngestCommit


class EngineSession:
    """The tasks that bring one engine's events into the store."""

    def __init__(
        self,
        worker: IngestWorker,
        reader: StreamReader,
        enricher: Enricher,
        incidents: Incidents,
    ) -> None:
        self._worker = worker
        self._incidents = incidents
        self._reader = reader
        self._enricher = enricher
        self._reading_tasks: list[asyncio.Task[None]] = []

    def start(
        self, tasks: asyncio.TaskGroup, on_commit: Callable[[CommitResult], None]
    ) -> asyncio.Task[None]:
        """Spawn the session's tasks; ``on_commit`` is called with the result of every commit.

        Returns the worker's task. It ends after `end`, once everything that was read is committed.
        """

        def committed(commit: IngestCommit, result: CommitResult) -> None:
            self.include(commit, result)
            on_commit(result)

        self._reading_tasks = [
            spawn(self._reader.run(), f"engine {self.name}: reader", tasks),
            spawn(self._enricher.run(), f"engine {self.name}: enrichment", tasks),
        ]
        return spawn(self._worker.run(committed), f"engine {self.name}: worker", tasks)

    def include(self, commit: IngestCommit, result: CommitResult) -> None:
        """Ask the engine for what committed notifications and new incidents include."""
        self._enricher.enqueue(commit, result)
        inquiries = self._incidents.take_inquiries(self.name)
        self._enricher.enqueue_inquiries(inquiries, self._incidents.answered)

    def end(self) -> None:
        """Stop reading; the worker still commits what was read."""
        for task in self._reading_tasks:
            task.cancel()
        self._worker.buffer.close()

    @property
    def name(self) -> str:
        """The engine's name in the configuration."""
        return self._worker.pipeline.engine

    @property
    def is_connected(self) -> bool:
        """Whether the engine's stream is open."""
        return self._worker.inspector.client is not None and self._reader.has_opened

    @property
    def status(self) -> EngineStatus:
        """The position of the cursor, and the status of the stream."""
        counters = self.counters
        stream = StreamStatus(
            is_open=self.is_connected,
            behind=self._worker.buffer.item_count,
            gaps=counters.gaps.total(),
            reconnects=counters.reconnects,
        )
        return EngineStatus(self._worker.pipeline.position_ns or None, stream)

    @property
    def counters(self) -> EngineCounters:
        """The counters of this engine's stream since relay started."""
        return self._worker.pipeline.counters

    @property
    def loop_monitor(self) -> LoopMonitor:
        """Monitors the worker's loop."""
        return self._worker.loop_monitor

    def on_store_replaced(self) -> None:
        """Write the known containers into a store that has replaced a broken one."""
        self._worker.pipeline.resend_all()
        # An empty snapshot makes a batch, so that the containers are written without waiting for
        # the engine's next event.
        self._worker.buffer.put(Snapshot(self.name, self.name, 0))


class EngineSpec(msgspec.Struct, frozen=True):
    """What the configuration and the environment say about one engine.

    Two equal specifications need no restart of the session.
    """

    endpoint: Endpoint
    config: DockerEngineConfig
    buffer_bytes: int
    """How much memory the events that wait for a commit may take (``ingest.buffer``)."""
    reconcile: ReconcileConfig
    reconnect_policy: ReconnectPolicy

    async def open(
        self, name: str, context: IngestContext, counters: EngineCounters
    ) -> EngineSession:
        """See `relay.ingest.source.SourceSpec`; the containers are those of the last commit too."""
        outbox = context.outbox
        checkpoint = await outbox.checkpoint(name)
        reported_until_ns = checkpoint.reported_until_ns if checkpoint else 0
        registry = await outbox.containers(
            name, partial(ContainerRegistry, reported_until_ns=reported_until_ns)
        )
        pipeline = EventPipeline(
            name,
            self.config.start_from,
            context.router,
            checkpoint,
            registry,
            counters,
            context.incidents,
        )
        pipeline.own_container = find_self_container()
        pipeline.shared_events = context.shared_events
        buffer, inspector = EventBuffer(self.buffer_bytes), Inspector()
        reader = StreamReader(
            name,
            self.config.host,
            partial(connect, self.endpoint, time_ns),
            buffer,
            pipeline,
            Reconciler(name, self.reconcile, buffer, pipeline.containers, inspector, time_ns),
            self.reconnect_policy,
        )
        return EngineSession(
            IngestWorker(buffer, pipeline, inspector, outbox, context.now),
            reader,
            Enricher(name, lambda: inspector.client, outbox, context.now, counters),
            context.incidents,
        )
