"""The deliveries to one destination that are in memory, in the order in which they are sent.

A delivery comes here straight from the commit that stored it, or is fetched from the store. It
stays until its outcome is stored. Deliveries about one subject form a chain: only the head of a
chain may be sent, and its successor follows as soon as the head was answered. The store holds all
of them, so the queue may drop what it has not sent: that is fetched again later.

All queues share one `MemoryBudget`, so that a destination that is slow, or whose deliveries are
large, cannot fill the memory.
"""

from collections import deque
from collections.abc import Collection

from msgspec.structs import replace

from relay.config import BatchConfig, Renderer
from relay.core.event import Actor
from relay.core.exchange import Request
from relay.delivery.batching import BatchSizer
from relay.store.records import Delivery

MAX_MEMORY_BYTES = 16 * 1024 * 1024
"""How much memory the deliveries of all destinations may take: some 5,000 ordinary ones."""

DELIVERY_BYTES = 1_024
"""Approximate memory of a delivery in addition to its notification."""

BYTES_PER_STORED_BYTE = 3
"""Approximate memory for each byte of a notification's JSON: its decoded strings, its rendered
body, and what waits to be written to the socket."""

LARGE_BYTES = 64 * 1024
"""Of a larger notification, the queue keeps only what settling needs once it is rendered."""

Batch = list[tuple[Delivery, Request]]
"""What goes into one request: each delivery with the request that would send it alone."""

_NO_ACTOR = Actor(id="", name=None, image=None, attributes={})


