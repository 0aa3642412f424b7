"""The deliveries that a worker has in memory."""

from datetime import timedelta

import pytest

from relay.config import BatchConfig
from relay.core.event import Actor
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.delivery.queue import LARGE_BYTES, Batch, DeliveryQueue, MemoryBudget, memory_bytes
from relay.store.records import Delivery
from tests.unit.store.samples import make_notification

CONFIG = BatchConfig(max=4, wait=timedelta(seconds=2))
SECOND_NS = 10**9


A, B = -1, -2
"""Chains."""


def delivery(seq: int, chain: int | None = None, size_bytes: int = 0) -> Delivery:
    return Delivery(
        seq,
        "ops",
        make_notification(seq),
        created_ns=10 * SECOND_NS,
        attempts=0,
        chain=seq if chain is None else chain,
        size_bytes=size_bytes,
    )


class CountingRenderer:
    """Renders each notification in so many bytes, and records which it rendered."""

    def __init__(self, size: int = 10) -> None:
        self.rendered: list[int] = []
        self._size = size

    def __call__(self, notification: Notification) -> Request:
        self.rendered.append(notification.events[0].time_ns)
        return Request(b"x" * self._size)


def make_queue(count: int, config: BatchConfig | None = CONFIG) -> DeliveryQueue:
    queue = DeliveryQueue(MemoryBudget(), config)
    for seq in range(count):
        assert queue.add_due(delivery(seq), is_only=True)
    return queue


def take_batch(queue: DeliveryQueue, renderer: CountingRenderer) -> Batch:
    return queue.take(renderer, 0.0, alone=False)


def seqs(batch: Batch) -> list[int]:
    return [delivery.seq for delivery, _ in batch]


def test_without_batching_each_is_taken_by_itself() -> None:
    """In order, without a wait, and rendered when it is taken."""
    queue, renderer = make_queue(3, None), CountingRenderer()
    assert queue.wait_s(0) == 0.0
    assert [seqs(take_batch(queue, renderer)) for _ in range(3)] == [[0], [1], [2]]
    assert len(queue) == 0


def test_takes_as_many_as_go_together() -> None:
    """The rest stays in order and is not rendered yet."""
    queue, renderer = make_queue(6), CountingRenderer()
    assert seqs(take_batch(queue, renderer)) == renderer.rendered == [0, 1, 2, 3]
    assert len(queue) == 2
    assert seqs(take_batch(queue, renderer)) == [4, 5]


def test_takes_one_alone_on_request() -> None:
    """For a probe."""
    assert seqs(make_queue(6).take(CountingRenderer(), 0.0, alone=True)) == [0]


def test_what_did_not_fit_is_not_rendered_again() -> None:
    """It is the first of the next batch."""
    queue, renderer = make_queue(4), CountingRenderer(400_000)
    assert [seqs(take_batch(queue, renderer)) for _ in range(2)] == [[0, 1], [2, 3]]
    assert renderer.rendered == [0, 1, 2, 3]


def test_a_requeued_batch_is_halved() -> None:
    """It goes first, without a wait and without rendering; later deliveries wait for others."""
    queue, renderer = make_queue(4), CountingRenderer()
    batch = take_batch(queue, renderer)
    queue.add_due(delivery(4), is_only=True)
    queue.requeue(batch, 0.0)
    assert queue.wait_s(10 * SECOND_NS) == 0.0
    assert [seqs(take_batch(queue, renderer)) for _ in range(2)] == [[0, 1], [2, 3]]
    assert renderer.rendered == [0, 1, 2, 3, 4]
    assert queue.wait_s(10 * SECOND_NS) == 2.0


def test_the_first_waits_for_others() -> None:
    """From its commit on, unless a batch is full."""
    assert make_queue(1).wait_s(11 * SECOND_NS) == 1.0
    assert make_queue(1).wait_s(12 * SECOND_NS) == 0.0
    assert make_queue(4).wait_s(10 * SECOND_NS) == 0.0


