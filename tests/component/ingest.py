"""Ingest of one engine, from the socket to the commit, with a fake store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from relay.config import ReconcileConfig, StartFrom
from relay.core.checkpoint import Checkpoint
from relay.core.event import TYPE_RELAY, Event
from relay.destinations.catalog import parse_config
from relay.ingest.docker.buffer import EventBuffer
from relay.ingest.docker.engine.client import connect
from relay.ingest.docker.engine.endpoint import Endpoint
from relay.ingest.docker.engine.inspector import Inspector
from relay.ingest.docker.pipeline import EventPipeline
from relay.ingest.docker.reconciler import Reconciler
from relay.ingest.docker.stream import ReconnectPolicy, StreamReader
from relay.ingest.docker.worker import IngestWorker
from relay.routing.router import Router
from relay.store.records import CommitResult, IngestCommit
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S, ChangeSignal

if TYPE_CHECKING:
    from relay.store.outbox import Outbox

ENGINE = "here"
"""The engine's name in the configuration."""

QUICK = ReconnectPolicy(
    backoff_initial_s=0.001,
    backoff_max_s=0.01,
    stable_after_s=3600,
    ping_interval_s=3600,
    answer_timeout_s=10,
)
"""Reconnects at once, and never pings."""

BUSY = replace(QUICK, ping_interval_s=0.001)
"""Pings constantly."""

NO_RECONCILE = ReconcileConfig(every=timedelta(0), on_reconnect=False)
"""Reconciles only after a gap."""

RECONCILE_CONSTANTLY = ReconcileConfig.model_construct(
    every=timedelta(milliseconds=5), on_reconnect=True
)
"""Reconciles all the time."""

RECONCILE_ONCE = ReconcileConfig(every=timedelta(0), on_reconnect=True)
"""Reconciles after a reconnect and after a gap."""

EVERYTHING = """
destinations: {sink: {type: console}}
routes:
  - {name: containers, to: sink}
  - {name: own, match: {type: relay}, to: sink}
"""


class IngestRun:
    """One engine's ingest, and what it committed."""

    def __init__(
        self, start_from: StartFrom, checkpoint: Checkpoint | None, buffer_bytes: int
    ) -> None:
        config = parse_config(EVERYTHING, file="test", environ={}, folder=Path())
        self.changes = ChangeSignal()
        self.routed: list[Event] = []
        """Every event that a route matched, in order, including relay's own."""
        self.buffer = EventBuffer(buffer_bytes)
        self.pipeline = EventPipeline(ENGINE, start_from, Router(config.routes), checkpoint)
        self.inspector = Inspector()
        self._may_commit = asyncio.Event()
        self._may_commit.set()
        self.checkpoint: Checkpoint | None = None
        """The last one that was committed."""

    async def commit(self, commit: IngestCommit, now_ns: int) -> CommitResult:
        """Stand in for `Outbox.commit`."""
        await self._may_commit.wait()
        self.routed += [notification.events[0] for notification, _ in commit.notifications]
        self.checkpoint = commit.checkpoint
        self.changes.notify()
        return CommitResult([[] for _ in commit.notifications])

    async def process_all(self) -> None:
        """Process and commit what was read, until the buffer is closed and empty."""
        outbox = cast("Outbox", self)
        worker = IngestWorker(self.buffer, self.pipeline, self.inspector, outbox, time_ns)
        await worker.run(lambda *_: None)

    @contextmanager
    def block_commits(self) -> Iterator[None]:
        """Let no commit finish while the context lasts."""
        self._may_commit.clear()
        try:
            yield
        finally:
            self._may_commit.set()

    def container_names(self) -> list[str | None]:
        """The container names of the routed events, in order."""
        return [event.actor.name for event in self.routed if event.type != TYPE_RELAY]

    def relay_actions(self) -> list[str]:
        """The actions of relay's own events, in order."""
        return [event.action for event in self.routed if event.type == TYPE_RELAY]

    def gap_reasons(self) -> list[str]:
        """The reasons of the declared gaps, in order."""
        return [event.actor.attributes["why"] for event in self.routed if event.action == "gap"]

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Return once the condition holds; it is checked after every commit."""
        await self.changes.wait_for(holds)

    async def wait_for_names(self, *names: str) -> None:
        """Return once the last name was routed. Each was routed once, and in this order."""
        await self.wait_for(lambda: names[-1] in self.container_names())
        assert self.container_names() == list(names)


async def wait_for_streams(engine: ScriptedEngine, count: int = 1) -> None:
    """Return once this many streams were opened in all."""
    await engine.changes.wait_for(lambda: len(engine.streams) >= count)


async def wait_for_lists(engine: ScriptedEngine, more: int = 1) -> None:
    """Return once the engine has listed its containers this many more times.

    A list is requested only after the snapshot of the previous one is committed.
    """
    wanted = engine.request_count("containers") + more
    await engine.changes.wait_for(lambda: engine.request_count("containers") >= wanted)


async def wait_for_pings(engine: ScriptedEngine, more: int) -> None:
    """Return after this many more pings: time for what must not happen."""
    wanted = engine.request_count("_ping") + more
    await engine.changes.wait_for(lambda: engine.request_count("_ping") >= wanted)


async def wait_for_full_snapshot(result: IngestRun) -> None:
    """Return once the first complete snapshot is committed."""
    await result.wait_for(lambda: not result.pipeline.containers.may_have_missed_deaths)


@asynccontextmanager
async def run_ingest(
    engine: ScriptedEngine,
    policy: ReconnectPolicy = QUICK,
    *,
    host: str | None = None,
    start_from: StartFrom = "oldest",
    checkpoint: Checkpoint | None = None,
    reconcile: ReconcileConfig = NO_RECONCILE,
    buffer_bytes: int = 2**20,
) -> AsyncIterator[IngestRun]:
    """Ingest the engine's events. An error in the reader or the worker fails the test."""
    result = IngestRun(start_from, checkpoint, buffer_bytes)
    connect_engine = partial(connect, Endpoint(f"unix://{engine.socket}", None, None), time_ns)
    reconciler = Reconciler(
        ENGINE, reconcile, result.buffer, result.pipeline.containers, result.inspector, time_ns
    )
    reader = StreamReader(
        ENGINE, host, connect_engine, result.buffer, result.pipeline, reconciler, policy
    )
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(reader.run())
        tasks.create_task(result.process_all())
        yield result
        reading.cancel()
        result.buffer.close()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.wait([reading])