class MemoryBudget:
    """How much memory the deliveries of all destinations take together.

    A queue may grow while it takes less than what is still free. So a queue that grows without
    limit stops at half of the budget, two stop at a third each, and there is always room for
    another. Network switches share their buffers in this way (Choudhury and Hahne, "Dynamic queue
    length thresholds for shared-memory packet switches", 1998, with a factor of 1).
    """

    def __init__(self, max_bytes: int = MAX_MEMORY_BYTES) -> None:
        self._max_bytes = max_bytes
        self.used_bytes = 0

    def available_bytes(self, own_bytes: int) -> int:
        """Return by how much a queue that takes ``own_bytes`` may grow."""
        return max(0, (self._max_bytes - self.used_bytes - own_bytes) // 2)

    def reserve(self, own_bytes: int, size_bytes: int) -> bool:
        """Take memory for one more delivery, if the queue may grow; an empty queue always may."""
        if own_bytes and size_bytes > self.available_bytes(own_bytes):
            return False
        self.used_bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Give memory back."""
        self.used_bytes -= size_bytes


def memory_bytes(delivery: Delivery) -> int:
    """Return approximately how much memory a delivery takes until it is settled."""
    return DELIVERY_BYTES + BYTES_PER_STORED_BYTE * delivery.size_bytes


class _Chain:
    """The deliveries about one subject that are in memory."""

    __slots__ = ("count", "head", "is_complete", "waiting")

    def __init__(self) -> None:
        self.count = 0
        """How many are in memory, settled ones excluded."""
        self.head: int | None = None
        """The number of the one that may be sent, or was sent and not answered yet."""
        self.waiting: deque[Delivery] = deque()
        """Its successors."""
        self.is_complete = False
        """Whether all deliveries after the head are in memory."""


class DeliveryQueue:
    """The deliveries to one destination that are in memory."""

    def __init__(self, memory: MemoryBudget, batch: BatchConfig | None) -> None:
        """With None for ``batch`` each delivery has a request of its own."""
        self._memory = memory
        self._sizer = BatchSizer(batch)
        self._ready: deque[Delivery] = deque()
        self._held: dict[int, Delivery] = {}
        """Everything in memory by number: ready, waiting, in flight, and answered."""
        self._chains: dict[int, _Chain] = {}
        self._rendered: dict[int, Request] = {}
        """Rendered deliveries that did not fit into a batch, by number."""
        self._requeued = 0
        """How many of the ready ones were in a batch that was too large."""
        self._own_bytes = 0
        self.is_short_of_memory = False
        """Whether there was no memory for a delivery, and none has been released since."""

    def __len__(self) -> int:
        """How many may be sent now."""
        return len(self._ready)

    def __contains__(self, seq: int) -> bool:
        """Whether the delivery with this number is in memory."""
        return seq in self._held

    @property
    def seqs(self) -> Collection[int]:
        """The numbers of everything in memory."""
        return self._held.keys()

    @property
    def max_batch_size(self) -> int:
        """How many deliveries go into one request."""
        return self._sizer.max_count

    @property
    def available_bytes(self) -> int:
        """Approximately how many bytes of stored notifications still fit."""
        return self._memory.available_bytes(self._own_bytes) // BYTES_PER_STORED_BYTE

    def add_due(self, delivery: Delivery, *, is_only: bool) -> bool:
        """Append a delivery that is due. Returns False if there is no memory for it.

        ``is_only`` says that the store has no successors of it, so that those which are committed
        later can be sent from memory. If another one of its chain is still to be answered, this one
        stays in the store until that is settled. This happens if the store was full and has evicted
        the other, or if a heartbeat has replaced it.
        """
        chain = self._chains.get(delivery.chain)
        if chain is not None and chain.head is not None:
            chain.is_complete = False
            return True
        if not self._hold(delivery):
            self.break_chain(delivery.chain)
            return False
        chain = self._chains[delivery.chain]
        chain.head, chain.is_complete = delivery.seq, is_only
        self._ready.append(delivery)
        return True

    def add_successor(self, delivery: Delivery) -> None:
        """Append a delivery that was committed while others about its subject waited.

        It stays in the store until it is due if not all of these are in memory, or if the queue
        takes half of what it may: a subject with many deliveries must leave room for others.
        """
        chain = self._chains.get(delivery.chain)
        if chain is None or not chain.is_complete:
            return
        is_half_full = self._own_bytes > self._memory.available_bytes(self._own_bytes)
        if is_half_full or not self._hold(delivery):
            chain.is_complete = False
        elif chain.head is None:
            chain.head = delivery.seq
            self._ready.append(delivery)
        else:
            chain.waiting.append(delivery)

    def holds_chain(self, chain_number: int) -> bool:
        """Whether a delivery of the chain is in memory."""
        return chain_number in self._chains

    def break_chain(self, chain_number: int) -> None:
        """Note that a delivery of the chain is in the store and not in memory."""
        if (chain := self._chains.get(chain_number)) is not None:
            chain.is_complete = False

    def break_chains(self) -> None:
        """Note that deliveries of any chain may be in the store and not in memory."""
        for chain in self._chains.values():
            chain.is_complete = False

    def answered(self, delivery: Delivery, *, is_final: bool) -> bool:
        """Note that a delivery was answered: its successor may be sent.

        If the outcome is not final, the delivery will be sent again, and its successors stay in the
        store. Returns whether its successor has to be fetched.
        """
        chain = self._chains[delivery.chain]
        chain.head = None
        if not is_final:
            self._drop_waiting(chain)
        elif chain.waiting:
            successor = chain.waiting.popleft()
            chain.head = successor.seq
            self._ready.append(successor)
        else:
            return not chain.is_complete
        return False

    def settled(self, delivery: Delivery) -> bool:
        """Remove a delivery: its outcome is stored. Returns whether successors must be fetched."""
        is_complete = self._chains[delivery.chain].is_complete
        del self._held[delivery.seq]
        self._release(delivery)
        return not is_complete

    def clear(self) -> None:
        """Drop everything that was not sent; it is still in the store."""
        for delivery in self._ready:
            self._chains[delivery.chain].head = None
            del self._held[delivery.seq]
            self._release(delivery)
        self._ready.clear()
        self._rendered.clear()
        self._requeued = 0
        for chain in list(self._chains.values()):
            self._drop_waiting(chain)

    def close(self) -> None:
        """Drop everything. Nothing may be sent or settled afterwards."""
        self.clear()
        for delivery in self._held.values():
            self._release(delivery)
        self._held.clear()

    def wait_s(self, now_ns: int) -> float:
        """Return how long the first delivery still waits for others to go with it; 0 if it may go.

        Deliveries of a batch that was too large do not wait.
        """
        if self._requeued or self._sizer.max_count == 1:
            return 0.0
        return self._sizer.wait_s(len(self), (now_ns - self._ready[0].created_ns) / 1e9)

    def take(self, render: Renderer, now_s: float, *, alone: bool) -> Batch:
        """Remove and return the next batch; with ``alone`` only the first delivery.

        Each delivery is rendered once, even if it does not fit and goes into a later batch. Of a
        large one, only what settling needs is kept.
        """
        if self._sizer.max_count == 1 and self._ready[0].size_bytes <= LARGE_BYTES:
            delivery = self._ready.popleft()
            return [(delivery, render(delivery.notification))]
        builder = self._sizer.start_batch(now_s, alone=alone)
        batch: Batch = []
        while self._ready and not builder.is_full:
            delivery = self._ready[0]
            request = self._rendered.pop(delivery.seq, None) or render(delivery.notification)
            if not builder.try_add(len(request.body), delivery.attempts):
                self._rendered[delivery.seq] = request
                break
            self._ready.popleft()
            if delivery.size_bytes > LARGE_BYTES:
                delivery = self._held[delivery.seq] = _without_content(delivery)
            batch.append((delivery, request))
        self._requeued = max(0, self._requeued - len(batch))
        return batch

    def requeue(self, batch: Batch, now_s: float) -> None:
        """Put back a batch that was too large. It goes first, in smaller batches."""
        self._sizer.shrink([len(request.body) for _, request in batch], now_s)
        self._ready.extendleft(delivery for delivery, _ in reversed(batch))
        self._rendered.update((delivery.seq, request) for delivery, request in batch)
        self._requeued += len(batch)

    def _hold(self, delivery: Delivery) -> bool:
        size_bytes = memory_bytes(delivery)
        if not self._memory.reserve(self._own_bytes, size_bytes):
            self.is_short_of_memory = True
            return False
        self._own_bytes += size_bytes
        self._held[delivery.seq] = delivery
        chain = self._chains.get(delivery.chain)
        if chain is None:
            chain = self._chains[delivery.chain] = _Chain()
        chain.count += 1
        return True

    def _release(self, delivery: Delivery) -> None:
        size_bytes = memory_bytes(delivery)
        self._memory.release(size_bytes)
        self._own_bytes -= size_bytes
        self.is_short_of_memory = False
        chain = self._chains[delivery.chain]
        chain.count -= 1
        if chain.count == 0:
            del self._chains[delivery.chain]

    def _drop_waiting(self, chain: _Chain) -> None:
        chain.is_complete = False
        for delivery in chain.waiting:
            del self._held[delivery.seq]
            self._release(delivery)
        chain.waiting.clear()


def _without_content(delivery: Delivery) -> Delivery:
    """Return a delivery that was rendered, without the texts of its events."""
    notification = delivery.notification
    events = tuple(replace(event, actor=_NO_ACTOR, detail=None) for event in notification.events)
    return replace(delivery, notification=replace(notification, events=events, included=None))
