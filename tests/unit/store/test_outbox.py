"""The outbox's promises about deliveries, cursors and container states, in memory."""

from collections.abc import AsyncIterator

import msgspec
import pytest_asyncio

from relay.core.checkpoint import Checkpoint, encode_seen
from relay.core.container import Container
from relay.core.exchange import Dead, Delivered, Reason, Retry
from relay.core.include import Included
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import HOLD_NS, Ack, Backlog, IngestCommit, subject_of
from tests.support.recording_receiver import RecordingReceiver
from tests.unit.store.samples import (
    due_numbers,
    fetch_due,
    make_commit,
    make_notification,
    with_include,
)

SECOND_NS = 10**9
MARK = Checkpoint(
    7,
    3,
    encode_seen(make_notification(1).events[0].id, 5)
    + encode_seen(make_notification(2).events[0].id, -7),
)


@pytest_asyncio.fixture
async def outbox() -> AsyncIterator[Outbox]:
    """An empty outbox."""
    async with open_outbox(None) as made:
        yield made


async def test_a_delivery_is_due_at_once(outbox: Outbox) -> None:
    """A new delivery is due at once for each destination, with its notification unchanged."""
    await outbox.commit(make_commit(make_notification(1), to=("ops", "audit")), 10)
    for to in ("ops", "audit"):
        (delivery,) = await fetch_due(outbox, 10, to)
        assert (delivery.destination, delivery.notification) == (to, make_notification(1))
        assert (delivery.created_ns, delivery.attempts) == (10, 0)
    assert await fetch_due(outbox, 9) == []
    assert await fetch_due(outbox, 10, "other") == []


