"""Stretches of a stream that cannot be proven complete."""

import pytest

from relay.core.checkpoint import Bookmark
from relay.core.event import Event, Why, rfc3339
from relay.ingest.docker.buffer import Connection, Dropped, Opened
from relay.ingest.docker.containers.cause import EXPIRY_NS
from relay.ingest.docker.containers.inference import Unheard
from relay.ingest.docker.cursor import Cursor
from relay.ingest.docker.gaps import HISTORY, TOLD_EVERY_NS, Drops, Gap, Gaps, declaration
from tests.unit.ingest.docker.samples import at, happened


def connection(
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
        lost_ns=None if lost is None else at(lost),
        after_failure=failed,
        podman=podman,
    )


def opened(*history: Event, **how: float | bool | None) -> Opened:
    return Opened(connection(**how), history)  # type: ignore[arg-type]


def full(first: float) -> list[Event]:
    """As much as a Docker engine remembers, from this second on."""
    return [happened("exec_start", second=first + number / 100) for number in range(HISTORY)]


def begun(opened: float = 1000) -> Gaps:
    """Those of an engine that was never heard before this connection."""
    gaps = Gaps()
    gaps.begin(at(opened))
    return gaps


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
    ("history", "lost", "until", "unheard"),
    [
        ([], None, 1000, Unheard(at(10), at(1000))),
        ([], 20, 1000, None),
        ([happened("start", second=500)], None, 500, Unheard(at(10), at(500))),
        ([happened("start", second=500)], 20, 500, None),
    ],
)
def test_an_engine_that_restarted(
    history: list[Event], lost: float | None, until: float, unheard: Unheard | None
) -> None:
    """Its history is short and does not reach back. If it is known to have been down, nobody
    could ask it for anything.
    """
    gaps = Gaps()
    gap = gaps.opened(opened(*history, lost=lost), anchored())
    assert gap == Gap(Why.ENGINE_RESTARTED, at(10), at(until))
    assert gaps.unheard == unheard
    assert gaps.in_doubt


@pytest.mark.parametrize("history", [[], [happened("start", second=500)], [LAST]])
@pytest.mark.parametrize("failed", [False, True])
def test_a_first_start_has_no_gap(history: list[Event], failed: bool) -> None:
    """What the engine remembers is whole, as long as it remembers all; also if it was not there
    at first.
    """
    assert begun().opened(opened(*history, failed=failed), started()) is None


@pytest.mark.parametrize("history", [[], [happened("start", second=500)]])
def test_a_first_start_whose_stream_came_late(history: list[Event]) -> None:
    """It began when the engine first answered; since then something may have been missed."""
    until = 500 if history else 1000
    gap = begun(0).opened(opened(*history, failed=True), started())
    assert gap == Gap(Why.UNPROVEN, at(0), at(until))


YOUNG = happened("start", second=500)


@pytest.mark.parametrize(("history", "until"), [([], 2000), ([YOUNG], 500)])
def test_nothing_was_heard_yet_and_the_engine_was_away(history: list[Event], until: float) -> None:
    """A history that holds nothing from before proves nothing then; a mere reconnect needs none."""
    gaps, cursor = begun(), started()
    assert gaps.opened(opened(), cursor) is None
    assert gaps.opened(opened(*history, opened=1500), cursor) is None
    gap = gaps.opened(opened(*history, opened=2000, failed=True), cursor)
    assert gap == Gap(Why.UNPROVEN, at(0), at(until))
    assert gaps.unheard == Unheard(at(0), at(until))
    assert gaps.opened(opened(*history, opened=2001), cursor) is None


def test_nothing_was_heard_yet_and_relay_was_away() -> None:
    """The first connection of another process is no mere reconnect; the next one is."""
    cursor = Cursor(started().bookmark(0))
    gaps = Gaps()
    assert gaps.opened(opened(), cursor) == Gap(Why.UNPROVEN, at(0), at(1000))
    assert gaps.opened(opened(opened=1001), cursor) is None


@pytest.mark.parametrize("failed", [False, True])
def test_a_history_from_before_the_start_is_an_anchor(failed: bool) -> None:
    """As long as it is there nothing is missing; once it is not, the engine restarted."""
    gaps, cursor, before = begun(), started(), happened("start", second=-1)
    assert gaps.opened(opened(before), cursor) is None
    assert gaps.opened(opened(before, opened=1500, failed=failed), cursor) is None
    assert Gaps().opened(opened(before, opened=1600), Cursor(cursor.bookmark(0))) is None
    gap = gaps.opened(opened(opened=2000, failed=failed), cursor)
    assert gap == Gap(Why.ENGINE_RESTARTED, at(0), at(2000))


def test_another_clocks_event_is_no_anchor() -> None:
    """That of a swarm's manager."""
    gaps, cursor = begun(), started()
    gaps.opened(opened(happened("start", second=-1, scope="swarm")), cursor)
    assert not cursor.anchored


