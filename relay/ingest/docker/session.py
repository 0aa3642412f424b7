"""All that listens to one engine: its reader, its digester, and what is asked of it beside."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import time_ns

from relay.config import EngineConfig, ReconcileConfig
from relay.core.counters import EngineCounters
from relay.core.liveness import LoopMonitor
from relay.core.status import EngineStatus, StreamStatus
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
from relay.ingest.docker.worker import IngestWorker, ingest
from relay.routing.router import Router
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, IngestCommit


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine, as it is configured and as the environment says where it is."""

    endpoint: Endpoint
    config: EngineConfig
    buffer_bytes: int
    """How much of its stream may wait in memory, in bytes."""
    reconcile: ReconcileConfig


@dataclass(frozen=True, slots=True)
class IngestContext:
    """What all stations work with."""

    router: Router
    outbox: Outbox
    now: Callable[[], int]
    """The clock by which deliveries are due."""
    on_commit: Callable[[CommitResult], None]
    """Is given what became of every batch."""
    reconnect_policy: ReconnectPolicy


class EngineSession:
    """One engine's way into the store."""

    def __init__(self, worker: IngestWorker, reader: StreamReader, enricher: Enricher) -> None:
        self._worker = worker
        self._reader = reader
        self._enricher = enricher
        self._reading_tasks: list[asyncio.Task[None]] = []

    def start(
        self, tasks: asyncio.TaskGroup, on_commit: Callable[[CommitResult], None]
    ) -> asyncio.Task[None]:
        """Listen, digest and enrich; returns what ends when all is committed after `end`.

        ``heed`` is given what became of every batch.
        """

        def committed(intake: IngestCommit, receipt: CommitResult) -> None:
            self._enricher.enqueue(intake, receipt)
            on_commit(receipt)

        self._reading_tasks = [
            tasks.create_task(self._reader.run()),
            tasks.create_task(self._enricher.run()),
        ]
        return tasks.create_task(ingest(self._worker, committed))

    def end(self) -> None:
        """Stop reading; what was read is digested."""
        for task in self._reading_tasks:
            task.cancel()
        self._worker.buffer.close()

    @property
    def name(self) -> str:
        """The engine's."""
        return self._worker.pipeline.engine

    @property
    def is_connected(self) -> bool:
        """Whether the engine's stream is open."""
        return self._worker.inspector.client is not None and self._reader.has_opened

    @property
    def status(self) -> EngineStatus:
        """How it is with the engine."""
        tally = self.counters
        listening = StreamStatus(
            self.is_connected, self._worker.buffer.item_count, tally.gaps.total(), tally.reconnects
        )
        return EngineStatus(self._worker.pipeline.position_ns or None, listening)

    @property
    def counters(self) -> EngineCounters:
        """What came of the engine so far."""
        return self._worker.pipeline.counters

    @property
    def loop_monitor(self) -> LoopMonitor:
        """Of what digests and commits."""
        return self._worker.loop_monitor

    def on_store_replaced(self) -> None:
        """The store is a new one: it is told again what is known."""
        self._worker.pipeline.resend_all()
        self._worker.buffer.put(
            Snapshot(self.name, self.name, 0)
        )  # of nothing: a batch to tell it with


async def open_session(
    name: str, spec: EngineSpec, context: IngestContext, counters: EngineCounters
) -> EngineSession:
    """The station of one engine, with what was known of it at the last commit."""
    engine, outbox = spec.config, context.outbox
    bookmark = await outbox.checkpoint(name)
    roster = ContainerRegistry(
        await outbox.containers(name), bookmark.reported_until_ns if bookmark else 0
    )
    digest = EventPipeline(
        name, engine.start_from, context.router, bookmark, roster, counters, find_self_container()
    )
    inbox, contact = EventBuffer(spec.buffer_bytes), Inspector()
    reconciler = Reconciler(name, spec.reconcile, inbox, digest, contact, time_ns)
    reach = partial(connect, spec.endpoint, time_ns)
    listener = StreamReader(
        name, engine.host, reach, inbox, digest, reconciler, context.reconnect_policy
    )
    enricher = Enricher(lambda: contact.client, outbox, context.now, counters)
    return EngineSession(
        IngestWorker(inbox, digest, contact, outbox, context.now), listener, enricher
    )
