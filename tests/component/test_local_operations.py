"""What commands ask of a relay: of its own desk, and of the same desk over a socket."""

import pytest

from relay.admin.operations import Desk, NothingRuns, OwnDesk, UnknownDestination
from relay.core.checkpoint import Bookmark
from relay.core.exchange import Reason, Retry
from relay.core.status import EngineReport, Report
from relay.store.outbox import SqliteOutbox
from relay.store.records import Backlog, Names, Selection, Settled
from tests.component.admin_samples import (
    ALL,
    ANSWER,
    CONDITIONS,
    NOW_NS,
    REPORT,
    bury,
    due,
    hostile,
)
from tests.unit.store.samples import intake, told


async def test_the_time(desk: Desk) -> None:
    """It is that of the deliveries."""
    assert await desk.now_ns() == NOW_NS


async def test_conditions(desk: Desk) -> None:
    """Those that the lanes tell, each with all that it says."""
    assert await desk.conditions() == CONDITIONS


async def test_the_report(desk: Desk) -> None:
    """What the relay that runs says of its engines and its store."""
    assert await desk.report() == REPORT


async def test_since_when_it_waits(desk: Desk, outbox: SqliteOutbox) -> None:
    """How much waits for whom, and since when."""
    await outbox.take_in(intake(told(1), told(2)), 10)
    await outbox.take_in(intake(told(3), to=("audit",)), 2**62)
    assert await desk.backlog() == {"ops": Backlog(2, 10), "audit": Backlog(1, 2**62)}


async def test_what_waits(desk: Desk, outbox: SqliteOutbox) -> None:
    """How many there are, and the oldest of them, of one destination or of all."""
    await outbox.take_in(intake(told(1), hostile(2)), 10)
    await outbox.take_in(intake(told(3), to=("audit",)), 10)
    await outbox.settle([Settled((await due(outbox))[0], Retry(5, Reason.UNAVAILABLE), ANSWER)], 10)
    assert await desk.pending() == {"ops": 2, "audit": 1}
    assert await desk.waiting(None, 500) == await outbox.waiting(None, 500)
    assert await desk.waiting("audit", 500) == await outbox.waiting("audit", 500)
    assert len(await desk.waiting(None, 2)) == 2
    assert await desk.waiting("nobody", 2) == []


async def test_dead_letters(desk: Desk, outbox: SqliteOutbox) -> None:
    """With all that is kept of them."""
    await bury(outbox, told(1), hostile(2))
    assert await desk.dead_letters(ALL, 10) == await outbox.dead_letters(ALL, 10)
    assert (await desk.dead_letters(ALL, 1))[0].notification == hostile(2)
    assert (await desk.dead_letters(ALL, 10, 2))[0].answer == ANSWER


@pytest.mark.parametrize(
    "selection",
    [
        Selection(ids=(2, told(3).id)),
        Selection(ids=()),
        Selection(destination="audit"),
        Selection(route="crashed"),
        Selection(route="a\x00\U0001f525"),
        Selection(since_ns=20),
        Selection(since_ns=21),
        Selection(ids=(1, 4), destination="ops", route="crashed", since_ns=0),
    ],
)
async def test_those_that_are_meant(desk: Desk, outbox: SqliteOutbox, selection: Selection) -> None:
    """Every filter arrives."""
    await bury(outbox, told(1), told(2), told(3))
    await bury(outbox, told(1), to="audit")
    found = await outbox.dead_letters(selection, 10)
    assert await desk.dead_letters(selection, 10) == found
    assert sum((await desk.tally(selection)).values()) == len(found)
    assert await desk.drop(selection) == len(found)
    assert sum((await desk.tally(ALL)).values()) == 4 - len(found)


async def test_a_tally(desk: Desk, outbox: SqliteOutbox) -> None:
    """Of more than are read at once, by destination."""
    await bury(outbox, *(told(number, about=str(number)) for number in range(1, 151)))
    await bury(outbox, told(1), to="audit")
    assert await desk.tally(ALL) == {"ops": 150, "audit": 1}


async def test_a_replay(desk: Desk, outbox: SqliteOutbox) -> None:
    """It is made now, under the same id."""
    await bury(outbox, told(1), told(2))
    replayed = await desk.replay(Selection(ids=(1,)))
    assert (replayed.count, replayed.left) == (1, {})
    (waiting,) = await outbox.waiting(None, 9)
    assert (waiting.notification, waiting.created_ns) == (told(1), NOW_NS)


async def test_a_replay_to_nobody(desk: Desk, outbox: SqliteOutbox) -> None:
    """What is for a destination that there is no more stays, and that is said."""
    await bury(outbox, told(1))
    await bury(outbox, told(1), told(2), to="gone")
    replayed = await desk.replay(ALL)
    assert (replayed.count, replayed.left) == (1, {"gone": 2})
    assert await desk.tally(ALL) == {"gone": 2}


async def test_what_dies_again_has_been_replayed(
    desk: Desk, outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a dead letter once more, but none that nothing could be done for."""
    await bury(outbox, told(1))
    replay = outbox.replay

    async def replay_in_vain(selection: Selection, destinations: Names, now_ns: int) -> int:
        count = await replay(selection, destinations, now_ns)
        await bury(outbox, told(2, about="db"))
        return count

    monkeypatch.setattr(outbox, "replay", replay_in_vain)
    replayed = await desk.replay(ALL)
    assert (replayed.count, replayed.left) == (1, {})
    assert await desk.tally(ALL) == {"ops": 1}


@pytest.mark.parametrize(("name", "was_stopped"), [("ops", False), ("audit", True)])
async def test_enable(desk: Desk, enabled: list[str], name: str, was_stopped: bool) -> None:
    """The lane is told, and says whether it was stopped."""
    assert await desk.enable(name) is was_stopped
    assert enabled == [name]


async def test_enable_nobody(desk: Desk, enabled: list[str]) -> None:
    """Who is not there is told by name, with those who are."""
    with pytest.raises(UnknownDestination, match=r"^no destination 'op\\x1bs'; there are: ops, a"):
        await desk.enable("op\x1bs")
    assert enabled == []


async def test_a_desk_without_a_relay(outbox: SqliteOutbox) -> None:
    """It knows of no conditions, only how far engines were heard, and has nothing to enable."""
    await outbox.take_in(intake(bookmark=Bookmark(7, 3)), 10)
    desk = OwnDesk(outbox, lambda: ["ops"], lambda: NOW_NS, engines=["here", "new"])
    assert await desk.conditions() == {}
    report = Report({"here": EngineReport(7), "new": EngineReport(None)})
    assert await desk.report() == report
    with pytest.raises(NothingRuns, match="no relay is running"):
        await desk.enable("ops")
