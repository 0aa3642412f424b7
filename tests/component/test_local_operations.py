"""The admin operations, performed locally and over the control socket."""

import pytest

from relay.admin.operation import Refused
from relay.admin.operations import AdminOperations, LocalOperations, NotRunning
from relay.core.checkpoint import Checkpoint
from relay.core.exchange import Reason, Retry
from relay.core.status import DaemonStatus, EngineStatus
from relay.store.outbox import Outbox
from relay.store.records import Ack, Backlog, DestinationNames, Selection
from tests.component.admin_samples import (
    ALL,
    ANSWER,
    DAEMON_STATUS,
    DESTINATION_STATUS,
    NOW_NS,
    fetch_due,
    hostile_notification,
    make_dead_letters,
)
from tests.unit.store.samples import make_commit, make_notification


async def test_now(operations: AdminOperations) -> None:
    """It is the clock by which deliveries are due."""
    assert await operations.now_ns() == NOW_NS


async def test_destination_status(operations: AdminOperations) -> None:
    """The status of every destination arrives with all its fields."""
    assert await operations.destination_status() == DESTINATION_STATUS


async def test_daemon_status(operations: AdminOperations) -> None:
    """The status of the engines and the store arrives with all its fields."""
    assert await operations.daemon_status() == DAEMON_STATUS


async def test_backlog(operations: AdminOperations, outbox: Outbox) -> None:
    """How many deliveries wait for each destination, and since when."""
    await outbox.commit(make_commit(make_notification(1), make_notification(2)), 10)
    await outbox.commit(make_commit(make_notification(3), to=("audit",)), 2**62)
    assert await operations.backlog() == {"ops": Backlog(2, 10), "audit": Backlog(1, 2**62)}


async def test_waiting_deliveries(operations: AdminOperations, outbox: Outbox) -> None:
    """Their number, and the oldest of them, of one destination or of all."""
    await outbox.commit(make_commit(make_notification(1), hostile_notification(2)), 10)
    await outbox.commit(make_commit(make_notification(3), to=("audit",)), 10)
    await outbox.ack(
        [Ack((await fetch_due(outbox))[0], Retry(5, Reason.UNAVAILABLE), ANSWER)], 10, flush=True
    )
    assert await operations.pending() == {"ops": 2, "audit": 1}
    assert await operations.list_waiting(None, 500) == await outbox.waiting(None, 500)
    assert await operations.list_waiting("audit", 500) == await outbox.waiting("audit", 500)
    assert len(await operations.list_waiting(None, 2)) == 2
    assert await operations.list_waiting("nobody", 2) == []


async def test_dead_letters(operations: AdminOperations, outbox: Outbox) -> None:
    """They arrive with everything that is kept of them."""
    await make_dead_letters(outbox, make_notification(1), hostile_notification(2))
    assert await operations.list_dead_letters(ALL, 10) == await outbox.dead_letters(ALL, 10)
    assert (await operations.list_dead_letters(ALL, 1))[0].notification == hostile_notification(2)
    assert (await operations.list_dead_letters(ALL, 10, 2))[0].answer == ANSWER


@pytest.mark.parametrize(
    "selection",
    [
        Selection(ids=(2, make_notification(3).id)),
        Selection(ids=()),
        Selection(destination="audit"),
        Selection(route="crashed"),
        Selection(route="a\x00\U0001f525"),
        Selection(since_ns=20),
        Selection(since_ns=21),
        Selection(ids=(1, 4), destination="ops", route="crashed", since_ns=0),
    ],
)
async def test_selections(
    operations: AdminOperations, outbox: Outbox, selection: Selection
) -> None:
    """Every filter of a selection holds."""
    await make_dead_letters(
        outbox, make_notification(1), make_notification(2), make_notification(3)
    )
    await make_dead_letters(outbox, make_notification(1), to="audit")
    expected = await outbox.dead_letters(selection, 10)
    assert await operations.list_dead_letters(selection, 10) == expected
    assert sum((await operations.count_dead_letters(selection)).values()) == len(expected)
    assert await operations.drop_dead_letters(selection) == len(expected)
    assert sum((await operations.count_dead_letters(ALL)).values()) == 4 - len(expected)


async def test_count_dead_letters(operations: AdminOperations, outbox: Outbox) -> None:
    """More than are read at a time are counted, by destination."""
    await make_dead_letters(
        outbox, *(make_notification(number, container=str(number)) for number in range(1, 151))
    )
    await make_dead_letters(outbox, make_notification(1), to="audit")
    assert await operations.count_dead_letters(ALL) == {"ops": 150, "audit": 1}


async def test_replay(operations: AdminOperations, outbox: Outbox) -> None:
    """The delivery is made now, under the same id."""
    await make_dead_letters(outbox, make_notification(1), make_notification(2))
    result = await operations.replay_dead_letters(Selection(ids=(1,)))
    assert (result.count, result.left) == (1, {})
    (waiting,) = await outbox.waiting(None, 9)
    assert (waiting.notification, waiting.created_ns) == (make_notification(1), NOW_NS)


async def test_replay_to_a_removed_destination(operations: AdminOperations, outbox: Outbox) -> None:
    """Its dead letters stay, and the result counts them."""
    await make_dead_letters(outbox, make_notification(1))
    await make_dead_letters(outbox, make_notification(1), make_notification(2), to="gone")
    result = await operations.replay_dead_letters(ALL)
    assert (result.count, result.left) == (1, {"gone": 2})
    assert await operations.count_dead_letters(ALL) == {"gone": 2}


async def test_a_replayed_delivery_that_dies_again(
    operations: AdminOperations, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a dead letter again, and does not count as left."""
    await make_dead_letters(outbox, make_notification(1))
    replay = outbox.replay_dead_letters

    async def replay_in_vain(
        selection: Selection, destinations: DestinationNames, now_ns: int, _: object
    ) -> int:
        count = await replay(selection, destinations, now_ns)
        await make_dead_letters(outbox, make_notification(2, container="db"))
        return count

    monkeypatch.setattr(outbox, "replay_dead_letters", replay_in_vain)
    result = await operations.replay_dead_letters(ALL)
    assert (result.count, result.left) == (1, {})
    assert await operations.count_dead_letters(ALL) == {"ops": 1}


@pytest.mark.parametrize(("name", "was_stopped"), [("ops", False), ("audit", True)])
async def test_enable(
    operations: AdminOperations, enabled: list[str], name: str, was_stopped: bool
) -> None:
    """The daemon is asked, and says whether the destination was stopped."""
    assert await operations.enable(name) is was_stopped
    assert enabled == [name]


async def test_enable_an_unknown_destination(
    operations: AdminOperations, enabled: list[str]
) -> None:
    """The error names it, and those that exist."""
    with pytest.raises(Refused, match=r"^no destination 'op\\x1bs'; there are: ops, a"):
        await operations.enable("op\x1bs")
    assert enabled == []


async def test_without_a_daemon(outbox: Outbox) -> None:
    """Only the checkpoints are known, and nothing can be enabled."""
    await outbox.commit(make_commit(checkpoint=Checkpoint(7, 3)), 10)
    operations = LocalOperations(outbox, lambda: ["ops"], lambda: NOW_NS, engines=["here", "new"])
    assert await operations.destination_status() == {}
    report = DaemonStatus({"here": EngineStatus(7), "new": EngineStatus(None)})
    assert await operations.daemon_status() == report
    with pytest.raises(NotRunning, match="no relay is running"):
        await operations.enable("ops")
