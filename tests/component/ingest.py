"""A listener at work on an engine, with all that comes of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, cast

from relay.config import ReconcileConfig, StartFrom, parse
from relay.core.checkpoint import Checkpoint
from relay.core.event import TYPE_RELAY, Event
from relay.ingest.docker.buffer import EventBuffer
from relay.ingest.docker.engine.client import connect
from relay.ingest.docker.engine.endpoint import Endpoint
from relay.ingest.docker.engine.inspector import Inspector
from relay.ingest.docker.pipeline import EventPipeline
from relay.ingest.docker.reconciler import Reconciler
from relay.ingest.docker.stream import ReconnectPolicy, StreamReader
from relay.ingest.docker.worker import IngestWorker, ingest
from relay.routing.router import Router
from relay.store.records import CommitResult, IngestCommit
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S, ChangeSignal

if TYPE_CHECKING:
    from relay.store.outbox import Outbox

ENGINE = "here"
"""What the configuration calls the engine."""

QUICK = ReconnectPolicy(
    backoff_initial_s=0.001,
    backoff_max_s=0.01,
    stable_after_s=3600,
    ping_interval_s=3600,
    answer_timeout_s=10,
)
"""Reconnects at once and asks nothing while it listens."""

BUSY = replace(QUICK, ping_interval_s=0.001)
"""Pings all the time."""

NO_RECONCILE = ReconcileConfig(every=timedelta(0), on_reconnect=False)
"""Nothing is asked beside the stream, unless something was lost."""

RECONCILE_CONSTANTLY = ReconcileConfig.model_construct(
    every=timedelta(milliseconds=5), on_reconnect=True
)
"""The containers are looked at all the time."""

RECONCILE_ONCE = ReconcileConfig(every=timedelta(0), on_reconnect=True)
"""After a reconnect and after a loss."""

EVERYTHING = """
destinations: {sink: {type: console}}
routes:
  - {name: containers, to: sink}
  - {name: own, match: {type: relay}, to: sink}
"""


class IngestRun:
    """What one engine's events came to."""

    def __init__(
        self, start_from: StartFrom, checkpoint: Checkpoint | None, buffer_bytes: int
    ) -> None:
        config = parse(EVERYTHING, file="test", environ={}, folder=Path())
        self.changes = ChangeSignal()
        self.routed: list[Event] = []
        """Every event that a route took, in order, relay's own among them."""
        self.buffer = EventBuffer(buffer_bytes)
        self.pipeline = EventPipeline(ENGINE, start_from, Router(config.routes), checkpoint)
        self.inspector = Inspector()
        self._may_commit = asyncio.Event()
        self._may_commit.set()
        self.checkpoint: Checkpoint | None = None
        """As it was committed last."""

    async def commit(self, intake: IngestCommit, now_ns: int) -> CommitResult:
        """Stand for the store."""
        await self._may_commit.wait()
        self.routed += [notification.events[0] for notification, _ in intake.notifications]
        self.checkpoint = intake.checkpoint
        self.changes.notify()
        return CommitResult([[] for _ in intake.notifications])

    async def process_all(self) -> None:
        """Digest what is read until there is no more."""
        outbox = cast("Outbox", self)
        await ingest(
            IngestWorker(self.buffer, self.pipeline, self.inspector, outbox, time_ns),
            lambda *_: None,
        )

    @contextmanager
    def block_commits(self) -> Iterator[None]:
        """While nothing can be committed."""
        self._may_commit.clear()
        try:
            yield
        finally:
            self._may_commit.set()

    def container_names(self) -> list[str | None]:
        """The containers that events told of, in order."""
        return [event.actor.name for event in self.routed if event.type != TYPE_RELAY]

    def relay_actions(self) -> list[str]:
        """What happened to relay itself."""
        return [event.action for event in self.routed if event.type == TYPE_RELAY]

    def gap_reasons(self) -> list[str]:
        """Why there were gaps, in order."""
        return [event.actor.attributes["why"] for event in self.routed if event.action == "gap"]

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Return once it holds of what was routed."""
        await self.changes.wait_for(holds)

    async def wait_for_names(self, *names: str) -> None:
        """Return once the last of them was routed; they were all routed, once, in this order."""
        await self.wait_for(lambda: names[-1] in self.container_names())
        assert self.container_names() == list(names)


async def wait_for_lists(engine: ScriptedEngine, more: int = 1) -> None:
    """Return once the engine was asked so much oftener for all its containers, or more often.

    One is asked for only when what came of the one before is committed.
    """
    wanted = engine.request_count("containers") + more
    await engine.changes.wait_for(lambda: engine.request_count("containers") >= wanted)


async def wait_for_pings(engine: ScriptedEngine, more: int) -> None:
    """Return after so many more pings: time for what is not to happen."""
    wanted = engine.request_count("_ping") + more
    await engine.changes.wait_for(lambda: engine.request_count("_ping") >= wanted)


async def wait_for_full_snapshot(result: IngestRun) -> None:
    """Return once the first look is committed."""
    await result.wait_for(lambda: not result.pipeline.may_have_missed_deaths)


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
    """Listen to the engine; whatever ends the listener ends the test."""
    result = IngestRun(start_from, checkpoint, buffer_bytes)
    reach = partial(connect, Endpoint(f"unix://{engine.socket}", None, None), time_ns)
    reconciler = Reconciler(
        ENGINE, reconcile, result.buffer, result.pipeline, result.inspector, time_ns
    )
    listener = StreamReader(ENGINE, host, reach, result.buffer, result.pipeline, reconciler, policy)
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listener.run())
        tasks.create_task(result.process_all())
        yield result
        listening.cancel()
        result.buffer.close()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.wait([listening])
