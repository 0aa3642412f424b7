"""What the outbox promises of deliveries, in memory."""

from collections.abc import AsyncIterator

import msgspec
import pytest_asyncio

from relay.core.checkpoint import Checkpoint, encode_seen
from relay.core.container import Container
from relay.core.exchange import Dead, Delivered, Reason, Retry
from relay.core.notification import Included
from relay.store.outbox import open_outbox
from relay.store.records import HOLD_NS, Ack, Backlog, Delivery, IngestCommit, Outbox, subject_of
from tests.unit.store.samples import make_commit, make_notification, with_include

SECOND_NS = 10**9
MARK = Checkpoint(
    7,
    3,
    encode_seen(make_notification(1).events[0].id, 5)
    + encode_seen(make_notification(2).events[0].id, -7),
)


@pytest_asyncio.fixture
async def outbox() -> AsyncIterator[Outbox]:
    """An empty one."""
    async with open_outbox(None) as made:
        yield made


async def fetch_due(outbox: Outbox, now_ns: int, to: str = "ops") -> list[Delivery]:
    return list((await outbox.fetch_due(to, now_ns, 100)).deliveries)


async def due_numbers(outbox: Outbox, now_ns: int, to: str = "ops") -> list[int]:
    """The numbers of the notifications that are due."""
    return [
        delivery.notification.events[0].time_ns for delivery in await fetch_due(outbox, now_ns, to)
    ]


async def test_a_delivery_is_due_at_once(outbox: Outbox) -> None:
    """With its notification as it was, for each of its destinations."""
    await outbox.commit(make_commit(make_notification(1), to=("ops", "audit")), 10)
    for to in ("ops", "audit"):
        (delivery,) = await fetch_due(outbox, 10, to)
        assert (delivery.destination, delivery.notification) == (to, make_notification(1))
        assert (delivery.created_ns, delivery.attempts) == (10, 0)
    assert await fetch_due(outbox, 9) == []
    assert await fetch_due(outbox, 10, "other") == []


