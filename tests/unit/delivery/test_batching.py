"""What goes into one request, and what its response means."""

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


def fill_batches(sizer: BatchSizer, *sizes: int, now_s: float = 0.0) -> list[int]:
    """How many documents of these sizes go into each batch, one batch after the other."""
    left, counts = list(sizes), []
    while left:
        builder, count = sizer.start_batch(now_s, alone=False), 0
        while left and not builder.is_full and builder.try_add(left[0], 0):
            del left[0]
            count += 1
        counts.append(count)
    return counts


def count_in_first_batch(*attempts: int, max_count: int = 8) -> int:
    """How many deliveries with these failed attempts go into the first batch."""
    builder = BatchSizer(BatchConfig(max=max_count)).start_batch(0.0, alone=False)
    return next((index for index, each in enumerate(attempts) if not builder.try_add(1, each)), 99)


def test_no_more_than_max_go_together() -> None:
    """However small they are."""
    assert fill_batches(BatchSizer(CONFIG), *[1] * 10) == [4, 4, 2]


def test_without_batching_each_has_its_own_request() -> None:
    """Whatever its size, and without a wait."""
    sizer = BatchSizer(None)
    assert fill_batches(sizer, 1, 2 * MAX_BODY_BYTES, 1) == [1, 1, 1]
    assert sizer.wait_s(1, 0.0) == 0.0


def test_a_body_stays_below_its_limit() -> None:
    """Brackets and commas count; a document above the limit goes by itself."""
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


def test_the_first_waits_from_its_commit() -> None:
    """It does not wait if a batch is full."""
    sizer = BatchSizer(CONFIG)
    assert sizer.wait_s(1, 0.0) == 2.0
    assert sizer.wait_s(3, 1.5) == 0.5
    assert sizer.wait_s(3, 60.0) == 0.0
    assert sizer.wait_s(4, 0.0) == 0.0


def test_a_probe_holds_one_notification() -> None:
    """However many are prefetched."""
    builder = BatchSizer(CONFIG).start_batch(0.0, alone=True)
    assert builder.try_add(1, 0)
    assert builder.is_full


def test_failed_attempts_make_batches_smaller() -> None:
    """Each failed attempt of any of them halves how many go together."""
    assert count_in_first_batch(*[0] * 9) == 8
    assert count_in_first_batch(*[1] * 9) == 4
    assert count_in_first_batch(*[3] * 9) == 1
    assert count_in_first_batch(*[99] * 9) == 1
    assert count_in_first_batch(0, 0, 3, 0) == 2
    assert count_in_first_batch(0, 2, 0) == 2
    assert count_in_first_batch(3, 0) == 1


def test_a_size_that_was_too_large_is_halved() -> None:
    """For an hour; then twice the size is tried, up to the limit."""
    sizer = BatchSizer(BatchConfig(max=1000))
    sizer.shrink([98] * 9, 50.0)
    assert fill_batches(sizer, *[98] * 8, now_s=50.0 + GROW_INTERVAL_S - 1) == [5, 3]
    assert fill_batches(sizer, *[98] * 12, now_s=50.0 + GROW_INTERVAL_S) == [10, 2]
    for hour in range(2, 20):
        sizer.start_batch(50.0 + hour * GROW_INTERVAL_S, alone=False)
    assert fill_batches(sizer, *[98] * 1000, now_s=10.0**9) == [1000]


def test_concurrent_batches_that_are_too_large_halve_it_once() -> None:
    """All requests were sent before the first 413 arrived."""
    sizer = BatchSizer(BatchConfig(max=1000))
    for _ in range(8):
        sizer.shrink([98] * 10, 0.0)
    assert fill_batches(sizer, *[98] * 10) == [5, 5]


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=20))
def test_halving_ends(sizes: list[int]) -> None:
    """A receiver that takes one at a time gets one at a time after at most 20 refusals."""
    sizer, refusals = BatchSizer(BatchConfig(max=1000)), 0
    while (count := fill_batches(sizer, *sizes)[0]) > 1:
        sizer.shrink(sizes[:count], 0.0)
        refusals += 1
    assert refusals <= 20


@pytest.mark.parametrize(("status", "count", "split"), [(413, 2, 1), (413, 1, 0), (400, 2, 0)])
def test_only_a_batch_of_several_can_be_split(status: int, count: int, split: int) -> None:
    """A 413 for a single notification is a refusal."""
    assert is_payload_too_large(Response(status), count) == bool(split)


def test_retries_of_one_batch_are_due_together() -> None:
    """At the latest of their times; other outcomes stay as they are."""
    retries = [Retry(1.0, Reason.UNAVAILABLE), Retry(8.0, Reason.UNAVAILABLE)]
    dead = Dead(Reason.EXPIRED, Reason.UNAVAILABLE)
    assert align_retries([retries[0], dead, retries[1]]) == [retries[1], dead, retries[1]]
    assert align_retries([Delivered(), Delivered()]) == [Delivered(), Delivered()]


def test_the_id_of_a_batch_depends_on_its_notifications() -> None:
    """It is the same for the same ids in any order, and differs for others."""
    assert batch_id(["ntf_1", "ntf_2"]) == batch_id(["ntf_2", "ntf_1"])
    assert (
        len({batch_id(ids) for ids in (["a"], ["b"], ["a", "b"], ["a\0b"], ["ab"], ["a", "a"])})
        == 5
    )
    assert len(batch_id(["ntf_1"])) == 36
