"""How many notifications go in one request, and what it means that they were too many."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from relay.config import BatchConfig
from relay.core.exchange import Outcome, Response, Retry

MAX_BODY_BYTES = 2**20
"""Of a body that holds more than one, in bytes: what servers and proxies usually take (nginx's
``client_max_body_size`` is 1 MiB without a word)."""

GROW_INTERVAL_S = 3600.0
"""How long a size that was too large is kept in mind; then twice what was left of it is tried."""

CONTENT_TOO_LARGE = 413
"""Content Too Large: RFC 9110, section 15.5.14."""

_BRACKETS_BYTES = len(b"[]")
_COMMA_BYTES = len(b",")


class BatchSizer:
    """What one request to a destination may hold, as it is configured and as its answers say."""

    def __init__(self, config: BatchConfig | None) -> None:
        """With None each notification has a request of its own."""
        self.max_count = 1 if config is None else config.max
        self._linger_s = 0.0 if config is None else config.wait.total_seconds()
        self._max_bytes = MAX_BODY_BYTES
        self._changed_at_s = 0.0

    def wait_s(self, count: int, age_s: float) -> float:
        """How long the first of so many still waits for others; 0 if it may go now.

        ``age_s`` is how long ago it was taken in: what has waited for something else is not held up
        once more.
        """
        return 0.0 if count >= self.max_count else max(0.0, self._linger_s - age_s)

    def start_batch(self, now_s: float, *, alone: bool) -> "BatchBuilder":
        """A request with nothing in it yet; ``alone`` lets it be for one only."""
        if self._max_bytes < MAX_BODY_BYTES and now_s >= self._changed_at_s + GROW_INTERVAL_S:
            self._max_bytes, self._changed_at_s = min(2 * self._max_bytes, MAX_BODY_BYTES), now_s
        return BatchBuilder(1 if alone else self.max_count, self._max_bytes)

    def shrink(self, sizes: Sequence[int], now_s: float) -> None:
        """A body of documents of these sizes was too large: each half of it may not be.

        Of bodies that were under way together the smallest counts.
        """
        middle = (len(sizes) + 1) // 2
        half = max(_array_bytes(sizes[:middle]), _array_bytes(sizes[middle:]))
        self._max_bytes, self._changed_at_s = min(self._max_bytes, half), now_s


class BatchBuilder:
    """A request as it is filled."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._limit = max_count
        """As far as those in it allow."""
        self._max_bytes = max_bytes
        self._count = 0
        self._bytes = _array_bytes(())

    @property
    def is_full(self) -> bool:
        """Whether there is room for none, however small."""
        return self._count >= self._limit

    def try_add(self, size: int, attempts: int) -> bool:
        """Put one in, if there is room for it; the first has it always.

        ``size`` is that of its document in bytes. ``attempts`` are those that failed: each halves
        how many go with it, so that one that a receiver cannot digest is alone at last, and takes
        no others along.
        """
        limit = min(self._limit, max(1, self._max_count >> attempts))
        total_bytes = self._bytes + _COMMA_BYTES + size
        if self._count and (self._count >= limit or total_bytes > self._max_bytes):
            return False
        self._limit, self._count, self._bytes = limit, self._count + 1, total_bytes
        return True


def _array_bytes(sizes: Sequence[int]) -> int:
    """Of an array of such documents, as if each had a comma before it."""
    return _BRACKETS_BYTES - _COMMA_BYTES + sum(sizes) + len(sizes) * _COMMA_BYTES


def is_payload_too_large(response: Response, count: int) -> bool:
    """Whether so many were too many for one request, and fewer may not be."""
    return response.status == CONTENT_TOO_LARGE and count > 1


def align_retries(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes of one request, each judged by its own attempts and age.

    What is tried again is so at the same time, the latest of theirs: it can go together then.
    """
    after_s = max((it.after_s for it in outcomes if isinstance(it, Retry)), default=0.0)
    return [replace(it, after_s=after_s) if isinstance(it, Retry) else it for it in outcomes]


def batch_id(ids: Iterable[str]) -> str:
    """The id of a request: of the notifications in it, and of nothing that could change."""
    identity = "\0".join(sorted(ids)).encode()
    return "bat_" + hashlib.blake2b(identity, digest_size=16).hexdigest()
