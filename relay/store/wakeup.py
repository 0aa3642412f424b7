"""Wakes a delivery worker, and passes it the deliveries that a commit has just made due.

Without it a worker would have to poll the store, and would have to read back from the disk what the
other loop has in memory. Each destination has one `Wakeup`, which lasts as long as the outbox.
Deliveries are passed on only as far as the worker has granted credit; it has to fetch all others.
"""

import asyncio
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")
"""The type of a delivery."""


class Handover(msgspec.Struct, Generic[T], frozen=True):
    """What `Wakeup.take` returns."""

    deliveries: Sequence[T]
    """Committed and due, in order. No delivery that became due earlier was left out."""
    needs_fetch: bool
    """Whether the store may hold other deliveries that are due."""


class Wakeup(Generic[T]):
    """An event with a payload: it is set whenever the worker has something to do.

    A worker that has fetched everything due grants credit: up to that many new deliveries are
    passed to it directly. As soon as one delivery is not passed on, none of those behind it are,
    because they would overtake it.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._offered: list[T] = []
        self._credit = 0
        self._needs_fetch = False

    def request_fetch(self) -> None:
        """Wake the worker: the store may hold deliveries that are due."""
        self._needs_fetch = True
        self._event.set()

    def notify(self) -> None:
        """Wake the worker for another reason; it need not fetch."""
        self._event.set()

    def offer(self, delivery: T) -> None:
        """Pass on a delivery that was committed and is due, after all that were offered before it.

        Without credit, or if a fetch is needed anyway, it requests a fetch instead.
        """
        if not self._needs_fetch and len(self._offered) < self._credit:
            self._offered.append(delivery)
        else:
            self._needs_fetch = True
        self._event.set()

    def grant(self, count: int) -> None:
        """Grant credit for ``count`` deliveries. Call only when everything due has been fetched."""
        self._credit = count

    def take(self) -> Handover[T]:
        """Return what was offered, and reset the credit to 0."""
        handover = Handover(self._offered, self._needs_fetch)
        self._offered, self._credit, self._needs_fetch = [], 0, False
        return handover

    def clear(self) -> None:
        """Reset the event."""
        self._event.clear()

    def is_set(self) -> bool:
        """Whether the worker has something to do."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the event is set."""
        await self._event.wait()