async def test_asking_takes_nothing_away(outbox: Outbox) -> None:
    """What is not settled is due again: after a crash, too."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    assert await fetch_due(outbox, 10) == await fetch_due(outbox, 10)


async def test_of_one_subject_only_the_first_is_due(outbox: Outbox) -> None:
    """Those behind it wait, whether they came with it or later; another subject does not."""
    await outbox.commit(
        make_commit(
            make_notification(1), make_notification(2), make_notification(3, container="db")
        ),
        10,
    )
    await outbox.commit(make_commit(make_notification(4)), 11)
    assert await due_numbers(outbox, 99) == [1, 3]


async def test_delivered_makes_way_for_the_next(outbox: Outbox) -> None:
    """In the order in which they happened."""
    await outbox.commit(
        make_commit(make_notification(1), make_notification(2), make_notification(3)), 10
    )
    for number in (1, 2, 3):
        (head,) = await fetch_due(outbox, 20)
        assert head.notification == make_notification(number)
        await outbox.ack([Ack(head, Delivered())], 20)
    assert await fetch_due(outbox, 99) == []
    assert await outbox.pending() == {}


async def test_dead_makes_way_for_the_next(outbox: Outbox) -> None:
    """One that is given up holds up none."""
    await outbox.commit(make_commit(make_notification(1), make_notification(2)), 10)
    (head,) = await fetch_due(outbox, 20)
    await outbox.ack([Ack(head, Dead(Reason.EXPIRED))], 20)
    assert await due_numbers(outbox, 20) == [2]


async def test_a_retry_keeps_its_successors_back(outbox: Outbox) -> None:
    """Until it is due again, with its attempts counted; other subjects go on."""
    await outbox.commit(
        make_commit(
            make_notification(1), make_notification(2), make_notification(3, container="db")
        ),
        10,
    )
    head, _ = await fetch_due(outbox, 10)
    await outbox.ack([Ack(head, Retry(2.5, Reason.UNAVAILABLE))], 10)
    assert await due_numbers(outbox, 10 + 2 * SECOND_NS) == [3]
    again = (await fetch_due(outbox, 10 + 3 * SECOND_NS))[1]
    assert (again.seq, again.attempts, again.created_ns) == (head.seq, 1, 10)
    assert again.notification == make_notification(1)


async def test_the_same_subject_elsewhere_is_not_kept_back(outbox: Outbox) -> None:
    """Order is kept for each destination by itself."""
    await outbox.commit(
        make_commit(make_notification(1), make_notification(2), to=("ops", "audit")), 10
    )
    (head,) = await fetch_due(outbox, 10)
    await outbox.ack([Ack(head, Delivered())], 10)
    assert await due_numbers(outbox, 10) == [2]
    assert await due_numbers(outbox, 10, "audit") == [1]


async def test_the_longest_due_comes_first(outbox: Outbox) -> None:
    """And no more than asked for."""
    await outbox.commit(make_commit(make_notification(1, container="a")), 30)
    await outbox.commit(make_commit(make_notification(2, container="b")), 20)
    assert await due_numbers(outbox, 30) == [2, 1]
    assert len((await outbox.fetch_due("ops", 30, 1)).deliveries) == 1


async def test_leaves_out_what_is_under_way(outbox: Outbox) -> None:
    """Those behind it are not due in its place."""
    await outbox.commit(
        make_commit(
            make_notification(1), make_notification(2), make_notification(3, container="db")
        ),
        10,
    )
    head, other = await fetch_due(outbox, 10)
    assert (await outbox.fetch_due("ops", 10, 100, {head.seq})).deliveries == [other]
    assert (await outbox.fetch_due("ops", 10, 100, {head.seq, other.seq})).deliveries == []


async def test_says_when_there_is_more(outbox: Outbox) -> None:
    """The first time at which something will be due that is not yet."""
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
        await outbox.ack([Ack(delivery, Retry(after_s, Reason.UNAVAILABLE))], 0)
    assert (await outbox.fetch_due("ops", 0, 100)).next_due_ns == 3 * SECOND_NS
    assert (await outbox.fetch_due("ops", 3 * SECOND_NS, 100)).next_due_ns == 5 * SECOND_NS
    assert (await outbox.fetch_due("audit", 0, 100)).next_due_ns is None


async def test_counts_what_waits(outbox: Outbox) -> None:
    """By destination, those that are not due among them."""
    await outbox.commit(
        make_commit(make_notification(1), make_notification(2), to=("ops", "audit")), 10
    )
    await outbox.commit(make_commit(make_notification(3), to=("ops",)), 10)
    assert await outbox.pending() == {"ops": 3, "audit": 2}


async def test_says_since_when_it_waits(outbox: Outbox) -> None:
    """The oldest that is left counts, whatever became of it so far."""
    await outbox.commit(make_commit(make_notification(1, container="a")), 10)
    await outbox.commit(make_commit(make_notification(2, container="b"), to=("ops", "audit")), 20)
    assert await outbox.backlog() == {"ops": Backlog(2, 10), "audit": Backlog(1, 20)}
    first, second = await fetch_due(outbox, 30)
    await outbox.ack([Ack(first, Delivered())], 30)
    await outbox.ack([Ack(second, Retry(60, Reason.UNAVAILABLE))], 30)
    assert await outbox.backlog() == {"ops": Backlog(1, 20), "audit": Backlog(1, 20)}


async def test_tells_the_lane_of_news(outbox: Outbox) -> None:
    """When something was taken in for its destination, or is due because another is settled."""
    ops, audit = outbox.wakeup("ops"), outbox.wakeup("audit")
    await outbox.commit(make_commit(make_notification(1)), 10)
    await outbox.commit(make_commit(make_notification(2)), 10)
    assert (ops.is_set(), audit.is_set()) == (True, False)
    for more in (True, False):
        ops.clear()
        (head,) = await fetch_due(outbox, 10)
        assert not ops.is_set()
        await outbox.ack([Ack(head, Delivered())], 10)
        assert (ops.is_set(), audit.is_set()) == (more, False)


async def test_tells_the_lane_of_a_retry(outbox: Outbox) -> None:
    """It is due some time, which only the store knows."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    (head,) = await fetch_due(outbox, 10)
    outbox.wakeup("ops").clear()
    await outbox.ack([Ack(head, Retry(1.0, Reason.UNAVAILABLE))], 10)
    assert outbox.wakeup("ops").is_set()


async def test_what_is_to_include_something_is_held(outbox: Outbox) -> None:
    """Until it has that, or for as long as that may take."""
    seqs = (
        await outbox.commit(
            make_commit(with_include(make_notification(1)), to=("ops", "audit")), 10
        )
    ).seqs[0]
    assert await fetch_due(outbox, 9 + HOLD_NS) == []
    assert len(await fetch_due(outbox, 10 + HOLD_NS)) == 1
    outbox.wakeup("ops").clear()

    whole = msgspec.structs.replace(
        with_include(make_notification(1)), included=Included(logs=("so it ended",))
    )
    await outbox.enrich(seqs, whole, 20)
    assert outbox.wakeup("ops").is_set()
    for to in ("ops", "audit"):
        (delivery,) = await fetch_due(outbox, 20, to)
        assert delivery.notification == whole


