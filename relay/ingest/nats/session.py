"""One session of an engine of ``type: nats``: what other hosts publish goes into the store.

`NatsSession.start` spawns the tasks of the engine:

- ``engine NAME: worker``: `MessageWorker` pulls messages, commits them and acknowledges them.
- ``engine NAME: stream``: `StreamMonitor` notices whether the stream is open.

The connection is open for as long as the worker runs.
"""

import asyncio
from collections.abc import Callable

import msgspec

from relay.config.nats_engine import NatsEngineConfig
from relay.core.counters import EngineCounters
from relay.core.status import EngineStatus, StreamStatus
from relay.core.tasks import LoopMonitor, spawn
from relay.ingest.nats.hosts import HostWatch
from relay.ingest.nats.pipeline import MessagePipeline
from relay.ingest.nats.reader import MessageReader
from relay.ingest.nats.seen import SeenEvents
from relay.ingest.nats.stream import StreamMonitor
from relay.ingest.nats.worker import MessageWorker
from relay.ingest.source import IngestContext
from relay.nats.connection import NatsConnection
from relay.nats.puller import Puller
from relay.store.records import CommitResult, IngestCommit


class NatsSpec(msgspec.Struct, frozen=True):
    """What the configuration says about one engine of ``type: nats``."""

    config: NatsEngineConfig

    async def open(
        self, name: str, context: IngestContext, counters: EngineCounters
    ) -> "NatsSession":
        """See `relay.ingest.source.SourceSpec`. Raises `TlsError`."""
        config, outbox, now_ns = self.config, context.outbox, context.now()
        remember_ns = int(config.remember.total_seconds() * 1e9)
        silent_after_ns = int(config.silent_after.total_seconds() * 1e9)
        seen = SeenEvents(remember_ns, await outbox.seen(name), now_ns=now_ns)
        hosts = HostWatch(name, silent_after_ns, await outbox.hosts(name), now_ns=now_ns)
        connection = NatsConnection(f"engine {name}", config)
        puller = Puller(connection, config.stream, config.consumer)
        monitor = StreamMonitor(name, connection, puller, hosts, context)
        pipeline = MessagePipeline(name, context.router, context.incidents, seen, hosts, counters)
        reader = MessageReader(name, connection, puller, config.batch)
        worker = MessageWorker(reader, monitor, pipeline, outbox, context.now)
        return NatsSession(connection, monitor, worker)


class NatsSession:
    """The tasks that bring the events of other hosts into the store."""

    def __init__(
        self, connection: NatsConnection, monitor: StreamMonitor, worker: MessageWorker
    ) -> None:
        self.connection = connection
        self.monitor = monitor
        self._worker = worker
        self._watching: asyncio.Task[None] | None = None
        connection.on_open(self._count_connection)

    def start(
        self, tasks: asyncio.TaskGroup, on_commit: Callable[[CommitResult], None]
    ) -> asyncio.Task[None]:
        """See `relay.ingest.source.SourceSession`."""
        name = self._worker.pipeline.engine
        self._watching = spawn(self.monitor.run(), f"engine {name}: stream", tasks)
        return spawn(self._run(on_commit), f"engine {name}: worker", tasks)

    async def _run(self, on_commit: Callable[[CommitResult], None]) -> None:
        await self.connection.open()
        try:
            await self._worker.run(on_commit)
        finally:
            self.monitor.close()
            await self.connection.close()

    def end(self) -> None:
        """Stop reading; what was read is still committed."""
        if self._watching is not None:
            self._watching.cancel()
        self._worker.end()

    def include(self, commit: IngestCommit, result: CommitResult) -> None:
        """Do nothing: what comes with an event is in its notification, and no more can be asked."""

    def on_store_replaced(self) -> None:
        """Write what is known of events and hosts into a store that has replaced a broken one."""
        self._worker.pipeline.resend_all()

    @property
    def is_connected(self) -> bool:
        """Whether the stream is open."""
        return self.monitor.is_open

    @property
    def status(self) -> EngineStatus:
        """The time of the last event, and the status of the stream."""
        counters = self.counters
        stream = StreamStatus(
            is_open=self.is_connected,
            behind=self.monitor.behind,
            gaps=counters.gaps.total(),
            reconnects=counters.reconnects,
            problem=self.monitor.puller.problem,
            is_standby=self.monitor.puller.is_standby,
            backlog=self.monitor.backlog,
        )
        return EngineStatus(counters.last_event_ns or None, stream)

    @property
    def counters(self) -> EngineCounters:
        """The counters of this engine's stream since relay started."""
        return self._worker.pipeline.counters

    @property
    def loop_monitor(self) -> LoopMonitor:
        """Monitors the worker's loop."""
        return self._worker.loop_monitor

    def _count_connection(self) -> None:
        self.counters.opened += 1
