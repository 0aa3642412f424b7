"""Events and what the routes said to them, for whoever listens while relay runs."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from relay.core.event import Event
from relay.routing.router import Step, Verdict

LISTENERS = 16
"""So many may listen at once."""

QUEUE_MOST = 1000
QUEUE_BYTES = 2**20
"""How much waits for one listener, in lines and in bytes; what is older is lost to it."""

PIECE_BYTES = 2**16
"""About so much is given to a listener at once."""


class Said(msgspec.Struct, frozen=True):
    """What one route that matches said to an event."""

    route: str
    verdict: Verdict
    to: Sequence[str] = ()
    """The destinations that the event goes to by this route."""


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """One event, and the routes that match it, in their order."""

    event: Event
    routes: Sequence[Said]


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """So many events a listener was too slow for."""

    count: int


def seen(event: Event, steps: Sequence[Step]) -> Seen:
    """The event with those of the steps that match."""
    said = [Said(it.route.name, it.verdict, it.destinations) for it in steps if it.matches]
    return Seen(event, said)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to see."""

    everything: bool = False
    """Also what goes nowhere."""
    engine: str | None = None
    """The only engine whose events are wanted; None for all."""

    def grants(self, event: Event, steps: Sequence[Step]) -> bool:
        """Whether this is wanted."""
        if self.engine is not None and event.engine != self.engine:
            return False
        return self.everything or any(step.verdict is Verdict.SENT for step in steps)


class TooMany(Exception):
    """`LISTENERS` listen already."""


class Tap:
    """Lets listeners see what is decided. It costs nothing while there are none."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def put(self, event: Event, steps: Sequence[Step]) -> None:
        """Show an event with the steps of the routes that match it; waits for nobody."""
        if not self._listeners:
            return
        wanting = [it for it in self._listeners if it.wish.grants(event, steps)]
        if wanting:
            line = msgspec.json.encode(seen(event, steps)) + b"\n"
            for listener in wanting:
                listener.put(line)

    @contextmanager
    def listen(self, wish: Wish) -> Iterator["Listener"]:
        """See what comes as long as the context lasts. Raises `TooMany`."""
        if len(self._listeners) >= LISTENERS:
            raise TooMany
        listener = Listener(wish)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)


class Listener:
    """What waits for one who listens: lines of JSON, each a `Seen` or a `Lost`."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._closed = False
        self._news = asyncio.Event()

    def put(self, line: bytes) -> None:
        """Add a line; the oldest are lost where there is no room for all."""
        self._lines.append(line)
        self._size += len(line)
        while len(self._lines) > QUEUE_MOST or self._size > QUEUE_BYTES:
            self._size -= len(self._lines.popleft())
            self._lost += 1
        self._news.set()

    def close(self) -> None:
        """Nothing more is put; what waits can be taken."""
        self._closed = True
        self._news.set()

    async def take(self) -> bytes:
        """Wait for lines, and give about `PIECE_BYTES` of them; empty once closed."""
        while not (self._lines or self._lost or self._closed):
            self._news.clear()
            await self._news.wait()
        piece = bytearray()
        if self._lost:
            piece += msgspec.json.encode(Lost(self._lost)) + b"\n"
            self._lost = 0
        told = len(piece)
        while self._lines and len(piece) < PIECE_BYTES:
            piece += self._lines.popleft()
        self._size -= len(piece) - told
        return bytes(piece)
