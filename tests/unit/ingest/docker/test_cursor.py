"""The cursor: every event once, whatever is cut, repeated and reordered."""

from collections.abc import Callable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.core.checkpoint import Checkpoint, encode_seen
from relay.core.event import Actor, Event, make_event_id
from relay.ingest.docker.cursor import (
    CLOCK_TOLERANCE_NS,
    LOOKBACK_NS,
    MARGIN_NS,
    REMEMBERED_EVENTS,
    Cursor,
    format_engine_time,
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
    """The cursor that another process makes of what was stored."""
    return Cursor(old.checkpoint(0))


def test_an_event_is_admitted_once() -> None:
    """The second of two with one id is dropped."""
    here = new_cursor()
    assert here.admit(make_event(START_NS))
    assert not here.admit(make_event(START_NS))


def test_two_events_of_one_nanosecond_are_two() -> None:
    """The time alone does not identify an event."""
    here = new_cursor()
    assert here.admit(make_event(START_NS, 1))
    assert here.admit(make_event(START_NS, 2))


def test_a_first_start_looks_back() -> None:
    """Once something was taken in, no margin reaches behind the start."""
    here = new_cursor()
    assert (here.is_empty, here.since_ns) == (True, START_NS - LOOKBACK_NS)
    assert new_cursor(5).since_ns == 1
    here.admit(make_event(START_NS + SECOND_NS))
    assert (here.is_empty, here.since_ns) == (False, START_NS)


def test_what_it_looks_back_on_is_not_taken_in() -> None:
    """It was before the start, and counts as known."""
    here = new_cursor()
    for before in (make_event(START_NS - 1), make_event(START_NS - LOOKBACK_NS)):
        assert here.is_before_start(before)
        assert here.remembers(before)
        assert not here.admit(before)
    assert not here.is_before_start(make_event(START_NS))
    assert here.is_empty


def test_a_small_step_back_of_the_clock_after_the_start_loses_nothing() -> None:
    """Just what the history held at the start was before it, whatever the times say."""
    here = new_cursor()
    old, news = make_event(START_NS - 1, 1), make_event(START_NS - 1, 2)
    here.set_history([old, make_event(START_NS, 3)])
    assert here.remembers(old)
    assert not here.admit(old)
    assert here.admit(news)
    assert here.admit(make_event(START_NS - LOOKBACK_NS, 4))
    assert here.admit(make_event(START_NS, 3))
    assert not here.admit(old)


def test_it_looks_back_once() -> None:
    """What a later history holds came since; and nothing was before another start."""
    here, there = new_cursor(), new_cursor()
    news = make_event(START_NS - 1)
    here.set_history([])
    here.set_history([news])
    assert here.admit(news)
    there.admit(make_event(START_NS))
    there.set_history([news])
    assert there.admit(news)


def test_without_a_look_back_the_times_decide_until_something_is_taken_in() -> None:
    """A swarm's manager may have another clock."""
    here = new_cursor()
    assert not here.is_before_start(make_event(START_NS - 1, scope="swarm"))
    assert here.is_before_start(make_event(START_NS - 1))
    here.admit(make_event(START_NS))
    assert not here.is_before_start(make_event(START_NS - 1))


def test_later_it_asks_from_a_margin_before_the_last_event() -> None:
    """Events out of order by less than the margin come again."""
    here = new_cursor()
    here.admit(make_event(START_NS + 5 * MARGIN_NS))
    assert here.since_ns == START_NS + 4 * MARGIN_NS


def test_what_is_forgotten_is_not_asked_for() -> None:
    """In a burst the margin is shorter than what is remembered."""
    here = new_cursor()
    events = [
        make_event(START_NS + 5 * MARGIN_NS + number, number)
        for number in range(REMEMBERED_EVENTS + 3)
    ]
    for event in events:
        here.admit(event)
    assert here.since_ns == events[3].time_ns
    assert restore_cursor(here).since_ns == events[3].time_ns


def test_an_event_of_the_swarm_does_not_move_the_position() -> None:
    """It carries another machine's clock."""
    here = new_cursor()
    assert here.admit(make_event(START_NS - 10**12, scope="swarm"))
    assert here.since_ns == START_NS


def test_a_clock_that_was_stepped_back_is_followed() -> None:
    """What the engine says from then on is asked for, though it looks old."""
    here = new_cursor()
    here.admit(make_event(START_NS + 10 * MARGIN_NS))
    back_ns = START_NS - 2 * LOOKBACK_NS
    assert here.admit(make_event(back_ns, 2))
    assert here.since_ns <= back_ns
    assert restore_cursor(here).admit(make_event(back_ns + 1, 3))


def test_a_clock_that_was_stepped_far_back_before_anything_happened() -> None:
    """So old an event was not asked for: it is news."""
    assert new_cursor().admit(make_event(START_NS - LOOKBACK_NS - 1))


def test_what_is_forgotten_from_before_the_clock_was_stepped_back_hides_nothing() -> None:
    """Its time is still to come: it says nothing of what may be asked for."""
    here = new_cursor()
    for number in range(REMEMBERED_EVENTS + 1):
        here.admit(make_event(START_NS + 10 * MARGIN_NS - number, number))
    assert here.since_ns == START_NS + 9 * MARGIN_NS - REMEMBERED_EVENTS


def test_a_history_with_what_was_taken_in_proves_that_it_reaches_back() -> None:
    """Or with an older event, unless that has another machine's clock."""
    here = new_cursor()
    manager = make_event(START_NS + 5, 7, scope="swarm")
    here.admit(make_event(START_NS + 10))
    assert here.is_continuous_with(make_event(START_NS + 10))
    assert here.is_continuous_with(make_event(START_NS + 9, 1))
    assert not here.is_continuous_with(make_event(START_NS + 11, 1))
    assert not here.is_continuous_with(manager)
    here.admit(manager)
    assert here.is_continuous_with(manager)


def test_only_what_the_engine_itself_said_is_an_anchor() -> None:
    """Until there was a gap; a restart of relay changes nothing."""
    here = new_cursor()
    assert not here.is_continuous
    here.admit(make_event(START_NS, scope="swarm"))
    assert not here.is_continuous
    here.admit(make_event(START_NS + 1))
    assert here.is_continuous
    assert restore_cursor(here).is_continuous
    here.restart_at(0)
    assert not here.is_continuous
    assert not restore_cursor(here).is_continuous


def test_an_older_event_in_the_history_is_an_anchor_too() -> None:
    """It was there at the start, and will be unless it is lost; that is stored."""
    here = new_cursor()
    here.mark_continuous()
    assert here.is_continuous
    assert here.is_empty
    assert restore_cursor(here).is_continuous


def test_it_goes_on_where_it_is_cast_off() -> None:
    """Be that earlier: then the clock was set back."""
    here = new_cursor()
    here.admit(make_event(START_NS + 10 * MARGIN_NS))
    here.restart_at(START_NS + 2 * MARGIN_NS)
    assert here.position_ns == START_NS + 2 * MARGIN_NS
    assert here.since_ns == START_NS + MARGIN_NS


def test_a_clock_that_was_set_back() -> None:
    """The last event is still to come, by more than the engine's time can be mistaken."""
    here = new_cursor()
    here.admit(make_event(START_NS + CLOCK_TOLERANCE_NS))
    assert here.is_ahead_of(START_NS - 1)
    assert not here.is_ahead_of(START_NS)
    assert restore_cursor(here).is_ahead_of(START_NS - 1)


def test_it_is_stored_whole() -> None:
    """With what others know of the stream beside it."""
    here = new_cursor()
    event = make_event(START_NS + 1)
    here.admit(event)
    assert here.position_ns == START_NS + 1
    assert here.checkpoint(7, "ABCD", (5, 6)) == Checkpoint(
        position_ns=START_NS + 1,
        earliest_ns=START_NS,
        recent=encode_seen(event.id, event.time_ns),
        first_start_ns=START_NS,
        is_continuous=True,
        reported_until_ns=7,
        identity="ABCD",
        blind_window=(5, 6),
    )


def test_it_survives_a_restart() -> None:
    """Another process asks from the same time and remembers the same events."""
    here = new_cursor()
    here.admit(make_event(START_NS + 1))
    there = restore_cursor(here)
    assert there.since_ns == here.since_ns
    assert not there.admit(make_event(START_NS + 1))


def test_it_says_what_it_remembers() -> None:
    """Asking does not take in."""
    here = new_cursor()
    assert not here.remembers(make_event(START_NS))
    here.admit(make_event(START_NS))
    assert here.remembers(make_event(START_NS))


def test_a_time_as_the_engine_reads_it() -> None:
    """All nine digits, leading zeros among them."""
    assert format_engine_time(1795416515_000000378) == "1795416515.000000378"


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
    """Events out of order by less than half a margin, cut streams, restarts: each comes once.

    While the stream is cut fewer events happen than the engine can repeat; more are beyond it.
    """
    engine = Engine()
    here = new_cursor(START_NS)
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
        if here.admit(event):
            routed.append(event.id)

    for step, count in steps:
        if step == "happen":
            happen(count, take)
        else:
            if step == "restart":
                here = restore_cursor(here)
            happen(count, lambda event: None)
            for event in engine.repeat(here.since_ns):
                take(event)
    assert sorted(routed) == sorted(event.id for event in engine.log)


@given(st.lists(st.integers(0, REMEMBERED_EVENTS - 1), max_size=300), st.booleans())
def test_no_order_makes_an_event_come_twice(order: list[int], again: bool) -> None:
    """Whatever order events come in, and however often, each is admitted once."""
    here = new_cursor()
    events = [make_event(START_NS + number * SECOND_NS, number) for number in order]
    admitted = [event.id for event in events if here.admit(event)]
    if again:
        here = restore_cursor(here)
    assert not [event for event in events if here.admit(event)]
    assert len(admitted) == len(set(order))


@given(
    st.lists(st.tuples(st.integers(-3, 9), st.booleans(), st.booleans()), max_size=20),
    st.sets(st.integers(-3, 9)),
)
def test_news_is_what_is_not_remembered(
    events: list[tuple[int, bool, bool]], history: set[int]
) -> None:
    """Whatever was taken in, and whatever happened before the start."""
    here = new_cursor()
    made = [
        make_event(START_NS + number * SECOND_NS, number, "local" if local else "swarm")
        for number, local, _ in events
    ]
    if history:
        here.set_history([make_event(START_NS + it * SECOND_NS, it) for it in history])
    for event, (_, _, taken) in zip(made, events, strict=True):
        assert here.filter_new(made) == [each for each in made if not here.remembers(each)]
        if taken:
            here.admit(event)
    assert here.filter_new(made) == [each for each in made if not here.remembers(each)]
