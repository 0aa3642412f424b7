"""The position in an engine's stream, and the recent events, so that each is accepted once.

A Docker engine repeats the events since a time, inclusive to the nanosecond, and can send an event
twice: once from its history, once live. It scans its history backwards and stops at the first event
older than ``since`` (moby, ``daemon/events/events.go``), so a single event out of order hides
younger ones. Therefore the cursor requests events from a margin before the last one, and drops by
id those that it remembers.

A cursor starts at the first connection to an engine. Every batch commits it as a `Checkpoint`
together with its deliveries, so it survives restarts and lives as long as the store. A gap restarts
it at another position (`relay.ingest.docker.gaps`).
"""

from collections import deque
from collections.abc import Iterable
from datetime import timedelta

from msgspec.structs import replace

from relay.config import StartFrom
from relay.core.checkpoint import CHUNK_EVENTS, SEALED_CHUNKS, Checkpoint, decode_seen, encode_seen
from relay.core.event import Event

MARGIN_NS = 60 * 1_000_000_000
"""How far before the last event to request: later events may be out of order by this much."""

LOOKBACK_NS = 10 * 60 * 1_000_000_000
"""How far before a first start to request: a stop that was requested then explains a death."""

CLOCK_TOLERANCE_NS = 5_000_000_000
"""How wrong the engine's time may be: relay reads it from HTTP dates, which have whole seconds."""


