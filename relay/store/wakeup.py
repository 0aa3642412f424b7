"""What a lane is told of its destination's deliveries."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
"""A delivery."""


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """What there was of news."""

    fresh: Sequence[T]
    """These were committed and are due; none that became due before them was kept back."""
    more: bool
    """Whether the store may hold others that are due."""


class News(Generic[T]):
    """Set whenever there is something to look at.

    Whoever has all that was due at hand says how much room there is for more, and need not ask the
    store for what it has just committed.
    """

    def __init__(self) -> None:
        self._bell = asyncio.Event()
        self._fresh: list[T] = []
        self._room = 0
        self._more = False

    def set(self) -> None:
        """The store may hold something that is due."""
        self._more = True
        self._bell.set()

    def ring(self) -> None:
        """Something else has changed."""
        self._bell.set()

    def hand(self, delivery: T) -> None:
        """It was committed and is due, behind those that were handed over before."""
        if not self._more and len(self._fresh) < self._room:
            self._fresh.append(delivery)
        else:
            self._more = True
        self._bell.set()

    def make_room(self, count: int) -> None:
        """So many may be handed over: all that was due before is known."""
        self._room = count

    def take(self) -> Told[T]:
        """What there is, once; there is no room for more until it is made again."""
        told = Told(self._fresh, self._more)
        self._fresh, self._room, self._more = [], 0, False
        return told

    def clear(self) -> None:
        """It was looked at."""
        self._bell.clear()

    def is_set(self) -> bool:
        """Whether there is something to look at."""
        return self._bell.is_set()

    async def wait(self) -> None:
        """Until there is something to look at."""
        await self._bell.wait()