def test_clear_forgets_everything() -> None:
    """Deliveries that are fetched again are new: they are rendered again and wait for others."""
    queue, renderer = make_queue(4), CountingRenderer()
    queue.requeue(take_batch(queue, renderer), 0.0)
    queue.clear()
    assert (len(queue), set(queue.seqs)) == (0, set())
    queue.add_due(delivery(0), is_only=True)
    assert queue.wait_s(10 * SECOND_NS) == 2.0
    assert seqs(take_batch(queue, renderer)) == [0]
    assert renderer.rendered == [0, 1, 2, 3, 0]


def take_one(queue: DeliveryQueue) -> Delivery:
    ((taken, _),) = queue.take(CountingRenderer(), 0.0, alone=True)
    return taken


def test_a_successor_may_be_sent_when_the_one_before_it_was_answered() -> None:
    """Not before; whether that is stored by then does not matter."""
    queue = DeliveryQueue(MemoryBudget(), None)
    queue.add_due(delivery(1, A), is_only=True)
    queue.add_successor(delivery(2, A))
    first = take_one(queue)
    assert len(queue) == 0
    queue.answered(first, is_final=True)
    assert take_one(queue).seq == 2


def test_a_successor_that_comes_after_the_answer_may_be_sent_at_once() -> None:
    """As long as the outcome is not stored, the store does not list it as due."""
    queue = DeliveryQueue(MemoryBudget(), None)
    queue.add_due(delivery(1, A), is_only=True)
    first = take_one(queue)
    queue.answered(first, is_final=True)
    queue.add_successor(delivery(2, A))
    assert take_one(queue).seq == 2


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_successor_of_one_that_is_not_in_memory_stays_in_the_store(is_broken: bool) -> None:
    """It must not overtake what is between the two."""
    queue = DeliveryQueue(MemoryBudget(), None)
    queue.add_due(delivery(1, A), is_only=is_broken)
    if is_broken:
        queue.break_chain(A)
    queue.add_successor(delivery(3, A))
    queue.add_successor(delivery(4, B))
    queue.answered(take_one(queue), is_final=True)
    assert (len(queue), list(queue.seqs)) == (0, [1])


def test_a_retry_sends_its_successors_back_to_the_store() -> None:
    """And those that are committed later."""
    queue = DeliveryQueue(MemoryBudget(), None)
    queue.add_due(delivery(1, A), is_only=True)
    queue.add_successor(delivery(2, A))
    first = take_one(queue)
    queue.answered(first, is_final=False)
    queue.add_successor(delivery(3, A))
    assert (len(queue), list(queue.seqs)) == (0, [1])
    queue.settled(first)
    assert list(queue.seqs) == []


def test_memory_is_given_back() -> None:
    """When a delivery is settled, dropped, or its queue is closed."""
    memory = MemoryBudget()
    queue = DeliveryQueue(memory, None)
    for seq in range(4):
        queue.add_due(delivery(seq, size_bytes=100), is_only=True)
        queue.add_successor(delivery(10 + seq, seq, size_bytes=100))
    assert memory.used_bytes == 8 * memory_bytes(delivery(0, size_bytes=100))
    taken = take_one(queue)
    queue.answered(taken, is_final=False)
    queue.settled(taken)
    in_flight = take_one(queue)
    queue.clear()
    assert memory.used_bytes == memory_bytes(in_flight)
    queue.close()
    assert memory.used_bytes == 0


def test_each_queue_holds_one_delivery_however_large() -> None:
    """A second one only if there is memory for it."""
    memory = MemoryBudget(1000)
    queues = [DeliveryQueue(memory, None) for _ in range(3)]
    for queue in queues:
        assert queue.add_due(delivery(1, size_bytes=10_000), is_only=True)
        assert not queue.add_due(delivery(2, size_bytes=10_000), is_only=True)


def test_a_queue_that_grows_leaves_memory_for_others() -> None:
    """It ends at half of the budget, and two at a third each."""
    memory, size = MemoryBudget(1_000_000), memory_bytes(delivery(0))
    queues = [DeliveryQueue(memory, None) for _ in range(2)]
    counts = []
    for queue in queues:
        count = 0
        while queue.add_due(delivery(count), is_only=True):
            count += 1
        counts.append(count)
    assert [round(count * size / 1e6, 2) for count in counts] == [0.5, 0.25]


