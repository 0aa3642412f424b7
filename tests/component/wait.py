"""Waiting for a condition instead of sleeping."""

import asyncio
from collections.abc import Callable

TIMEOUT_S = 10.0
"""How long a test waits for something that should happen at once, before it fails."""


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return once ``condition`` holds, which is checked all the time."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.001)


class ChangeSignal:
    """Wakes those who wait for a condition whenever something has changed."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """Let all waiters check their conditions."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        """Return once ``condition`` holds. Raises TimeoutError after this time."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await self._changed.wait()
