"""Events and what the routes said to them, for whoever listens while relay runs."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from relay.core.event import Event
from relay.routing.router import RouteResult, Verdict

MAX_SUBSCRIBERS = 16
"""So many may listen at once."""

QUEUE_LINES = 1000
QUEUE_BYTES = 2**20
"""How much waits for one listener, in lines and in bytes; what is older is lost to it."""

CHUNK_BYTES = 2**16
"""About so much is given to a listener at once."""


class RouteDecision(msgspec.Struct, frozen=True):
    """What one route that matches said to an event."""

    route: str
    verdict: Verdict
    to: Sequence[str] = ()
    """The destinations that the event goes to by this route."""


class TappedEvent(msgspec.Struct, frozen=True, tag="seen"):
    """One event, and the routes that match it, in their order."""

    event: Event
    routes: Sequence[RouteDecision]


class EventsSkipped(msgspec.Struct, frozen=True, tag="lost"):
    """So many events a listener was too slow for."""

    count: int


def make_tapped_event(event: Event, steps: Sequence[RouteResult]) -> TappedEvent:
    """The event with those of the steps that match."""
    said = [
        RouteDecision(it.route.name, it.verdict, it.destinations) for it in steps if it.is_match
    ]
    return TappedEvent(event, said)


@dataclass(frozen=True, slots=True)
class TapFilter:
    """What somebody wants to see."""

    include_unrouted: bool = False
    """Also what goes nowhere."""
    engine: str | None = None
    """The only engine whose events are wanted; None for all."""

    def accepts(self, event: Event, steps: Sequence[RouteResult]) -> bool:
        """Whether this is wanted."""
        if self.engine is not None and event.engine != self.engine:
            return False
        return self.include_unrouted or any(step.verdict is Verdict.SENT for step in steps)


class TooManySubscribers(Exception):
    """`MAX_SUBSCRIBERS` listen already."""


class EventTap:
    """Lets listeners see what is decided. It costs nothing while there are none."""

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    def publish(self, event: Event, steps: Sequence[RouteResult]) -> None:
        """Show an event with the steps of the routes that match it; waits for nobody."""
        if not self._subscribers:
            return
        wanting = [it for it in self._subscribers if it.tap_filter.accepts(event, steps)]
        if wanting:
            line = msgspec.json.encode(make_tapped_event(event, steps)) + b"\n"
            for listener in wanting:
                listener.put(line)

    @contextmanager
    def subscribe(self, wish: TapFilter) -> Iterator["Subscriber"]:
        """See what comes as long as the context lasts. Raises `TooManySubscribers`."""
        if len(self._subscribers) >= MAX_SUBSCRIBERS:
            raise TooManySubscribers
        listener = Subscriber(wish)
        self._subscribers.append(listener)
        try:
            yield listener
        finally:
            self._subscribers.remove(listener)

    @property
    def subscriber_count(self) -> int:
        """How many listen."""
        return len(self._subscribers)


class Subscriber:
    """What waits for one who listens: lines of JSON, each a `TappedEvent` or a `EventsSkipped`."""

    def __init__(self, wish: TapFilter) -> None:
        self.tap_filter = wish
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._skipped = 0
        self._closed = False
        self._wakeup = asyncio.Event()

    def put(self, line: bytes) -> None:
        """Add a line; the oldest are lost where there is no room for all."""
        self._lines.append(line)
        self._size += len(line)
        while len(self._lines) > QUEUE_LINES or self._size > QUEUE_BYTES:
            self._size -= len(self._lines.popleft())
            self._skipped += 1
        self._wakeup.set()

    def close(self) -> None:
        """Nothing more is put; what waits can be taken."""
        self._closed = True
        self._wakeup.set()

    async def read(self) -> bytes:
        """Wait for lines, and give about `CHUNK_BYTES` of them; empty once closed."""
        while not (self._lines or self._skipped or self._closed):
            self._wakeup.clear()
            await self._wakeup.wait()
        piece = bytearray()
        if self._skipped:
            piece += msgspec.json.encode(EventsSkipped(self._skipped)) + b"\n"
            self._skipped = 0
        told = len(piece)
        while self._lines and len(piece) < CHUNK_BYTES:
            piece += self._lines.popleft()
        self._size -= len(piece) - told
        return bytes(piece)
