"""Fills the queue of a destination: with what was just committed, and with what is in the store.

The store passes on each commit (`receive`), which costs no query. A query (`fetch`) is needed for
what was stored before, what is due again, and what there was no memory for. Deliveries in the store
go first, because they are older.

A delivery that is committed while a query runs may or may not be in its result. So the filler keeps
such deliveries until it has the result, and only then adds those that are not in it.
"""

from collections.abc import Callable, Collection, Sequence

from relay.delivery.queue import DeliveryQueue
from relay.store.handover import Committed
from relay.store.outbox import Outbox

FETCH_AGAIN_NS = 60 * 10**9
"""The store is queried at least this often: when it repairs itself, it informs no worker."""


class QueueFiller:
    """Fills the queue of one destination."""

    def __init__(
        self, destination: str, outbox: Outbox, queue: DeliveryQueue, now: Callable[[], int]
    ) -> None:
        self._destination = destination
        self._outbox = outbox
        self._queue = queue
        self._now = now
        self.store_has_more = True
        """Whether deliveries that are due may be in the store and not in the queue."""
        self._next_due_ns: int | None = None
        """When the next delivery in the store will be due; None if that is not known."""
        self._query: _Query | None = None
        """The query that is running."""

    def receive(self, committed: Sequence[Committed]) -> None:
        """Take what was committed just now, as far as there is memory."""
        if self._query is not None:
            self._query.committed += committed
            return
        for delivery, is_due in committed:
            if not is_due:
                self._queue.add_successor(delivery)
            elif self.store_has_more or not self._queue.add_due(delivery, is_only=True):
                self._queue.break_chain(delivery.chain)
                self.store_has_more = True

    def request_fetch(self, chains: Collection[int] | None) -> None:
        """Note that the store has more deliveries of these chains; with None, perhaps of any."""
        if chains is None:
            self._queue.break_chains()
        else:
            for chain in chains:
                self._queue.break_chain(chain)
        if self._query is not None:
            self._query.is_any_incomplete |= chains is None
            self._query.incomplete.update(chains or ())
        self.store_has_more = True

    async def fetch(self, until_ns: int, max_count: int) -> None:
        """Fetch up to ``max_count`` deliveries that are due by then, as far as there is memory."""
        now_ns, queue = self._now(), self._queue
        self.store_has_more, self._next_due_ns = False, None
        self._query = query = _Query()
        try:
            due = await self._outbox.fetch_due(
                self._destination, until_ns, max_count, queue.seqs, queue.available_bytes
            )
        finally:
            self._query = None
        count = len(queue)
        for delivery in due.deliveries:
            is_only = delivery.seq not in due.followed and query.is_complete(delivery.chain)
            if not queue.add_due(delivery, is_only=is_only):
                self.store_has_more = True
        # If all wait for others of their chains, the next query would return the same.
        is_waiting = bool(due.deliveries) and len(queue) == count
        self.store_has_more |= due.has_more and not is_waiting
        again_ns = now_ns + FETCH_AGAIN_NS
        self.note_due(min(due.next_due_ns or again_ns, again_ns))
        for each in query.committed:
            if each.delivery.seq in queue:
                continue
            if not (each.is_due or queue.holds_chain(each.delivery.chain)):
                # The one before it may have been settled since the query: then it is due by now.
                self.store_has_more = True
            self.receive([each])

    def note_due(self, due_ns: int) -> bool:
        """Note when a delivery in the store will be due. Returns whether it is the next one."""
        is_first = self._next_due_ns is None or due_ns < self._next_due_ns
        if is_first:
            self._next_due_ns = due_ns
        return is_first

    def note_time(self, now_ns: int) -> None:
        """Note that it is ``now_ns``: something in the store may have become due."""
        if self._next_due_ns is not None and self._next_due_ns <= now_ns:
            self.store_has_more, self._next_due_ns = True, None

    def due_in_s(self, now_ns: int) -> float:
        """Return how long until the next delivery in the store is due."""
        if self._next_due_ns is None:
            return float("inf")
        return (self._next_due_ns - now_ns) / 1e9


class _Query:
    """What changed in the store while a query was running."""

    def __init__(self) -> None:
        self.committed: list[Committed] = []
        self.incomplete: set[int] = set()
        """The chains that have more new deliveries than `committed` lists."""
        self.is_any_incomplete = False
        """Whether this may be true of any chain."""

    def is_complete(self, chain: int) -> bool:
        """Whether `committed` lists all new deliveries of a chain."""
        return not self.is_any_incomplete and chain not in self.incomplete
