"""Gaps: periods of an engine's stream that cannot be proven complete.

relay promises never to lose an event silently, but an engine remembers only few events, and none
over a restart. At each new connection `GapDetector` compares the engine's history with the cursor.
It reports a gap unless an event of the history proves that the two overlap, or no event can be
missing. Dropped records are gaps too; `DropReporter` keeps them from being reported too often.

A gap ends at the first event that relay receives after it. It leaves two doubts. Any container may
have died without an event: a complete snapshot of the containers settles that. And somebody may
have requested a stop that relay did not see (the blind window): no snapshot shows that, so this
doubt lasts until a request of that time is too old to explain a death.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from relay.core.event import Event, GapReason, format_rfc3339, make_self_event
from relay.ingest.docker.buffer import Connection, RecordsDropped, StreamOpened
from relay.ingest.docker.containers.cause import REQUEST_EXPIRY_NS
from relay.ingest.docker.containers.inference import BlindWindow
from relay.ingest.docker.cursor import Cursor

HISTORY_SIZE = 256
"""How many events a Docker engine remembers (moby, ``daemon/events/events.go``)."""

INVALID_RECORDS_REMEMBERED = 256
"""As many as a Docker engine can repeat."""

REPORT_INTERVAL_NS = 60 * 1_000_000_000
"""Dropped records are reported at most this often."""

_NO_TRACE = "containers created and removed meanwhile left no trace"

_REASON_TEXT = {
    GapReason.HISTORY_OVERRUN: f"more events happened than the engine remembers; {_NO_TRACE}",
    GapReason.ENGINE_RESTARTED: f"the engine restarted and forgot its events; {_NO_TRACE}",
    GapReason.UNPROVEN: f"no earlier event proves that nothing is missing; {_NO_TRACE}",
    GapReason.ANOTHER_ENGINE: "another engine answers at this address",
    GapReason.CLOCK_SET_BACK: "the engine's clock was set back",
    GapReason.BUFFER_FULL: "ingest.buffer was full",
    GapReason.RECORD_TOO_LONG: "a record was too long to keep",
    GapReason.RECORD_INVALID: "a record of the stream was not an event",
    GapReason.CONTAINERS_FULL: (
        "there are too many containers or labels to remember all: if no event reports the death of "
        "one of them, it is reported without labels, or not at all"
    ),
}


class Gap(msgspec.Struct, frozen=True):
    """One gap. The times are the engine's."""

    reason: GapReason
    from_ns: int
    until_ns: int
    lost_count: int = 0
    """How many records were dropped; 0 if unknown."""


