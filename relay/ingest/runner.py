"""Runs one engine. A reload that changes the engine ends its session and starts another.

A session is one uninterrupted read of the engine with one specification. It ends on a reload or at
shutdown, and only after it has committed everything that it read. The next session starts at that
checkpoint, so a reload neither loses an event nor processes one twice.

An unexpected error, such as one caused by what a single engine sends, ends that engine's session
and not relay. The other engines go on, and the engine's next session starts at the last checkpoint.
A fault of the store, which all engines share, ends relay.

As long as its sessions keep failing, an engine counts as lost: ``engine_lost`` says so once, and
``engine_back`` once a session has lived long enough.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import structlog

from relay.core.clock import loop_time_s
from relay.core.counters import EngineCounters, EngineSnapshot
from relay.core.status import EngineStatus, StreamStatus
from relay.ingest.source import IngestContext, SourceSession, SourceSpec
from relay.store.faults import classify_error
from relay.store.records import CommitResult, IngestCommit

log = structlog.get_logger()

RESTART_INITIAL_S, RESTART_MAX_S = 1.0, 60.0
"""How long to wait after a session that failed. The wait doubles with each failure up to the
maximum, and starts over after a session that lived longer than that."""

_NOT_CONNECTED = EngineStatus(None, StreamStatus(is_open=False, behind=0, gaps=0, reconnects=0))


class EngineRunner:
    """Runs the sessions of one engine, one after the other, for as long as it is configured."""

    def __init__(self, name: str, spec: SourceSpec, context: IngestContext) -> None:
        self.name = name
        self.counters = EngineCounters()
        """Counts over all sessions."""
        self._spec: SourceSpec | None = spec
        self._context = context
        self._session: SourceSession | None = None
        """None while no session reads the engine."""
        self._last_status = _NOT_CONNECTED
        self._delay_s = RESTART_INITIAL_S
        """How long to wait after the next session that fails."""
        self._recovery: asyncio.TimerHandle
        """Ends the wait until a session has lasted long enough to count as one that works."""
        self._failing_since_s: float | None = None
        """By the loop's clock; None if the last session did not fail."""
        self._stopping = False
        self._spec_changed = asyncio.Event()
        """Set when the runner stops or gets another specification; ends the wait for a session."""
        self.is_closed = False
        """Whether the engine was removed from the configuration and its last event is committed."""

    @property
    def stream(self) -> EngineSnapshot:
        """The engine's counters, and whether its stream is open."""
        is_open = self._session is not None and self._session.is_connected
        return EngineSnapshot(self.counters, is_open, self.status.stream)

    @property
    def status(self) -> EngineStatus:
        """The engine's status; between two sessions, the status at the end of the last one."""
        return self._last_status if self._session is None else self._session.status

    @property
    def busy_s(self) -> float:
        """See `relay.core.tasks.LoopMonitor.busy_s`; 0.0 between two sessions."""
        return 0.0 if self._session is None else self._session.loop_monitor.busy_s

    def replace(self, spec: SourceSpec | None) -> None:
        """Continue with this specification; None if the engine is no longer configured.

        An unchanged specification does not interrupt the session.
        """
        if spec != self._spec:
            self._spec = spec
            self._spec_changed.set()
            self._end_session()

    def include(self, commit: IngestCommit, result: CommitResult) -> None:
        """See `SourceSession.include`; between two sessions nothing is asked."""
        if self._session is not None:
            self._session.include(commit, result)

    def on_store_replaced(self) -> None:
        """See `SourceSession.on_store_replaced`."""
        if self._session is not None:
            self._session.on_store_replaced()

    def stop(self) -> None:
        """Stop reading. `run` returns once everything that was read is committed."""
        self._stopping = True
        self._spec_changed.set()
        self._end_session()

    async def run(self) -> None:
        """Run sessions until `stop` is called or the engine is no longer configured."""
        while not self._stopping and self._spec is not None:
            self._spec_changed.clear()
            try:
                await self._run_session(self._spec)
            except Exception as error:
                if _is_fault_of_store(error):
                    raise
                log.exception("engine.session_failed", engine=self.name, next_in_s=self._delay_s)
                self._announce_failure(error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._delay_s):
                        await self._spec_changed.wait()
                self._delay_s = min(2 * self._delay_s, RESTART_MAX_S)
        self.is_closed = self._spec is None

    async def _run_session(self, spec: SourceSpec) -> None:
        session = await spec.open(self.name, self._context, self.counters)
        if self._stopping or self._spec is not spec:  # changed while the checkpoint was loaded
            return
        self._session = session
        self._await_recovery()
        try:
            async with asyncio.TaskGroup() as tasks:
                session.start(tasks, self._context.on_commit)
        finally:
            self._recovery.cancel()
            self._last_status, self._session = session.status, None

    def _announce_failure(self, error: Exception) -> None:
        """Emit ``engine_lost``, unless the session before this one failed too."""
        if self._failing_since_s is None:
            self._failing_since_s = loop_time_s()
            kinds = ", ".join(sorted({type(each).__name__ for each in _leaves(error)}))
            reason = f"its events cannot be processed ({kinds}); the log has the details"
            self._context.on_engine_change("engine_lost", self.name, {"reason": reason})

    def _await_recovery(self) -> None:
        self._recovery = asyncio.get_running_loop().call_later(RESTART_MAX_S, self._on_lasting)

    def _on_lasting(self) -> None:
        """Start over after a session that lasts; emit ``engine_back`` if the ones before failed."""
        self._delay_s = RESTART_INITIAL_S
        if self._failing_since_s is None:
            return
        if self._session is None or not self._session.is_connected:
            self._await_recovery()  # it receives nothing yet that could make it fail
        else:
            down_s = round(loop_time_s() - self._failing_since_s, 3)
            self._failing_since_s = None
            self._context.on_engine_change("engine_back", self.name, {"down_s": str(down_s)})

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.end()


def _is_fault_of_store(error: Exception) -> bool:
    return any(classify_error(each) is not None for each in _leaves(error))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors in a group, and in the groups within it."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
