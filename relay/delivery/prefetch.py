"""The prefetch buffer: deliveries that a worker has fetched from the store and not sent yet.

It saves the worker from asking the store for each delivery, and it is where a batch is assembled.
Everything in it is in the store as well, so it can be cleared at any time without loss.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from relay.config import BatchConfig, Renderer
from relay.core.exchange import Request
from relay.delivery.batching import BatchSizer
from relay.store.records import Delivery

FETCH_SIZE = 64
"""How many deliveries are fetched from the store at once, unless a request takes more."""

Batch = Sequence[tuple[Delivery, Request]]
"""What goes into one request: each delivery with the request that would send it alone."""


class PrefetchBuffer:
    """Deliveries to one destination that are due, in the order in which they are sent."""

    def __init__(self, config: BatchConfig | None) -> None:
        """With None each delivery has a request of its own."""
        self._sizer = BatchSizer(config)
        self._deliveries: deque[Delivery] = deque()
        self._rendered: dict[int, Request] = {}
        """Rendered deliveries that did not fit into a batch, by the store's number."""
        self._requeued = 0
        """How many of the first deliveries were in a batch that was too large."""

    def __len__(self) -> int:
        return len(self._deliveries)

    @property
    def max_batch_size(self) -> int:
        """How many deliveries go into one request."""
        return self._sizer.max_count

    @property
    def seqs(self) -> set[int]:
        """The store's numbers of the deliveries."""
        return {delivery.seq for delivery in self._deliveries}

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Append deliveries that are due."""
        self._deliveries.extend(deliveries)

    def clear(self) -> None:
        """Discard everything; it is still in the store."""
        self._deliveries.clear()
        self._rendered.clear()
        self._requeued = 0

    def wait_s(self, now_ns: int) -> float:
        """Return how long the first delivery still waits for others to go with it; 0 if it may go.

        Deliveries of a batch that was too large do not wait.
        """
        if self._requeued:
            return 0.0
        age_s = (now_ns - self._deliveries[0].created_ns) / 1e9
        return self._sizer.wait_s(len(self), age_s)

    def take(self, render: Renderer, now_s: float, *, alone: bool) -> Batch:
        """Remove and return the next batch; with ``alone`` only the first delivery.

        Each delivery is rendered once, also if it does not fit and goes into a later batch.
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
        """Put back a batch that was too large. It goes first, in smaller batches."""
        self._sizer.shrink([len(request.body) for _, request in batch], now_s)
        self._deliveries.extendleft(delivery for delivery, _ in reversed(batch))
        self._rendered.update((delivery.seq, request) for delivery, request in batch)
        self._requeued += len(batch)
