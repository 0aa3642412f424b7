"""Stretches of a stream that cannot be proven complete."""

import pytest

from relay.bookmark import Bookmark
from relay.engine.cursor import Cursor
from relay.engine.gap import HISTORY, Gap, Gaps, declaration
from relay.engine.inbox import Connection, Dropped, Opened, Why
from relay.engine.inference import Unheard
from relay.event import Event, rfc3339
from tests.unit.engine.samples import at, happened


def connection(
    opened: float = 1000, *, lost: float | None = None, podman: bool = False
) -> Connection:
    lost_ns = None if lost is None else at(lost)
    return Connection(
        "here", "node-1", opened_ns=at(opened), since_ns=1, lost_ns=lost_ns, podman=podman
    )


def opened(*history: Event, **how: float | bool | None) -> Opened:
    return Opened(connection(**how), history)  # type: ignore[arg-type]


def full(first: float) -> list[Event]:
    """As much as a Docker engine remembers, from this second on."""
    return [happened("exec_start", second=first + number / 100) for number in range(HISTORY)]


def started() -> Cursor:
    """One that took nothing in yet."""
    return Cursor(Bookmark.beginning(at(0)))


LAST = happened("start", second=10)


def anchored() -> Cursor:
    """One that took an event in."""
    cursor = started()
    cursor.admit(LAST)
    return cursor


@pytest.mark.parametrize(
    "history", [[LAST], [LAST, happened("die", second=500)], [happened("start", second=9)]]
)
def test_a_history_that_reaches_back(history: list[Event]) -> None:
    """It holds the last event that was taken in, or an older one."""
    gaps, cursor = Gaps(), anchored()
    assert gaps.opened(opened(*history), cursor) is None
    assert gaps.unheard is None
    assert cursor.anchored


def test_a_history_that_was_overrun() -> None:
    """It is full and does not reach back: the gap is until its first event."""
    gaps, cursor = Gaps(), anchored()
    gap = gaps.opened(opened(*full(500), lost=20), cursor)
    assert gap == Gap(Why.HISTORY_OVERRUN, at(10), at(500))
    assert gaps.unheard == Unheard(at(10), at(500))
    assert not cursor.anchored


@pytest.mark.parametrize(
    ("history", "lost", "until", "deaf_until"),
    [
        ([], None, 1000, 1000),
        ([], 20, 1000, 20),
        ([happened("start", second=500)], None, 500, 500),
        ([happened("start", second=500)], 20, 500, 20),
    ],
)
def test_an_engine_that_restarted(
    history: list[Event], lost: float | None, until: float, deaf_until: float
) -> None:
    """Its history is short and does not reach back; nobody could ask it while it was down."""
    gaps = Gaps()
    gap = gaps.opened(opened(*history, lost=lost), anchored())
    assert gap == Gap(Why.ENGINE_RESTARTED, at(10), at(until))
    assert gaps.unheard == Unheard(at(10), at(deaf_until))


@pytest.mark.parametrize("history", [[], [happened("start", second=500)], [LAST]])
def test_a_first_start_has_no_gap(history: list[Event]) -> None:
    """What the engine remembers is whole, as long as it remembers all."""
    assert Gaps().opened(opened(*history), started()) is None


def test_a_first_start_that_asks_for_more_than_is_remembered() -> None:
    """A full history that does not reach back to the beginning; Podman's is never full."""
    gap = Gaps().opened(opened(*full(500)), started())
    assert gap == Gap(Why.HISTORY_OVERRUN, at(0), at(500))
    assert Gaps().opened(opened(*full(500), podman=True), started()) is None


def test_a_gap_is_declared_once() -> None:
    """Further connections find nothing, until an event is taken in and lost again."""
    gaps, cursor = Gaps(), anchored()
    assert gaps.opened(opened(), cursor) is not None
    assert gaps.opened(opened(), cursor) is None
    news = happened("start", second=1001)
    assert gaps.opened(opened(news), cursor) is None
    assert gaps.heard(news, cursor) is None
    cursor.admit(news)
    assert gaps.opened(opened(news, opened=1002), cursor) is None
    assert gaps.opened(opened(opened=1003), cursor) is not None


def test_an_overrun_is_declared_once() -> None:
    """What the engine then repeats is the new anchor."""
    gaps, cursor, history = Gaps(), anchored(), full(500)
    assert gaps.opened(opened(*history), cursor) is not None
    for event in history:
        assert gaps.heard(event, cursor) is None
        cursor.admit(event)
    assert gaps.opened(opened(*history), cursor) is None


