"""How fast a destination may be sent to, and when it is left alone."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from yarl import URL

from relay.config import (
    ConsoleDestination,
    Destination,
    NtfyDestination,
    PagerDutyDestination,
    Rate,
    TelegramDestination,
)


class TokenBucket:
    """Lets ``rate.count`` through at once, and from then on evenly that many in ``rate.per_s``.

    Takes the time in seconds of any clock that does not go backwards.
    """

    def __init__(self, rate: Rate) -> None:
        self.per_token_s = rate.per_s / rate.count
        self._burst_s = rate.per_s - self.per_token_s
        self._next_s = float("-inf")

    def wait_s(self, now_s: float) -> float:
        """How long until the next may go; 0 if it may go now."""
        return max(0.0, self._next_s - self._burst_s - now_s)

    def spend(self, now_s: float) -> None:
        """Let one go."""
        self._next_s = max(self._next_s, now_s) + self.per_token_s


class RateLimiter:
    """What all that goes to one place has to pass: its rates, and what it asked for.

    Those that wait have turns: none takes two while another waits for one.
    """

    def __init__(self, rates: Iterable[Rate] = ()) -> None:
        self._buckets = {rate: TokenBucket(rate) for rate in rates}
        self._paused_until_s = float("-inf")
        self._waiters: list[object] = []
        self._callbacks: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call this when a wait may be shorter than it was said to be."""
        self._callbacks.append(callback)

    def unregister(self, waiter: object, callback: Callable[[], None]) -> None:
        """``who`` is no more, and is not called."""
        self._callbacks.remove(callback)
        self.cancel_wait(waiter)

    def set_rates(self, rates: Iterable[Rate]) -> None:
        """Let through as these say from now on; one that stays remembers what it let through."""
        self._buckets = {rate: self._buckets.get(rate) or TokenBucket(rate) for rate in rates}
        self._notify()

    def wait_s(self, waiter: object, now_s: float) -> float:
        """How long until the next of ``who`` may go, which queues for it; 0 if it may go now."""
        if waiter not in self._waiters:
            self._waiters.append(waiter)
        ahead = self._waiters.index(waiter)
        paused_for_s = self._paused_until_s - now_s
        waits_s = (
            bucket.wait_s(now_s) + ahead * bucket.per_token_s
            for bucket in self._buckets.values()
            if ahead or bucket.wait_s(now_s)
        )
        return max(0.0, paused_for_s, *waits_s)

    def spend(self, waiter: object, now_s: float) -> None:
        """Let one of ``who`` go."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        for bucket in self._buckets.values():
            bucket.spend(now_s)

    def cancel_wait(self, waiter: object) -> None:
        """``who`` has nothing that wants to go."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            self._notify()

    def pause(self, until_s: float) -> None:
        """Let nothing through before then."""
        self._paused_until_s = max(self._paused_until_s, until_s)

    def end_pause(self) -> None:
        """Whatever the place asked for is over."""
        self._paused_until_s = float("-inf")
        self._notify()

    def _notify(self) -> None:
        for callback in self._callbacks:
            callback()

    def paused_for_s(self, now_s: float) -> float:
        """For how long it lets nothing through because it was closed."""
        return max(0.0, self._paused_until_s - now_s)


class RateLimiters:
    """One for each place that is sent to.

    Destinations with one URL host and path are one place, unless it is somebody else who takes what
    is sent there: another chat, topic or service.
    """

    def __init__(self) -> None:
        self._by_key: dict[object, RateLimiter] = {}

    def assign(self, destinations: Mapping[str, Destination]) -> dict[str, RateLimiter]:
        """Those of these destinations, by name; a place that was known before keeps its own."""
        rates_by_key: defaultdict[object, dict[str, Rate | None]] = defaultdict(dict)
        for name, to in destinations.items():
            rates_by_key[_sharing_key(name, to)][name] = to.rate_limit
        before, self._by_key = self._by_key, {}
        assigned: dict[str, RateLimiter] = {}
        for key, rates in rates_by_key.items():
            limiter = self._by_key[key] = before.get(key) or RateLimiter()
            limiter.set_rates({rate for rate in rates.values() if rate is not None})
            assigned.update(dict.fromkeys(rates, limiter))
        return assigned


def _sharing_key(name: str, to: Destination) -> object:
    if isinstance(to, ConsoleDestination):
        return name
    url = URL(to.endpoint)
    return url.host, url.port, url.path, _recipient(to)


def _recipient(to: Destination) -> str:
    match to:
        case TelegramDestination():
            return to.chat_id
        case NtfyDestination():
            return to.topic.get_secret_value()
        case PagerDutyDestination():
            return to.routing_key.get_secret_value()
        case _:
            return ""
