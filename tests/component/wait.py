"""Waiting for what a test is about, instead of sleeping."""

import asyncio
from collections.abc import Callable

TIMEOUT_S = 10.0
"""How long a test waits for what should come at once, before it fails."""


class ChangeSignal:
    """Rung whenever something changed, so that those who wait look again."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """Wake everybody who waits."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return once it holds. Raises TimeoutError after `TIMEOUT_S`."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                await self._changed.wait()