@pytest.mark.parametrize(
    ("first", "gap"),
    [
        (LAST, None),
        (happened("start", second=9), None),
        (happened("die", second=11), None),
        (happened("die", second=30), Gap(Why.HISTORY_OVERRUN, at(10), at(30))),
    ],
)
def test_a_history_that_moves_on_before_the_stream_is_open(first: Event, gap: Gap | None) -> None:
    """The first event over the connection is none that was in it, and no older one."""
    gaps, cursor = Gaps(), anchored()
    gaps.opened(opened(LAST, happened("die", second=11)), cursor)
    assert gaps.heard(first, cursor) == gap
    assert gaps.heard(happened("die", second=40), cursor) is None
    assert gaps.unheard == (gap and Unheard(at(10), at(30)))


@pytest.mark.parametrize(
    ("first", "gap"),
    [
        (LAST, None),
        (happened("start", second=9), None),
        (happened("die", second=30), Gap(Why.HISTORY_OVERRUN, at(10), at(30))),
    ],
)
def test_an_engine_that_does_not_tell_its_history(first: Event, gap: Gap | None) -> None:
    """The stream has to repeat what was taken in."""
    gaps, cursor = Gaps(), anchored()
    assert gaps.opened(Opened(connection(), None), cursor) is None
    assert gaps.heard(first, cursor) == gap


def test_without_a_history_a_first_start_is_believed() -> None:
    """There is nothing that the stream would have to repeat."""
    gaps, cursor = Gaps(), started()
    assert gaps.opened(Opened(connection(), None), cursor) is None
    assert gaps.heard(happened("die", second=30), cursor) is None


def test_what_was_dropped() -> None:
    """From the last event that was taken in until now."""
    gaps = Gaps()
    gap = gaps.dropped(Dropped(connection(), 7, Why.BUFFER_FULL), anchored(), at(30))
    assert gap == Gap(Why.BUFFER_FULL, at(10), at(30), 7)
    assert gaps.unheard == Unheard(at(10), at(30))


def test_another_engine() -> None:
    """Nothing of the one before can come again, nor has anything to come first."""
    gaps, cursor = Gaps(), anchored()
    gaps.opened(opened(LAST), cursor)
    assert gaps.replaced(cursor, connection()) == Gap(Why.ANOTHER_ENGINE, at(10), at(1000))
    assert not cursor.anchored
    assert gaps.heard(happened("start", second=1001), cursor) is None


def test_gaps_add_up_until_a_look_settles_them() -> None:
    """One that was taken before their end does not."""
    gaps, cursor = Gaps(), anchored()
    assert gaps.in_doubt
    gaps.settled(at(0))
    assert not gaps.in_doubt
    gaps.dropped(Dropped(connection(), 1, Why.BUFFER_FULL), cursor, at(30))
    cursor.admit(happened("die", second=50))
    gaps.dropped(Dropped(connection(), 1, Why.BUFFER_FULL), cursor, at(60))
    assert gaps.in_doubt
    assert gaps.unheard == Unheard(at(10), at(60))
    gaps.settled(at(59))
    assert gaps.in_doubt
    assert gaps.unheard == Unheard(at(10), at(60))
    gaps.settled(at(60))
    assert not gaps.in_doubt
    assert gaps.unheard is None


@pytest.mark.parametrize("why", list(Why))
def test_a_gap_is_declared_by_an_event_of_relays_own(why: Why) -> None:
    """With the engine, the stretch, and the reason for programs and for people."""
    event = declaration(Gap(why, at(10), at(20), 7), connection(), at(30))
    assert (event.type, event.action, event.time_ns) == ("relay", "gap", at(30))
    assert (event.engine, event.host, event.actor.name) == ("here", "node-1", "here")
    reason = event.actor.attributes["reason"]
    assert reason
    assert event.actor.attributes == {
        "why": why.value,
        "reason": reason,
        "from": rfc3339(at(10)),
        "until": rfc3339(at(20)),
        "count": "7",
    }


def test_a_declared_stretch_never_ends_before_it_begins() -> None:
    """Clocks step; and what cannot be counted has no count."""
    event = declaration(Gap(Why.ENGINE_RESTARTED, at(10), at(5)), connection(), at(30))
    assert event.actor.attributes["until"] == rfc3339(at(10))
    assert "count" not in event.actor.attributes
