"""Gaps: periods of a stream that cannot be proven complete."""

import pytest

from relay.core.checkpoint import Checkpoint
from relay.core.event import Event, GapReason, format_rfc3339
from relay.ingest.docker.buffer import Connection, RecordsDropped, StreamOpened
from relay.ingest.docker.containers.cause import REQUEST_EXPIRY_NS
from relay.ingest.docker.containers.inference import BlindWindow
from relay.ingest.docker.cursor import Cursor
from relay.ingest.docker.gaps import (
    HISTORY_SIZE,
    Gap,
    GapDetector,
    make_gap_event,
)
from tests.unit.ingest.docker.samples import at, make_event


def make_connection(
    opened: float = 1000,
    *,
    lost: float | None = None,
    failed: bool = False,
    podman: bool = False,
) -> Connection:
    return Connection(
        "here",
        "node-1",
        opened_ns=at(opened),
        since_ns=1,
        down_since_ns=None if lost is None else at(lost),
        after_failure=failed,
        podman=podman,
    )


def stream_opened(*history: Event, **how: float | bool | None) -> StreamOpened:
    return StreamOpened(make_connection(**how), history)  # type: ignore[arg-type]


def full_history(first: float) -> list[Event]:
    """As many events as a Docker engine remembers, from this second on."""
    return [make_event("exec_start", second=first + number / 100) for number in range(HISTORY_SIZE)]


def first_detector(opened: float = 1000) -> GapDetector:
    """The detector of an engine that relay connects to for the first time."""
    detector = GapDetector()
    detector.note_first_connection(at(opened))
    return detector


def new_cursor() -> Cursor:
    """A cursor without events."""
    return Cursor(Checkpoint.starting_at(at(0)))


LAST = make_event("start", second=10)


def continuous_cursor() -> Cursor:
    """A cursor that has accepted an event."""
    cursor = new_cursor()
    cursor.admit(LAST)
    return cursor


@pytest.mark.parametrize(
    "history", [[LAST], [LAST, make_event("die", second=500)], [make_event("start", second=9)]]
)
def test_a_history_that_reaches_back_leaves_no_gap(history: list[Event]) -> None:
    """A history with the last accepted event, or an older one, leaves no gap."""
    detector, cursor = GapDetector(), continuous_cursor()
    assert detector.on_stream_opened(stream_opened(*history), cursor) is None
    assert detector.blind_window is None
    assert cursor.is_continuous


def test_a_history_that_was_overrun() -> None:
    """It is full and does not reach back, so the gap lasts until its first event."""
    detector, cursor = GapDetector(), continuous_cursor()
    gap = detector.on_stream_opened(stream_opened(*full_history(500), lost=20), cursor)
    assert gap == Gap(GapReason.HISTORY_OVERRUN, at(10), at(500))
    assert detector.blind_window == BlindWindow(at(10), at(500))
    assert not cursor.is_continuous


@pytest.mark.parametrize(
    ("history", "lost", "until", "window"),
    [
        ([], None, 1000, BlindWindow(at(10), at(1000))),
        ([], 20, 1000, None),
        ([make_event("start", second=500)], None, 500, BlindWindow(at(10), at(500))),
        ([make_event("start", second=500)], 20, 500, None),
    ],
)
def test_an_engine_that_restarted(
    history: list[Event], lost: float | None, until: float, window: BlindWindow | None
) -> None:
    """Its history is short and does not reach back.

    If it is known to have been down, nobody could request a stop.
    """
    detector = GapDetector()
    gap = detector.on_stream_opened(stream_opened(*history, lost=lost), continuous_cursor())
    assert gap == Gap(GapReason.ENGINE_RESTARTED, at(10), at(until))
    assert detector.blind_window == window
    assert detector.may_have_missed_deaths


@pytest.mark.parametrize("history", [[], [make_event("start", second=500)], [LAST]])
@pytest.mark.parametrize("failed", [False, True])
def test_a_first_start_has_no_gap(history: list[Event], failed: bool) -> None:
    """A history that is not full is complete, even if the engine was unreachable at first."""
    assert (
        first_detector().on_stream_opened(stream_opened(*history, failed=failed), new_cursor())
        is None
    )


