"""How many notifications go into one request.

A destination with ``batch`` takes up to ``batch.max`` notifications in one request, as a JSON
array. A batch is smaller than that in three cases. A body has at most `MAX_BODY_BYTES`. After the
response 413 half as much is sent, until it fits; after `GROW_INTERVAL_S` twice as much is tried
again. And each failed attempt halves how many notifications go together, so that a notification
that the receiver cannot process ends up alone.
"""

import hashlib
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from relay.config import BatchConfig
from relay.core.exchange import Outcome, Response, Retry

MAX_BODY_BYTES = 2**20
"""Limit of a body that holds more than one notification: what servers and proxies usually accept
(nginx: ``client_max_body_size`` is 1 MiB by default)."""

GROW_INTERVAL_S = 3600.0
"""How long a size that was too large is avoided; then twice what was left of it is tried."""

CONTENT_TOO_LARGE = 413
"""RFC 9110, section 15.5.14."""

_BRACKETS_BYTES = len(b"[]")
_COMMA_BYTES = len(b",")


class BatchSizer:
    """How much a request to one destination may hold, by its configuration and its answers."""

    def __init__(self, config: BatchConfig | None) -> None:
        """With None each notification has a request of its own."""
        self.max_count = 1 if config is None else config.max
        self._linger_s = 0.0 if config is None else config.wait.total_seconds()
        self._max_bytes = MAX_BODY_BYTES
        self._changed_at_s = 0.0

    def wait_s(self, count: int, age_s: float) -> float:
        """Return how long the first of ``count`` deliveries still waits for others.

        0 if it may be sent now. ``age_s`` is the time since the first was committed, so a delivery
        that has waited for something else, such as a retry, does not wait again.
        """
        return 0.0 if count >= self.max_count else max(0.0, self._linger_s - age_s)

    def start_batch(self, now_s: float, *, alone: bool) -> "BatchBuilder":
        """Return an empty batch; with ``alone`` it takes one notification."""
        if self._max_bytes < MAX_BODY_BYTES and now_s >= self._changed_at_s + GROW_INTERVAL_S:
            self._max_bytes = min(2 * self._max_bytes, MAX_BODY_BYTES)
            self._changed_at_s = now_s
        return BatchBuilder(1 if alone else self.max_count, self._max_bytes)

    def shrink(self, sizes: Sequence[int], now_s: float) -> None:
        """Send at most half as much, because a batch of documents of these sizes was too large.

        If this is called for several requests that were open at once, the smallest limit counts.
        """
        middle = (len(sizes) + 1) // 2
        half = max(_array_bytes(sizes[:middle]), _array_bytes(sizes[middle:]))
        self._max_bytes, self._changed_at_s = min(self._max_bytes, half), now_s


class BatchBuilder:
    """Decides which notifications go into one request."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._limit = max_count
        """The lowest limit of the notifications in the batch; see `try_add`."""
        self._max_bytes = max_bytes
        self._count = 0
        self._bytes = _array_bytes(())

    @property
    def is_full(self) -> bool:
        """Whether nothing more fits, however small it is."""
        return self._count >= self._limit

    def try_add(self, size: int, attempts: int) -> bool:
        """Add a notification if it fits, and return whether it did. The first always fits.

        ``size`` is the size of its document in bytes. ``attempts`` is how often it failed: each
        failure halves the batch that it may be in, so that a notification that the receiver cannot
        process ends up alone, and no others fail because of it.
        """
        limit = min(self._limit, max(1, self._max_count >> attempts))
        total_bytes = self._bytes + _COMMA_BYTES + size
        if self._count and (self._count >= limit or total_bytes > self._max_bytes):
            return False
        self._limit, self._count, self._bytes = limit, self._count + 1, total_bytes
        return True


def _array_bytes(sizes: Sequence[int]) -> int:
    """Return the size of a JSON array of documents, counted as if each had a comma before it."""
    return _BRACKETS_BYTES - _COMMA_BYTES + sum(sizes) + len(sizes) * _COMMA_BYTES


def is_payload_too_large(response: Response, count: int) -> bool:
    """Return whether a batch of ``count`` was refused for its size and can be split."""
    return response.status == CONTENT_TOO_LARGE and count > 1


def align_retries(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes of one request with the same retry time: the latest of them.

    So what failed together can be sent together again.
    """
    after_s = max((retry.after_s for retry in outcomes if isinstance(retry, Retry)), default=0.0)
    return [
        replace(outcome, after_s=after_s) if isinstance(outcome, Retry) else outcome
        for outcome in outcomes
    ]


def batch_id(ids: Iterable[str]) -> str:
    """Return the id of a batch. It depends only on the ids in the batch, not on their order.

    A batch that is sent again has the same id, by which a receiver can drop the duplicate.
    """
    identity = "\0".join(sorted(ids)).encode()
    return "bat_" + hashlib.blake2b(identity, digest_size=16).hexdigest()
