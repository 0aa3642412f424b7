"""What goes in one request, and what is made of its answer."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import BatchConfig
from relay.core.exchange import Dead, Delivered, Reason, Response, Retry
from relay.delivery.batching import (
    GROWS_EVERY_S,
    SIZE_MAX,
    Capacity,
    agreed,
    batch_id,
    was_too_large,
)

CONFIG = BatchConfig(max=4, wait=timedelta(seconds=2))


def taken(capacity: Capacity, *sizes: int, now_s: float = 0.0) -> list[int]:
    """How many of such documents go in each request, one request after the other."""
    left, counts = list(sizes), []
    while left:
        filling, count = capacity.begin(now_s, alone=False), 0
        while left and not filling.is_full and filling.admits(left[0], 0):
            del left[0]
            count += 1
        counts.append(count)
    return counts


def tried(*attempts: int, most: int = 8) -> int:
    """How many of those with so many failed attempts go in the first request."""
    filling = Capacity(BatchConfig(max=most)).begin(0.0, alone=False)
    return next((at for at, each in enumerate(attempts) if not filling.admits(1, each)), 99)


def test_no_more_than_max_go_together() -> None:
    """However small they are."""
    assert taken(Capacity(CONFIG), *[1] * 10) == [4, 4, 2]


def test_without_a_batch_each_goes_by_itself() -> None:
    """Whatever its size, and without a wait."""
    capacity = Capacity(None)
    assert taken(capacity, 1, 2 * SIZE_MAX, 1) == [1, 1, 1]
    assert capacity.wait_s(1, 0.0) == 0.0


def test_a_body_stays_below_its_bound() -> None:
    """The brackets and commas count; what is larger by itself goes by itself."""
    half = (SIZE_MAX - len("[,]")) // 2
    assert taken(Capacity(CONFIG), half, half, half + 1, half + 1, 2 * SIZE_MAX, 1) == [
        2,
        1,
        1,
        1,
        1,
    ]


def test_the_first_waits_until_it_has_waited() -> None:
    """From when it was taken in; not where it fills a request with the others."""
    capacity = Capacity(CONFIG)
    assert capacity.wait_s(1, 0.0) == 2.0
    assert capacity.wait_s(3, 1.5) == 0.5
    assert capacity.wait_s(3, 60.0) == 0.0
    assert capacity.wait_s(4, 0.0) == 0.0


def test_a_probe_is_one() -> None:
    """Whatever is at hand."""
    filling = Capacity(CONFIG).begin(0.0, alone=True)
    assert filling.admits(1, 0)
    assert filling.is_full


def test_what_fails_again_and_again_is_alone_at_last() -> None:
    """Each failed attempt of any of them halves how many go together."""
    assert tried(*[0] * 9) == 8
    assert tried(*[1] * 9) == 4
    assert tried(*[3] * 9) == 1
    assert tried(*[99] * 9) == 1
    assert tried(0, 0, 3, 0) == 2
    assert tried(0, 2, 0) == 2
    assert tried(3, 0) == 1


def test_what_was_too_large_is_halved() -> None:
    """Until an hour later; then twice as much is tried, up to the bound."""
    capacity = Capacity(BatchConfig(max=1000))
    capacity.shrink([98] * 9, 50.0)
    assert taken(capacity, *[98] * 8, now_s=50.0 + GROWS_EVERY_S - 1) == [5, 3]
    assert taken(capacity, *[98] * 12, now_s=50.0 + GROWS_EVERY_S) == [10, 2]
    for hour in range(2, 20):
        capacity.begin(50.0 + hour * GROWS_EVERY_S, alone=False)
    assert taken(capacity, *[98] * 1000, now_s=10.0**9) == [1000]


def test_several_that_were_too_large_at_once_halve_it_once() -> None:
    """They were under way together: none of them knew of the others."""
    capacity = Capacity(BatchConfig(max=1000))
    for _ in range(8):
        capacity.shrink([98] * 10, 0.0)
    assert taken(capacity, *[98] * 10) == [5, 5]


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=20))
def test_it_comes_to_an_end(sizes: list[int]) -> None:
    """A receiver that takes one at a time gets so few, after no more than some twenty refusals."""
    capacity, refusals = Capacity(BatchConfig(max=1000)), 0
    while (count := taken(capacity, *sizes)[0]) > 1:
        capacity.shrink(sizes[:count], 0.0)
        refusals += 1
    assert refusals <= 20


@pytest.mark.parametrize(("status", "count", "split"), [(413, 2, 1), (413, 1, 0), (400, 2, 0)])
def test_only_many_can_be_too_many(status: int, count: int, split: int) -> None:
    """One that is too large by itself was refused."""
    assert was_too_large(Response(status), count) == bool(split)


def test_what_is_tried_again_is_so_together() -> None:
    """At the latest of their times; what is given up, or was taken, stays so."""
    retries = [Retry(1.0, Reason.UNAVAILABLE), Retry(8.0, Reason.UNAVAILABLE)]
    dead = Dead(Reason.EXPIRED, Reason.UNAVAILABLE)
    assert agreed([retries[0], dead, retries[1]]) == [retries[1], dead, retries[1]]
    assert agreed([Delivered(), Delivered()]) == [Delivered(), Delivered()]


def test_an_id_is_that_of_what_is_inside() -> None:
    """The same for the same notifications in any order, and for no others."""
    assert batch_id(["ntf_1", "ntf_2"]) == batch_id(["ntf_2", "ntf_1"])
    assert (
        len({batch_id(ids) for ids in (["a"], ["b"], ["a", "b"], ["a\0b"], ["ab"], ["a", "a"])})
        == 5
    )
    assert len(batch_id(["ntf_1"])) == 36