@pytest.mark.parametrize("history", [[], [make_event("start", second=500)]])
def test_a_first_start_whose_stream_opened_late(history: list[Event]) -> None:
    """It starts when the engine first answers; since then something may have been missed."""
    until = 500 if history else 1000
    gap = first_detector(0).on_stream_opened(stream_opened(*history, failed=True), new_cursor())
    assert gap == Gap(GapReason.UNPROVEN, at(0), at(until))


YOUNG = make_event("start", second=500)


@pytest.mark.parametrize(("history", "until"), [([], 2000), ([YOUNG], 500)])
def test_the_engine_was_away_before_its_first_event(history: list[Event], until: float) -> None:
    """A history without older events proves nothing then. A mere reconnect needs no proof."""
    detector, cursor = first_detector(), new_cursor()
    assert detector.on_stream_opened(stream_opened(), cursor) is None
    assert detector.on_stream_opened(stream_opened(*history, opened=1500), cursor) is None
    gap = detector.on_stream_opened(stream_opened(*history, opened=2000, failed=True), cursor)
    assert gap == Gap(GapReason.UNPROVEN, at(0), at(until))
    assert detector.blind_window == BlindWindow(at(0), at(until))
    assert detector.on_stream_opened(stream_opened(*history, opened=2001), cursor) is None


def test_relay_was_away_before_the_first_event() -> None:
    """The first connection of another process is no mere reconnect; the next one is."""
    cursor = Cursor(new_cursor().checkpoint(0))
    detector = GapDetector()
    assert detector.on_stream_opened(stream_opened(), cursor) == Gap(
        GapReason.UNPROVEN, at(0), at(1000)
    )
    assert detector.on_stream_opened(stream_opened(opened=1001), cursor) is None


@pytest.mark.parametrize("failed", [False, True])
def test_an_event_from_before_the_start_proves_continuity(failed: bool) -> None:
    """While the history contains it nothing is missing. Once it does not, the engine restarted."""
    detector, cursor, before = first_detector(), new_cursor(), make_event("start", second=-1)
    assert detector.on_stream_opened(stream_opened(before), cursor) is None
    assert (
        detector.on_stream_opened(stream_opened(before, opened=1500, failed=failed), cursor) is None
    )
    assert (
        GapDetector().on_stream_opened(
            stream_opened(before, opened=1600), Cursor(cursor.checkpoint(0))
        )
        is None
    )
    gap = detector.on_stream_opened(stream_opened(opened=2000, failed=failed), cursor)
    assert gap == Gap(GapReason.ENGINE_RESTARTED, at(0), at(2000))


def test_a_swarm_event_does_not_prove_continuity() -> None:
    """A swarm event carries the clock of the swarm's manager, so it does not prove continuity."""
    detector, cursor = first_detector(), new_cursor()
    detector.on_stream_opened(stream_opened(make_event("start", second=-1, scope="swarm")), cursor)
    assert not cursor.is_continuous


def test_a_start_from_the_oldest_event_needs_no_proof() -> None:
    """A start from the oldest event starts at the oldest event that the engine remembers."""
    cursor = Cursor(Checkpoint.starting_at(1))
    assert GapDetector().on_stream_opened(stream_opened(), cursor) is None
    assert (
        GapDetector().on_stream_opened(stream_opened(*full_history(500), failed=True), cursor)
        is None
    )


@pytest.mark.parametrize("history", [None, [], [LAST], [make_event("start", second=-30)]])
def test_a_clock_that_was_set_back(history: list[Event] | None) -> None:
    """Times prove nothing any more; the cursor continues from the engine's current time."""
    detector, cursor = GapDetector(BlindWindow(at(5), at(9))), continuous_cursor()
    back = StreamOpened(make_connection(-20), None if history is None else tuple(history))
    assert detector.on_stream_opened(back, cursor) == Gap(
        GapReason.CLOCK_SET_BACK, at(-20), at(-20)
    )
    assert (cursor.position_ns, cursor.is_continuous) == (at(-20), False)
    assert detector.blind_window == BlindWindow(at(-20), at(-20))
    assert detector.may_have_missed_deaths
    assert detector.on_event(make_event("die", second=-25), cursor) is None
    assert detector.on_stream_opened(stream_opened(opened=-19), cursor) is None


