"""What a lane has at hand."""

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
    """Renders each in so many bytes, and remembers which."""

    def __init__(self, size: int = 10) -> None:
        self.rendered: list[int] = []
        self._size = size

    def __call__(self, notification: Notification) -> Request:
        self.rendered.append(notification.events[0].time_ns)
        return Request(b"x" * self._size)


def make_buffer(count: int, config: BatchConfig | None = CONFIG) -> PrefetchBuffer:
    made = PrefetchBuffer(config)
    made.add(delivery(seq) for seq in range(count))
    return made


def take_batch(some: PrefetchBuffer, printer: CountingRenderer) -> Batch:
    return some.take(printer, 0.0, alone=False)


def seqs(batch: Batch) -> list[int]:
    return [delivery.seq for delivery, _ in batch]


def test_without_a_batch_each_is_taken_by_itself() -> None:
    """The first first, rendered as it is taken, and it never waits."""
    some, printer = make_buffer(3, None), CountingRenderer()
    assert some.wait_s(0) == 0.0
    assert [seqs(take_batch(some, printer)) for _ in range(3)] == [[0], [1], [2]]
    assert len(some) == 0


def test_as_many_are_taken_as_go_together() -> None:
    """The rest stays, in its order, and is not rendered yet."""
    some, printer = make_buffer(6), CountingRenderer()
    assert seqs(take_batch(some, printer)) == printer.rendered == [0, 1, 2, 3]
    assert some.seqs == {4, 5}
    assert seqs(take_batch(some, printer)) == [4, 5]


def test_one_goes_alone_where_that_is_asked_for() -> None:
    """To find out whether anything goes at all."""
    assert seqs(make_buffer(6).take(CountingRenderer(), 0.0, alone=True)) == [0]


def test_what_found_no_room_is_not_rendered_again() -> None:
    """It goes first in the next one, as it was rendered."""
    some, printer = make_buffer(4), CountingRenderer(400_000)
    assert [seqs(take_batch(some, printer)) for _ in range(2)] == [[0, 1], [2, 3]]
    assert printer.rendered == [0, 1, 2, 3]


def test_what_was_too_large_goes_in_halves() -> None:
    """First, without a wait, and as it was rendered; what is behind it waits for others again."""
    some, printer = make_buffer(4), CountingRenderer()
    batch = take_batch(some, printer)
    some.add([delivery(4)])
    some.requeue(batch, 0.0)
    assert some.wait_s(10 * SECOND_NS) == 0.0
    assert [seqs(take_batch(some, printer)) for _ in range(2)] == [[0, 1], [2, 3]]
    assert printer.rendered == [0, 1, 2, 3, 4]
    assert some.wait_s(10 * SECOND_NS) == 2.0


def test_the_first_waits_for_others() -> None:
    """From when it was taken in, unless there are enough."""
    assert make_buffer(1).wait_s(11 * SECOND_NS) == 1.0
    assert make_buffer(1).wait_s(12 * SECOND_NS) == 0.0
    assert make_buffer(4).wait_s(10 * SECOND_NS) == 0.0


def test_what_is_put_down_is_fetched_anew() -> None:
    """Nothing of it is known, nor that it does not wait."""
    some, printer = make_buffer(4), CountingRenderer()
    some.requeue(take_batch(some, printer), 0.0)
    some.clear()
    assert (len(some), some.seqs) == (0, set())
    some.add([delivery(0)])
    assert some.wait_s(10 * SECOND_NS) == 2.0
    assert seqs(take_batch(some, printer)) == [0]
    assert printer.rendered == [0, 1, 2, 3, 0]