def test_of_a_large_delivery_only_what_settling_needs_is_kept_once_it_is_rendered() -> None:
    """Its labels would stay in memory until the destination has answered."""
    large = delivery(1, size_bytes=LARGE_BYTES + 1)
    queue, rendered = DeliveryQueue(MemoryBudget(), None), CountingRenderer()
    queue.add_due(large, is_only=True)
    ((kept, _),) = take_batch(queue, rendered)
    (event,) = kept.notification.events
    assert event.actor == Actor("", None, None, {})
    assert kept.seq in queue
    for name in ("seq", "destination", "created_ns", "attempts", "chain", "size_bytes"):
        assert getattr(kept, name) == getattr(large, name)
    for name in ("id", "route"):
        assert getattr(kept.notification, name) == getattr(large.notification, name)
    queue.answered(kept, is_final=True)
    queue.settled(kept)
    assert kept.seq not in queue


def test_a_small_delivery_stays_as_it_is() -> None:
    """It costs nothing."""
    queue, small = DeliveryQueue(MemoryBudget(), None), delivery(1)
    queue.add_due(small, is_only=True)
    ((kept, _),) = take_batch(queue, CountingRenderer())
    assert kept is small


def test_a_large_batch_that_is_put_back_is_sent_as_it_was_rendered() -> None:
    """It is not rendered again."""
    queue, renderer = DeliveryQueue(MemoryBudget(), CONFIG), CountingRenderer()
    for seq in range(2):
        queue.add_due(delivery(seq, size_bytes=LARGE_BYTES + 1), is_only=True)
    batch = take_batch(queue, renderer)
    queue.requeue(batch, 0.0)
    again = [*take_batch(queue, renderer), *take_batch(queue, renderer)]
    assert again == batch
    assert renderer.rendered == [0, 1]


def test_a_delivery_that_is_due_waits_for_one_of_its_chain() -> None:
    """That one is under way, although the store no longer has it."""
    queue, renderer = make_queue(0, None), CountingRenderer()
    queue.add_due(delivery(1, A), is_only=True)
    ((first, _),) = take_batch(queue, renderer)
    assert queue.add_due(delivery(2, A), is_only=True)
    assert (len(queue), set(queue.seqs)) == (0, {1})
    assert queue.answered(first, is_final=True)
    assert queue.settled(first)
    assert queue.add_due(delivery(2, A), is_only=True)
    assert len(queue) == 1


def test_successors_leave_room_for_others() -> None:
    """What waits for another of its chain takes at most half of what the queue may take."""
    memory = MemoryBudget(40 * memory_bytes(delivery(0)))
    queue = DeliveryQueue(memory, None)
    for seq in range(40):
        if seq == 0:
            queue.add_due(delivery(seq, A), is_only=True)
        else:
            queue.add_successor(delivery(seq, A))
    assert len(queue.seqs) == 11
    for seq in range(100, 140):
        queue.add_due(delivery(seq), is_only=True)
    assert len(queue.seqs) == 20


def test_a_lack_of_memory_is_known_until_some_is_given_back() -> None:
    """So that the store is not queried again and again."""
    queue = DeliveryQueue(MemoryBudget(1), None)
    assert queue.add_due(delivery(1), is_only=True)
    assert not queue.is_short_of_memory
    assert not queue.add_due(delivery(2), is_only=True)
    assert queue.is_short_of_memory
    ((first, _),) = take_batch(queue, CountingRenderer())
    queue.answered(first, is_final=True)
    queue.settled(first)
    assert not queue.is_short_of_memory


def test_a_closed_queue_gives_all_memory_back() -> None:
    """Even that of deliveries in flight and of those that wait for others."""
    memory = MemoryBudget()
    queue = DeliveryQueue(memory, None)
    for seq, chain in ((1, A), (2, B)):
        queue.add_due(delivery(seq, chain), is_only=True)
        queue.add_successor(delivery(seq + 10, chain))
    take_batch(queue, CountingRenderer())
    assert memory.used_bytes > 0
    queue.close()
    assert (memory.used_bytes, len(queue), set(queue.seqs)) == (0, 0, set())
