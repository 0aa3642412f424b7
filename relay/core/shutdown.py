"""Being told to stop, and how long what is under way may take then."""

import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

DRAIN_S = 5
"""How long what is under way may take to finish once relay was told to stop."""


@dataclass(slots=True)
class Shutdown:
    """Being told to stop, once or more."""

    requested: asyncio.Event = field(default_factory=asyncio.Event)
    forced: asyncio.Event = field(default_factory=asyncio.Event)

    def request(self) -> None:
        """Stop; asked again, stop without waiting for what is under way."""
        if self.requested.is_set():
            self.forced.set()
        self.requested.set()

    async def run_unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the work returns, or raises; None, without waiting for it, once told to stop."""
        working, asked = asyncio.ensure_future(work), asyncio.ensure_future(self.requested.wait())
        try:
            await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            for task in (working, asked):
                task.cancel()
            await asyncio.wait({working, asked})

    def handle_signals(self, *others: signal.Signals) -> None:
        """Stop on SIGTERM, SIGINT, and others."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, *others):
            loop.add_signal_handler(number, self.request)


async def drain(tasks: list[asyncio.Task[None]], shutdown: Shutdown, deadline_s: float) -> None:
    """Let the tasks end by themselves until ``ends_s`` or a second request; then cancel them.

    What is not finished is the engine's to repeat or in the store: the next start does it.
    """
    if not tasks:
        return
    hurried = asyncio.ensure_future(shutdown.forced.wait())
    finished = asyncio.ensure_future(asyncio.wait(tasks))
    left_s = max(0.0, deadline_s - asyncio.get_running_loop().time())
    await asyncio.wait({hurried, finished}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    for task in (hurried, finished, *tasks):
        task.cancel()