async def test_fetching_does_not_remove(outbox: Outbox) -> None:
    """A delivery that is not acknowledged is due again, so that a crash loses nothing."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    assert await fetch_due(outbox, 10) == await fetch_due(outbox, 10)


async def test_only_the_first_about_a_subject_is_due(outbox: Outbox) -> None:
    """Later deliveries about a subject wait, whenever they were committed; others do not."""
    await outbox.commit(
        make_commit(
            make_notification(1), make_notification(2), make_notification(3, container="db")
        ),
        10,
    )
    await outbox.commit(make_commit(make_notification(4)), 11)
    assert await due_numbers(outbox, 99) == [1, 3]


async def test_a_delivered_one_releases_the_next(outbox: Outbox) -> None:
    """Deliveries about one subject become due one after the other, in the order of events."""
    await outbox.commit(
        make_commit(make_notification(1), make_notification(2), make_notification(3)), 10
    )
    for number in (1, 2, 3):
        (head,) = await fetch_due(outbox, 20)
        assert head.notification == make_notification(number)
        await outbox.ack([Ack(head, Delivered())], 20, flush=True)
    assert await fetch_due(outbox, 99) == []
    assert await outbox.pending() == {}


async def test_a_dead_letter_releases_the_next(outbox: Outbox) -> None:
    """A delivery that is given up blocks no other."""
    await outbox.commit(make_commit(make_notification(1), make_notification(2)), 10)
    (head,) = await fetch_due(outbox, 20)
    await outbox.ack([Ack(head, Dead(Reason.EXPIRED))], 20, flush=True)
    assert await due_numbers(outbox, 20) == [2]


async def test_a_retry_blocks_its_successors(outbox: Outbox) -> None:
    """They wait while it waits for its next attempt, which is counted; other subjects do not."""
    await outbox.commit(
        make_commit(
            make_notification(1), make_notification(2), make_notification(3, container="db")
        ),
        10,
    )
    head, _ = await fetch_due(outbox, 10)
    await outbox.ack([Ack(head, Retry(2.5, Reason.UNAVAILABLE))], 10, flush=True)
    assert await due_numbers(outbox, 10 + 2 * SECOND_NS) == [3]
    again = (await fetch_due(outbox, 10 + 3 * SECOND_NS))[1]
    assert (again.seq, again.attempts, again.created_ns) == (head.seq, 1, 10)
    assert again.notification == make_notification(1)


async def test_the_same_subject_is_not_blocked_for_another_destination(outbox: Outbox) -> None:
    """Each destination has its own order."""
    await outbox.commit(
        make_commit(make_notification(1), make_notification(2), to=("ops", "audit")), 10
    )
    (head,) = await fetch_due(outbox, 10)
    await outbox.ack([Ack(head, Delivered())], 10, flush=True)
    assert await due_numbers(outbox, 10) == [2]
    assert await due_numbers(outbox, 10, "audit") == [1]


async def test_the_longest_due_comes_first(outbox: Outbox) -> None:
    """Due deliveries are returned longest due first, no more than the limit."""
    await outbox.commit(make_commit(make_notification(1, container="a")), 30)
    await outbox.commit(make_commit(make_notification(2, container="b")), 20)
    assert await due_numbers(outbox, 30) == [2, 1]
    assert len((await outbox.fetch_due("ops", 30, 1)).deliveries) == 1


async def test_excluded_deliveries_are_left_out(outbox: Outbox) -> None:
    """A delivery behind an excluded one is not returned in its place."""
    await outbox.commit(
        make_commit(
            make_notification(1), make_notification(2), make_notification(3, container="db")
        ),
        10,
    )
    head, other = await fetch_due(outbox, 10)
    assert (await outbox.fetch_due("ops", 10, 100, {head.seq})).deliveries == [other]
    assert (await outbox.fetch_due("ops", 10, 100, {head.seq, other.seq})).deliveries == []


async def test_returns_when_the_next_will_be_due(outbox: Outbox) -> None:
    """The result says when the first delivery that is not due yet will be due."""
    await outbox.commit(
        make_commit(
            make_notification(1, container="a"),
            make_notification(2, container="b"),
            make_notification(3, container="a"),
        ),
        0,
    )
    assert (await outbox.fetch_due("ops", 0, 100)).next_due_ns is None
    for delivery, after_s in zip(await fetch_due(outbox, 0), (5, 3), strict=True):
        await outbox.ack([Ack(delivery, Retry(after_s, Reason.UNAVAILABLE))], 0, flush=True)
    assert (await outbox.fetch_due("ops", 0, 100)).next_due_ns == 3 * SECOND_NS
    assert (await outbox.fetch_due("ops", 3 * SECOND_NS, 100)).next_due_ns == 5 * SECOND_NS
    assert (await outbox.fetch_due("audit", 0, 100)).next_due_ns is None


async def test_counts_waiting_deliveries(outbox: Outbox) -> None:
    """Waiting deliveries are counted by destination, including those that are not due."""
    await outbox.commit(
        make_commit(make_notification(1), make_notification(2), to=("ops", "audit")), 10
    )
    await outbox.commit(make_commit(make_notification(3), to=("ops",)), 10)
    assert await outbox.pending() == {"ops": 3, "audit": 2}


async def test_reports_the_oldest_waiting_delivery(outbox: Outbox) -> None:
    """Retries do not change since when a delivery waits."""
    await outbox.commit(make_commit(make_notification(1, container="a")), 10)
    await outbox.commit(make_commit(make_notification(2, container="b"), to=("ops", "audit")), 20)
    assert await outbox.backlog() == {"ops": Backlog(2, 10), "audit": Backlog(1, 20)}
    first, second = await fetch_due(outbox, 30)
    await outbox.ack([Ack(first, Delivered())], 30, flush=True)
    await outbox.ack([Ack(second, Retry(60, Reason.UNAVAILABLE))], 30, flush=True)
    assert await outbox.backlog() == {"ops": Backlog(1, 20), "audit": Backlog(1, 20)}


async def test_a_commit_or_an_ack_wakes_the_worker(outbox: Outbox) -> None:
    """A worker gets what was committed for it, and hears which outcomes are stored."""
    ops, audit = RecordingReceiver(outbox, "ops"), RecordingReceiver(outbox, "audit")
    await outbox.commit(make_commit(make_notification(1)), 10)
    await outbox.commit(make_commit(make_notification(2)), 10)
    assert [(it.delivery.seq, it.is_due) for it in ops.committed] == [(1, True), (2, False)]
    for _ in range(2):
        ops.clear()
        (head,) = await fetch_due(outbox, 10)
        assert not ops.was_informed
        await outbox.ack([Ack(head, Delivered())], 10, flush=True)
        assert ops.acks == [Ack(head, Delivered())]
    assert not audit.was_informed


async def test_a_delivery_is_held_for_what_it_is_to_include(outbox: Outbox) -> None:
    """A delivery is held until its notification is complete, or until the hold ends."""
    seqs = (
        await outbox.commit(
            make_commit(with_include(make_notification(1)), to=("ops", "audit")), 10
        )
    ).seqs[0]
    assert await fetch_due(outbox, 9 + HOLD_NS) == []
    assert len(await fetch_due(outbox, 10 + HOLD_NS)) == 1
    worker = RecordingReceiver(outbox, "ops")

    whole = msgspec.structs.replace(
        with_include(make_notification(1)), included=Included(logs=("so it ended",))
    )
    await outbox.enrich(seqs, whole, 20)
    assert worker.was_informed
    for to in ("ops", "audit"):
        (delivery,) = await fetch_due(outbox, 20, to)
        assert delivery.notification == whole


async def test_an_enriched_delivery_keeps_its_place(outbox: Outbox) -> None:
    """It still waits behind another about its subject, and until the time of its retry."""
    first, second = (
        await outbox.commit(
            make_commit(with_include(make_notification(1)), with_include(make_notification(2))), 0
        )
    ).seqs
    await outbox.enrich(second, make_notification(2), 1)
    assert await fetch_due(outbox, 1) == []
    (head,) = await fetch_due(outbox, HOLD_NS)
    await outbox.ack([Ack(head, Retry(9, Reason.UNAVAILABLE))], HOLD_NS, flush=True)
    await outbox.enrich(first, make_notification(1), HOLD_NS)
    assert await fetch_due(outbox, HOLD_NS) == []
    (head,) = await fetch_due(outbox, HOLD_NS + 9 * SECOND_NS)
    await outbox.ack([Ack(head, Delivered())], HOLD_NS + 9 * SECOND_NS, flush=True)
    assert await due_numbers(outbox, HOLD_NS + 9 * SECOND_NS) == [2]


async def test_a_settled_delivery_is_not_enriched(outbox: Outbox) -> None:
    """Content that arrives after the delivery was settled is ignored."""
    (seqs,) = (await outbox.commit(make_commit(with_include(make_notification(1))), 0)).seqs
    (head,) = await fetch_due(outbox, HOLD_NS)
    await outbox.ack([Ack(head, Delivered())], HOLD_NS, flush=True)
    await outbox.enrich(seqs, make_notification(1), HOLD_NS)
    assert await outbox.pending() == {}


async def test_stores_container_states(outbox: Outbox) -> None:
    """The last state of each engine's containers is stored until they are removed."""
    for containers, gone in (
        ([Container("c1", name="web"), Container("c2")], []),
        ([Container("c1", name="shop")], ["c2", "c3"]),
    ):
        await outbox.commit(IngestCommit("here", None, [], containers, gone), 10)
    assert await outbox.containers("here", list) == [Container("c1", name="shop")]
    assert await outbox.containers("there", list) == []


