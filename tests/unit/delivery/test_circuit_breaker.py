"""Outages: when they begin and end, and when a probe is allowed."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import RetryConfig
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Retry
from relay.delivery.circuit_breaker import (
    FAILURE_THRESHOLD,
    MAX_PROBE_INTERVAL_S,
    CircuitBreaker,
    HealthChange,
)

POLICY = RetryConfig(jitter=0)
UNREACHABLE = Retry(1.0, Reason.CONNECTION)
RATE_LIMITED = Retry(1.0, Reason.RATE_LIMITED, pause_s=1.0)
REFUSED = Dead(Reason.REFUSED)


def make_failing(*outcomes: Outcome) -> CircuitBreaker:
    """A breaker whose outage has just begun at second 0, with more outcomes after that."""
    breaker = CircuitBreaker(POLICY)
    for outcome in [UNREACHABLE] * FAILURE_THRESHOLD + list(outcomes):
        breaker.record_outcome(outcome, 0, 0.5)
    return breaker


def test_an_outage_is_reported_once() -> None:
    """At its beginning and at its end, however many failures are in between."""
    breaker = CircuitBreaker(POLICY)
    changes = [breaker.record_outcome(UNREACHABLE, second, 0.5) for second in range(20)]
    assert [change for change in changes if change] == [HealthChange.FAILING]
    assert changes[FAILURE_THRESHOLD - 1] is HealthChange.FAILING
    assert breaker.record_outcome(Delivered(), 20, 0.5) is HealthChange.RECOVERED
    assert breaker.record_outcome(Delivered(), 21, 0.5) is None


def test_a_few_failures_are_no_outage() -> None:
    """A success resets the count, and nothing waits."""
    breaker = CircuitBreaker(POLICY)
    for _ in range(3):
        for _ in range(FAILURE_THRESHOLD - 1):
            assert breaker.record_outcome(UNREACHABLE, 0, 0.5) is None
        assert breaker.record_outcome(Delivered(), 0, 0.5) is None
    assert (breaker.is_failing, breaker.is_half_open, breaker.wait_s(0)) == (False, False, 0)


def test_a_probe_that_relay_cannot_make_is_repeated_soon() -> None:
    """After ``retry.initial``, and not at once; the intervals do not grow for it."""
    breaker = make_failing()
    for second in (1, 2, 3):
        assert breaker.record_outcome(Retry(1.0, Reason.EXHAUSTED), second, 0.5) is None
        assert breaker.wait_s(second) == 1
    breaker.record_outcome(UNREACHABLE, 4, 0.5)
    assert breaker.wait_s(4) == 2


def test_allows_one_probe_at_a_time() -> None:
    """The intervals grow like those of retries, up to a minute."""
    breaker, now_s, waits = make_failing(), 0.0, []
    assert breaker.is_half_open
    for _ in range(9):
        waits.append(breaker.wait_s(now_s))
        now_s += waits[-1]
        assert breaker.wait_s(now_s) == 0
        breaker.record_outcome(UNREACHABLE, now_s, 0.5)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert max(waits) == MAX_PROBE_INTERVAL_S


def test_attempts_from_before_the_outage_are_no_probes() -> None:
    """Their failures do not postpone the first probe."""
    breaker = make_failing(UNREACHABLE, UNREACHABLE, UNREACHABLE)
    assert breaker.wait_s(0) == 1


def test_a_success_closes_the_breaker() -> None:
    """Everything may be sent again at once."""
    breaker = make_failing()
    breaker.record_outcome(Delivered(), 1, 0.5)
    assert (breaker.is_failing, breaker.is_half_open, breaker.wait_s(1)) == (False, False, 0)


def test_refusals_begin_an_outage_without_probes() -> None:
    """The outage is reported, but each delivery has its attempt: the next may be accepted."""
    breaker = CircuitBreaker(POLICY)
    changes = [breaker.record_outcome(REFUSED, 0, 0.5) for _ in range(FAILURE_THRESHOLD)]
    assert changes[-1] is HealthChange.FAILING
    assert (breaker.is_half_open, breaker.wait_s(0)) == (False, 0)


def test_rate_limited_answers_change_nothing() -> None:
    """They neither begin nor end an outage; the pause is the rate limiter's task."""
    breaker = CircuitBreaker(POLICY)
    assert not any(breaker.record_outcome(RATE_LIMITED, 0, 0.5) for _ in range(99))
    assert not breaker.is_failing
    assert make_failing(RATE_LIMITED).is_failing


