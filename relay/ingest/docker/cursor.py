"""How far an engine's stream has been taken in, and what of it was seen already.

The engine repeats what is asked for with ``since``, inclusive to the nanosecond, and can send an
event twice: once in the repetition, once live. Its repetition scans its history backwards and
stops at the first event older than ``since`` (moby, ``daemon/events/events.go``), so one event out
of order hides younger ones. Therefore relay asks from a margin before the last event that it took
in and drops by id what it remembers.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from relay.core.checkpoint import Checkpoint, decode_seen, encode_seen, seen_time_ns
from relay.core.event import Event

MARGIN_NS = 60 * 1_000_000_000
"""How far before the last event to ask; events out of order by less than this are not missed."""

LOOKBACK_NS = 10 * 60 * 1_000_000_000
"""How far before a first start to ask: what was asked of a container then explains its death."""

CLOCK_TOLERANCE_NS = 5_000_000_000
"""How far an engine's time may be from what relay takes it for: HTTP dates have whole seconds."""

REMEMBERED_EVENTS = 512
"""How many events are remembered: twice the 256 that a Docker engine can repeat."""


class Cursor:
    """Admits each event of an engine once."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._initial = checkpoint
        self._position_ns = checkpoint.position_ns
        self._earliest_ns = checkpoint.earliest_ns
        self._is_continuous = checkpoint.is_continuous
        self._recent = OrderedDict(decode_seen(checkpoint.recent))
        self._ids_before_start: frozenset[str] | None = None

    @property
    def position_ns(self) -> int:
        """The time of the last event taken in."""
        return self._position_ns

    @property
    def is_continuous(self) -> bool:
        """Whether the history has to hold an event that was taken in, if it reaches back to it."""
        return self._is_continuous

    @property
    def is_empty(self) -> bool:
        """Whether no event was taken in yet."""
        return not self._recent

    @property
    def since_ns(self) -> int:
        """From when on to ask the engine: whatever it repeats from there is remembered or new."""
        if self.is_empty:
            return max(1, self._earliest_ns - LOOKBACK_NS)
        return min(self._position_ns, max(self._earliest_ns, self._position_ns - MARGIN_NS))

    def since_after_clock_reset_ns(self, now_ns: int) -> int:
        """The same where the engine's clock was set back to ``now_ns``."""
        began_ns = self._initial.first_start_ns
        return max(1, now_ns - LOOKBACK_NS, began_ns if began_ns < now_ns else 0)

    def admit(self, event: Event) -> bool:
        """Whether the event is new; if so, it is taken in.

        Only the engine's own events move the position: those of a swarm carry the manager's
        clock. It follows the last event, not the latest, so a clock stepped back is followed too.
        """
        if event.id in self._recent or self.is_before_start(event):
            return False
        self._recent[event.id] = encode_seen(event.id, event.time_ns)
        if event.scope == "local":
            self._position_ns = event.time_ns
            self._is_continuous = True
        if len(self._recent) > REMEMBERED_EVENTS:
            self._forget_oldest()
        return True

    def _forget_oldest(self) -> None:
        """What is forgotten must not be asked for again."""
        _, entry = self._recent.popitem(last=False)
        time_ns = seen_time_ns(entry)
        if time_ns < self._position_ns:
            self._earliest_ns = max(self._earliest_ns, time_ns + 1)

    def remembers(self, event: Event) -> bool:
        """Whether the event was taken in and is not forgotten, or is not to be: it was before."""
        return event.id in self._recent or self.is_before_start(event)

    def filter_new(self, events: Iterable[Event]) -> list[Event]:
        """Those that it does not remember."""
        if self._recent and self._ids_before_start is None:  # nothing is from before
            return [event for event in events if event.id not in self._recent]
        return [event for event in events if not self.remembers(event)]

    def is_before_start(self, event: Event) -> bool:
        """Whether it happened before relay began to listen to this engine.

        Only what a first start looks back on did. Any other with such a time is of a clock that
        was stepped back, or of a swarm's manager.
        """
        if self._ids_before_start is not None:
            return event.id in self._ids_before_start
        if self._recent or event.scope != "local":
            return False
        began_ns = self._initial.first_start_ns
        return began_ns - LOOKBACK_NS <= event.time_ns < began_ns

    def set_history(self, history: Iterable[Event]) -> None:
        """Know what a first start looks back on; what a later history holds came since."""
        if self.is_empty and self._ids_before_start is None:
            began_ns = self._initial.first_start_ns
            self._ids_before_start = frozenset(it.id for it in history if it.time_ns < began_ns)

    def is_continuous_with(self, event: Event) -> bool:
        """Whether a history that holds this event reaches back to the position."""
        older = event.scope == "local" and event.time_ns <= self._position_ns
        return older or event.id in self._recent

    def mark_continuous(self) -> None:
        """The history holds an event from before the position, and will unless it is lost."""
        self._is_continuous = True

    def restart_at(self, position_ns: int) -> None:
        """Go on from here: no event that was taken in can be expected to come again."""
        self._is_continuous = False
        self._position_ns = position_ns

    def is_ahead_of(self, now_ns: int) -> bool:
        """Whether the engine's time is before that of the last event: its clock was set back."""
        return self._position_ns > now_ns + CLOCK_TOLERANCE_NS

    def checkpoint(
        self,
        reported_until_ns: int,
        identity: str | None = None,
        blind_window: tuple[int, int] | None = None,
        drops: tuple[tuple[str, int, int, int], ...] = (),
    ) -> Checkpoint:
        """The cursor as it is now, to be stored; for the others see `Checkpoint`."""
        return replace(
            self._initial,
            position_ns=self._position_ns,
            earliest_ns=self._earliest_ns,
            recent=b"".join(self._recent.values()),
            is_continuous=self._is_continuous,
            reported_until_ns=reported_until_ns,
            identity=identity,
            blind_window=blind_window,
            unreported_drops=drops,
        )


def format_engine_time(time_ns: int) -> str:
    """A time as the engine reads it in ``since`` and ``until``: seconds, a point, nine digits."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return f"{seconds}.{nanos:09d}"
