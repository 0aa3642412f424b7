"""What goes in one request, and what is made of its answer."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import BatchConfig
from relay.core.exchange import Dead, Delivered, Reason, Response, Retry
from relay.delivery.batching import (
    GROW_INTERVAL_S,
    MAX_BODY_BYTES,
    BatchSizer,
    align_retries,
    batch_id,
    is_payload_too_large,
)

CONFIG = BatchConfig(max=4, wait=timedelta(seconds=2))


def fill_batches(capacity: BatchSizer, *sizes: int, now_s: float = 0.0) -> list[int]:
    """How many of such documents go in each request, one request after the other."""
    left, counts = list(sizes), []
    while left:
        filling, count = capacity.start_batch(now_s, alone=False), 0
        while left and not filling.is_full and filling.try_add(left[0], 0):
            del left[0]
            count += 1
        counts.append(count)
    return counts


def count_in_first_batch(*attempts: int, most: int = 8) -> int:
    """How many of those with so many failed attempts go in the first request."""
    filling = BatchSizer(BatchConfig(max=most)).start_batch(0.0, alone=False)
    return next((at for at, each in enumerate(attempts) if not filling.try_add(1, each)), 99)


def test_no_more_than_max_go_together() -> None:
    """However small they are."""
    assert fill_batches(BatchSizer(CONFIG), *[1] * 10) == [4, 4, 2]


def test_without_a_batch_each_goes_by_itself() -> None:
    """Whatever its size, and without a wait."""
    capacity = BatchSizer(None)
    assert fill_batches(capacity, 1, 2 * MAX_BODY_BYTES, 1) == [1, 1, 1]
    assert capacity.wait_s(1, 0.0) == 0.0


def test_a_body_stays_below_its_bound() -> None:
    """The brackets and commas count; what is larger by itself goes by itself."""
    half = (MAX_BODY_BYTES - len("[,]")) // 2
    assert fill_batches(
        BatchSizer(CONFIG), half, half, half + 1, half + 1, 2 * MAX_BODY_BYTES, 1
    ) == [
        2,
        1,
        1,
        1,
        1,
    ]


def test_the_first_waits_until_it_has_waited() -> None:
    """From when it was taken in; not where it fills a request with the others."""
    capacity = BatchSizer(CONFIG)
    assert capacity.wait_s(1, 0.0) == 2.0
    assert capacity.wait_s(3, 1.5) == 0.5
    assert capacity.wait_s(3, 60.0) == 0.0
    assert capacity.wait_s(4, 0.0) == 0.0


def test_a_probe_is_one() -> None:
    """Whatever is at hand."""
    filling = BatchSizer(CONFIG).start_batch(0.0, alone=True)
    assert filling.try_add(1, 0)
    assert filling.is_full


def test_what_fails_again_and_again_is_alone_at_last() -> None:
    """Each failed attempt of any of them halves how many go together."""
    assert count_in_first_batch(*[0] * 9) == 8
    assert count_in_first_batch(*[1] * 9) == 4
    assert count_in_first_batch(*[3] * 9) == 1
    assert count_in_first_batch(*[99] * 9) == 1
    assert count_in_first_batch(0, 0, 3, 0) == 2
    assert count_in_first_batch(0, 2, 0) == 2
    assert count_in_first_batch(3, 0) == 1


def test_what_was_too_large_is_halved() -> None:
    """Until an hour later; then twice as much is tried, up to the bound."""
    capacity = BatchSizer(BatchConfig(max=1000))
    capacity.shrink([98] * 9, 50.0)
    assert fill_batches(capacity, *[98] * 8, now_s=50.0 + GROW_INTERVAL_S - 1) == [5, 3]
    assert fill_batches(capacity, *[98] * 12, now_s=50.0 + GROW_INTERVAL_S) == [10, 2]
    for hour in range(2, 20):
        capacity.start_batch(50.0 + hour * GROW_INTERVAL_S, alone=False)
    assert fill_batches(capacity, *[98] * 1000, now_s=10.0**9) == [1000]


def test_several_that_were_too_large_at_once_halve_it_once() -> None:
    """They were under way together: none of them knew of the others."""
    capacity = BatchSizer(BatchConfig(max=1000))
    for _ in range(8):
        capacity.shrink([98] * 10, 0.0)
    assert fill_batches(capacity, *[98] * 10) == [5, 5]


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=20))
def test_it_comes_to_an_end(sizes: list[int]) -> None:
    """A receiver that takes one at a time gets so few, after no more than some twenty refusals."""
    capacity, refusals = BatchSizer(BatchConfig(max=1000)), 0
    while (count := fill_batches(capacity, *sizes)[0]) > 1:
        capacity.shrink(sizes[:count], 0.0)
        refusals += 1
    assert refusals <= 20


@pytest.mark.parametrize(("status", "count", "split"), [(413, 2, 1), (413, 1, 0), (400, 2, 0)])
def test_only_many_can_be_too_many(status: int, count: int, split: int) -> None:
    """One that is too large by itself was refused."""
    assert is_payload_too_large(Response(status), count) == bool(split)


def test_what_is_tried_again_is_so_together() -> None:
    """At the latest of their times; what is given up, or was taken, stays so."""
    retries = [Retry(1.0, Reason.UNAVAILABLE), Retry(8.0, Reason.UNAVAILABLE)]
    dead = Dead(Reason.EXPIRED, Reason.UNAVAILABLE)
    assert align_retries([retries[0], dead, retries[1]]) == [retries[1], dead, retries[1]]
    assert align_retries([Delivered(), Delivered()]) == [Delivered(), Delivered()]


def test_an_id_is_that_of_what_is_inside() -> None:
    """The same for the same notifications in any order, and for no others."""
    assert batch_id(["ntf_1", "ntf_2"]) == batch_id(["ntf_2", "ntf_1"])
    assert (
        len({batch_id(ids) for ids in (["a"], ["b"], ["a", "b"], ["a\0b"], ["ab"], ["a", "a"])})
        == 5
    )
    assert len(batch_id(["ntf_1"])) == 36