def resolve_start_ns(start_from: StartFrom, engine_now_ns: int) -> int:
    """Return the engine's time from which a first start accepts events; never less than 1."""
    match start_from:
        case "now":
            return engine_now_ns
        case "oldest":
            return 1
        case timedelta():
            return max(1, engine_now_ns - start_from // timedelta(microseconds=1) * 1000)


class Cursor:
    """Admits each event of an engine once. All times are the engine's."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._initial = checkpoint
        self._position_ns = checkpoint.position_ns
        self._earliest_ns = checkpoint.earliest_ns
        self._is_continuous = checkpoint.is_continuous
        self._is_held = False
        """Whether an event waits. Those that are admitted meanwhile may have happened after it."""
        self._held_position_ns: int | None = None
        """The time of the last event that was admitted meanwhile; None if none was."""
        self._sealed = deque(checkpoint.sealed)
        self._sealed_count = checkpoint.sealed_count
        self._open = [encode_seen(*each) for each in decode_seen(checkpoint.recent)]
        """The entries that do not fill a chunk yet."""
        chunks = (*checkpoint.sealed, checkpoint.recent)
        remembered = [id_ for chunk in chunks for id_, _ in decode_seen(chunk)]
        self._recent = set(remembered)
        """The ids of all remembered events."""
        self.passed_count = 0
        """How many events were admitted while others wait."""
        self._unproven = frozenset(remembered[len(remembered) - checkpoint.passed_count :])
        """The events that another process admitted while others waited."""
        self._ids_before_start: frozenset[str] | None = None

    @property
    def position_ns(self) -> int:
        """The time of the last accepted event; before there is one, that of the start."""
        return self._position_ns

    @property
    def is_continuous(self) -> bool:
        """Whether a complete history must contain an event from before the position.

        False after the start and after a gap, until such an event was seen.
        """
        return self._is_continuous

    @property
    def is_empty(self) -> bool:
        """Whether no event was accepted yet."""
        return not self._recent

    @property
    def since_ns(self) -> int:
        """The time from which to request events: each of them is either remembered or new."""
        if self.is_empty:
            return max(1, self._earliest_ns - LOOKBACK_NS)
        return min(self._position_ns, max(self._earliest_ns, self._position_ns - MARGIN_NS))

    def since_after_clock_reset_ns(self, now_ns: int) -> int:
        """Return what `since_ns` is if the engine's clock was set back to ``now_ns``."""
        start_ns = self._initial.first_start_ns
        return max(1, now_ns - LOOKBACK_NS, start_ns if start_ns < now_ns else 0)

    def admit(self, event: Event) -> bool:
        """Accept the event if it is new. Returns whether it was.

        Only local events move the position, because those of a swarm carry the time of the
        manager's clock. The position is the time of the last event, not the latest time, so that it
        follows a clock that was set back.
        """
        if self.remembers(event):
            return False
        self._recent.add(event.id)
        self._open.append(encode_seen(event.id, event.time_ns))
        if self._is_held:
            self.passed_count += 1
            if event.scope == "local":
                self._held_position_ns = event.time_ns
        elif event.scope == "local":
            self._position_ns = event.time_ns
            self._is_continuous = True
        if len(self._open) == CHUNK_EVENTS:
            self._seal_chunk()
        return True

    def hold(self) -> None:
        """Keep the position from now on: an event waits that is not admitted yet.

        A process that continues from here requests that event again. Whatever is admitted
        meanwhile is remembered, and nothing is forgotten, so the event is new and the others are
        not. But they do not prove that a history reaches back to that event.
        """
        self._is_held = True

    def release(self) -> None:
        """Move to the last admitted event: no event waits any longer."""
        self._is_held, self.passed_count = False, 0
        if self._held_position_ns is not None:
            self._position_ns, self._held_position_ns = self._held_position_ns, None
            self._is_continuous = True
        self._forget_surplus()

    def _seal_chunk(self) -> None:
        """Begin a new chunk, and forget the oldest if there are more than are kept."""
        self._sealed.append(b"".join(self._open))
        self._sealed_count += 1
        self._open.clear()
        self._forget_surplus()

    def _forget_surplus(self) -> None:
        """Forget the oldest chunks, unless an event waits.

        It may be as old as they are, and the cursor never requests what is older than a forgotten
        event.
        """
        while len(self._sealed) > SEALED_CHUNKS and not self._is_held:
            self._forget(self._sealed.popleft())

    def _forget(self, chunk: bytes) -> None:
        """Forget events, and never request them again: they would count as new."""
        for id_, time_ns in decode_seen(chunk):
            self._recent.discard(id_)
            if time_ns < self._position_ns:
                self._earliest_ns = max(self._earliest_ns, time_ns + 1)

    def remembers(self, event: Event) -> bool:
        """Whether the event was accepted recently, or never will be: it is before the start."""
        if event.id in self._recent:
            return True
        if self._recent and self._ids_before_start is None:  # nothing is from before the start
            return False
        return self.is_before_start(event)

    def is_before_start(self, event: Event) -> bool:
        """Whether the event happened before relay first connected to this engine.

        True only for events that the engine's history held at the first start. Any other event with
        such a time comes from a clock that was set back, or from a swarm's manager.
        """
        if self._ids_before_start is not None:
            return event.id in self._ids_before_start
        if self._recent or event.scope != "local":
            return False
        start_ns = self._initial.first_start_ns
        return start_ns - LOOKBACK_NS <= event.time_ns < start_ns

    def set_history(self, history: Iterable[Event]) -> None:
        """Note which events of the first history happened before the start.

        Does nothing for later histories: what they contain in addition happened after the start.
        """
        if self.is_empty and self._ids_before_start is None:
            start_ns = self._initial.first_start_ns
            self._ids_before_start = frozenset(
                event.id for event in history if event.time_ns < start_ns
            )

    def is_continuous_with(self, event: Event) -> bool:
        """Whether a history that contains this event reaches back to the position."""
        is_older = event.scope == "local" and event.time_ns <= self._position_ns
        return is_older or (event.id in self._recent and event.id not in self._unproven)

    def mark_continuous(self) -> None:
        """Note that the history contains an event from before the position.

        From now on a history without one is incomplete.
        """
        self._is_continuous = True

    def restart_at(self, position_ns: int) -> None:
        """Restart at this position after a gap: the history no longer overlaps with the cursor."""
        self._is_continuous = False
        self._position_ns = position_ns

    def is_ahead_of(self, now_ns: int) -> bool:
        """Whether the position is later than ``now_ns``, so the engine's clock was set back."""
        return self._position_ns > now_ns + CLOCK_TOLERANCE_NS

    def checkpoint(
        self,
        reported_until_ns: int,
        identity: str | None = None,
        blind_window: tuple[int, int] | None = None,
        drops: tuple[tuple[str, int, int, int], ...] = (),
    ) -> Checkpoint:
        """Return the cursor's state, with the other values that a `Checkpoint` stores."""
        return replace(
            self._initial,
            position_ns=self._position_ns,
            earliest_ns=self._earliest_ns,
            recent=b"".join(self._open),
            is_continuous=self._is_continuous,
            reported_until_ns=reported_until_ns,
            identity=identity,
            blind_window=blind_window,
            unreported_drops=drops,
            sealed=tuple(self._sealed),
            sealed_count=self._sealed_count,
            passed_count=self.passed_count,
        )
