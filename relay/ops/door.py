"""The place where relay answers over HTTP, which a reload can move."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from relay.config import AdminConfig

Open = Callable[[AdminConfig], AbstractAsyncContextManager[None]]
"""Answers at a place as long as the context lasts. Raises `AdminError`."""


class Door:
    """One place at a time, or none. Another is opened before the one in use is closed."""

    def __init__(self, open_: Open) -> None:
        self._open = open_
        self._config: AdminConfig | None = None
        self._opened = AsyncExitStack()

    async def opened(self, wanted: AdminConfig | None) -> AsyncExitStack:
        """The place that is wanted, opened; empty where it is the one in use, or none."""
        fresh = AsyncExitStack()
        if wanted is not None and wanted != self._config:
            await fresh.enter_async_context(self._open(wanted))
        return fresh

    def adopt(self, wanted: AdminConfig | None, opened: AsyncExitStack) -> AsyncExitStack:
        """From here on answer there; returns what closes the place that is no more."""
        if wanted == self._config:
            return opened
        before, self._opened, self._config = self._opened, opened, wanted
        return before

    async def close(self) -> None:
        """Answer no more."""
        await self._opened.aclose()
