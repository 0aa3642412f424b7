"""Acks: the outcomes of attempts on their way into the store, many in one commit (group ack).

Each commit syncs the disk, and the events that are being ingested wait for the same disk. So an
outcome waits up to `LINGER_S` for others, unless there are `BATCH_SIZE` of them, an outage begins
or ends, or deliveries about the same subject wait for it and no other outcome is to come. After a
crash the deliveries whose outcomes were not committed are sent again.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from relay.delivery.circuit_breaker import HealthChange
from relay.store.outbox import Outbox
from relay.store.records import Ack

LINGER_S = 0.005
"""How long an outcome waits for others."""

BATCH_SIZE = 16
"""With this many outcomes the commit does not wait for more."""

MAX_UNACKED = 32
"""At most this many deliveries that were answered wait for their commit. After a crash these are
sent twice."""


class AckBatcher:
    """Commits the outcomes of one destination, in the order in which they are added."""

    def __init__(
        self,
        destination: str,
        outbox: Outbox,
        now: Callable[[], int],
        on_committed: Callable[[Iterable[int]], None],
    ) -> None:
        """``on_committed`` is called with the numbers of the deliveries after each commit."""
        self._destination = destination
        self._outbox = outbox
        self._now = now
        self._on_committed = on_committed
        self._acks: list[Ack] = []
        self._health_changes: list[HealthChange] = []
        self._has_acks = asyncio.Event()
        self._flush = asyncio.Event()
        self._closed = False
        self._successors_waiting = False
        """Whether deliveries waited for the last commit; then some may wait for the next, too."""

    def add(
        self, acks: Sequence[Ack], health_change: HealthChange | None, *, is_last: bool
    ) -> None:
        """Add outcomes to the next commit, and a change of health that is saved after it.

        ``is_last`` says that nothing else is being sent or prefetched. Then these outcomes are
        committed at once if other deliveries wait for them.
        """
        self._acks += acks
        if health_change is not None:
            self._health_changes.append(health_change)
        self._has_acks.set()
        is_full = len(self._acks) >= BATCH_SIZE
        if is_full or health_change is not None or (is_last and self._successors_waiting):
            self._flush.set()

    def close(self) -> None:
        """Let `run` return when everything is committed. Nothing may be added afterwards."""
        self._closed = True
        self._has_acks.set()
        self._flush.set()

    async def run(self) -> None:
        """Commit outcomes until `close`."""
        while await self._wait_for_batch():
            acks, self._acks = self._acks, []
            health_changes, self._health_changes = self._health_changes, []
            self._successors_waiting = await self._outbox.ack(acks, self._now())
            for health_change in health_changes:
                await self._save_health_change(health_change)
            self._on_committed(ack.delivery.seq for ack in acks)

    async def _wait_for_batch(self) -> bool:
        """Wait for an outcome, and a little for others. Returns False when there are no more."""
        await self._has_acks.wait()
        try:
            async with asyncio.timeout(LINGER_S):
                await self._flush.wait()
        except TimeoutError:
            pass
        if not self._closed:
            self._has_acks.clear()
            self._flush.clear()
        return bool(self._acks)

    async def _save_health_change(self, health_change: HealthChange) -> None:
        match health_change:
            case HealthChange.FAILING:
                await self._outbox.begin_outage(self._destination, self._now())
            case HealthChange.RECOVERED:
                await self._outbox.end_outage(self._destination)
                await self._outbox.retry_now(self._destination, self._now())
