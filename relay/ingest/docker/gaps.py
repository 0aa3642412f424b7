"""Stretches of an engine's stream that cannot be proven complete."""

from collections.abc import Iterable
from dataclasses import dataclass

from relay.core.event import Event, Why, happening, rfc3339
from relay.ingest.docker.buffer import Connection, Dropped, Opened
from relay.ingest.docker.containers.cause import EXPIRY_NS
from relay.ingest.docker.containers.inference import Unheard
from relay.ingest.docker.cursor import Cursor

HISTORY = 256
"""How many events a Docker engine remembers (moby, ``daemon/events/events.go``)."""

TOLD_EVERY_NS = 60 * 1_000_000_000
"""How often it is told at most that records are dropped."""

_WORDS = {
    Why.HISTORY_OVERRUN: "too much for its memory; what came and went meanwhile left no trace",
    Why.ENGINE_RESTARTED: "restarted, memory empty; what came and went meanwhile left no trace",
    Why.UNPROVEN: "nothing was heard of it before; what came and went meanwhile left no trace",
    Why.ANOTHER_ENGINE: "another engine answers in its place",
    Why.CLOCK_SET_BACK: "its clock was set back",
    Why.BUFFER_FULL: "ingest.buffer was full",
    Why.RECORD_TOO_LONG: "a record was too long to keep",
}


@dataclass(frozen=True, slots=True)
class Gap:
    """One such stretch; the times are the engine's."""

    why: Why
    from_ns: int
    until_ns: int
    lost: int = 0
    """How many records were dropped; 0 where nobody can know."""


class Gaps:
    """Finds them, and knows what they leave in doubt until a look at the containers settles it."""

    def __init__(self, unheard: Unheard | None = None) -> None:
        self.found = 0
        """How many so far."""
        self.in_doubt = True
        """Whether any container may have died unheard; so it is until the first look."""
        self.unheard = unheard
        """The last stretch in which a request may have been missed."""
        self._doubt_until_ns = 0
        self._begun_ns: int | None = None
        self._listening = False
        self._expected: frozenset[str] | None = None
        """The ids of which one has to come first over the connection; None once one came."""

    def begin(self, now_ns: int) -> None:
        """Over the connection of this time the engine is heard for the first time ever."""
        self._begun_ns = now_ns

    def opened(self, opened: Opened, cursor: Cursor) -> Gap | None:
        """The gap between what was taken in and what a new connection gives, if there is one.

        There is none if the engine's history holds the last event that was taken in, or an older
        one. Where no event has to be in it, because none was there at the start or at the last gap,
        a history that is not full is whole, unless relay or the engine was away. The cursor goes
        on from the end of the gap.
        """
        connection, history = opened.connection, opened.history
        whole = self._listening and not connection.after_failure
        self._listening = True
        if history is not None:
            cursor.look_back(history)
        if cursor.is_ahead(connection.opened_ns):
            return self._clock_set_back(connection, cursor)
        if history is None:
            self._expected = frozenset() if cursor.anchored else None
            return None
        self._expected = frozenset(event.id for event in history) or None
        if any(cursor.proves(event) for event in history):
            cursor.anchor()
            return None
        whole = whole or connection.opened_ns == self._begun_ns
        why = _why(opened, cursor, whole=whole)
        if why is None:
            return None
        until_ns = history[0].time_ns if history else connection.opened_ns
        gap = Gap(why, cursor.position_ns, until_ns)
        cursor.cast_off(max(cursor.position_ns, until_ns))
        # Until the engine was down all was heard, and then nobody could ask it for anything.
        deaf = why is not Why.ENGINE_RESTARTED or connection.lost_ns is None
        return self._noted(gap, deaf=deaf)

    def _clock_set_back(self, connection: Connection, cursor: Cursor) -> Gap:
        """No time tells any more what came before what."""
        now_ns = connection.opened_ns
        cursor.cast_off(now_ns)
        self._expected = None
        self.unheard = None  # by a time that comes again
        return self._noted(Gap(Why.CLOCK_SET_BACK, now_ns, now_ns))

    def heard(self, event: Event, cursor: Cursor) -> Gap | None:
        """The gap before the first event of a connection: the history moved on in between."""
        expected, self._expected = self._expected, None
        if expected is None or event.id in expected or cursor.proves(event):
            return None
        return self._noted(Gap(Why.HISTORY_OVERRUN, cursor.position_ns, event.time_ns))

    def dropped(self, dropped: Dropped, cursor: Cursor, now_ns: int) -> Gap:
        """The gap that dropped records leave; ``now_ns`` is the engine's time."""
        return self._noted(Gap(dropped.why, cursor.position_ns, now_ns, dropped.count))

    def replaced(self, cursor: Cursor, connection: Connection) -> Gap:
        """The gap before an engine that is not the one before."""
        gap = Gap(Why.ANOTHER_ENGINE, cursor.position_ns, connection.opened_ns)
        self._listening = True
        cursor.cast_off(connection.opened_ns)
        self._expected = None
        return self._noted(gap)

    def settled(self, taken_ns: int) -> None:
        """All containers were looked at, not before this time."""
        if self._doubt_until_ns <= taken_ns:
            self.in_doubt = False

    def _noted(self, gap: Gap, *, deaf: bool = True) -> Gap:
        self.found += 1
        self.in_doubt = True
        self._doubt_until_ns = gap.until_ns
        if deaf:
            self.unheard = _joined(self.unheard, Unheard(gap.from_ns, gap.until_ns))
        return gap


