"""How many notifications go in one request, and what it means that they were too many."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from relay.config import BatchConfig
from relay.core.exchange import Outcome, Response, Retry

SIZE_MAX = 2**20
"""Of a body that holds more than one, in bytes: what servers and proxies usually take (nginx's
``client_max_body_size`` is 1 MiB without a word)."""

GROWS_EVERY_S = 3600.0
"""How long a size that was too large is kept in mind; then twice what was left of it is tried."""

TOO_LARGE = 413
"""Content Too Large: RFC 9110, section 15.5.14."""

_BRACKETS = len(b"[]")
_COMMA = len(b",")


class Capacity:
    """What one request to a destination may hold, as it is configured and as its answers say."""

    def __init__(self, config: BatchConfig | None) -> None:
        """With None each notification has a request of its own."""
        self.most = 1 if config is None else config.max
        self._wait_s = 0.0 if config is None else config.wait.total_seconds()
        self._size_max = SIZE_MAX
        self._since_s = 0.0

    def wait_s(self, at_hand: int, age_s: float) -> float:
        """How long the first of so many still waits for others; 0 if it may go now.

        ``age_s`` is how long ago it was taken in: what has waited for something else is not held up
        once more.
        """
        return 0.0 if at_hand >= self.most else max(0.0, self._wait_s - age_s)

    def begin(self, now_s: float, *, alone: bool) -> "Filling":
        """A request with nothing in it yet; ``alone`` lets it be for one only."""
        if self._size_max < SIZE_MAX and now_s >= self._since_s + GROWS_EVERY_S:
            self._size_max, self._since_s = min(2 * self._size_max, SIZE_MAX), now_s
        return Filling(1 if alone else self.most, self._size_max)

    def shrink(self, sizes: Sequence[int], now_s: float) -> None:
        """A body of documents of these sizes was too large: each half of it may not be.

        Of bodies that were under way together the smallest counts.
        """
        middle = (len(sizes) + 1) // 2
        half = max(_body_size(sizes[:middle]), _body_size(sizes[middle:]))
        self._size_max, self._since_s = min(self._size_max, half), now_s


class Filling:
    """A request as it is filled."""

    def __init__(self, most: int, size_max: int) -> None:
        self._most = most
        self._limit = most
        """As far as those in it allow."""
        self._size_max = size_max
        self._count = 0
        self._size = _body_size(())

    @property
    def is_full(self) -> bool:
        """Whether there is room for none, however small."""
        return self._count >= self._limit

    def admits(self, size: int, attempts: int) -> bool:
        """Put one in, if there is room for it; the first has it always.

        ``size`` is that of its document in bytes. ``attempts`` are those that failed: each halves
        how many go with it, so that one that a receiver cannot digest is alone at last, and takes
        no others along.
        """
        limit = min(self._limit, max(1, self._most >> attempts))
        whole = self._size + _COMMA + size
        if self._count and (self._count >= limit or whole > self._size_max):
            return False
        self._limit, self._count, self._size = limit, self._count + 1, whole
        return True


def _body_size(sizes: Sequence[int]) -> int:
    """Of an array of such documents, as if each had a comma before it."""
    return _BRACKETS - _COMMA + sum(sizes) + len(sizes) * _COMMA


def was_too_large(response: Response, count: int) -> bool:
    """Whether so many were too many for one request, and fewer may not be."""
    return response.status == TOO_LARGE and count > 1


def agreed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes of one request, each judged by its own attempts and age.

    What is tried again is so at the same time, the latest of theirs: it can go together then.
    """
    after_s = max((it.after_s for it in outcomes if isinstance(it, Retry)), default=0.0)
    return [replace(it, after_s=after_s) if isinstance(it, Retry) else it for it in outcomes]


def batch_id(ids: Iterable[str]) -> str:
    """The id of a request: of the notifications in it, and of nothing that could change."""
    identity = "\0".join(sorted(ids)).encode()
    return "bat_" + hashlib.blake2b(identity, digest_size=16).hexdigest()
