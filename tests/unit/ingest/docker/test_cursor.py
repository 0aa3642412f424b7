"""The cursor: every event is admitted once, even if streams are cut, repeated and reordered."""

from collections.abc import Callable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.core.checkpoint import (
    CHUNK_EVENTS,
    REMEMBERED_EVENTS,
    SEALED_CHUNKS,
    SEEN_BYTES,
    Checkpoint,
    encode_seen,
)
from relay.core.event import Actor, Event, make_event_id
from relay.ingest.docker.cursor import (
    CLOCK_TOLERANCE_NS,
    LOOKBACK_NS,
    MARGIN_NS,
    Cursor,
)
from tests.support.profiles import examples

START_NS = 10**18
SECOND_NS = 10**9


def make_event(time_ns: int, number: int = 0, scope: str = "local") -> Event:
    return Event(
        id=make_event_id("here", time_ns, "volume", "create", str(number), {}),
        engine="here",
        host="here",
        type="volume",
        action="create",
        detail=None,
        scope=scope,
        time_ns=time_ns,
        actor=Actor(str(number), None, None, {}),
    )


def new_cursor(start_ns: int = START_NS) -> Cursor:
    return Cursor(Checkpoint.starting_at(start_ns))


def restore_cursor(old: Cursor) -> Cursor:
    """The cursor of another process, restored from the checkpoint."""
    return Cursor(old.checkpoint(0))


def test_an_event_is_admitted_once() -> None:
    """A second event with the same id is not."""
    cursor = new_cursor()
    assert cursor.admit(make_event(START_NS))
    assert not cursor.admit(make_event(START_NS))


def test_two_events_of_one_nanosecond_are_both_admitted() -> None:
    """Time alone does not identify an event."""
    cursor = new_cursor()
    assert cursor.admit(make_event(START_NS, 1))
    assert cursor.admit(make_event(START_NS, 2))


def test_a_first_start_looks_back() -> None:
    """Once an event was accepted, no margin reaches back before the start."""
    cursor = new_cursor()
    assert (cursor.is_empty, cursor.since_ns) == (True, START_NS - LOOKBACK_NS)
    assert new_cursor(5).since_ns == 1
    cursor.admit(make_event(START_NS + SECOND_NS))
    assert (cursor.is_empty, cursor.since_ns) == (False, START_NS)


def test_events_before_the_start_are_not_admitted() -> None:
    """Events from before the start are not admitted, and count as remembered."""
    cursor = new_cursor()
    for before in (make_event(START_NS - 1), make_event(START_NS - LOOKBACK_NS)):
        assert cursor.is_before_start(before)
        assert cursor.remembers(before)
        assert not cursor.admit(before)
    assert not cursor.is_before_start(make_event(START_NS))
    assert cursor.is_empty


def test_a_small_clock_step_after_the_start_loses_nothing() -> None:
    """Only events of the first history count as before the start, whatever times others have."""
    cursor = new_cursor()
    old, new = make_event(START_NS - 1, 1), make_event(START_NS - 1, 2)
    cursor.set_history([old, make_event(START_NS, 3)])
    assert cursor.remembers(old)
    assert not cursor.admit(old)
    assert cursor.admit(new)
    assert cursor.admit(make_event(START_NS - LOOKBACK_NS, 4))
    assert cursor.admit(make_event(START_NS, 3))
    assert not cursor.admit(old)


def test_only_the_first_history_is_before_the_start() -> None:
    """Events that only a later history contains happened after the start."""
    cursor, other = new_cursor(), new_cursor()
    new = make_event(START_NS - 1)
    cursor.set_history([])
    cursor.set_history([new])
    assert cursor.admit(new)
    other.admit(make_event(START_NS))
    other.set_history([new])
    assert other.admit(new)


def test_without_a_history_times_decide_what_was_before_the_start() -> None:
    """Without a history, times decide until an event is accepted; a swarm's times never do."""
    cursor = new_cursor()
    assert not cursor.is_before_start(make_event(START_NS - 1, scope="swarm"))
    assert cursor.is_before_start(make_event(START_NS - 1))
    cursor.admit(make_event(START_NS))
    assert not cursor.is_before_start(make_event(START_NS - 1))


def test_events_are_requested_from_a_margin_before_the_last_one() -> None:
    """Events out of order by less than the margin are repeated."""
    cursor = new_cursor()
    cursor.admit(make_event(START_NS + 5 * MARGIN_NS))
    assert cursor.since_ns == START_NS + 4 * MARGIN_NS


