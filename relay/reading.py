"""Reading files while relay runs, from a disk that may hang."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from relay.errors import RelayError

READ_S = 30.0
"""How long it may take."""

T = TypeVar("T")


class NotRead(RelayError):
    """It took too long."""


class Reader:
    """Reads one time after the other, in a thread of its own each time.

    A disk that hangs holds up neither the loop nor relay's end, takes no thread from those that
    others need, and has one of them at most.
    """

    def __init__(self) -> None:
        self._latest: asyncio.Future[Any] | None = None

    async def read(self, work: Callable[[], T]) -> T:
        """What it returns or raises. Raises `NotRead` after `READ_S`."""
        try:
            async with asyncio.timeout(READ_S):
                if self._latest is not None:
                    await asyncio.wait({self._latest})
                self._latest = done = _begun(work)
                return await asyncio.shield(done)
        except TimeoutError:
            words = f"the configuration, and the files that it names, took more than {READ_S:g} s"
            raise NotRead(words) from None


def _begun(work: Callable[[], T]) -> asyncio.Future[T]:
    """Begin it; returns what has its outcome."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    done.add_done_callback(_heard)

    def tell(outcome: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(outcome)

    def run() -> None:
        try:
            found = work()
        except Exception as error:
            tell(partial(done.set_exception, error))
        else:
            tell(partial(done.set_result, found))

    threading.Thread(target=run, name="reading", daemon=True).start()
    return done


def _heard(done: asyncio.Future[Any]) -> None:
    """What comes after nobody waits for it any more is no surprise."""
    if not done.cancelled():
        done.exception()
