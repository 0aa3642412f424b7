"""What became of attempts, on its way into the store: many in one commit."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from relay.delivery.circuit_breaker import HealthChange
from relay.store.records import Ack, Outbox

LINGER_S = 0.005
"""How long an outcome waits for others: a commit of its own would hold up what is taken in."""

BATCH_SIZE = 16
"""So many wait for no others."""


class AckBatcher:
    """Has the outbox commit outcomes of one destination, in the order in which they came."""

    def __init__(
        self,
        destination: str,
        outbox: Outbox,
        now: Callable[[], int],
        on_committed: Callable[[Iterable[int]], None],
    ) -> None:
        """``settled`` is called with the numbers of those that are on disk."""
        self._destination = destination
        self._outbox = outbox
        self._now = now
        self._on_committed = on_committed
        self._settled: list[Ack] = []
        self._health_changes: list[HealthChange] = []
        self._has_outcomes = asyncio.Event()
        self._flush = asyncio.Event()
        self._closed = False
        self._successors_waiting = False
        """Whether something waited for what was committed last: something may for the next."""

    def add(
        self, settled: Sequence[Ack], health_change: HealthChange | None, *, is_last: bool
    ) -> None:
        """These go into the next commit, and behind it what they mean for the destination.

        They wait for no others if they are the ``last``, as far as is known, and something waits
        for them.
        """
        self._settled += settled
        if health_change is not None:
            self._health_changes.append(health_change)
        self._has_outcomes.set()
        if (
            len(self._settled) >= BATCH_SIZE
            or health_change is not None
            or (is_last and self._successors_waiting)
        ):
            self._flush.set()

    def close(self) -> None:
        """No more come."""
        self._closed = True
        self._has_outcomes.set()
        self._flush.set()

    async def run(self) -> None:
        """Commit until all is committed and no more come."""
        while await self._wait_for_batch():
            settled, self._settled = self._settled, []
            health_changes, self._health_changes = self._health_changes, []
            self._successors_waiting = await self._outbox.ack(settled, self._now())
            for health_change in health_changes:
                await self._save_health_change(health_change)
            self._on_committed(outcome.delivery.seq for outcome in settled)

    async def _wait_for_batch(self) -> bool:
        """Whether there are outcomes; waits for the first of them, and a little for others."""
        await self._has_outcomes.wait()
        try:
            async with asyncio.timeout(LINGER_S):
                await self._flush.wait()
        except TimeoutError:
            pass
        if not self._closed:
            self._has_outcomes.clear()
            self._flush.clear()
        return bool(self._settled)

    async def _save_health_change(self, health_change: HealthChange) -> None:
        match health_change:
            case HealthChange.FAILING:
                await self._outbox.begin_outage(self._destination, self._now())
            case HealthChange.RECOVERED:
                await self._outbox.end_outage(self._destination)
                await self._outbox.retry_now(self._destination, self._now())
