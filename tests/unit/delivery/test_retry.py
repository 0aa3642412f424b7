"""What an answer means, and when to try again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import RetryConfig
from relay.delivery.retry import JITTER, Attempt, backoff_s, judge
from relay.exchange import Dead, Delivered, Reason, Response, Retry

POLICY = RetryConfig(
    initial=timedelta(seconds=1), max=timedelta(seconds=10), max_age=timedelta(hours=1)
)
FIRST = Attempt(earlier=0, age_s=0, chance=0.5)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    """However old the delivery is."""
    assert judge(Response(status), FIRST, POLICY) == Delivered()
    assert judge(Response(status), Attempt(9, 10**6, 0.5), POLICY) == Delivered()


@pytest.mark.parametrize("status", [199, 300, 302, 400, 401, 404, 429, 500, 503])
def test_any_other_status_is_tried_again(status: int) -> None:
    """A receiver that refuses today may have been mended tomorrow."""
    assert judge(Response(status), FIRST, POLICY) == Retry(1.0, Reason.STATUS)


@pytest.mark.parametrize("failure", [Reason.TIMEOUT, Reason.CONNECTION])
def test_no_answer_is_tried_again(failure: Reason) -> None:
    """Its reason is why none came."""
    assert judge(Response(None, failure=failure), FIRST, POLICY) == Retry(1.0, failure)


@pytest.mark.parametrize(("age_s", "dead"), [(3599.9, False), (3600, True), (10**6, True)])
def test_what_is_too_old_is_dead(age_s: float, dead: bool) -> None:
    """From ``max_age`` on."""
    outcome = judge(Response(500), Attempt(3, age_s, 0.5), POLICY)
    assert outcome == (Dead(Reason.EXPIRED) if dead else Retry(8.0, Reason.STATUS))


@pytest.mark.parametrize(
    ("earlier", "wait_s"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 10), (63, 10), (10**9, 10)]
)
def test_each_wait_is_twice_the_one_before(earlier: int, wait_s: float) -> None:
    """From ``initial`` to ``max``, however many there were."""
    assert backoff_s(Attempt(earlier, 0, 0.5), POLICY) == wait_s


@given(st.integers(0, 100), st.floats(0, 1))
def test_the_jitter_is_bounded(earlier: int, chance: float) -> None:
    """Each wait is at most its share off, to both sides."""
    plain_s = backoff_s(Attempt(earlier, 0, 0.5), POLICY)
    wait_s = backoff_s(Attempt(earlier, 0, chance), POLICY)
    assert abs(wait_s - plain_s) <= plain_s * JITTER * 1.000001