class GapDetector:
    """Finds the gaps of one engine, and tracks what they leave in doubt."""

    def __init__(self, blind_window: BlindWindow | None = None) -> None:
        self.found_count = 0
        """How many gaps were found so far."""
        self.may_have_missed_deaths = True
        """Whether any container may have died without an event. True until the first complete
        snapshot, and again after every gap."""
        self.blind_window = blind_window
        """The last period in which a requested stop may have been missed."""
        self._last_gap_until_ns = 0
        self._first_connection_ns: int | None = None
        self._has_connected = False
        self.expected_ids: frozenset[str] | None = None
        """The first event over this connection must be one of these, or an older one; None if any
        will do, or once it has arrived."""

    def note_first_connection(self, now_ns: int) -> None:
        """Note that relay connects to this engine for the first time ever, at this time."""
        self._first_connection_ns = now_ns

    def on_stream_opened(self, opened: StreamOpened, cursor: Cursor) -> Gap | None:
        """Return the gap between the cursor and the new connection; None if there is none.

        The engine's history proves that there is none if it contains the last accepted event, or
        an older one. If no event was accepted since the start or the last gap, it need not contain
        one: then a history that is not full is complete, unless relay or the engine was away. The
        cursor continues at the end of a gap.
        """
        connection, history = opened.connection, opened.history
        was_present = self._has_connected and not connection.after_failure
        self._has_connected = True
        if history is not None:
            cursor.set_history(history)
        if cursor.is_ahead_of(connection.opened_ns):
            return self._on_clock_set_back(connection, cursor)
        if history is None:
            self.expected_ids = frozenset() if cursor.is_continuous else None
            return None
        self.expected_ids = frozenset(event.id for event in history) or None
        if any(cursor.is_continuous_with(event) for event in history):
            cursor.mark_continuous()
            return None
        was_present = was_present or connection.opened_ns == self._first_connection_ns
        reason = _gap_reason(opened, cursor, was_present=was_present)
        if reason is None:
            return None
        until_ns = history[0].time_ns if history else connection.opened_ns
        gap = Gap(reason, cursor.position_ns, until_ns)
        cursor.restart_at(max(cursor.position_ns, until_ns))
        # An engine that is down accepts no requests, and relay saw all those before.
        requests_may_be_missing = (
            reason is not GapReason.ENGINE_RESTARTED or connection.down_since_ns is None
        )
        return self._record(gap, requests_may_be_missing=requests_may_be_missing)

    def _on_clock_set_back(self, connection: Connection, cursor: Cursor) -> Gap:
        """Restart at the engine's current time: times no longer show which event came first."""
        now_ns = connection.opened_ns
        cursor.restart_at(now_ns)
        self.expected_ids = None
        self.blind_window = None  # its times will occur again, and then mean other moments
        return self._record(Gap(GapReason.CLOCK_SET_BACK, now_ns, now_ns))

    def on_event(self, event: Event, cursor: Cursor) -> Gap | None:
        """Return the gap before the first event of a connection; None if there is none.

        Between the requests for the history and for the stream, more events may happen than the
        engine remembers.
        """
        expected, self.expected_ids = self.expected_ids, None
        if expected is None or event.id in expected or cursor.is_continuous_with(event):
            return None
        return self._record(Gap(GapReason.HISTORY_OVERRUN, cursor.position_ns, event.time_ns))

    def on_records_dropped(self, dropped: RecordsDropped, cursor: Cursor, now_ns: int) -> Gap:
        """Return the gap that dropped records leave. ``now_ns`` is the engine's time."""
        return self._record(Gap(dropped.reason, cursor.position_ns, now_ns, dropped.count))

    def on_engine_replaced(self, cursor: Cursor, connection: Connection) -> Gap:
        """Return the gap that another engine at the same address leaves."""
        gap = Gap(GapReason.ANOTHER_ENGINE, cursor.position_ns, connection.opened_ns)
        self._has_connected = True
        cursor.restart_at(connection.opened_ns)
        self.expected_ids = None
        return self._record(gap)

    def on_full_snapshot(self, taken_ns: int) -> None:
        """Note that every container was inspected at this time or later."""
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
    """Reports dropped records: the first at once, then at most once per `REPORT_INTERVAL_NS`."""

    def __init__(self, unreported: Iterable[Gap] = ()) -> None:
        self.unreported = {gap.reason: gap for gap in unreported}
        """What was not reported yet: one gap for each reason."""
        self._last_reported_ns = 0
        self._invalid_records: deque[int] = deque(maxlen=INVALID_RECORDS_REMEMBERED)

    def is_repeated(self, digest: int) -> bool:
        """Whether a record that is no event came before: an engine repeats it after a reconnect.

        Remembers the record, by its digest.
        """
        if digest in self._invalid_records:
            return True
        self._invalid_records.append(digest)
        return False

    def describe(self) -> tuple[tuple[str, int, int, int], ...]:
        """Return what was not reported yet, as a `Checkpoint` keeps it."""
        return tuple(
            (gap.reason.value, gap.from_ns, gap.until_ns, gap.lost_count)
            for gap in self.unreported.values()
        )

    def add(self, gap: Gap) -> None:
        """Add a gap to be reported, merged with those of the same reason."""
        earlier = self.unreported.get(gap.reason)
        if earlier is not None:
            count = earlier.lost_count + gap.lost_count
            gap = Gap(gap.reason, earlier.from_ns, gap.until_ns, count)
        self.unreported[gap.reason] = gap

    def wait_ns(self, now_ns: int) -> int | None:
        """Return how long until gaps are to be reported; None if there are none."""
        if not self.unreported:
            return None
        since_ns = now_ns - self._last_reported_ns
        return max(0, REPORT_INTERVAL_NS - since_ns) if since_ns >= 0 else 0

    def take_due(self, now_ns: int, *, is_final: bool = False) -> list[Gap]:
        """Take the gaps to report now; all of them if ``is_final``.

        ``now_ns`` is the wall clock's time. If it was set back, gaps are reported at once.
        """
        wait_ns = self.wait_ns(now_ns)
        if wait_ns is None or (wait_ns > 0 and not is_final):
            return []
        gaps, self.unreported, self._last_reported_ns = self.unreported, {}, now_ns
        return list(gaps.values())


def _gap_reason(opened: StreamOpened, cursor: Cursor, *, was_present: bool) -> GapReason | None:
    """Why a history that does not overlap with the cursor leaves a gap; None if it leaves none.

    ``was_present``: neither relay nor the engine was away, as far as is known.
    """
    connection, history = opened.connection, opened.history or ()
    if cursor.position_ns <= 1:  # `start_from: oldest`: the start is the oldest event
        return None
    if len(history) >= HISTORY_SIZE and not connection.podman:
        return GapReason.HISTORY_OVERRUN
    if cursor.is_continuous:
        return GapReason.ENGINE_RESTARTED
    return None if was_present else GapReason.UNPROVEN


def _merge(before: BlindWindow | None, window: BlindWindow) -> BlindWindow:
    """Merge two windows, unless requests of the earlier one are too old to explain a death."""
    if before is None or before.until_ns + REQUEST_EXPIRY_NS < window.from_ns:
        return window
    return BlindWindow(min(before.from_ns, window.from_ns), max(before.until_ns, window.until_ns))


def make_gap_event(gap: Gap, connection: Connection, now_ns: int) -> Event:
    """Make the ``gap`` event that declares a gap. ``now_ns`` is the wall clock's time."""
    attributes = {
        "why": gap.reason.value,
        "reason": _REASON_TEXT[gap.reason],
        "from": format_rfc3339(gap.from_ns),
        "until": format_rfc3339(max(gap.from_ns, gap.until_ns)),
    }
    if gap.lost_count:
        attributes["count"] = str(gap.lost_count)
    return make_self_event(
        "gap",
        engine=connection.engine,
        host=connection.host,
        time_ns=now_ns,
        name=connection.engine,
        attributes=attributes,
    )