def test_a_clock_that_was_set_back_by_little() -> None:
    """Within the error of the engine's time, it is no gap."""
    detector, cursor = GapDetector(), continuous_cursor()
    assert detector.on_stream_opened(stream_opened(LAST, opened=5), cursor) is None
    assert detector.on_stream_opened(stream_opened(LAST, opened=4.9), cursor) is not None


def test_a_first_start_that_requests_more_than_is_remembered() -> None:
    """A full history that does not reach back to the start is a gap. Podman's is never full."""
    gap = first_detector().on_stream_opened(stream_opened(*full_history(500)), new_cursor())
    assert gap == Gap(GapReason.HISTORY_OVERRUN, at(0), at(500))
    assert (
        first_detector().on_stream_opened(
            stream_opened(*full_history(500), podman=True), new_cursor()
        )
        is None
    )


def test_a_gap_is_declared_once() -> None:
    """Later connections find no gap until an accepted event is missing again."""
    detector, cursor = GapDetector(), continuous_cursor()
    assert detector.on_stream_opened(stream_opened(), cursor) is not None
    assert detector.on_stream_opened(stream_opened(), cursor) is None
    new = make_event("start", second=1001)
    assert detector.on_stream_opened(stream_opened(new), cursor) is None
    assert detector.on_event(new, cursor) is None
    cursor.admit(new)
    assert detector.on_stream_opened(stream_opened(new, opened=1002), cursor) is None
    assert detector.on_stream_opened(stream_opened(opened=1003), cursor) is not None


def test_an_overrun_is_declared_once() -> None:
    """The events that the engine then repeats make the cursor continuous again."""
    detector, cursor, history = GapDetector(), continuous_cursor(), full_history(500)
    assert detector.on_stream_opened(stream_opened(*history), cursor) is not None
    for event in history:
        assert detector.on_event(event, cursor) is None
        cursor.admit(event)
    assert detector.on_stream_opened(stream_opened(*history), cursor) is None


@pytest.mark.parametrize(
    ("first", "gap"),
    [
        (LAST, None),
        (make_event("start", second=9), None),
        (make_event("die", second=11), None),
        (make_event("die", second=30), Gap(GapReason.HISTORY_OVERRUN, at(10), at(30))),
    ],
)
def test_a_history_that_moves_on_before_the_stream_is_open(first: Event, gap: Gap | None) -> None:
    """The first event over the connection was not in the history, and is no older one."""
    detector, cursor = GapDetector(), continuous_cursor()
    detector.on_stream_opened(stream_opened(LAST, make_event("die", second=11)), cursor)
    assert detector.on_event(first, cursor) == gap
    assert detector.on_event(make_event("die", second=40), cursor) is None
    assert detector.blind_window == (gap and BlindWindow(at(10), at(30)))


@pytest.mark.parametrize(
    ("first", "gap"),
    [
        (LAST, None),
        (make_event("start", second=9), None),
        (make_event("die", second=30), Gap(GapReason.HISTORY_OVERRUN, at(10), at(30))),
    ],
)
def test_an_engine_that_withholds_its_history(first: Event, gap: Gap | None) -> None:
    """If the engine withholds its history, its stream must repeat an accepted event."""
    detector, cursor = GapDetector(), continuous_cursor()
    assert detector.on_stream_opened(StreamOpened(make_connection(), None), cursor) is None
    assert detector.on_event(first, cursor) == gap


def test_a_first_start_without_a_history_has_no_gap() -> None:
    """There is no event that the stream would have to repeat."""
    detector, cursor = GapDetector(), new_cursor()
    assert detector.on_stream_opened(StreamOpened(make_connection(), None), cursor) is None
    assert detector.on_event(make_event("die", second=30), cursor) is None


def test_dropped_records_are_a_gap() -> None:
    """Dropped records leave a gap from the last accepted event until now."""
    detector = GapDetector()
    gap = detector.on_records_dropped(
        RecordsDropped(make_connection(), 7, GapReason.BUFFER_FULL), continuous_cursor(), at(30)
    )
    assert gap == Gap(GapReason.BUFFER_FULL, at(10), at(30), 7)
    assert detector.blind_window == BlindWindow(at(10), at(30))


