"""Stretches of a stream that cannot be proven complete."""

import pytest

from relay.core.checkpoint import Checkpoint
from relay.core.event import Event, GapReason, format_rfc3339
from relay.ingest.docker.buffer import Connection, RecordsDropped, StreamOpened
from relay.ingest.docker.containers.cause import REQUEST_EXPIRY_NS
from relay.ingest.docker.containers.inference import BlindWindow
from relay.ingest.docker.cursor import Cursor
from relay.ingest.docker.gaps import (
    HISTORY_SIZE,
    REPORT_INTERVAL_NS,
    DropReporter,
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
    """As much as a Docker engine remembers, from this second on."""
    return [make_event("exec_start", second=first + number / 100) for number in range(HISTORY_SIZE)]


def first_detector(opened: float = 1000) -> GapDetector:
    """Those of an engine that was never heard before this connection."""
    gaps = GapDetector()
    gaps.note_first_connection(at(opened))
    return gaps


def new_cursor() -> Cursor:
    """One that took nothing in yet."""
    return Cursor(Checkpoint.starting_at(at(0)))


LAST = make_event("start", second=10)


def continuous_cursor() -> Cursor:
    """One that took an event in."""
    cursor = new_cursor()
    cursor.admit(LAST)
    return cursor


@pytest.mark.parametrize(
    "history", [[LAST], [LAST, make_event("die", second=500)], [make_event("start", second=9)]]
)
def test_a_history_that_reaches_back(history: list[Event]) -> None:
    """It holds the last event that was taken in, or an older one."""
    gaps, cursor = GapDetector(), continuous_cursor()
    assert gaps.on_stream_opened(stream_opened(*history), cursor) is None
    assert gaps.blind_window is None
    assert cursor.is_continuous


def test_a_history_that_was_overrun() -> None:
    """It is full and does not reach back: the gap is until its first event."""
    gaps, cursor = GapDetector(), continuous_cursor()
    gap = gaps.on_stream_opened(stream_opened(*full_history(500), lost=20), cursor)
    assert gap == Gap(GapReason.HISTORY_OVERRUN, at(10), at(500))
    assert gaps.blind_window == BlindWindow(at(10), at(500))
    assert not cursor.is_continuous


@pytest.mark.parametrize(
    ("history", "lost", "until", "unheard"),
    [
        ([], None, 1000, BlindWindow(at(10), at(1000))),
        ([], 20, 1000, None),
        ([make_event("start", second=500)], None, 500, BlindWindow(at(10), at(500))),
        ([make_event("start", second=500)], 20, 500, None),
    ],
)
def test_an_engine_that_restarted(
    history: list[Event], lost: float | None, until: float, unheard: BlindWindow | None
) -> None:
    """Its history is short and does not reach back. If it is known to have been down, nobody
    could ask it for anything.
    """
    gaps = GapDetector()
    gap = gaps.on_stream_opened(stream_opened(*history, lost=lost), continuous_cursor())
    assert gap == Gap(GapReason.ENGINE_RESTARTED, at(10), at(until))
    assert gaps.blind_window == unheard
    assert gaps.may_have_missed_deaths


@pytest.mark.parametrize("history", [[], [make_event("start", second=500)], [LAST]])
@pytest.mark.parametrize("failed", [False, True])
def test_a_first_start_has_no_gap(history: list[Event], failed: bool) -> None:
    """What the engine remembers is whole, as long as it remembers all; also if it was not there
    at first.
    """
    assert (
        first_detector().on_stream_opened(stream_opened(*history, failed=failed), new_cursor())
        is None
    )


@pytest.mark.parametrize("history", [[], [make_event("start", second=500)]])
def test_a_first_start_whose_stream_came_late(history: list[Event]) -> None:
    """It began when the engine first answered; since then something may have been missed."""
    until = 500 if history else 1000
    gap = first_detector(0).on_stream_opened(stream_opened(*history, failed=True), new_cursor())
    assert gap == Gap(GapReason.UNPROVEN, at(0), at(until))


YOUNG = make_event("start", second=500)


@pytest.mark.parametrize(("history", "until"), [([], 2000), ([YOUNG], 500)])
def test_nothing_was_heard_yet_and_the_engine_was_away(history: list[Event], until: float) -> None:
    """A history that holds nothing from before proves nothing then; a mere reconnect needs none."""
    gaps, cursor = first_detector(), new_cursor()
    assert gaps.on_stream_opened(stream_opened(), cursor) is None
    assert gaps.on_stream_opened(stream_opened(*history, opened=1500), cursor) is None
    gap = gaps.on_stream_opened(stream_opened(*history, opened=2000, failed=True), cursor)
    assert gap == Gap(GapReason.UNPROVEN, at(0), at(until))
    assert gaps.blind_window == BlindWindow(at(0), at(until))
    assert gaps.on_stream_opened(stream_opened(*history, opened=2001), cursor) is None


def test_nothing_was_heard_yet_and_relay_was_away() -> None:
    """The first connection of another process is no mere reconnect; the next one is."""
    cursor = Cursor(new_cursor().checkpoint(0))
    gaps = GapDetector()
    assert gaps.on_stream_opened(stream_opened(), cursor) == Gap(
        GapReason.UNPROVEN, at(0), at(1000)
    )
    assert gaps.on_stream_opened(stream_opened(opened=1001), cursor) is None


@pytest.mark.parametrize("failed", [False, True])
def test_a_history_from_before_the_start_is_an_anchor(failed: bool) -> None:
    """As long as it is there nothing is missing; once it is not, the engine restarted."""
    gaps, cursor, before = first_detector(), new_cursor(), make_event("start", second=-1)
    assert gaps.on_stream_opened(stream_opened(before), cursor) is None
    assert gaps.on_stream_opened(stream_opened(before, opened=1500, failed=failed), cursor) is None
    assert (
        GapDetector().on_stream_opened(
            stream_opened(before, opened=1600), Cursor(cursor.checkpoint(0))
        )
        is None
    )
    gap = gaps.on_stream_opened(stream_opened(opened=2000, failed=failed), cursor)
    assert gap == Gap(GapReason.ENGINE_RESTARTED, at(0), at(2000))


def test_another_clocks_event_is_no_anchor() -> None:
    """That of a swarm's manager."""
    gaps, cursor = first_detector(), new_cursor()
    gaps.on_stream_opened(stream_opened(make_event("start", second=-1, scope="swarm")), cursor)
    assert not cursor.is_continuous


def test_a_start_from_the_oldest_needs_no_proof() -> None:
    """As early as the engine remembers is where it was to begin."""
    cursor = Cursor(Checkpoint.starting_at(1))
    assert GapDetector().on_stream_opened(stream_opened(), cursor) is None
    assert (
        GapDetector().on_stream_opened(stream_opened(*full_history(500), failed=True), cursor)
        is None
    )


@pytest.mark.parametrize("history", [None, [], [LAST], [make_event("start", second=-30)]])
def test_a_clock_that_was_set_back(history: list[Event] | None) -> None:
    """No time proves anything any more; the cursor goes on from the engine's now."""
    gaps, cursor = GapDetector(BlindWindow(at(5), at(9))), continuous_cursor()
    back = StreamOpened(make_connection(-20), None if history is None else tuple(history))
    assert gaps.on_stream_opened(back, cursor) == Gap(GapReason.CLOCK_SET_BACK, at(-20), at(-20))
    assert (cursor.position_ns, cursor.is_continuous) == (at(-20), False)
    assert gaps.blind_window == BlindWindow(at(-20), at(-20))
    assert gaps.may_have_missed_deaths
    assert gaps.on_event(make_event("die", second=-25), cursor) is None
    assert gaps.on_stream_opened(stream_opened(opened=-19), cursor) is None


def test_a_clock_that_was_set_back_by_little() -> None:
    """The engine's time is not known so well."""
    gaps, cursor = GapDetector(), continuous_cursor()
    assert gaps.on_stream_opened(stream_opened(LAST, opened=5), cursor) is None
    assert gaps.on_stream_opened(stream_opened(LAST, opened=4.9), cursor) is not None


def test_a_first_start_that_asks_for_more_than_is_remembered() -> None:
    """A full history that does not reach back to the beginning; Podman's is never full."""
    gap = first_detector().on_stream_opened(stream_opened(*full_history(500)), new_cursor())
    assert gap == Gap(GapReason.HISTORY_OVERRUN, at(0), at(500))
    assert (
        first_detector().on_stream_opened(
            stream_opened(*full_history(500), podman=True), new_cursor()
        )
        is None
    )


def test_a_gap_is_declared_once() -> None:
    """Further connections find nothing, until an event is taken in and lost again."""
    gaps, cursor = GapDetector(), continuous_cursor()
    assert gaps.on_stream_opened(stream_opened(), cursor) is not None
    assert gaps.on_stream_opened(stream_opened(), cursor) is None
    news = make_event("start", second=1001)
    assert gaps.on_stream_opened(stream_opened(news), cursor) is None
    assert gaps.on_event(news, cursor) is None
    cursor.admit(news)
    assert gaps.on_stream_opened(stream_opened(news, opened=1002), cursor) is None
    assert gaps.on_stream_opened(stream_opened(opened=1003), cursor) is not None


def test_an_overrun_is_declared_once() -> None:
    """What the engine then repeats is the new anchor."""
    gaps, cursor, history = GapDetector(), continuous_cursor(), full_history(500)
    assert gaps.on_stream_opened(stream_opened(*history), cursor) is not None
    for event in history:
        assert gaps.on_event(event, cursor) is None
        cursor.admit(event)
    assert gaps.on_stream_opened(stream_opened(*history), cursor) is None


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
    """The first event over the connection is none that was in it, and no older one."""
    gaps, cursor = GapDetector(), continuous_cursor()
    gaps.on_stream_opened(stream_opened(LAST, make_event("die", second=11)), cursor)
    assert gaps.on_event(first, cursor) == gap
    assert gaps.on_event(make_event("die", second=40), cursor) is None
    assert gaps.blind_window == (gap and BlindWindow(at(10), at(30)))


@pytest.mark.parametrize(
    ("first", "gap"),
    [
        (LAST, None),
        (make_event("start", second=9), None),
        (make_event("die", second=30), Gap(GapReason.HISTORY_OVERRUN, at(10), at(30))),
    ],
)
def test_an_engine_that_does_not_tell_its_history(first: Event, gap: Gap | None) -> None:
    """The stream has to repeat what was taken in."""
    gaps, cursor = GapDetector(), continuous_cursor()
    assert gaps.on_stream_opened(StreamOpened(make_connection(), None), cursor) is None
    assert gaps.on_event(first, cursor) == gap


def test_without_a_history_a_first_start_is_believed() -> None:
    """There is nothing that the stream would have to repeat."""
    gaps, cursor = GapDetector(), new_cursor()
    assert gaps.on_stream_opened(StreamOpened(make_connection(), None), cursor) is None
    assert gaps.on_event(make_event("die", second=30), cursor) is None


def test_what_was_dropped() -> None:
    """From the last event that was taken in until now."""
    gaps = GapDetector()
    gap = gaps.on_records_dropped(
        RecordsDropped(make_connection(), 7, GapReason.BUFFER_FULL), continuous_cursor(), at(30)
    )
    assert gap == Gap(GapReason.BUFFER_FULL, at(10), at(30), 7)
    assert gaps.blind_window == BlindWindow(at(10), at(30))


def test_another_engine() -> None:
    """Nothing of the one before can come again, nor has anything to come first."""
    gaps, cursor = GapDetector(), continuous_cursor()
    gaps.on_stream_opened(stream_opened(LAST), cursor)
    assert gaps.on_engine_replaced(cursor, make_connection()) == Gap(
        GapReason.ANOTHER_ENGINE, at(10), at(1000)
    )
    assert not cursor.is_continuous
    assert gaps.on_event(make_event("start", second=1001), cursor) is None


def test_another_engine_is_listened_to_like_the_one_before() -> None:
    """Also as the first of a process: a mere reconnect finds no gap."""
    gaps, cursor = GapDetector(), continuous_cursor()
    gaps.on_engine_replaced(cursor, make_connection())
    assert gaps.on_stream_opened(stream_opened(opened=1001), cursor) is None


def test_gaps_add_up_and_a_look_settles_the_doubt() -> None:
    """One that was taken before their end does not. It shows no requests: those stay unheard."""
    gaps, cursor = GapDetector(), continuous_cursor()
    assert gaps.may_have_missed_deaths
    gaps.on_full_snapshot(at(0))
    assert not gaps.may_have_missed_deaths
    gaps.on_records_dropped(
        RecordsDropped(make_connection(), 1, GapReason.BUFFER_FULL), cursor, at(30)
    )
    cursor.admit(make_event("die", second=50))
    gaps.on_records_dropped(
        RecordsDropped(make_connection(), 1, GapReason.BUFFER_FULL), cursor, at(60)
    )
    assert gaps.may_have_missed_deaths
    assert gaps.blind_window == BlindWindow(at(10), at(60))
    gaps.on_full_snapshot(at(59))
    assert gaps.may_have_missed_deaths
    assert gaps.blind_window == BlindWindow(at(10), at(60))
    gaps.on_full_snapshot(at(60))
    assert not gaps.may_have_missed_deaths
    assert gaps.blind_window == BlindWindow(at(10), at(60))


@pytest.mark.parametrize(("late_ns", "joined"), [(0, True), (1, False)])
def test_a_stretch_is_joined_with_one_that_still_explains(late_ns: int, joined: bool) -> None:
    """The one before is as another process knows it; after ten minutes it explains nothing."""
    before = BlindWindow(at(-1000), at(10) - REQUEST_EXPIRY_NS - late_ns)
    gaps = GapDetector(before)
    assert gaps.blind_window == before
    gaps.on_records_dropped(
        RecordsDropped(make_connection(), 1, GapReason.BUFFER_FULL), continuous_cursor(), at(30)
    )
    from_ns = min(before.from_ns, at(10)) if joined else at(10)
    assert gaps.blind_window == BlindWindow(from_ns, at(30))


def test_drops_are_told_at_once_and_then_together() -> None:
    """Once a minute at most, each kind for itself, from the first to the last."""
    drops, now_ns = DropReporter(), at(0)
    assert drops.take_due(now_ns) == []
    drops.add(Gap(GapReason.BUFFER_FULL, 1, 2, 3))
    assert drops.take_due(now_ns) == [Gap(GapReason.BUFFER_FULL, 1, 2, 3)]
    assert drops.take_due(now_ns + REPORT_INTERVAL_NS) == []
    drops.add(Gap(GapReason.BUFFER_FULL, 4, 5, 1))
    drops.add(Gap(GapReason.RECORD_TOO_LONG, 5, 6, 1))
    drops.add(Gap(GapReason.BUFFER_FULL, 6, 7, 2))
    assert drops.take_due(now_ns + REPORT_INTERVAL_NS - 1) == []
    assert drops.take_due(now_ns + REPORT_INTERVAL_NS) == [
        Gap(GapReason.BUFFER_FULL, 4, 7, 3),
        Gap(GapReason.RECORD_TOO_LONG, 5, 6, 1),
    ]


@pytest.mark.parametrize(("now_ns", "finally_"), [(at(1), True), (at(-1), False)])
def test_drops_that_do_not_wait(now_ns: int, finally_: bool) -> None:
    """At the end; and when relay's clock was set back, which makes a minute long."""
    drops, gap = DropReporter(), Gap(GapReason.BUFFER_FULL, 1, 2, 3)
    drops.add(gap)
    drops.take_due(at(0))
    drops.add(gap)
    assert drops.take_due(now_ns, is_final=finally_) == [gap]


OF_A_STREAM = [
    why for why in GapReason if why not in (GapReason.STORE_FULL, GapReason.STORE_BROKEN)
]


@pytest.mark.parametrize("why", OF_A_STREAM)
def test_a_gap_is_declared_by_an_event_of_relays_own(why: GapReason) -> None:
    """With the engine, the stretch, and the reason for programs and for people."""
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


def test_a_declared_stretch_never_ends_before_it_begins() -> None:
    """Clocks step; and what cannot be counted has no count."""
    event = make_gap_event(
        Gap(GapReason.ENGINE_RESTARTED, at(10), at(5)), make_connection(), at(30)
    )
    assert event.actor.attributes["until"] == format_rfc3339(at(10))
    assert "count" not in event.actor.attributes
