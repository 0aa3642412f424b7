"""A listener at work on an engine, with all that comes of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import time_ns

from relay.config import StartFrom, parse
from relay.engine.client import connect
from relay.engine.cursor import Cursor
from relay.engine.endpoint import Endpoint
from relay.engine.inbox import Inbox
from relay.engine.listener import Listener, Pace
from relay.event import TYPE_RELAY, Event
from relay.ingest import BATCH, Digest
from relay.routing.router import Router
from tests.component.bell import PATIENCE_S, Bell
from tests.component.scripted_engine import ScriptedEngine

ENGINE = "here"
"""What the configuration calls the engine."""

QUICK = Pace(
    backoff_first_s=0.001, backoff_most_s=0.01, stable_after_s=3600, ping_every_s=3600, answer_s=10
)
"""Reconnects at once and asks nothing while it listens."""

EVERYTHING = """
destinations: {sink: {type: console}}
routes:
  - {name: containers, to: sink}
  - {name: own, match: {type: relay}, to: sink}
"""


class Reading:
    """What one engine's events came to."""

    def __init__(self, start_from: StartFrom, cursor: Cursor | None) -> None:
        config = parse(EVERYTHING, file="test", environ={}, folder=Path())
        self.bell = Bell()
        self.routed: list[Event] = []
        """Every event that a route took, in order, relay's own among them."""
        self.inbox = Inbox(2**20)
        self.digest = Digest(ENGINE, start_from, Router(config.routes), cursor)

    async def digest_all(self) -> None:
        """Digest what is read until there is no more."""
        while items := await self.inbox.take(BATCH):
            intake = self.digest.take_in(items, time_ns())
            self.routed += [notification.events[0] for notification, _ in intake.notifications]
            self.bell.ring()

    def names(self) -> list[str | None]:
        """The containers that events told of, in order."""
        return [event.actor.name for event in self.routed if event.type != TYPE_RELAY]

    def own(self) -> list[str]:
        """What happened to relay itself."""
        return [event.action for event in self.routed if event.type == TYPE_RELAY]

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Return once it holds of what was routed."""
        await self.bell.wait_for(holds)

    async def wait_for_names(self, *names: str) -> None:
        """Return once the last of them was routed; they were all routed, once, in this order."""
        await self.wait_for(lambda: names[-1] in self.names())
        assert self.names() == list(names)


@asynccontextmanager
async def reading(
    engine: ScriptedEngine,
    pace: Pace = QUICK,
    *,
    host: str | None = None,
    start_from: StartFrom = "oldest",
    cursor: Cursor | None = None,
) -> AsyncIterator[Reading]:
    """Listen to the engine; whatever ends the listener ends the test."""
    result = Reading(start_from, cursor)
    reach = partial(connect, Endpoint(f"unix://{engine.socket}", None, None), time_ns)
    listener = Listener(ENGINE, host, reach, result.inbox, result.digest, time_ns, pace)
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listener.run())
        tasks.create_task(result.digest_all())
        yield result
        listening.cancel()
        result.inbox.close()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait([listening])
