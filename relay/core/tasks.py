"""Tasks: how they are spawned, run in threads, watched for stalls, and ended.

`spawn` starts every task, so that each has a name. At a shutdown the first signal is a request to
stop: tasks may finish what they are doing for up to `DRAIN_S`. A second signal forces the shutdown:
what still runs is cancelled at once. That loses nothing: unfinished work is in the store, or the
engine repeats it at the next start. `LoopMonitor` shows a loop that no longer makes progress.
"""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from time import monotonic
from typing import Any, TypeVar

import msgspec

from relay.core.clock import loop_time_s

T = TypeVar("T")

DRAIN_S = 5
"""How long running work may take to finish after a shutdown was requested."""


def spawn(
    work: Coroutine[Any, Any, T], name: str, group: asyncio.TaskGroup | None = None
) -> asyncio.Task[T]:
    """Start a task with a name that log lines and debuggers show; in ``group``, or on its own."""
    create_task = asyncio.create_task if group is None else group.create_task
    return create_task(work, name=name)


class Shutdown(msgspec.Struct):
    """A request to shut down, made once or more often."""

    requested: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    forced: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    def request(self) -> None:
        """Request the shutdown; a second call forces it, without waiting for running work."""
        if self.requested.is_set():
            self.forced.set()
        self.requested.set()

    async def run_unless_stopped(self, work: Coroutine[Any, Any, T], name: str) -> T | None:
        """Run ``work`` in a task of this name. Return what it returns, or raise what it raises.

        Returns None as soon as a shutdown is requested; ``work`` is then cancelled.
        """
        running = spawn(work, name)
        requested = spawn(self.requested.wait(), "wait for shutdown")
        try:
            await asyncio.wait({running, requested}, return_when=asyncio.FIRST_COMPLETED)
            return running.result() if running.done() else None
        finally:
            for task in (running, requested):
                task.cancel()
            await asyncio.wait({running, requested})

    def handle_signals(self, *others: signal.Signals) -> None:
        """Request the shutdown on SIGTERM, SIGINT and ``others``."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, *others):
            loop.add_signal_handler(number, self.request)


async def drain(tasks: list[asyncio.Task[None]], shutdown: Shutdown, deadline_s: float) -> None:
    """Wait for the tasks until ``deadline_s`` (loop time) or a forced shutdown, then cancel them.

    The next start resumes unfinished work: it is in the store, or the engine repeats it.
    """
    if not tasks:
        return
    forced = spawn(shutdown.forced.wait(), "wait for forced shutdown")
    finished = spawn(asyncio.wait(tasks), "drain")
    left_s = max(0.0, deadline_s - loop_time_s())
    await asyncio.wait({forced, finished}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    for task in (forced, finished, *tasks):
        task.cancel()


async def import_in_thread(module: str) -> None:
    """Import a module that only some configurations or requests need; meanwhile the loop goes on.

    The caller then imports from it as usual, which takes no time.
    """
    if module not in sys.modules:
        await run_in_thread(partial(import_module, module), f"import of {module}")


def run_in_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Run ``work`` in a new thread of this name; the future gets its result."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    # Retrieve an exception in any case: asyncio would log one that comes after a timeout.
    result.add_done_callback(lambda done: done.cancelled() or done.exception())

    def settle(set_result: Callable[[], None]) -> None:
        if not result.done():  # it was cancelled while the thread ran
            set_result()

    def report(set_result: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(settle, set_result)

    def run() -> None:
        try:
            returned = work()
        except Exception as error:
            report(partial(result.set_exception, error))
        else:
            report(partial(result.set_result, returned))

    threading.Thread(target=run, name=name, daemon=True).start()
    return result


class LoopMonitor:
    """How long one loop has been in its current iteration."""

    def __init__(self, now_s: Callable[[], float] = monotonic) -> None:
        self._now_s = now_s
        self._iteration_start_s: float | None = now_s()

    def iteration_started(self) -> None:
        """Note that an iteration starts now."""
        self._iteration_start_s = self._now_s()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Mark the loop as idle inside this context; an iteration starts at its end."""
        self._iteration_start_s = None
        try:
            yield
        finally:
            self.iteration_started()

    @property
    def busy_s(self) -> float:
        """Seconds since the current iteration started; 0.0 while the loop is idle."""
        return 0.0 if self._iteration_start_s is None else self._now_s() - self._iteration_start_s
