"""An event loop with virtual time, and a store whose transactions take as long as a test says.

Both are deterministic: nothing runs in a thread, and nothing waits in real time.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from relay.store.database import MemoryDatabase
from relay.store.outbox import Outbox
from relay.store.records import Quota
from relay.store.writer import Operation, StoreWriter, _Job, _resolve_futures, _transact

T = TypeVar("T")

MAX_STEPS = 20_000
"""A loop that runs so many steps at the same virtual time runs for ever."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Moves its clock to the next timer when nothing else is to be done."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._steps = 0

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now_s

    def _run_once(self) -> None:
        scheduled = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
            heapq.heappop(scheduled)._scheduled = False
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise RuntimeError(f"the loop spins at {self._now_s} s")
        if not self._ready:  # type: ignore[attr-defined]
            if not scheduled:
                raise RuntimeError("nothing will ever happen")
            if scheduled[0]._when > self._now_s:
                self._now_s, self._steps = scheduled[0]._when, 0
        super()._run_once()  # type: ignore[misc]


def run_in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


class StepWriter:
    """Does what `StoreWriter` does, in the loop's thread.

    A transaction takes everything that is queued, and its callers resume after ``latency_s()``.
    What is queued meanwhile goes into the next one.
    """

    def __init__(self, latency_s: Callable[[], float]) -> None:
        self.connection = MemoryDatabase().open()
        self._latency_s = latency_s
        self._loop = asyncio.get_running_loop()
        self._queued: list[_Job] = []
        self._unsent: list[_Job] = []
        self._is_busy = False

    def submit(
        self, operation: Operation[T], *, is_synced: bool = True, is_urgent: bool = True
    ) -> asyncio.Future[T]:
        """See `StoreWriter.submit`."""
        done: asyncio.Future[T] = self._loop.create_future()
        self._unsent.append(_Job(operation, done, is_synced))
        if is_urgent:
            self._queued += self._unsent
            self._unsent = []
            if not self._is_busy:
                self._is_busy = True
                self._loop.call_soon(self._start)
        return done

    async def run(self, operation: Operation[T]) -> T:
        """See `StoreWriter.run`."""
        return await self.submit(operation)

    def _start(self) -> None:
        jobs, self._queued = self._queued, []
        results = _transact(jobs, self.connection)
        resolved = [(job.done, result, None) for job, result in zip(jobs, results, strict=True)]
        self._loop.call_later(self._latency_s(), self._finish, resolved)

    def _finish(self, resolved: Sequence[Any]) -> None:
        _resolve_futures(list(resolved))
        self._is_busy = bool(self._queued)
        if self._is_busy:
            self._start()


@asynccontextmanager
async def open_step_outbox(
    latency_s: Callable[[], float], quota: Quota, unordered: Collection[str] = ()
) -> AsyncIterator[tuple[Outbox, StepWriter]]:
    """Open an empty store in memory."""
    writer = StepWriter(latency_s)
    try:
        yield Outbox(cast("StoreWriter", writer), quota, unordered), writer
    finally:
        writer.connection.close()
