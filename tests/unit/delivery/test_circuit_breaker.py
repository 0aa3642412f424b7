"""Episodes of failure."""

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
    """One that has just begun an episode at second 0, with more behind it."""
    health = CircuitBreaker(POLICY)
    for outcome in [UNREACHABLE] * FAILURE_THRESHOLD + list(outcomes):
        health.record_outcome(outcome, 0, 0.5)
    return health


def test_an_episode_is_told_once() -> None:
    """At its beginning, and at its end, however many failures are between."""
    health = CircuitBreaker(POLICY)
    turns = [health.record_outcome(UNREACHABLE, second, 0.5) for second in range(20)]
    assert [turn for turn in turns if turn] == [HealthChange.FAILING]
    assert turns[FAILURE_THRESHOLD - 1] is HealthChange.FAILING
    assert health.record_outcome(Delivered(), 20, 0.5) is HealthChange.RECOVERED
    assert health.record_outcome(Delivered(), 21, 0.5) is None


def test_few_failures_are_no_episode() -> None:
    """One success among them begins the count anew, and nothing waits."""
    health = CircuitBreaker(POLICY)
    for _ in range(3):
        for _ in range(FAILURE_THRESHOLD - 1):
            assert health.record_outcome(UNREACHABLE, 0, 0.5) is None
        assert health.record_outcome(Delivered(), 0, 0.5) is None
    assert (health.is_failing, health.is_half_open, health.wait_s(0)) == (False, False, 0)


def test_lets_one_probe_through_at_a_time() -> None:
    """The waits between them grow as those of retries do, to a minute."""
    health, now_s, waits = make_failing(), 0.0, []
    assert health.is_half_open
    for _ in range(9):
        waits.append(health.wait_s(now_s))
        now_s += waits[-1]
        assert health.wait_s(now_s) == 0
        health.record_outcome(UNREACHABLE, now_s, 0.5)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert max(waits) == MAX_PROBE_INTERVAL_S


def test_attempts_from_before_the_episode_are_no_probes() -> None:
    """What was under way as it began fails too, and puts nothing off."""
    health = make_failing(UNREACHABLE, UNREACHABLE, UNREACHABLE)
    assert health.wait_s(0) == 1


def test_a_success_opens_the_way() -> None:
    """Everything may go again at once."""
    health = make_failing()
    health.record_outcome(Delivered(), 1, 0.5)
    assert (health.is_failing, health.is_half_open, health.wait_s(1)) == (False, False, 0)


def test_one_that_refuses_is_failing_but_there() -> None:
    """It is told, and every delivery has its own attempt: the next one may be taken."""
    health = CircuitBreaker(POLICY)
    turns = [health.record_outcome(REFUSED, 0, 0.5) for _ in range(FAILURE_THRESHOLD)]
    assert turns[-1] is HealthChange.FAILING
    assert (health.is_half_open, health.wait_s(0)) == (False, 0)


def test_one_that_is_busy_is_neither_failing_nor_well() -> None:
    """It asks for time, and that it gets elsewhere."""
    health = CircuitBreaker(POLICY)
    assert not any(health.record_outcome(RATE_LIMITED, 0, 0.5) for _ in range(99))
    assert not health.is_failing
    assert make_failing(RATE_LIMITED).is_failing


def test_gone_stops_it_until_it_is_enabled() -> None:
    """Told at once; then one attempt finds out."""
    health = CircuitBreaker(POLICY)
    assert health.record_outcome(Retry(0.0, Reason.GONE), 5, 0.5) is HealthChange.FAILING
    assert (health.is_stopped, health.wait_s(10**9)) == (True, float("inf"))
    health.enable(7)
    assert (health.is_stopped, health.is_failing, health.is_half_open) == (False, True, True)
    assert health.wait_s(7) == 0
    assert health.record_outcome(Delivered(), 8, 0.5) is HealthChange.RECOVERED


def test_what_was_under_way_as_it_stopped_changes_nothing() -> None:
    """One that says 410 and then takes an earlier delivery is stopped all the same."""
    health = CircuitBreaker(POLICY)
    health.record_outcome(Retry(0.0, Reason.GONE), 5, 0.5)
    for outcome in (Delivered(), UNREACHABLE, Retry(0.0, Reason.GONE)):
        assert health.record_outcome(outcome, 6, 0.5) is None
    assert health.is_stopped


def test_an_episode_goes_on_in_another_process() -> None:
    """It is not told again, and its end is; one attempt finds out at once."""
    health = CircuitBreaker(POLICY)
    health.restore(failing_since_s=10, now_s=100)
    assert (health.is_failing, health.is_half_open, health.wait_s(100)) == (True, True, 0)
    assert health.record_outcome(UNREACHABLE, 100, 0.5) is None
    assert health.wait_s(100) == 1
    assert health.failed_for_s(110) == 100
    assert health.record_outcome(Delivered(), 110, 0.5) is HealthChange.RECOVERED


@pytest.mark.parametrize("reason", [Reason.EXPIRED, Reason.ATTEMPTS])
def test_what_was_given_up_counts_as_what_it_came_to(reason: Reason) -> None:
    """A 429 at the last attempt is no failure of the destination; no answer is."""
    health = CircuitBreaker(POLICY)
    for _ in range(9):
        health.record_outcome(Dead(reason, Reason.RATE_LIMITED), 0, 0.5)
    assert not health.is_failing
    for _ in range(9):
        health.record_outcome(Dead(reason, Reason.TIMEOUT), 0, 0.5)
    assert health.is_failing
    assert health.is_half_open


def test_knows_how_long_it_failed() -> None:
    """Since the first failure of the episode."""
    health = CircuitBreaker(POLICY)
    for second in range(3, 3 + FAILURE_THRESHOLD):
        health.record_outcome(UNREACHABLE, second, 0.5)
    assert health.failed_for_s(63) == 60


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_probes_have_jitter(chance: float) -> None:
    """Relays that lost one receiver do not come back in step."""
    health = CircuitBreaker(RetryConfig(jitter=0.2))
    for _ in range(FAILURE_THRESHOLD):
        health.record_outcome(UNREACHABLE, 0, chance)
    assert health.wait_s(0) == pytest.approx(0.8 + 0.4 * chance)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([UNREACHABLE, Delivered(), REFUSED, RATE_LIMITED]), st.floats(0, 100)
        )
    )
)
def test_turns_alternate(steps: list[tuple[Outcome, float]]) -> None:
    """Whatever comes: failing, recovered, failing … and failing is what it says."""
    health, now_s, turns = CircuitBreaker(POLICY), 0.0, []
    for outcome, passed_s in steps:
        now_s += passed_s
        if turn := health.record_outcome(outcome, now_s, 0.5):
            turns.append(turn)
        assert health.is_failing == (bool(turns) and turns[-1] is HealthChange.FAILING)
        assert 0 <= health.wait_s(now_s) <= MAX_PROBE_INTERVAL_S
    wanted = [HealthChange.FAILING, HealthChange.RECOVERED] * len(turns)
    assert turns == wanted[: len(turns)]


def test_a_short_schedule_makes_short_probes() -> None:
    """``retry.max`` bounds them as well."""
    health = CircuitBreaker(RetryConfig(max=timedelta(seconds=4), jitter=0))
    for _ in range(FAILURE_THRESHOLD):
        health.record_outcome(UNREACHABLE, 0, 0.5)
    now_s = 0.0
    for _ in range(5):
        now_s += health.wait_s(now_s)
        health.record_outcome(UNREACHABLE, now_s, 0.5)
    assert health.wait_s(now_s) == 4
