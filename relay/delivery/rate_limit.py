"""Rate limits: how fast relay may send to a URL, and how long it must pause.

Destinations that send to the same URL and recipient share a limiter, because the limits of a
service apply to all of them together. A limiter holds the configured rates as token buckets, the
pause that the service asked for (``Retry-After``), and a queue, so that no destination sends twice
while another waits. A limiter survives reloads for as long as a destination uses it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from yarl import URL

from relay.config import DestinationConfig, Rate


class TokenBucket:
    """Allows a burst of ``rate.count`` requests, and then the same number evenly in ``rate.per_s``.

    All times are in seconds, of any clock that does not go backwards.
    """

    def __init__(self, rate: Rate) -> None:
        self.per_token_s = rate.per_s / rate.count
        self._burst_s = rate.per_s - self.per_token_s
        self._next_s = float("-inf")

    def wait_s(self, now_s: float) -> float:
        """Return how long until the next request is allowed; 0 if it is allowed now."""
        return max(0.0, self._next_s - self._burst_s - now_s)

    def spend(self, now_s: float) -> None:
        """Take a token for a request."""
        self._next_s = max(self._next_s, now_s) + self.per_token_s


class RateLimiter:
    """Rate limits and pause shared by all destinations with the same URL and recipient.

    Waiters are served first come, first served: none takes two turns while another waits for one.
    """

    def __init__(self, rates: Iterable[Rate] = ()) -> None:
        self._buckets = {rate: TokenBucket(rate) for rate in rates}
        self._paused_until_s = float("-inf")
        self._waiters: list[object] = []
        self._callbacks: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever a wait may have become shorter."""
        self._callbacks.append(callback)

    def unregister(self, waiter: object, callback: Callable[[], None]) -> None:
        """Remove a waiter and its callback."""
        self._callbacks.remove(callback)
        self.cancel_wait(waiter)

    def set_rates(self, rates: Iterable[Rate]) -> None:
        """Replace the rates. A rate that stays keeps its bucket, with the tokens left in it."""
        self._buckets = {rate: self._buckets.get(rate) or TokenBucket(rate) for rate in rates}
        self._notify()

    def wait_s(self, waiter: object, now_s: float) -> float:
        """Return how long until a request is allowed, and join the queue; 0 if allowed now."""
        if not self._buckets:  # nothing to queue for
            return self.paused_for_s(now_s)
        if waiter not in self._waiters:
            self._waiters.append(waiter)
        ahead = self._waiters.index(waiter)
        waits_s = (
            bucket.wait_s(now_s) + ahead * bucket.per_token_s
            for bucket in self._buckets.values()
            if ahead or bucket.wait_s(now_s)
        )
        return max(self.paused_for_s(now_s), *waits_s, 0.0)

    def spend(self, waiter: object, now_s: float) -> None:
        """Count a request of ``waiter``, which leaves the queue."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        for bucket in self._buckets.values():
            bucket.spend(now_s)

    def cancel_wait(self, waiter: object) -> None:
        """Remove ``waiter`` from the queue: it has nothing to send."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            self._notify()

    def pause(self, until_s: float) -> None:
        """Allow nothing before ``until_s``. Of several pauses the longest counts."""
        self._paused_until_s = max(self._paused_until_s, until_s)

    def end_pause(self) -> None:
        """End the pause, whatever the service asked for."""
        self._paused_until_s = float("-inf")
        self._notify()

    def paused_for_s(self, now_s: float) -> float:
        """Return how long the pause still lasts; 0 if there is none."""
        return max(0.0, self._paused_until_s - now_s)

    def _notify(self) -> None:
        for callback in self._callbacks:
            callback()


class RateLimiters:
    """The limiters of all destinations, one for each URL and recipient.

    Two destinations share a limiter if the host, port and path of their URLs are the same, and the
    recipient, where the service has one in addition to the URL: a chat, topic or routing key.
    """

    def __init__(self) -> None:
        self._by_key: dict[object, RateLimiter] = {}

    def assign(self, destinations: Mapping[str, DestinationConfig]) -> dict[str, RateLimiter]:
        """Return the limiter of each destination by name. A limiter that is still used is kept."""
        rates_by_key: defaultdict[object, dict[str, Rate | None]] = defaultdict(dict)
        for name, destination in destinations.items():
            rates_by_key[_sharing_key(name, destination)][name] = destination.rate_limit
        before, self._by_key = self._by_key, {}
        assigned: dict[str, RateLimiter] = {}
        for key, rates in rates_by_key.items():
            limiter = self._by_key[key] = before.get(key) or RateLimiter()
            limiter.set_rates({rate for rate in rates.values() if rate is not None})
            assigned.update(dict.fromkeys(rates, limiter))
        return assigned


def _sharing_key(name: str, destination: DestinationConfig) -> object:
    if not destination.endpoint:
        return name
    url = URL(destination.endpoint)
    return url.host, url.port, url.path, destination.recipient
