"""The shutdown of relay: a request to stop, a limited time to finish, then cancellation.

The first signal requests a shutdown, and tasks may finish what they are doing for up to `DRAIN_S`.
A second signal forces it: what still runs is cancelled at once. That loses nothing: unfinished work
is in the store, or the engine repeats it at the next start.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec

from relay.core.clock import loop_time_s

T = TypeVar("T")

DRAIN_S = 5
"""How long running work may take to finish after a shutdown was requested."""


class Shutdown(msgspec.Struct):
    """A request to shut down, made once or more often."""

    requested: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    forced: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    def request(self) -> None:
        """Request the shutdown; a second call forces it, without waiting for running work."""
        if self.requested.is_set():
            self.forced.set()
        self.requested.set()

    async def run_unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what ``work`` returns, or raise what it raises.

        Returns None as soon as a shutdown is requested; ``work`` is then cancelled.
        """
        running = asyncio.create_task(work, name="run unless stopped")
        requested = asyncio.create_task(self.requested.wait(), name="wait for shutdown")
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
    forced = asyncio.create_task(shutdown.forced.wait(), name="wait for forced shutdown")
    finished = asyncio.create_task(asyncio.wait(tasks), name="drain")
    left_s = max(0.0, deadline_s - loop_time_s())
    await asyncio.wait({forced, finished}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    for task in (forced, finished, *tasks):
        task.cancel()