def test_forgotten_events_are_not_requested() -> None:
    """During a burst the margin shrinks to what is remembered: whole chunks are forgotten."""
    cursor = new_cursor()
    events = [
        make_event(START_NS + 5 * MARGIN_NS + number, number)
        for number in range(REMEMBERED_EVENTS + CHUNK_EVENTS)
    ]
    for event in events[:-1]:
        cursor.admit(event)
    assert cursor.since_ns < events[0].time_ns
    assert cursor.remembers(events[0])
    cursor.admit(events[-1])
    for each in (cursor, restore_cursor(cursor)):
        assert each.since_ns == events[CHUNK_EVENTS - 1].time_ns + 1
        assert not each.remembers(events[CHUNK_EVENTS - 1])
        assert each.remembers(events[CHUNK_EVENTS])


def test_a_full_chunk_never_changes() -> None:
    """Full chunks are numbered, and a bounded number of them is kept."""
    cursor, chunks = new_cursor(), dict[int, bytes]()
    for number in range(3 * REMEMBERED_EVENTS):
        cursor.admit(make_event(START_NS + number, number))
        checkpoint = cursor.checkpoint(0)
        assert len(checkpoint.recent) < CHUNK_EVENTS * SEEN_BYTES
        assert len(checkpoint.sealed) <= SEALED_CHUNKS
        first = checkpoint.sealed_count - len(checkpoint.sealed)
        for place, chunk in enumerate(checkpoint.sealed, first):
            assert chunks.setdefault(place, chunk) == chunk
    assert sorted(chunks) == list(range(3 * SEALED_CHUNKS))


def test_a_swarm_event_does_not_move_the_position() -> None:
    """It carries another machine's clock."""
    cursor = new_cursor()
    assert cursor.admit(make_event(START_NS - 10**12, scope="swarm"))
    assert cursor.since_ns == START_NS


def test_a_clock_that_was_set_back_is_followed() -> None:
    """New events are requested although their times look old."""
    cursor = new_cursor()
    cursor.admit(make_event(START_NS + 10 * MARGIN_NS))
    back_ns = START_NS - 2 * LOOKBACK_NS
    assert cursor.admit(make_event(back_ns, 2))
    assert cursor.since_ns <= back_ns
    assert restore_cursor(cursor).admit(make_event(back_ns + 1, 3))


def test_a_clock_that_was_set_far_back_before_the_first_event() -> None:
    """An event that old was not requested, so it is new."""
    assert new_cursor().admit(make_event(START_NS - LOOKBACK_NS - 1))


def test_forgetting_an_event_from_before_a_clock_step_hides_nothing() -> None:
    """Its time is still to come, so it does not limit what may be requested."""
    cursor = new_cursor()
    count = REMEMBERED_EVENTS + CHUNK_EVENTS
    for number in range(count):
        cursor.admit(make_event(START_NS + 10 * MARGIN_NS - number, number))
    assert cursor.since_ns == START_NS + 9 * MARGIN_NS - count + 1


def test_a_remembered_or_older_event_proves_continuity() -> None:
    """A remembered or older event proves continuity, unless it has another machine's clock."""
    cursor = new_cursor()
    manager = make_event(START_NS + 5, 7, scope="swarm")
    cursor.admit(make_event(START_NS + 10))
    assert cursor.is_continuous_with(make_event(START_NS + 10))
    assert cursor.is_continuous_with(make_event(START_NS + 9, 1))
    assert not cursor.is_continuous_with(make_event(START_NS + 11, 1))
    assert not cursor.is_continuous_with(manager)
    cursor.admit(manager)
    assert cursor.is_continuous_with(manager)


def test_only_a_local_event_makes_the_cursor_continuous() -> None:
    """A local event makes the cursor continuous until a gap, also after a restart of relay."""
    cursor = new_cursor()
    assert not cursor.is_continuous
    cursor.admit(make_event(START_NS, scope="swarm"))
    assert not cursor.is_continuous
    cursor.admit(make_event(START_NS + 1))
    assert cursor.is_continuous
    assert restore_cursor(cursor).is_continuous
    cursor.restart_at(0)
    assert not cursor.is_continuous
    assert not restore_cursor(cursor).is_continuous


def test_an_older_event_in_the_history_makes_the_cursor_continuous() -> None:
    """An older event in the history makes the cursor continuous, also after a restart of relay."""
    cursor = new_cursor()
    cursor.mark_continuous()
    assert cursor.is_continuous
    assert cursor.is_empty
    assert restore_cursor(cursor).is_continuous