def test_a_start_from_the_oldest_needs_no_proof() -> None:
    """As early as the engine remembers is where it was to begin."""
    cursor = Cursor(Bookmark.beginning(1))
    assert Gaps().opened(opened(), cursor) is None
    assert Gaps().opened(opened(*full(500), failed=True), cursor) is None


@pytest.mark.parametrize("history", [None, [], [LAST], [happened("start", second=-30)]])
def test_a_clock_that_was_set_back(history: list[Event] | None) -> None:
    """No time proves anything any more; the cursor goes on from the engine's now."""
    gaps, cursor = Gaps(Unheard(at(5), at(9))), anchored()
    back = Opened(connection(-20), None if history is None else tuple(history))
    assert gaps.opened(back, cursor) == Gap(Why.CLOCK_SET_BACK, at(-20), at(-20))
    assert (cursor.position_ns, cursor.anchored) == (at(-20), False)
    assert gaps.unheard == Unheard(at(-20), at(-20))
    assert gaps.in_doubt
    assert gaps.heard(happened("die", second=-25), cursor) is None
    assert gaps.opened(opened(opened=-19), cursor) is None


def test_a_clock_that_was_set_back_by_little() -> None:
    """The engine's time is not known so well."""
    gaps, cursor = Gaps(), anchored()
    assert gaps.opened(opened(LAST, opened=5), cursor) is None
    assert gaps.opened(opened(LAST, opened=4.9), cursor) is not None


def test_a_first_start_that_asks_for_more_than_is_remembered() -> None:
    """A full history that does not reach back to the beginning; Podman's is never full."""
    gap = begun().opened(opened(*full(500)), started())
    assert gap == Gap(Why.HISTORY_OVERRUN, at(0), at(500))
    assert begun().opened(opened(*full(500), podman=True), started()) is None


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


def test_another_engine_is_listened_to_like_the_one_before() -> None:
    """Also as the first of a process: a mere reconnect finds no gap."""
    gaps, cursor = Gaps(), anchored()
    gaps.replaced(cursor, connection())
    assert gaps.opened(opened(opened=1001), cursor) is None


def test_gaps_add_up_and_a_look_settles_the_doubt() -> None:
    """One that was taken before their end does not. It shows no requests: those stay unheard."""
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
    assert gaps.unheard == Unheard(at(10), at(60))


@pytest.mark.parametrize(("late_ns", "joined"), [(0, True), (1, False)])
def test_a_stretch_is_joined_with_one_that_still_explains(late_ns: int, joined: bool) -> None:
    """The one before is as another process knows it; after ten minutes it explains nothing."""
    before = Unheard(at(-1000), at(10) - EXPIRY_NS - late_ns)
    gaps = Gaps(before)
    assert gaps.unheard == before
    gaps.dropped(Dropped(connection(), 1, Why.BUFFER_FULL), anchored(), at(30))
    from_ns = min(before.from_ns, at(10)) if joined else at(10)
    assert gaps.unheard == Unheard(from_ns, at(30))


def test_drops_are_told_at_once_and_then_together() -> None:
    """Once a minute at most, each kind for itself, from the first to the last."""
    drops, now_ns = Drops(), at(0)
    assert drops.due(now_ns) == []
    drops.add(Gap(Why.BUFFER_FULL, 1, 2, 3))
    assert drops.due(now_ns) == [Gap(Why.BUFFER_FULL, 1, 2, 3)]
    assert drops.due(now_ns + TOLD_EVERY_NS) == []
    drops.add(Gap(Why.BUFFER_FULL, 4, 5, 1))
    drops.add(Gap(Why.RECORD_TOO_LONG, 5, 6, 1))
    drops.add(Gap(Why.BUFFER_FULL, 6, 7, 2))
    assert drops.due(now_ns + TOLD_EVERY_NS - 1) == []
    assert drops.due(now_ns + TOLD_EVERY_NS) == [
        Gap(Why.BUFFER_FULL, 4, 7, 3),
        Gap(Why.RECORD_TOO_LONG, 5, 6, 1),
    ]


@pytest.mark.parametrize(("now_ns", "finally_"), [(at(1), True), (at(-1), False)])
def test_drops_that_do_not_wait(now_ns: int, finally_: bool) -> None:
    """At the end; and when relay's clock was set back, which makes a minute long."""
    drops, gap = Drops(), Gap(Why.BUFFER_FULL, 1, 2, 3)
    drops.add(gap)
    drops.due(at(0))
    drops.add(gap)
    assert drops.due(now_ns, finally_=finally_) == [gap]


OF_A_STREAM = [why for why in Why if why not in (Why.STORE_FULL, Why.STORE_BROKEN)]


@pytest.mark.parametrize("why", OF_A_STREAM)
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
