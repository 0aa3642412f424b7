"""Waiting for what a test is about, instead of sleeping."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 10.0
"""How long a test waits for what should come at once, before it fails."""


class Bell:
    """Rung whenever something changed, so that those who wait look again."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who waits."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Return once it holds. Raises TimeoutError after `PATIENCE_S`."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await self._rung.wait()