def test_restart_at_moves_the_position() -> None:
    """`restart_at` moves the position even to an earlier time, if the clock was set back."""
    cursor = new_cursor()
    cursor.admit(make_event(START_NS + 10 * MARGIN_NS))
    cursor.restart_at(START_NS + 2 * MARGIN_NS)
    assert cursor.position_ns == START_NS + 2 * MARGIN_NS
    assert cursor.since_ns == START_NS + MARGIN_NS


def test_a_clock_that_was_set_back_is_detected() -> None:
    """The position lies ahead by more than the error of the engine's time."""
    cursor = new_cursor()
    cursor.admit(make_event(START_NS + CLOCK_TOLERANCE_NS))
    assert cursor.is_ahead_of(START_NS - 1)
    assert not cursor.is_ahead_of(START_NS)
    assert restore_cursor(cursor).is_ahead_of(START_NS - 1)


def test_a_checkpoint_holds_the_whole_state() -> None:
    """A checkpoint also holds the values that other objects track."""
    cursor = new_cursor()
    event = make_event(START_NS + 1)
    cursor.admit(event)
    assert cursor.position_ns == START_NS + 1
    assert cursor.checkpoint(7, "ABCD", (5, 6)) == Checkpoint(
        position_ns=START_NS + 1,
        earliest_ns=START_NS,
        recent=encode_seen(event.id, event.time_ns),
        first_start_ns=START_NS,
        is_continuous=True,
        reported_until_ns=7,
        identity="ABCD",
        blind_window=(5, 6),
    )


def test_a_cursor_survives_a_restart() -> None:
    """Another process requests from the same time and remembers the same events."""
    cursor = new_cursor()
    cursor.admit(make_event(START_NS + 1))
    other = restore_cursor(cursor)
    assert other.since_ns == cursor.since_ns
    assert not other.admit(make_event(START_NS + 1))


def test_remembers_changes_nothing() -> None:
    """`remembers` does not accept the event."""
    cursor = new_cursor()
    assert not cursor.remembers(make_event(START_NS))
    cursor.admit(make_event(START_NS))
    assert cursor.remembers(make_event(START_NS))


class Engine:
    """A model of moby's history: 256 events, scanned backwards until one is older than asked."""

    def __init__(self) -> None:
        self.log: list[Event] = []

    def repeat(self, since_ns: int) -> list[Event]:
        found: list[Event] = []
        for event in reversed(self.log[-256:]):
            if event.time_ns < since_ns:
                break
            found.append(event)
        return found[::-1]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("happen"), st.integers(1, 40)),
        st.tuples(st.just("cut"), st.integers(0, 40)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=examples(300))
@given(STEPS, st.randoms(use_true_random=False), st.sampled_from([1, 10**6, SECOND_NS]))
def test_every_event_is_routed_once_under_any_cutting_and_replaying(
    steps: list[tuple[str, int]],
    random: Random,
    pace_ns: int,
) -> None:
    """Under cut streams, restarts, and events out of order by less than half a margin.

    Fewer events happen during a cut than the engine can repeat; more are beyond it.
    """
    engine = Engine()
    cursor = new_cursor(START_NS)
    routed: list[str] = []
    number = 0

    def happen(count: int, take: Callable[[Event], object]) -> None:
        nonlocal number
        for _ in range(count):
            number += 1
            jitter = int(random.uniform(-0.4, 0.4) * min(MARGIN_NS, 200 * pace_ns))
            event = make_event(START_NS + MARGIN_NS + number * pace_ns + jitter, number)
            engine.log.append(event)
            take(event)

    def take(event: Event) -> None:
        if cursor.admit(event):
            routed.append(event.id)

    for step, count in steps:
        if step == "happen":
            happen(count, take)
        else:
            if step == "restart":
                cursor = restore_cursor(cursor)
            happen(count, lambda event: None)
            for event in engine.repeat(cursor.since_ns):
                take(event)
    assert sorted(routed) == sorted(event.id for event in engine.log)


@given(st.lists(st.integers(0, REMEMBERED_EVENTS - 1), max_size=300), st.booleans())
def test_no_order_admits_an_event_twice(order: list[int], again: bool) -> None:
    """In any order and with any repetitions, each event is admitted once."""
    cursor = new_cursor()
    events = [make_event(START_NS + number * SECOND_NS, number) for number in order]
    admitted = [event.id for event in events if cursor.admit(event)]
    if again:
        cursor = restore_cursor(cursor)
    assert not [event for event in events if cursor.admit(event)]
    assert len(admitted) == len(set(order))