async def test_what_is_enriched_keeps_its_turn(outbox: Outbox) -> None:
    """Behind another about its subject, and behind its own failed attempt."""
    first, second = (
        await outbox.commit(
            make_commit(with_include(make_notification(1)), with_include(make_notification(2))), 0
        )
    ).seqs
    await outbox.enrich(second, make_notification(2), 1)
    assert await fetch_due(outbox, 1) == []
    (head,) = await fetch_due(outbox, HOLD_NS)
    await outbox.ack([Ack(head, Retry(9, Reason.UNAVAILABLE))], HOLD_NS)
    await outbox.enrich(first, make_notification(1), HOLD_NS)
    assert await fetch_due(outbox, HOLD_NS) == []
    (head,) = await fetch_due(outbox, HOLD_NS + 9 * SECOND_NS)
    await outbox.ack([Ack(head, Delivered())], HOLD_NS + 9 * SECOND_NS)
    assert await due_numbers(outbox, HOLD_NS + 9 * SECOND_NS) == [2]


async def test_what_is_settled_is_not_enriched(outbox: Outbox) -> None:
    """It came too late; that is no mistake."""
    (seqs,) = (await outbox.commit(make_commit(with_include(make_notification(1))), 0)).seqs
    (head,) = await fetch_due(outbox, HOLD_NS)
    await outbox.ack([Ack(head, Delivered())], HOLD_NS)
    await outbox.enrich(seqs, make_notification(1), HOLD_NS)
    assert await outbox.pending() == {}


async def test_keeps_what_is_known_of_containers(outbox: Outbox) -> None:
    """Of each engine, as it was said last, until it is to be known no more."""
    for containers, gone in (
        ([Container("c1", name="web"), Container("c2")], []),
        ([Container("c1", name="shop")], ["c2", "c3"]),
    ):
        await outbox.commit(IngestCommit("here", None, [], containers, gone), 10)
    assert await outbox.containers("here") == [Container("c1", name="shop")]
    assert await outbox.containers("there") == []


async def test_a_clock_that_was_set_back_holds_nothing_up(outbox: Outbox) -> None:
    """What was made in the future was made now; what waits too long is due, what is held too."""
    ahead_ns, now_ns, most_ns = 10_000 * SECOND_NS, 1_000 * SECOND_NS, 600 * SECOND_NS
    await outbox.commit(
        make_commit(
            make_notification(1, container="a"), with_include(make_notification(2, container="b"))
        ),
        ahead_ns,
    )
    (first,) = await fetch_due(outbox, ahead_ns)
    await outbox.ack([Ack(first, Retry(5, Reason.UNAVAILABLE))], ahead_ns)
    assert await fetch_due(outbox, now_ns) == []

    assert await outbox.correct_times(now_ns, most_ns) == 2
    assert await due_numbers(outbox, now_ns) == [1, 2]
    assert {delivery.created_ns for delivery in await fetch_due(outbox, now_ns)} == {now_ns}
    assert await outbox.correct_times(now_ns, most_ns) == 0


async def test_a_clock_that_is_right_changes_nothing(outbox: Outbox) -> None:
    """A wait that can be goes on, and one behind another does."""
    await outbox.commit(
        make_commit(
            make_notification(1),
            make_notification(2),
            with_include(make_notification(3, container="b")),
        ),
        0,
    )
    (first,) = await fetch_due(outbox, 0)
    await outbox.ack([Ack(first, Retry(600, Reason.UNAVAILABLE))], 0)
    assert await outbox.correct_times(0, 600 * SECOND_NS) == 0
    assert (await outbox.fetch_due("ops", 0, 9)).next_due_ns == HOLD_NS


async def test_keeps_each_engines_bookmark(outbox: Outbox) -> None:
    """As it was given last, and none for an engine never heard."""
    assert await outbox.checkpoint("here") is None
    await outbox.commit(make_commit(checkpoint=Checkpoint.starting_at(1)), 10)
    await outbox.commit(make_commit(checkpoint=MARK), 10)
    assert await outbox.checkpoint("here") == MARK
    assert await outbox.checkpoint("there") is None


async def test_without_a_bookmark_it_stays_where_it_was(outbox: Outbox) -> None:
    """Relay's own events move no engine's cursor."""
    await outbox.commit(make_commit(checkpoint=MARK), 10)
    await outbox.commit(make_commit(make_notification(1)), 10)
    assert await outbox.checkpoint("here") == MARK


def test_a_subject_is_what_an_event_is_about() -> None:
    """The engine's object of that type; by its name where the engine gives no id."""
    event = make_notification(1).events[0]
    assert subject_of(event) == subject_of(make_notification(2).events[0]) == "here/container/web"
    assert subject_of(event) != subject_of(make_notification(1, container="db").events[0])
