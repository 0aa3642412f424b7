"""Stretches of an engine's stream that cannot be proven complete."""

from collections.abc import Iterable
from dataclasses import dataclass

from relay.core.event import Event, GapReason, format_rfc3339, make_self_event
from relay.ingest.docker.buffer import Connection, RecordsDropped, StreamOpened
from relay.ingest.docker.containers.cause import REQUEST_EXPIRY_NS
from relay.ingest.docker.containers.inference import BlindWindow
from relay.ingest.docker.cursor import Cursor

HISTORY_SIZE = 256
"""How many events a Docker engine remembers (moby, ``daemon/events/events.go``)."""

REPORT_INTERVAL_NS = 60 * 1_000_000_000
"""How often it is told at most that records are dropped."""

_REASON_TEXT = {
    GapReason.HISTORY_OVERRUN: "too much for its memory; what came and went meanwhile left no trace",
    GapReason.ENGINE_RESTARTED: "restarted, memory empty; what came and went meanwhile left no trace",
    GapReason.UNPROVEN: "nothing was heard of it before; what came and went meanwhile left no trace",
    GapReason.ANOTHER_ENGINE: "another engine answers in its place",
    GapReason.CLOCK_SET_BACK: "its clock was set back",
    GapReason.BUFFER_FULL: "ingest.buffer was full",
    GapReason.RECORD_TOO_LONG: "a record was too long to keep",
}


@dataclass(frozen=True, slots=True)
class Gap:
    """One such stretch; the times are the engine's."""

    reason: GapReason
    from_ns: int
    until_ns: int
    lost_count: int = 0
    """How many records were dropped; 0 where nobody can know."""


class GapDetector:
    """Finds them, and knows what they leave in doubt until a look at the containers settles it."""

    def __init__(self, blind_window: BlindWindow | None = None) -> None:
        self.found_count = 0
        """How many so far."""
        self.may_have_missed_deaths = True
        """Whether any container may have died unheard; so it is until the first look."""
        self.blind_window = blind_window
        """The last stretch in which a request may have been missed."""
        self._last_gap_until_ns = 0
        self._first_connection_ns: int | None = None
        self._has_connected = False
        self._expected_ids: frozenset[str] | None = None
        """The ids of which one has to come first over the connection; None once one came."""

    def note_first_connection(self, now_ns: int) -> None:
        """Over the connection of this time the engine is heard for the first time ever."""
        self._first_connection_ns = now_ns

    def on_stream_opened(self, opened: StreamOpened, cursor: Cursor) -> Gap | None:
        """The gap between what was taken in and what a new connection gives, if there is one.

        There is none if the engine's history holds the last event that was taken in, or an older
        one. Where no event has to be in it, because none was there at the start or at the last gap,
        a history that is not full is whole, unless relay or the engine was away. The cursor goes
        on from the end of the gap.
        """
        connection, history = opened.connection, opened.history
        whole = self._has_connected and not connection.after_failure
        self._has_connected = True
        if history is not None:
            cursor.set_history(history)
        if cursor.is_ahead_of(connection.opened_ns):
            return self._clock_set_back(connection, cursor)
        if history is None:
            self._expected_ids = frozenset() if cursor.is_continuous else None
            return None
        self._expected_ids = frozenset(event.id for event in history) or None
        if any(cursor.is_continuous_with(event) for event in history):
            cursor.mark_continuous()
            return None
        whole = whole or connection.opened_ns == self._first_connection_ns
        why = _gap_reason(opened, cursor, was_present=whole)
        if why is None:
            return None
        until_ns = history[0].time_ns if history else connection.opened_ns
        gap = Gap(why, cursor.position_ns, until_ns)
        cursor.restart_at(max(cursor.position_ns, until_ns))
        # Until the engine was down all was heard, and then nobody could ask it for anything.
        deaf = why is not GapReason.ENGINE_RESTARTED or connection.down_since_ns is None
        return self._record(gap, requests_may_be_missing=deaf)

    def _clock_set_back(self, connection: Connection, cursor: Cursor) -> Gap:
        """No time tells any more what came before what."""
        now_ns = connection.opened_ns
        cursor.restart_at(now_ns)
        self._expected_ids = None
        self.blind_window = None  # by a time that comes again
        return self._record(Gap(GapReason.CLOCK_SET_BACK, now_ns, now_ns))

    def on_event(self, event: Event, cursor: Cursor) -> Gap | None:
        """The gap before the first event of a connection: the history moved on in between."""
        expected, self._expected_ids = self._expected_ids, None
        if expected is None or event.id in expected or cursor.is_continuous_with(event):
            return None
        return self._record(Gap(GapReason.HISTORY_OVERRUN, cursor.position_ns, event.time_ns))

    def on_records_dropped(self, dropped: RecordsDropped, cursor: Cursor, now_ns: int) -> Gap:
        """The gap that dropped records leave; ``now_ns`` is the engine's time."""
        return self._record(Gap(dropped.reason, cursor.position_ns, now_ns, dropped.count))

    def on_engine_replaced(self, cursor: Cursor, connection: Connection) -> Gap:
        """The gap before an engine that is not the one before."""
        gap = Gap(GapReason.ANOTHER_ENGINE, cursor.position_ns, connection.opened_ns)
        self._has_connected = True
        cursor.restart_at(connection.opened_ns)
        self._expected_ids = None
        return self._record(gap)

    def on_full_snapshot(self, taken_ns: int) -> None:
        """All containers were looked at, not before this time."""
        if self._last_gap_until_ns <= taken_ns:
            self.may_have_missed_deaths = False

    def _record(self, gap: Gap, *, requests_may_be_missing: bool = True) -> Gap:
        self.found_count += 1
        self.may_have_missed_deaths = True
        self._last_gap_until_ns = gap.until_ns
        if requests_may_be_missing:
            self.blind_window = _merge(self.blind_window, BlindWindow(gap.from_ns, gap.until_ns))
        return gap


