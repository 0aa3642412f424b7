"""The event tap: shows live events, and what the routes decided about them, to subscribers.

``relay tail`` uses it to watch a running daemon. The router calls `EventTap.publish` for every
event, so publishing must never wait: each subscriber has a bounded queue of its own. A subscriber
that reads too slowly loses the oldest lines, and is sent their number. Without subscribers the tap
costs nothing. A subscription ends with its context.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

import msgspec

from relay.core.event import Event
from relay.incidents.effect import Effect
from relay.routing.router import RouteResult, Verdict

MAX_SUBSCRIBERS = 16
"""At most this many subscribers watch at once."""

QUEUE_LINES = 1000
QUEUE_BYTES = 2**20
"""How much may wait for one subscriber, in lines and in bytes. The oldest lines are dropped."""

CHUNK_BYTES = 2**16
"""About how much a subscriber reads at once."""


class RouteDecision(msgspec.Struct, frozen=True):
    """What one route that matches an event decided about it."""

    route: str
    verdict: Verdict
    to: Sequence[str] = ()
    """The destinations that this route sends the event to."""
    incidents: Mapping[str, Effect] | msgspec.UnsetType = msgspec.UNSET
    """What the event did at those that are notified of incidents; not set if none of them is."""


class TappedEvent(msgspec.Struct, frozen=True, tag="seen"):
    """One event, and the decisions of the routes that match it, in their order."""

    event: Event
    routes: Sequence[RouteDecision]


class EventsSkipped(msgspec.Struct, frozen=True, tag="lost"):
    """A subscriber was too slow: this many events were dropped here."""

    count: int


def make_tapped_event(
    event: Event, results: Sequence[RouteResult], effects: Mapping[str, Effect] | None = None
) -> TappedEvent:
    """Return the event with the decisions of those routes that match it.

    ``effects`` says what the event did at destinations that are notified of incidents.
    """
    decisions = []
    for result in results:
        if result.is_match:
            to = result.destinations
            own = {name: effects[name] for name in to if name in effects} if effects else {}
            incidents = own or msgspec.UNSET
            decisions.append(RouteDecision(result.route.name, result.verdict, to, incidents))
    return TappedEvent(event, decisions)


class TapFilter(msgspec.Struct, frozen=True):
    """Which events a subscriber wants."""

    include_unrouted: bool = False
    """Whether to show also events that no route sends anywhere."""
    engine: str | None = None
    """Only events of this engine, or those that it brings from other hosts; None for all."""
    host: str | None = None
    """Only events of the hosts that this glob matches; None for all."""

    def accepts(self, event: Event, results: Sequence[RouteResult]) -> bool:
        """Whether the subscriber wants this event."""
        if self.engine is not None and self.engine != (event.via or event.engine):
            return False
        if self.host is not None and not fnmatchcase(event.host, self.host):
            return False
        return self.include_unrouted or any(result.verdict is Verdict.SENT for result in results)


class TooManySubscribers(Exception):
    """There are `MAX_SUBSCRIBERS` already."""


class EventTap:
    """Passes events on to its subscribers.

    An event is published when it is routed, and the incidents take it in the same step of the event
    loop. So it is passed on in the next step, together with what it did there.
    """

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []
        self._published: list[tuple[Event, Sequence[RouteResult]]] = []
        """The events since the last step of the event loop."""
        self._effects: dict[str, Mapping[str, Effect]] = {}
        """What they did at destinations that are notified of incidents, by the id of the event."""

    @property
    def is_watching(self) -> bool:
        """Whether there is a subscriber."""
        return bool(self._subscribers)

    def publish(self, event: Event, results: Sequence[RouteResult]) -> None:
        """Pass an event and the routes' results to the subscribers that want it. Never waits."""
        if not self._subscribers:
            return
        if not self._published:
            asyncio.get_running_loop().call_soon(self._pass_on)
        self._published.append((event, results))

    def on_effects(self, event: Event, effects: Mapping[str, Effect]) -> None:
        """Note what an event did at destinations that are notified of incidents."""
        if effects and self._published:
            self._effects[event.id] = effects

    def _pass_on(self) -> None:
        published, self._published = self._published, []
        all_effects, self._effects = self._effects, {}
        for event, results in published:
            interested = [
                subscriber
                for subscriber in self._subscribers
                if subscriber.tap_filter.accepts(event, results)
            ]
            if interested:
                tapped = make_tapped_event(event, results, all_effects.get(event.id))
                line = msgspec.json.encode(tapped) + b"\n"
                for subscriber in interested:
                    subscriber.put(line)

    @contextmanager
    def subscribe(self, tap_filter: TapFilter) -> Iterator["Subscriber"]:
        """Subscribe as long as the context lasts. Raises `TooManySubscribers`."""
        if len(self._subscribers) >= MAX_SUBSCRIBERS:
            raise TooManySubscribers
        subscriber = Subscriber(tap_filter)
        self._subscribers.append(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.remove(subscriber)

    @property
    def subscriber_count(self) -> int:
        """The number of subscribers at the moment."""
        return len(self._subscribers)


class Subscriber:
    """The queue of one subscriber: lines of JSON, each a `TappedEvent` or an `EventsSkipped`."""

    def __init__(self, tap_filter: TapFilter) -> None:
        self.tap_filter = tap_filter
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._skipped = 0
        self._closed = False
        self._wakeup = asyncio.Event()

    def put(self, line: bytes) -> None:
        """Add a line; drop the oldest ones if the queue is full, or the line if it never fits."""
        if len(line) > QUEUE_BYTES:
            self._skipped += 1
        else:
            self._lines.append(line)
            self._size += len(line)
        while len(self._lines) > QUEUE_LINES or self._size > QUEUE_BYTES:
            self._size -= len(self._lines.popleft())
            self._skipped += 1
        self._wakeup.set()

    def close(self) -> None:
        """Stop accepting lines; those in the queue can still be read."""
        self._closed = True
        self._wakeup.set()

    async def read(self) -> bytes:
        """Wait for lines, and return about `CHUNK_BYTES` of them; empty at the end of the queue."""
        while not (self._lines or self._skipped or self._closed):
            self._wakeup.clear()
            await self._wakeup.wait()
        chunk = bytearray()
        if self._skipped:
            chunk += msgspec.json.encode(EventsSkipped(self._skipped)) + b"\n"
            self._skipped = 0
        skipped_bytes = len(chunk)
        while self._lines and len(chunk) < CHUNK_BYTES:
            chunk += self._lines.popleft()
        self._size -= len(chunk) - skipped_bytes
        return bytes(chunk)
