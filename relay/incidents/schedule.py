"""A schedule: what is due when, with the earliest first."""

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")


class Schedule(Generic[K]):
    """Due times by key, in nanoseconds.

    The heap may contain entries that no longer hold; they are skipped. Each change costs the
    logarithm of their number.
    """

    def __init__(self) -> None:
        self._due_ns: dict[K, int] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._number = 0

    def set(self, key: K, due_ns: int | None) -> None:
        """Set when a key is due; None for never."""
        if self._due_ns.get(key) == due_ns:
            return
        if due_ns is None:
            del self._due_ns[key]
            return
        self._due_ns[key] = due_ns
        self._number += 1  # so that keys are never compared
        heapq.heappush(self._heap, (due_ns, self._number, key))
        if len(self._heap) > 2 * len(self._due_ns) + 64:
            self._compact()

    def bring_forward(self, key: K, due_ns: int) -> None:
        """Set when a key is due, unless it is due earlier."""
        known_ns = self._due_ns.get(key)
        if known_ns is None or due_ns < known_ns:
            self.set(key, due_ns)

    def __iter__(self) -> Iterator[K]:
        """Yield what is due at some time, in no particular order."""
        return iter(self._due_ns)

    def pop(self, now_ns: int) -> K | None:
        """Remove the first key that is due by now and return it; None if there is none."""
        first_ns = self.next_ns
        if first_ns is None or first_ns > now_ns:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due_ns[key]
        return key

    @property
    def next_ns(self) -> int | None:
        """When the first key is due; None if there is none."""
        while self._heap:
            due_ns, _, key = self._heap[0]
            if self._due_ns.get(key) == due_ns:
                return due_ns
            heapq.heappop(self._heap)
        return None

    def _compact(self) -> None:
        """Drop the entries that no longer hold."""
        kept = {key: entry for entry in self._heap if self._due_ns.get(key := entry[2]) == entry[0]}
        self._heap = list(kept.values())
        heapq.heapify(self._heap)
