"""How far an engine's stream has been taken in, and what of it was seen already.

The engine repeats what is asked for with ``since``, inclusive to the nanosecond, and can send an
event twice: once in the repetition, once live. Its repetition scans its history backwards and
stops at the first event older than ``since`` (moby, ``daemon/events/events.go``), so one event out
of order hides younger ones. Therefore relay asks from a margin before the last event that it took
in and drops by id what it remembers.
"""

from collections import OrderedDict

from relay.bookmark import Bookmark
from relay.event import Event

MARGIN_NS = 60 * 1_000_000_000
"""How far before the last event to ask; events out of order by less than this are not missed."""

MEMORY = 512
"""How many events are remembered: twice the 256 that a Docker engine can repeat."""


class Cursor:
    """Admits each event of an engine once."""

    def __init__(self, bookmark: Bookmark) -> None:
        self._position_ns = bookmark.position_ns
        self._floor_ns = bookmark.floor_ns
        self._recent = OrderedDict(bookmark.recent)

    @property
    def since_ns(self) -> int:
        """From when on to ask the engine: whatever it repeats from there is remembered or new."""
        return min(self._position_ns, max(self._floor_ns, self._position_ns - MARGIN_NS))

    def admit(self, event: Event) -> bool:
        """Whether the event is new; if so, it is taken in.

        Only the engine's own events move the position: those of a swarm carry the manager's
        clock. It follows the last event, not the latest, so a clock stepped back is followed too.
        """
        if event.id in self._recent:
            return False
        self._recent[event.id] = event.time_ns
        if event.scope == "local":
            self._position_ns = event.time_ns
        if len(self._recent) > MEMORY:
            self._forget_oldest()
        return True

    def _forget_oldest(self) -> None:
        """What is forgotten must not be asked for again."""
        _, time_ns = self._recent.popitem(last=False)
        if time_ns < self._position_ns:
            self._floor_ns = max(self._floor_ns, time_ns + 1)

    def remembers(self, event: Event) -> bool:
        """Whether the event was taken in and is not forgotten."""
        return event.id in self._recent

    def bookmark(self) -> Bookmark:
        """The cursor as it is now, to be stored."""
        return Bookmark(self._position_ns, self._floor_ns, tuple(self._recent.items()))


def engine_time(time_ns: int) -> str:
    """A time as the engine reads it in ``since`` and ``until``: seconds, a point, nine digits."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return f"{seconds}.{nanos:09d}"