class Drops:
    """What had to be dropped, told at once and then at most once in `TOLD_EVERY_NS`, together."""

    def __init__(self, untold: Iterable[Gap] = ()) -> None:
        self._untold = {gap.why: gap for gap in untold}
        self._told_ns = 0

    @property
    def untold(self) -> tuple[Gap, ...]:
        """What is still to be told."""
        return tuple(self._untold.values())

    def add(self, gap: Gap) -> None:
        """Add what was dropped."""
        before = self._untold.get(gap.why, gap)
        lost = gap.lost if before is gap else before.lost + gap.lost
        self._untold[gap.why] = Gap(gap.why, before.from_ns, gap.until_ns, lost)

    def due(self, now_ns: int, *, finally_: bool = False) -> list[Gap]:
        """What is to be told now; ``finally_`` if there will be no other time."""
        told_lately = self._told_ns <= now_ns < self._told_ns + TOLD_EVERY_NS
        if not self._untold or (told_lately and not finally_):
            return []
        gaps, self._untold, self._told_ns = self.untold, {}, now_ns
        return list(gaps)


def _why(opened: Opened, cursor: Cursor, *, whole: bool) -> Why | None:
    """Why a history that proves nothing leaves a gap; None if it need not prove anything.

    ``whole``: neither relay nor the engine was away, as far as is known.
    """
    connection, history = opened.connection, opened.history or ()
    if cursor.position_ns <= 1:  # as early as it reaches: that is where the start was to be
        return None
    if len(history) >= HISTORY and not connection.podman:
        return Why.HISTORY_OVERRUN
    if cursor.anchored:
        return Why.ENGINE_RESTARTED
    return None if whole else Why.UNPROVEN


def _joined(before: Unheard | None, stretch: Unheard) -> Unheard:
    """One stretch of two, if the one before can still explain a death behind the other."""
    if before is None or before.until_ns + EXPIRY_NS < stretch.from_ns:
        return stretch
    return Unheard(min(before.from_ns, stretch.from_ns), max(before.until_ns, stretch.until_ns))


def declaration(gap: Gap, connection: Connection, now_ns: int) -> Event:
    """The event that declares a gap."""
    facts = {
        "why": gap.why.value,
        "reason": _WORDS[gap.why],
        "from": rfc3339(gap.from_ns),
        "until": rfc3339(max(gap.from_ns, gap.until_ns)),
    }
    if gap.lost:
        facts["count"] = str(gap.lost)
    return happening(
        "gap",
        engine=connection.engine,
        host=connection.host,
        time_ns=now_ns,
        name=connection.engine,
        attributes=facts,
    )
