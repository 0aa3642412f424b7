"""Runs one engine. A reload that changes the engine ends its session and starts another.

A session is one uninterrupted read of the engine with one specification. It ends on a reload or at
shutdown, and only after it has committed everything that it read. The next session starts at that
checkpoint, so a reload neither loses an event nor processes one twice.
"""

import asyncio

from relay.core.counters import EngineCounters, EngineSnapshot
from relay.core.status import EngineStatus, StreamStatus
from relay.ingest.docker.session import EngineSession, EngineSpec, IngestContext, open_session

_NOT_CONNECTED = EngineStatus(None, StreamStatus(is_open=False, behind=0, gaps=0, reconnects=0))


class EngineRunner:
    """Runs the sessions of one engine, one after the other, for as long as it is configured."""

    def __init__(self, name: str, spec: EngineSpec, context: IngestContext) -> None:
        self.name = name
        self.counters = EngineCounters()
        """Counts over all sessions."""
        self._spec: EngineSpec | None = spec
        self._context = context
        self._session: EngineSession | None = None
        """None while no session reads the engine."""
        self._last_status = _NOT_CONNECTED
        self._stopping = False
        self.is_closed = False
        """Whether the engine was removed from the configuration and its last event is committed."""

    @property
    def stream(self) -> EngineSnapshot:
        """The engine's counters, and whether its stream is open."""
        is_open = self._session is not None and self._session.is_connected
        return EngineSnapshot(self.counters, is_open)

    @property
    def status(self) -> EngineStatus:
        """The engine's status; between two sessions, the status at the end of the last one."""
        return self._last_status if self._session is None else self._session.status

    @property
    def busy_s(self) -> float:
        """See `relay.core.tasks.LoopMonitor.busy_s`; 0.0 between two sessions."""
        return 0.0 if self._session is None else self._session.loop_monitor.busy_s

    def replace(self, spec: EngineSpec | None) -> None:
        """Continue with this specification; None if the engine is no longer configured.

        An unchanged specification does not interrupt the session.
        """
        if spec != self._spec:
            self._spec = spec
            self._end_session()

    def on_store_replaced(self) -> None:
        """See `EngineSession.on_store_replaced`."""
        if self._session is not None:
            self._session.on_store_replaced()

    def stop(self) -> None:
        """Stop reading. `run` returns once everything that was read is committed."""
        self._stopping = True
        self._end_session()

    async def run(self) -> None:
        """Run sessions until `stop` is called or the engine is no longer configured."""
        while not self._stopping and self._spec is not None:
            await self._run_session(self._spec)
        self.is_closed = self._spec is None

    async def _run_session(self, spec: EngineSpec) -> None:
        session = await open_session(self.name, spec, self._context, self.counters)
        if self._stopping or self._spec is not spec:  # changed while the checkpoint was loaded
            return
        self._session = session
        try:
            async with asyncio.TaskGroup() as tasks:
                session.start(tasks, self._context.on_commit)
        finally:
            self._last_status, self._session = session.status, None

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.end()
