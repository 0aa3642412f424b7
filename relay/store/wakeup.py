"""What a lane is told of its destination's deliveries."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
"""A delivery."""


@dataclass(frozen=True, slots=True)
class Handover(Generic[T]):
    """What there was of news."""

    deliveries: Sequence[T]
    """These were committed and are due; none that became due before them was kept back."""
    needs_fetch: bool
    """Whether the store may hold others that are due."""


class Wakeup(Generic[T]):
    """Set whenever there is something to look at.

    Whoever has all that was due at hand says how much room there is for more, and need not ask the
    store for what it has just committed.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._offered: list[T] = []
        self._credit = 0
        self._needs_fetch = False

    def request_fetch(self) -> None:
        """The store may hold something that is due."""
        self._needs_fetch = True
        self._event.set()

    def notify(self) -> None:
        """Something else has changed."""
        self._event.set()

    def offer(self, delivery: T) -> None:
        """It was committed and is due, behind those that were handed over before."""
        if not self._needs_fetch and len(self._offered) < self._credit:
            self._offered.append(delivery)
        else:
            self._needs_fetch = True
        self._event.set()

    def grant(self, count: int) -> None:
        """So many may be handed over: all that was due before is known."""
        self._credit = count

    def take(self) -> Handover[T]:
        """What there is, once; there is no room for more until it is made again."""
        handover = Handover(self._offered, self._needs_fetch)
        self._offered, self._credit, self._needs_fetch = [], 0, False
        return handover

    def clear(self) -> None:
        """It was looked at."""
        self._event.clear()

    def is_set(self) -> bool:
        """Whether there is something to look at."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Until there is something to look at."""
        await self._event.wait()
