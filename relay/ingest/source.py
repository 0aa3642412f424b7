"""What the daemon needs of a source of events, whichever type its engine has.

A `SourceSpec` says what the configuration and the environment say of one engine, and opens sessions
of it. A `SourceSession` brings the events of one engine into the store, from the position of the
last commit on. `relay.ingest.runner` runs the sessions of an engine one after the other.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from relay.core.counters import EngineCounters
from relay.core.status import EngineStatus
from relay.core.tasks import LoopMonitor
from relay.incidents.incidents import Incidents
from relay.ingest.shared_events import SharedEvents
from relay.routing.router import Router
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, IngestCommit


class IngestContext(msgspec.Struct, frozen=True):
    """What the sessions of all engines share."""

    router: Router
    outbox: Outbox
    now: Callable[[], int]
    """The clock by which deliveries are due, in nanoseconds since 1970."""
    on_commit: Callable[[CommitResult], None]
    """Called with the result of every commit."""
    on_engine_change: Callable[[str, str, Mapping[str, str]], None]
    """Called with ``engine_lost`` or ``engine_back``, an engine and the event's attributes, if the
    engine's own session cannot commit that event."""
    incidents: Incidents
    shared_events: SharedEvents = msgspec.field(default_factory=SharedEvents)


class SourceSession(Protocol):
    """The tasks that bring one engine's events into the store."""

    def start(
        self, tasks: asyncio.TaskGroup, on_commit: Callable[[CommitResult], None]
    ) -> asyncio.Task[None]:
        """Spawn the session's tasks; ``on_commit`` is called with the result of every commit.

        Returns the task that commits. It ends after `end`, once all that was read is committed.
        """
        ...

    def end(self) -> None:
        """Stop reading; what was read is still committed."""
        ...

    def include(self, commit: IngestCommit, result: CommitResult) -> None:
        """Get what committed notifications and new incidents include, if the source can be asked.

        Does not wait.
        """
        ...

    def on_store_replaced(self) -> None:
        """Write what the source keeps into a store that has replaced a broken one."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether the engine's stream is open."""
        ...

    @property
    def status(self) -> EngineStatus:
        """The position up to which events were processed, and the status of the stream."""
        ...

    @property
    def counters(self) -> EngineCounters:
        """The counters of this engine's stream since relay started."""
        ...

    @property
    def loop_monitor(self) -> LoopMonitor:
        """Monitors the loop that commits."""
        ...


class SourceSpec(Protocol):
    """What the configuration and the environment say about one engine.

    Two equal specifications need no restart of the session.
    """

    async def open(
        self, name: str, context: IngestContext, counters: EngineCounters
    ) -> SourceSession:
        """Build a session of the engine ``name`` from its last commit. It does not run yet."""
        ...
