"""What became of attempts, on its way into the store: many in one commit."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from relay.delivery.circuit_breaker import Turn
from relay.store.records import Outbox, Settled

GATHER_S = 0.005
"""How long an outcome waits for others: a commit of its own would hold up what is taken in."""

ENOUGH = 16
"""So many wait for no others."""


class Settling:
    """Has the outbox commit outcomes of one destination, in the order in which they came."""

    def __init__(
        self,
        destination: str,
        outbox: Outbox,
        now: Callable[[], int],
        settled: Callable[[Iterable[int]], None],
    ) -> None:
        """``settled`` is called with the numbers of those that are on disk."""
        self._destination = destination
        self._outbox = outbox
        self._now = now
        self._settled = settled
        self._outcomes: list[Settled] = []
        self._turns: list[Turn] = []
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._closed = False
        self._queued = False
        """Whether something waited for what was committed last: something may for the next."""

    def add(self, outcomes: Sequence[Settled], turn: Turn | None, *, last: bool) -> None:
        """These go into the next commit, and behind it what they mean for the destination.

        They wait for no others if they are the ``last``, as far as is known, and something waits
        for them.
        """
        self._outcomes += outcomes
        if turn is not None:
            self._turns.append(turn)
        self._some.set()
        if len(self._outcomes) >= ENOUGH or turn is not None or (last and self._queued):
            self._enough.set()

    def close(self) -> None:
        """No more come."""
        self._closed = True
        self._some.set()
        self._enough.set()

    async def run(self) -> None:
        """Commit until all is committed and no more come."""
        while await self._gather():
            outcomes, self._outcomes = self._outcomes, []
            turns, self._turns = self._turns, []
            self._queued = await self._outbox.settle(outcomes, self._now())
            for turn in turns:
                await self._keep(turn)
            self._settled(outcome.delivery.seq for outcome in outcomes)

    async def _gather(self) -> bool:
        """Whether there are outcomes; waits for the first of them, and a little for others."""
        await self._some.wait()
        try:
            async with asyncio.timeout(GATHER_S):
                await self._enough.wait()
        except TimeoutError:
            pass
        if not self._closed:
            self._some.clear()
            self._enough.clear()
        return bool(self._outcomes)

    async def _keep(self, turn: Turn) -> None:
        match turn:
            case Turn.FAILING:
                await self._outbox.begin_episode(self._destination, self._now())
            case Turn.RECOVERED:
                await self._outbox.end_episode(self._destination)
                await self._outbox.hurry(self._destination, self._now())