class DropReporter:
    """What had to be dropped, told at once and then at most once in `REPORT_INTERVAL_NS`, together."""

    def __init__(self, unreported: Iterable[Gap] = ()) -> None:
        self._unreported = {gap.reason: gap for gap in unreported}
        self._last_reported_ns = 0

    @property
    def unreported(self) -> tuple[Gap, ...]:
        """What is still to be told."""
        return tuple(self._unreported.values())

    def add(self, gap: Gap) -> None:
        """Add what was dropped."""
        before = self._unreported.get(gap.reason, gap)
        lost = gap.lost_count if before is gap else before.lost_count + gap.lost_count
        self._unreported[gap.reason] = Gap(gap.reason, before.from_ns, gap.until_ns, lost)

    def take_due(self, now_ns: int, *, is_final: bool = False) -> list[Gap]:
        """What is to be told now; ``finally_`` if there will be no other time."""
        told_lately = self._last_reported_ns <= now_ns < self._last_reported_ns + REPORT_INTERVAL_NS
        if not self._unreported or (told_lately and not is_final):
            return []
        gaps, self._unreported, self._last_reported_ns = self.unreported, {}, now_ns
        return list(gaps)


def _gap_reason(opened: StreamOpened, cursor: Cursor, *, was_present: bool) -> GapReason | None:
    """Why a history that proves nothing leaves a gap; None if it need not prove anything.

    ``whole``: neither relay nor the engine was away, as far as is known.
    """
    connection, history = opened.connection, opened.history or ()
    if cursor.position_ns <= 1:  # as early as it reaches: that is where the start was to be
        return None
    if len(history) >= HISTORY_SIZE and not connection.podman:
        return GapReason.HISTORY_OVERRUN
    if cursor.is_continuous:
        return GapReason.ENGINE_RESTARTED
    return None if was_present else GapReason.UNPROVEN


def _merge(before: BlindWindow | None, stretch: BlindWindow) -> BlindWindow:
    """One stretch of two, if the one before can still explain a death behind the other."""
    if before is None or before.until_ns + REQUEST_EXPIRY_NS < stretch.from_ns:
        return stretch
    return BlindWindow(min(before.from_ns, stretch.from_ns), max(before.until_ns, stretch.until_ns))


def make_gap_event(gap: Gap, connection: Connection, now_ns: int) -> Event:
    """The event that declares a gap."""
    facts = {
        "why": gap.reason.value,
        "reason": _REASON_TEXT[gap.reason],
        "from": format_rfc3339(gap.from_ns),
        "until": format_rfc3339(max(gap.from_ns, gap.until_ns)),
    }
    if gap.lost_count:
        facts["count"] = str(gap.lost_count)
    return make_self_event(
        "gap",
        engine=connection.engine,
        host=connection.host,
        time_ns=now_ns,
        name=connection.engine,
        attributes=facts,
    )
