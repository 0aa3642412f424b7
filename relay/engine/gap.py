"""Stretches of an engine's stream that cannot be proven complete."""

from dataclasses import dataclass

from relay.engine.cursor import Cursor
from relay.engine.inbox import Connection, Dropped, Opened, Why
from relay.engine.inference import Unheard
from relay.event import Event, happening, rfc3339

HISTORY = 256
"""How many events a Docker engine remembers (moby, ``daemon/events/events.go``)."""

_WORDS = {
    Why.HISTORY_OVERRUN: "too much for its memory; what came and went meanwhile left no trace",
    Why.ENGINE_RESTARTED: "restarted, memory empty; what came and went meanwhile left no trace",
    Why.ANOTHER_ENGINE: "another engine answers in its place",
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

    def __init__(self) -> None:
        self.found = 0
        """How many so far."""
        self.in_doubt = True
        """Whether any container may have died unheard; so it is until the first look."""
        self.unheard: Unheard | None = None
        """From the first to the last moment of the gaps since the last thorough look."""
        self._expected: frozenset[str] | None = None
        """The ids of which one has to come first over the connection; None once one came."""

    def opened(self, opened: Opened, cursor: Cursor) -> Gap | None:
        """The gap between what was taken in and what a new connection gives, if there is one.

        There is none if the engine's history holds the last event that was taken in, or an older
        one. After a start or a gap no event has to be in it: then a history that is not full is
        whole, and so is any where the start was to be as early as it reaches.
        """
        connection, history = opened.connection, opened.history
        if history is None:
            self._expected = frozenset() if cursor.anchored else None
            return None
        self._expected = frozenset(event.id for event in history) or None
        full = len(history) >= HISTORY
        if any(cursor.proves(event) for event in history):
            return None
        if not cursor.anchored and (not full or connection.podman or cursor.position_ns <= 1):
            return None
        until_ns = history[0].time_ns if history else connection.opened_ns
        gap = Gap(
            Why.HISTORY_OVERRUN if full else Why.ENGINE_RESTARTED, cursor.position_ns, until_ns
        )
        cursor.cast_off(until_ns)
        # While the engine was down nobody could ask it for anything.
        deaf_until_ns = until_ns
        if gap.why is Why.ENGINE_RESTARTED and connection.lost_ns is not None:
            deaf_until_ns = min(until_ns, connection.lost_ns)
        return self._noted(gap, deaf_until_ns)

    def heard(self, event: Event, cursor: Cursor) -> Gap | None:
        """The gap before the first event of a connection: the history moved on in between."""
        expected, self._expected = self._expected, None
        if expected is None or event.id in expected or cursor.proves(event):
            return None
        gap = Gap(Why.HISTORY_OVERRUN, cursor.position_ns, event.time_ns)
        return self._noted(gap, event.time_ns)

    def dropped(self, dropped: Dropped, cursor: Cursor, now_ns: int) -> Gap:
        """The gap that dropped records leave; ``now_ns`` is the engine's time."""
        gap = Gap(dropped.why, cursor.position_ns, now_ns, dropped.count)
        return self._noted(gap, now_ns)

    def replaced(self, cursor: Cursor, connection: Connection) -> Gap:
        """The gap before an engine that is not the one before."""
        gap = Gap(Why.ANOTHER_ENGINE, cursor.position_ns, connection.opened_ns)
        cursor.cast_off(connection.opened_ns)
        self._expected = None
        return self._noted(gap, connection.opened_ns)

    def settled(self, taken_ns: int) -> None:
        """All containers were looked at, not before this time."""
        if self.unheard is None or self.unheard.until_ns <= taken_ns:
            self.in_doubt = False
            self.unheard = None

    def _noted(self, gap: Gap, deaf_until_ns: int) -> Gap:
        self.found += 1
        self.in_doubt = True
        before = self.unheard or Unheard(gap.from_ns, deaf_until_ns)
        self.unheard = Unheard(
            min(before.from_ns, gap.from_ns), max(before.until_ns, deaf_until_ns)
        )
        return gap


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