def test_gone_stops_it_until_it_is_enabled() -> None:
    """The stop is reported at once; after ``enable`` one attempt is allowed."""
    breaker = CircuitBreaker(POLICY)
    assert breaker.record_outcome(Retry(0.0, Reason.GONE), 5, 0.5) is HealthChange.FAILING
    assert (breaker.is_stopped, breaker.wait_s(10**9)) == (True, float("inf"))
    breaker.enable(7)
    assert (breaker.is_stopped, breaker.is_failing, breaker.is_half_open) == (False, True, True)
    assert breaker.wait_s(7) == 0
    assert breaker.record_outcome(Delivered(), 8, 0.5) is HealthChange.RECOVERED


def test_open_attempts_do_not_end_a_stop() -> None:
    """A destination that answers 410 and then accepts an earlier delivery stays stopped."""
    breaker = CircuitBreaker(POLICY)
    breaker.record_outcome(Retry(0.0, Reason.GONE), 5, 0.5)
    for outcome in (Delivered(), UNREACHABLE, Retry(0.0, Reason.GONE)):
        assert breaker.record_outcome(outcome, 6, 0.5) is None
    assert breaker.is_stopped


def test_an_outage_continues_in_another_process() -> None:
    """Only its end is reported, and a probe is allowed at once."""
    breaker = CircuitBreaker(POLICY)
    breaker.restore(failing_since_s=10, now_s=100)
    assert (breaker.is_failing, breaker.is_half_open, breaker.wait_s(100)) == (True, True, 0)
    assert breaker.record_outcome(UNREACHABLE, 100, 0.5) is None
    assert breaker.wait_s(100) == 1
    assert breaker.failed_for_s(110) == 100
    assert breaker.record_outcome(Delivered(), 110, 0.5) is HealthChange.RECOVERED


@pytest.mark.parametrize("reason", [Reason.EXPIRED, Reason.ATTEMPTS])
def test_a_dead_delivery_counts_by_its_last_reason(reason: Reason) -> None:
    """A 429 at the last attempt is no failure of the destination; a timeout is."""
    breaker = CircuitBreaker(POLICY)
    for _ in range(9):
        breaker.record_outcome(Dead(reason, Reason.RATE_LIMITED), 0, 0.5)
    assert not breaker.is_failing
    for _ in range(9):
        breaker.record_outcome(Dead(reason, Reason.TIMEOUT), 0, 0.5)
    assert breaker.is_failing
    assert breaker.is_half_open


def test_knows_how_long_it_failed() -> None:
    """Since the first failure of the outage."""
    breaker = CircuitBreaker(POLICY)
    for second in range(3, 3 + FAILURE_THRESHOLD):
        breaker.record_outcome(UNREACHABLE, second, 0.5)
    assert breaker.failed_for_s(63) == 60


@pytest.mark.parametrize("random_fraction", [0.0, 1.0])
def test_probes_have_jitter(random_fraction: float) -> None:
    """Several relays that lost one receiver do not probe in step."""
    breaker = CircuitBreaker(RetryConfig(jitter=0.2))
    for _ in range(FAILURE_THRESHOLD):
        breaker.record_outcome(UNREACHABLE, 0, random_fraction)
    assert breaker.wait_s(0) == pytest.approx(0.8 + 0.4 * random_fraction)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([UNREACHABLE, Delivered(), REFUSED, RATE_LIMITED]), st.floats(0, 100)
        )
    )
)
def test_health_changes_alternate(steps: list[tuple[Outcome, float]]) -> None:
    """Whatever the outcomes: failing, recovered, failing, and so on."""
    breaker, now_s, changes = CircuitBreaker(POLICY), 0.0, []
    for outcome, passed_s in steps:
        now_s += passed_s
        if change := breaker.record_outcome(outcome, now_s, 0.5):
            changes.append(change)
        assert breaker.is_failing == (bool(changes) and changes[-1] is HealthChange.FAILING)
        assert 0 <= breaker.wait_s(now_s) <= MAX_PROBE_INTERVAL_S
    expected = [HealthChange.FAILING, HealthChange.RECOVERED] * len(changes)
    assert changes == expected[: len(changes)]


def test_retry_max_bounds_the_probe_interval() -> None:
    """A short ``retry.max`` makes short intervals."""
    breaker = CircuitBreaker(RetryConfig(max=timedelta(seconds=4), jitter=0))
    for _ in range(FAILURE_THRESHOLD):
        breaker.record_outcome(UNREACHABLE, 0, 0.5)
    now_s = 0.0
    for _ in range(5):
        now_s += breaker.wait_s(now_s)
        breaker.record_outcome(UNREACHABLE, now_s, 0.5)
    assert breaker.wait_s(now_s) == 4
