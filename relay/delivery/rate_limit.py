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


class Valve:
    """What all that goes to one place has to pass: its rates, and what it asked for.

    Those that wait have turns: none takes two while another waits for one.
    """

    def __init__(self, rates: Iterable[Rate] = ()) -> None:
        self._buckets = {rate: TokenBucket(rate) for rate in rates}
        self._closed_until_s = float("-inf")
        self._queue: list[object] = []
        self._waiting: list[Callable[[], None]] = []

    def on_change(self, wake: Callable[[], None]) -> None:
        """Call this when a wait may be shorter than it was said to be."""
        self._waiting.append(wake)

    def part(self, who: object, wake: Callable[[], None]) -> None:
        """``who`` is no more, and is not called."""
        self._waiting.remove(wake)
        self.leave(who)

    def bound(self, rates: Iterable[Rate]) -> None:
        """Let through as these say from now on; one that stays remembers what it let through."""
        self._buckets = {rate: self._buckets.get(rate) or TokenBucket(rate) for rate in rates}
        self._wake()

    def wait_s(self, who: object, now_s: float) -> float:
        """How long until the next of ``who`` may go, which queues for it; 0 if it may go now."""
        if who not in self._queue:
            self._queue.append(who)
        ahead = self._queue.index(who)
        closed_s = self._closed_until_s - now_s
        waits_s = (
            bucket.wait_s(now_s) + ahead * bucket.per_token_s
            for bucket in self._buckets.values()
            if ahead or bucket.wait_s(now_s)
        )
        return max(0.0, closed_s, *waits_s)

    def spend(self, who: object, now_s: float) -> None:
        """Let one of ``who`` go."""
        if who in self._queue:
            self._queue.remove(who)
        for bucket in self._buckets.values():
            bucket.spend(now_s)

    def leave(self, who: object) -> None:
        """``who`` has nothing that wants to go."""
        if who in self._queue:
            self._queue.remove(who)
            self._wake()

    def close(self, until_s: float) -> None:
        """Let nothing through before then."""
        self._closed_until_s = max(self._closed_until_s, until_s)

    def open(self) -> None:
        """Whatever the place asked for is over."""
        self._closed_until_s = float("-inf")
        self._wake()

    def _wake(self) -> None:
        for wake in self._waiting:
            wake()

    def closed_s(self, now_s: float) -> float:
        """For how long it lets nothing through because it was closed."""
        return max(0.0, self._closed_until_s - now_s)


class Valves:
    """One for each place that is sent to.

    Destinations with one URL host and path are one place, unless it is somebody else who takes what
    is sent there: another chat, topic or service.
    """

    def __init__(self) -> None:
        self._of_places: dict[object, Valve] = {}

    def arrange(self, destinations: Mapping[str, Destination]) -> dict[str, Valve]:
        """Those of these destinations, by name; a place that was known before keeps its own."""
        places: defaultdict[object, dict[str, Rate | None]] = defaultdict(dict)
        for name, to in destinations.items():
            places[_place(name, to)][name] = to.rate_limit
        before, self._of_places = self._of_places, {}
        arranged: dict[str, Valve] = {}
        for place, rates in places.items():
            valve = self._of_places[place] = before.get(place) or Valve()
            valve.bound({rate for rate in rates.values() if rate is not None})
            arranged.update(dict.fromkeys(rates, valve))
        return arranged


def _place(name: str, to: Destination) -> object:
    if isinstance(to, ConsoleDestination):
        return name
    url = URL(to.endpoint)
    return url.host, url.port, url.path, _addressee(to)


def _addressee(to: Destination) -> str:
    match to:
        case TelegramDestination():
            return to.chat_id
        case NtfyDestination():
            return to.topic.get_secret_value()
        case PagerDutyDestination():
            return to.routing_key.get_secret_value()
        case _:
            return ""