async def test_a_clock_that_was_set_back_delays_nothing(outbox: Outbox) -> None:
    """Times in the future are corrected to now; waits that are too long end, holds too."""
    ahead_ns, now_ns, max_wait_ns = 10_000 * SECOND_NS, 1_000 * SECOND_NS, 600 * SECOND_NS
    await outbox.commit(
        make_commit(
            make_notification(1, container="a"), with_include(make_notification(2, container="b"))
        ),
        ahead_ns,
    )
    (first,) = await fetch_due(outbox, ahead_ns)
    await outbox.ack([Ack(first, Retry(5, Reason.UNAVAILABLE))], ahead_ns, flush=True)
    assert await fetch_due(outbox, now_ns) == []

    assert await outbox.correct_times(now_ns, max_wait_ns) == 2
    assert await due_numbers(outbox, now_ns) == [1, 2]
    assert {delivery.created_ns for delivery in await fetch_due(outbox, now_ns)} == {now_ns}
    assert await outbox.correct_times(now_ns, max_wait_ns) == 0


async def test_plausible_times_are_not_corrected(outbox: Outbox) -> None:
    """A plausible wait continues, and a delivery behind another one keeps waiting."""
    await outbox.commit(
        make_commit(
            make_notification(1),
            make_notification(2),
            with_include(make_notification(3, container="b")),
        ),
        0,
    )
    (first,) = await fetch_due(outbox, 0)
    await outbox.ack([Ack(first, Retry(600, Reason.UNAVAILABLE))], 0, flush=True)
    assert await outbox.correct_times(0, 600 * SECOND_NS) == 0
    assert (await outbox.fetch_due("ops", 0, 9)).next_due_ns == HOLD_NS


async def test_stores_each_engines_checkpoint(outbox: Outbox) -> None:
    """The last checkpoint of each engine is returned; None for an engine without one."""
    assert await outbox.checkpoint("here") is None
    await outbox.commit(make_commit(checkpoint=Checkpoint.starting_at(1)), 10)
    await outbox.commit(make_commit(checkpoint=MARK), 10)
    assert await outbox.checkpoint("here") == MARK
    assert await outbox.checkpoint("there") is None


async def test_a_batch_without_a_checkpoint_moves_no_cursor(outbox: Outbox) -> None:
    """Relay's own events move no engine's cursor."""
    await outbox.commit(make_commit(checkpoint=MARK), 10)
    await outbox.commit(make_commit(make_notification(1)), 10)
    assert await outbox.checkpoint("here") == MARK


def test_a_subject_identifies_what_an_event_is_about() -> None:
    """A subject is the engine's object: its type, and its id or else its name."""
    assert subject_of(make_notification(1)) == "here/container/web"
    assert subject_of(make_notification(2)) == "here/container/web"
    assert subject_of(make_notification(1, container="db")) != "here/container/web"
