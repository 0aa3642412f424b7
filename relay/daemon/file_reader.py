"""Reads the configuration's files in a thread, with a time limit.

A disk or network mount can hang for ever. Waiting for it must hold up neither the event loop nor
relay's end, and must not occupy a thread of asyncio's pool, which others need. Therefore every read
has a daemon thread of its own, and waits for the read before it: at most one thread hangs, however
often a reload is requested. The thread ends with its read.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from relay.core.errors import RelayError
from relay.core.threads import run_in_thread

READ_TIMEOUT_S = 30.0
"""How long a read may take, including the time it waits for the one before it."""

T = TypeVar("T")


class ReadTimeout(RelayError):
    """A read took too long."""


class FileReader:
    """Runs one read at a time."""

    def __init__(self) -> None:
        self._latest: asyncio.Future[Any] | None = None

    async def read(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, or raise what it raises.

        Raises `ReadTimeout` after `READ_TIMEOUT_S`. ``work`` goes on in its thread then, and its
        result is dropped.
        """
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                if self._latest is not None:
                    await asyncio.wait({self._latest})
                self._latest = result = run_in_thread(work, "file reader")
                return await asyncio.shield(result)
        except TimeoutError:
            raise ReadTimeout(
                f"the configuration, and the files that it names, took more than "
                f"{READ_TIMEOUT_S:g} s to read"
            ) from None
