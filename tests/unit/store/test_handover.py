"""What the store passes on to the delivery workers after a transaction."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from relay.core.exchange import Answer, Dead, Delivered, Reason
from relay.store import deliveries
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import Ack, Delivery, Selection
from tests.support.recording_receiver import RecordingReceiver
from tests.unit.store.samples import make_commit, make_notification, with_include


@pytest_asyncio.fixture
async def outbox() -> AsyncIterator[Outbox]:
    """An empty one in memory."""
    async with open_outbox(None, unordered=["loose"]) as outbox:
        yield outbox


async def test_a_worker_is_passed_what_was_committed_for_it(outbox: Outbox) -> None:
    """In order, with the numbers, and with which deliveries are due."""
    worker = RecordingReceiver(outbox, "ops")
    first, second = make_notification(1), make_notification(2)
    await outbox.commit(make_commit(first, second, to=("ops", "audit")), 10)
    one, two = worker.committed
    assert (one.delivery.seq, one.delivery.notification, one.is_due) == (1, first, True)
    assert (two.delivery.seq, two.delivery.notification, two.is_due) == (3, second, False)
    assert one.delivery.chain == two.delivery.chain
    assert one.delivery.size_bytes > 100
    assert worker.fetch_requests == []


async def test_a_fetched_delivery_is_the_one_that_was_passed_on(outbox: Outbox) -> None:
    """Whichever way a delivery takes, the worker sees the same."""
    worker = RecordingReceiver(outbox, "ops")
    await outbox.commit(make_commit(make_notification(1)), 10)
    (fetched,) = (await outbox.fetch_due("ops", 10, 9)).deliveries
    assert fetched == worker.committed[0].delivery


async def test_nothing_overtakes_a_delivery_that_has_to_be_fetched(outbox: Outbox) -> None:
    """A later one about the same subject is not passed on; one about another subject is."""
    worker = RecordingReceiver(outbox, "ops")
    held = with_include(make_notification(2, container="a"))
    batch = [make_notification(1, container="a"), held, make_notification(3, container="a")]
    await outbox.commit(make_commit(*batch, make_notification(4, container="b")), 10)
    assert [it.delivery.notification.events[0].time_ns for it in worker.committed] == [1, 4]
    assert [set(chains or ()) for chains in worker.fetch_requests] == [
        {worker.committed[0].delivery.chain}
    ]


async def test_without_an_order_each_delivery_is_a_subject_of_its_own(outbox: Outbox) -> None:
    """So all are due."""
    worker = RecordingReceiver(outbox, "loose")
    batch = make_commit(make_notification(1), make_notification(2), to=("loose",))
    await outbox.commit(batch, 10)
    assert [it.is_due for it in worker.committed] == [True, True]
    assert len({it.delivery.chain for it in worker.committed}) == 2


async def test_nothing_is_kept_for_a_destination_without_a_worker(outbox: Outbox) -> None:
    """The next worker fetches it."""
    await outbox.commit(make_commit(make_notification(1)), 10)
    worker = RecordingReceiver(outbox, "ops")
    outbox.detach("ops")
    await outbox.commit(make_commit(make_notification(2)), 10)
    assert not worker.was_informed


async def test_a_commit_whose_caller_is_cancelled_is_passed_on(outbox: Outbox) -> None:
    """It is in the store, and the worker would not learn of it otherwise."""
    worker = RecordingReceiver(outbox, "ops")
    committing = asyncio.ensure_future(outbox.commit(make_commit(make_notification(1)), 10))
    await asyncio.sleep(0)
    committing.cancel()
    assert await outbox.pending() == {"ops": 1}
    assert [it.delivery.seq for it in worker.committed] == [1]


async def test_outcomes_that_cannot_be_stored_end_the_worker(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure that is not the disk's is an error of relay."""
    worker = RecordingReceiver(outbox, "ops")
    await outbox.commit(make_commit(make_notification(1)), 10)
    delivery: Delivery = worker.committed[0].delivery

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(deliveries, "delete_and_release_next", fail)
    with pytest.raises(ZeroDivisionError):
        await outbox.ack([Ack(delivery, Delivered())], 10, flush=True)
    assert [type(error) for error in worker.errors] == [ZeroDivisionError]


async def test_a_worker_that_raises_fails_alone(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with its error, which no caller sees. Other workers and callers are unaffected."""
    broken, other = RecordingReceiver(outbox, "ops"), RecordingReceiver(outbox, "audit")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    for method in ("receive", "request_fetch", "settled"):
        monkeypatch.setattr(broken, method, fail)
    await outbox.commit(make_commit(make_notification(1), to=("ops", "audit")), 10)
    (delivery,) = (await outbox.fetch_due("ops", 10, 9)).deliveries
    await outbox.ack([Ack(delivery, Delivered())], 10, flush=True)
    await outbox.retry_now("ops", 10)
    assert [type(error) for error in broken.errors] == 3 * [ZeroDivisionError]
    assert len(other.committed) == 1


async def test_any_chain_may_have_more_after_a_replay(outbox: Outbox) -> None:
    """So nothing that is committed later may follow from memory."""
    worker = RecordingReceiver(outbox, "ops")
    await outbox.commit(make_commit(make_notification(1)), 10)
    dead = Ack(worker.committed[0].delivery, Dead(Reason.REFUSED), Answer(400))
    await outbox.ack([dead], 10, flush=True)
    await outbox.replay_dead_letters(Selection(), lambda: ["ops"], 10)
    assert worker.fetch_requests == [None]
