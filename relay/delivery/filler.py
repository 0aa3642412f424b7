"""How deliveries come into the queue: from the commit that stored them, or from the store.

What was committed just now is passed on by the store, and costs no query. Fetched is only what was
in the store before, what is due again, and what found no memory. What is in the store goes first,
because it is older.

What the store tells during a query may be in its result or not. So nothing of it is used before the
result is there, and a chain of which it tells more than `receive` lists is not complete.
"""

from collections.abc import Callable, Collection, Sequence

from relay.delivery.queue import DeliveryQueue
from relay.store.handover import Committed
from relay.store.outbox import Outbox

FETCH_AGAIN_NS = 60 * 10**9
"""How often the store is asked in any case: one that repairs itself tells no worker."""


class QueueFiller:
    """Fills the queue of one destination."""

    def __init__(
        self, destination: str, outbox: Outbox, queue: DeliveryQueue, now: Callable[[], int]
    ) -> None:
        self._destination = destination
        self._outbox = outbox
        self._queue = queue
        self._now = now
        self.is_store_ahead = True
        """Whether the store may hold deliveries that are due and not in the queue."""
        self._next_due_ns: int | None = None
        """When the first of the other deliveries in the store will be due."""
        self._query: _Query | None = None
        """The query that is under way."""

    def receive(self, committed: Sequence[Committed]) -> None:
        """Take what was committed just now, as far as there is memory."""
        if self._query is not None:
            self._query.committed += committed
            return
        for delivery, is_due in committed:
            if not is_due:
                self._queue.add_successor(delivery)
            elif self.is_store_ahead or not self._queue.add_due(delivery, is_only=True):
                self._queue.break_chain(delivery.chain)
                self.is_store_ahead = True

    def request_fetch(self, chains: Collection[int] | None) -> None:
        """Fetch when there is room: the store holds more of these chains, or with None of any."""
        if chains is None:
            self._queue.break_chains()
        else:
            for chain in chains:
                self._queue.break_chain(chain)
        if self._query is not None:
            self._query.is_any_broken |= chains is None
            self._query.broken.update(chains or ())
        self.is_store_ahead = True

    async def fetch(self, until_ns: int, max_count: int) -> None:
        """Fetch up to ``max_count`` deliveries that are due by then, as far as there is memory."""
        now_ns, queue = self._now(), self._queue
        self.is_store_ahead, self._next_due_ns = False, None
        self._query = query = _Query()
        try:
            due = await self._outbox.fetch_due(
                self._destination, until_ns, max_count, queue.seqs, queue.available_bytes
            )
        finally:
            self._query = None
        count = len(queue)
        for delivery in due.deliveries:
            is_only = delivery.seq not in due.followed and not query.is_broken(delivery.chain)
            if not queue.add_due(delivery, is_only=is_only):
                self.is_store_ahead = True
        # If all wait for others of their chains, so does the next query.
        is_waiting = bool(due.deliveries) and len(queue) == count
        self.is_store_ahead |= due.has_more and not is_waiting
        again_ns = now_ns + FETCH_AGAIN_NS
        self.note_due(min(due.next_due_ns or again_ns, again_ns))
        for each in query.committed:
            if each.delivery.seq in queue:
                continue
            if not (each.is_due or queue.holds_chain(each.delivery.chain)):
                # The one before it may have been settled since the query: then it is due by now.
                self.is_store_ahead = True
            self.receive([each])

    def note_due(self, due_ns: int) -> bool:
        """Note when a delivery in the store will be due. Returns whether none is due before it."""
        is_first = self._next_due_ns is None or due_ns < self._next_due_ns
        if is_first:
            self._next_due_ns = due_ns
        return is_first

    def note_time(self, now_ns: int) -> None:
        """Note that it is ``now_ns``: something in the store may have become due."""
        if self._next_due_ns is not None and self._next_due_ns <= now_ns:
            self.is_store_ahead, self._next_due_ns = True, None

    def due_in_s(self, now_ns: int) -> float:
        """Return how long until something in the store is due that is not due now."""
        if self._next_due_ns is None:
            return float("inf")
        return (self._next_due_ns - now_ns) / 1e9


class _Query:
    """What the store told while a query was under way."""

    def __init__(self) -> None:
        self.committed: list[Committed] = []
        self.broken: set[int] = set()
        """The chains that have more deliveries than `committed` lists."""
        self.is_any_broken = False
        """Whether any chain may have more."""

    def is_broken(self, chain: int) -> bool:
        """Whether a chain may have more deliveries than were committed."""
        return self.is_any_broken or chain in self.broken
