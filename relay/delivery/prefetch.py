"""What a lane has fetched and not sent yet, and what of it goes in the next request."""

from collections import deque
from collections.abc import Iterable, Sequence

from relay.config import BatchConfig
from relay.core.exchange import Request
from relay.delivery.batching import BatchSizer
from relay.destinations.catalog import Renderer
from relay.store.records import Delivery

Batch = Sequence[tuple[Delivery, Request]]
"""What goes in one request, each with what it would be sent as by itself."""


class PrefetchBuffer:
    """Deliveries to one destination that are due; all of them are in the store as well."""

    def __init__(self, config: BatchConfig | None) -> None:
        """With None each goes in a request of its own."""
        self._sizer = BatchSizer(config)
        self._deliveries: deque[Delivery] = deque()
        self._rendered: dict[int, Request] = {}
        """What was rendered, and found no place in a request."""
        self._requeued = 0
        """How many of them, the first ones, were in a request that was too large."""

    def __len__(self) -> int:
        return len(self._deliveries)

    @property
    def max_batch_size(self) -> int:
        """How many go in one request."""
        return self._sizer.max_count

    @property
    def seqs(self) -> set[int]:
        """The store's numbers of them."""
        return {delivery.seq for delivery in self._deliveries}

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Those are due, too, and go behind these."""
        self._deliveries.extend(deliveries)

    def clear(self) -> None:
        """Forget them: they are in the store."""
        self._deliveries.clear()
        self._rendered.clear()
        self._requeued = 0

    def wait_s(self, now_ns: int) -> float:
        """How long the first of them still waits for others to go with it; 0 if it may go now."""
        if self._requeued:
            return 0.0
        age_s = (now_ns - self._deliveries[0].created_ns) / 1e9
        return self._sizer.wait_s(len(self), age_s)

    def take(self, render: Renderer, now_s: float, *, alone: bool) -> Batch:
        """The first, with as many behind it as go in one request, but for one that goes alone.

        Each is rendered once, whatever request it goes in at last.
        """
        builder = self._sizer.start_batch(now_s, alone=alone)
        batch: list[tuple[Delivery, Request]] = []
        while self._deliveries and not builder.is_full:
            delivery = self._deliveries[0]
            request = self._rendered.pop(delivery.seq, None) or render(delivery.notification)
            if not builder.try_add(len(request.body), delivery.attempts):
                self._rendered[delivery.seq] = request
                break
            batch.append((self._deliveries.popleft(), request))
        self._requeued = max(0, self._requeued - len(batch))
        return batch

    def requeue(self, batch: Batch, now_s: float) -> None:
        """They were too many for one request: they go first, in smaller ones, and wait for none."""
        self._sizer.shrink([len(request.body) for _, request in batch], now_s)
        self._deliveries.extendleft(delivery for delivery, _ in reversed(batch))
        self._rendered.update((delivery.seq, request) for delivery, request in batch)
        self._requeued += len(batch)
