"""A listener at work on an engine, with all that comes of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import time_ns
from typing import cast

from relay.config import ReconcileConfig, StartFrom, parse
from relay.core.checkpoint import Bookmark
from relay.core.event import TYPE_RELAY, Event
from relay.ingest.docker.buffer import Inbox
from relay.ingest.docker.engine.client import connect
from relay.ingest.docker.engine.endpoint import Endpoint
from relay.ingest.docker.engine.inspector import Contact
from relay.ingest.docker.pipeline import Digest
from relay.ingest.docker.reconciler import Reconciler
from relay.ingest.docker.stream import Listener, Pace
from relay.ingest.docker.worker import Ways, ingest
from relay.routing.router import Router
from relay.store.records import Intake, Outbox, Receipt
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import PATIENCE_S, Bell

ENGINE = "here"
"""What the configuration calls the engine."""

QUICK = Pace(
    backoff_first_s=0.001, backoff_most_s=0.01, stable_after_s=3600, ping_every_s=3600, answer_s=10
)
"""Reconnects at once and asks nothing while it listens."""

BUSY = replace(QUICK, ping_every_s=0.001)
"""Pings all the time."""

NO_LOOKS = ReconcileConfig(every=timedelta(0), on_reconnect=False)
"""Nothing is asked beside the stream, unless something was lost."""

LOOKS = ReconcileConfig.model_construct(every=timedelta(milliseconds=5), on_reconnect=True)
"""The containers are looked at all the time."""

ONE_LOOK = ReconcileConfig(every=timedelta(0), on_reconnect=True)
"""After a reconnect and after a loss."""

EVERYTHING = """
destinations: {sink: {type: console}}
routes:
  - {name: containers, to: sink}
  - {name: own, match: {type: relay}, to: sink}
"""


class Reading:
    """What one engine's events came to."""

    def __init__(self, start_from: StartFrom, bookmark: Bookmark | None, buffer: int) -> None:
        config = parse(EVERYTHING, file="test", environ={}, folder=Path())
        self.bell = Bell()
        self.routed: list[Event] = []
        """Every event that a route took, in order, relay's own among them."""
        self.inbox = Inbox(buffer)
        self.digest = Digest(ENGINE, start_from, Router(config.routes), bookmark)
        self.contact = Contact()
        self._free = asyncio.Event()
        self._free.set()
        self.bookmark: Bookmark | None = None
        """As it was committed last."""

    async def take_in(self, intake: Intake, now_ns: int) -> Receipt:
        """Stand for the store."""
        await self._free.wait()
        self.routed += [notification.events[0] for notification, _ in intake.notifications]
        self.bookmark = intake.bookmark
        self.bell.ring()
        return Receipt([[] for _ in intake.notifications])

    async def digest_all(self) -> None:
        """Digest what is read until there is no more."""
        outbox = cast("Outbox", self)
        await ingest(Ways(self.inbox, self.digest, self.contact, outbox, time_ns), lambda *_: None)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """While nothing can be committed."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def names(self) -> list[str | None]:
        """The containers that events told of, in order."""
        return [event.actor.name for event in self.routed if event.type != TYPE_RELAY]

    def own(self) -> list[str]:
        """What happened to relay itself."""
        return [event.action for event in self.routed if event.type == TYPE_RELAY]

    def gaps(self) -> list[str]:
        """Why there were gaps, in order."""
        return [event.actor.attributes["why"] for event in self.routed if event.action == "gap"]

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Return once it holds of what was routed."""
        await self.bell.wait_for(holds)

    async def wait_for_names(self, *names: str) -> None:
        """Return once the last of them was routed; they were all routed, once, in this order."""
        await self.wait_for(lambda: names[-1] in self.names())
        assert self.names() == list(names)


async def looks(engine: ScriptedEngine, more: int = 1) -> None:
    """Return once the engine was asked so much oftener for all its containers, or more often.

    One is asked for only when what came of the one before is committed.
    """
    wanted = engine.count("containers") + more
    await engine.bell.wait_for(lambda: engine.count("containers") >= wanted)


async def pings(engine: ScriptedEngine, more: int) -> None:
    """Return after so many more pings: time for what is not to happen."""
    wanted = engine.count("_ping") + more
    await engine.bell.wait_for(lambda: engine.count("_ping") >= wanted)


async def settled(result: Reading) -> None:
    """Return once the first look is committed."""
    await result.wait_for(lambda: not result.digest.in_doubt)


@asynccontextmanager
async def reading(
    engine: ScriptedEngine,
    pace: Pace = QUICK,
    *,
    host: str | None = None,
    start_from: StartFrom = "oldest",
    bookmark: Bookmark | None = None,
    reconcile: ReconcileConfig = NO_LOOKS,
    buffer: int = 2**20,
) -> AsyncIterator[Reading]:
    """Listen to the engine; whatever ends the listener ends the test."""
    result = Reading(start_from, bookmark, buffer)
    reach = partial(connect, Endpoint(f"unix://{engine.socket}", None, None), time_ns)
    reconciler = Reconciler(ENGINE, reconcile, result.inbox, result.digest, result.contact, time_ns)
    listener = Listener(ENGINE, host, reach, result.inbox, result.digest, reconciler, pace)
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listener.run())
        tasks.create_task(result.digest_all())
        yield result
        listening.cancel()
        result.inbox.close()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait([listening])
