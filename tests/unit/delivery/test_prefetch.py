"""What a worker has prefetched."""

from datetime import timedelta

from relay.config import BatchConfig
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.delivery.prefetch import Batch, PrefetchBuffer
from relay.store.records import Delivery
from tests.unit.store.samples import make_notification

CONFIG = BatchConfig(max=4, wait=timedelta(seconds=2))
SECOND_NS = 10**9


def delivery(seq: int, attempts: int = 0) -> Delivery:
    return Delivery(
        seq, "ops", make_notification(seq), created_ns=10 * SECOND_NS, attempts=attempts
    )


class CountingRenderer:
    """Renders each notification in so many bytes, and records which it rendered."""

    def __init__(self, size: int = 10) -> None:
        self.rendered: list[int] = []
        self._size = size

    def __call__(self, notification: Notification) -> Request:
        self.rendered.append(notification.events[0].time_ns)
        return Request(b"x" * self._size)


def make_buffer(count: int, config: BatchConfig | None = CONFIG) -> PrefetchBuffer:
    buffer = PrefetchBuffer(config)
    buffer.add(delivery(seq) for seq in range(count))
    return buffer


def take_batch(buffer: PrefetchBuffer, renderer: CountingRenderer) -> Batch:
    return buffer.take(renderer, 0.0, alone=False)


def seqs(batch: Batch) -> list[int]:
    return [delivery.seq for delivery, _ in batch]


def test_without_batching_each_is_taken_by_itself() -> None:
    """In order, without a wait, and rendered when it is taken."""
    buffer, renderer = make_buffer(3, None), CountingRenderer()
    assert buffer.wait_s(0) == 0.0
    assert [seqs(take_batch(buffer, renderer)) for _ in range(3)] == [[0], [1], [2]]
    assert len(buffer) == 0


def test_takes_as_many_as_go_together() -> None:
    """The rest stays in order and is not rendered yet."""
    buffer, renderer = make_buffer(6), CountingRenderer()
    assert seqs(take_batch(buffer, renderer)) == renderer.rendered == [0, 1, 2, 3]
    assert buffer.seqs == {4, 5}
    assert seqs(take_batch(buffer, renderer)) == [4, 5]


def test_takes_one_alone_on_request() -> None:
    """For a probe."""
    assert seqs(make_buffer(6).take(CountingRenderer(), 0.0, alone=True)) == [0]


def test_what_did_not_fit_is_not_rendered_again() -> None:
    """It is the first of the next batch."""
    buffer, renderer = make_buffer(4), CountingRenderer(400_000)
    assert [seqs(take_batch(buffer, renderer)) for _ in range(2)] == [[0, 1], [2, 3]]
    assert renderer.rendered == [0, 1, 2, 3]


def test_a_requeued_batch_is_halved() -> None:
    """It goes first, without a wait and without rendering; later deliveries wait for others."""
    buffer, renderer = make_buffer(4), CountingRenderer()
    batch = take_batch(buffer, renderer)
    buffer.add([delivery(4)])
    buffer.requeue(batch, 0.0)
    assert buffer.wait_s(10 * SECOND_NS) == 0.0
    assert [seqs(take_batch(buffer, renderer)) for _ in range(2)] == [[0, 1], [2, 3]]
    assert renderer.rendered == [0, 1, 2, 3, 4]
    assert buffer.wait_s(10 * SECOND_NS) == 2.0


def test_the_first_waits_for_others() -> None:
    """From its commit on, unless a batch is full."""
    assert make_buffer(1).wait_s(11 * SECOND_NS) == 1.0
    assert make_buffer(1).wait_s(12 * SECOND_NS) == 0.0
    assert make_buffer(4).wait_s(10 * SECOND_NS) == 0.0


def test_clear_forgets_everything() -> None:
    """Deliveries that are fetched again are new: they are rendered again and wait for others."""
    buffer, renderer = make_buffer(4), CountingRenderer()
    buffer.requeue(take_batch(buffer, renderer), 0.0)
    buffer.clear()
    assert (len(buffer), buffer.seqs) == (0, set())
    buffer.add([delivery(0)])
    assert buffer.wait_s(10 * SECOND_NS) == 2.0
    assert seqs(take_batch(buffer, renderer)) == [0]
    assert renderer.rendered == [0, 1, 2, 3, 0]