def test_another_engine_is_a_gap() -> None:
    """No event of the previous engine can come again, so the next event needs no proof."""
    detector, cursor = GapDetector(), continuous_cursor()
    detector.on_stream_opened(stream_opened(LAST), cursor)
    assert detector.on_engine_replaced(cursor, make_connection()) == Gap(
        GapReason.ANOTHER_ENGINE, at(10), at(1000)
    )
    assert not cursor.is_continuous
    assert detector.on_event(make_event("start", second=1001), cursor) is None


def test_a_reconnect_to_the_other_engine_is_no_gap() -> None:
    """A reconnect to the same other engine is no gap, even as the first connection of a process."""
    detector, cursor = GapDetector(), continuous_cursor()
    detector.on_engine_replaced(cursor, make_connection())
    assert detector.on_stream_opened(stream_opened(opened=1001), cursor) is None


def test_a_complete_snapshot_after_the_gap_ends_the_doubt() -> None:
    """One from before the end of the gap does not. No snapshot shows requests: the window stays."""
    detector, cursor = GapDetector(), continuous_cursor()
    assert detector.may_have_missed_deaths
    detector.on_full_snapshot(at(0))
    assert not detector.may_have_missed_deaths
    detector.on_records_dropped(
        RecordsDropped(make_connection(), 1, GapReason.BUFFER_FULL), cursor, at(30)
    )
    cursor.admit(make_event("die", second=50))
    detector.on_records_dropped(
        RecordsDropped(make_connection(), 1, GapReason.BUFFER_FULL), cursor, at(60)
    )
    assert detector.may_have_missed_deaths
    assert detector.blind_window == BlindWindow(at(10), at(60))
    detector.on_full_snapshot(at(59))
    assert detector.may_have_missed_deaths
    assert detector.blind_window == BlindWindow(at(10), at(60))
    detector.on_full_snapshot(at(60))
    assert not detector.may_have_missed_deaths
    assert detector.blind_window == BlindWindow(at(10), at(60))


@pytest.mark.parametrize(("late_ns", "joined"), [(0, True), (1, False)])
def test_a_blind_window_is_merged_with_one_that_may_still_explain(
    late_ns: int, joined: bool
) -> None:
    """The earlier one comes from another process. After ten minutes it explains nothing."""
    before = BlindWindow(at(-1000), at(10) - REQUEST_EXPIRY_NS - late_ns)
    detector = GapDetector(before)
    assert detector.blind_window == before
    detector.on_records_dropped(
        RecordsDropped(make_connection(), 1, GapReason.BUFFER_FULL), continuous_cursor(), at(30)
    )
    from_ns = min(before.from_ns, at(10)) if joined else at(10)
    assert detector.blind_window == BlindWindow(from_ns, at(30))


REASONS_OF_A_STREAM = [
    reason for reason in GapReason if reason not in (GapReason.STORE_FULL, GapReason.STORE_BROKEN)
]


@pytest.mark.parametrize("why", REASONS_OF_A_STREAM)
def test_a_gap_event(why: GapReason) -> None:
    """It has the engine, the period, and the reason for programs and for people."""
    event = make_gap_event(Gap(why, at(10), at(20), 7), make_connection(), at(30))
    assert (event.type, event.action, event.time_ns) == ("relay", "gap", at(30))
    assert (event.engine, event.host, event.actor.name) == ("here", "node-1", "here")
    reason = event.actor.attributes["reason"]
    assert reason
    assert event.actor.attributes == {
        "why": why.value,
        "reason": reason,
        "from": format_rfc3339(at(10)),
        "until": format_rfc3339(at(20)),
        "count": "7",
    }


def test_a_declared_gap_never_ends_before_it_begins() -> None:
    """A gap ends no earlier than it begins, even if a clock was set back."""
    event = make_gap_event(
        Gap(GapReason.ENGINE_RESTARTED, at(10), at(5)), make_connection(), at(30)
    )
    assert event.actor.attributes["until"] == format_rfc3339(at(10))
    assert "count" not in event.actor.attributes
