"""How fast a destination may be sent to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Rate
from relay.delivery.limits import TokenBucket


def let_go(bucket: TokenBucket, now_s: float) -> int:
    """How many may go at once."""
    count = 0
    while bucket.wait_s(now_s) == 0 and count < 1000:
        bucket.spend(now_s)
        count += 1
    return count


def test_a_burst_of_the_count_goes_at_once() -> None:
    """Then the next has to wait for its share of the time."""
    bucket = TokenBucket(Rate(count=4, per_s=1))
    assert let_go(bucket, 100) == 4
    assert bucket.wait_s(100) == pytest.approx(0.25)


def test_after_a_burst_it_goes_evenly() -> None:
    """One each time that a share of the time has passed."""
    bucket = TokenBucket(Rate(count=4, per_s=1))
    let_go(bucket, 100)
    assert [let_go(bucket, 100 + quarter / 4) for quarter in range(1, 5)] == [1, 1, 1, 1]


def test_rest_gives_a_burst_again_and_no_more() -> None:
    """What was not used is not saved up beyond one burst."""
    bucket = TokenBucket(Rate(count=4, per_s=1))
    let_go(bucket, 100)
    assert let_go(bucket, 10_000) == 4


def test_one_at_a_time() -> None:
    """The smallest rate has no burst."""
    bucket = TokenBucket(Rate(count=1, per_s=60))
    assert let_go(bucket, 0) == 1
    assert bucket.wait_s(15) == 45


@given(
    st.integers(1, 8),
    st.sampled_from([1.0, 2.0, 64.0]),
    st.lists(st.integers(0, 64), min_size=1, max_size=60),
)
def test_in_no_stretch_go_more_than_a_burst_and_its_share(
    count: int, per_s: float, pauses: list[int]
) -> None:
    """However the attempts come, at any time on the clock."""
    bucket, now_s, gone = TokenBucket(Rate(count=count, per_s=per_s)), 0.0, list[float]()
    for pause in pauses:
        now_s += pause * per_s / 64
        gone += [now_s] * let_go(bucket, now_s)
    for index, start_s in enumerate(gone):
        for later, end_s in enumerate(gone[index:], 1):
            assert later <= count + (end_s - start_s) * count / per_s + 1e-6
