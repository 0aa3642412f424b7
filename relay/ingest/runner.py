"""One engine as long as it is configured: its stations, one after the other."""

import asyncio

from relay.core.counters import EngineCounters
from relay.core.status import EngineSnapshot, EngineStatus, StreamStatus
from relay.ingest.docker.session import EngineSession, EngineSpec, IngestContext, open_session

_NOT_CONNECTED = EngineStatus(None, StreamStatus(is_open=False, behind=0, gaps=0, reconnects=0))


class EngineRunner:
    """Takes in what one engine tells.

    A station that another follows commits all that it has read before the other begins where it
    stopped, so that nothing is lost and nothing taken in twice.
    """

    def __init__(self, name: str, spec: EngineSpec, context: IngestContext) -> None:
        self.name = name
        self.counters = EngineCounters()
        self._spec: EngineSpec | None = spec
        self._context = context
        self._session: EngineSession | None = None
        """None while there is none that listens."""
        self._last_status = _NOT_CONNECTED
        self._stopping = False
        self.is_closed = False
        """Whether its engine is no more, and all that it told is committed."""

    @property
    def stream(self) -> EngineSnapshot:
        """How the engine is heard."""
        return EngineSnapshot(
            self.counters, self._session is not None and self._session.is_connected
        )

    @property
    def status(self) -> EngineStatus:
        """How it is with the engine."""
        return self._last_status if self._session is None else self._session.status

    @property
    def busy_s(self) -> float:
        """See `relay.core.liveness.LoopMonitor.busy_s`."""
        return 0.0 if self._session is None else self._session.loop_monitor.busy_s

    def replace(self, spec: EngineSpec | None) -> None:
        """The engine is another from here on; with None it is no more."""
        if spec != self._spec:
            self._spec = spec
            self._end_session()

    def on_store_replaced(self) -> None:
        """See `EngineSession.on_store_replaced`."""
        if self._session is not None:
            self._session.on_store_replaced()

    def stop(self) -> None:
        """Read no more; `run` returns when what was read is committed."""
        self._stopping = True
        self._end_session()

    async def run(self) -> None:
        """Listen until told to stop, or until the engine is no more."""
        while not self._stopping and self._spec is not None:
            await self._run_session(self._spec)
        self.is_closed = self._spec is None

    async def _run_session(self, spec: EngineSpec) -> None:
        session = await open_session(self.name, spec, self._context, self.counters)
        if self._stopping or self._spec is not spec:
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
