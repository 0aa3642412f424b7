"""Whether a destination works, as far as its last attempts tell."""

from enum import StrEnum

from relay.config import RetryConfig
from relay.core.exchange import Dead, Delivered, Outcome, Reason
from relay.delivery.retry import Attempt, backoff_s

FAILURE_THRESHOLD = 5
"""So many in a row make an episode. One that is busy (429) is none."""

MAX_PROBE_INTERVAL_S = 60.0
"""The longest wait between two probes, so that what works again is noticed within a minute."""

_REACHABLE = (Reason.REDIRECT, Reason.REFUSED, Reason.REJECTED)
"""Somebody is there and did not take it: another delivery may be taken."""


class HealthChange(StrEnum):
    """The beginning and the end of an episode."""

    FAILING = "destination_failing"
    RECOVERED = "destination_recovered"


class CircuitBreaker:
    """Counts failures in a row, and while nobody answers lets one attempt at a time find out.

    Takes the time in seconds of any clock that does not go backwards.
    """

    def __init__(self, policy: RetryConfig) -> None:
        self._policy = policy
        self._failures = 0
        self._probe_count = 0
        self._next_probe_s: float | None = None
        self._failing_since_s = 0.0
        self.is_stopped = False
        """Whether it said that it wants nothing any more (410)."""

    @property
    def is_failing(self) -> bool:
        """Whether an episode is under way."""
        return self._failures >= FAILURE_THRESHOLD

    @property
    def is_half_open(self) -> bool:
        """Whether no more than one attempt may be under way."""
        return self._next_probe_s is not None

    def wait_s(self, now_s: float) -> float:
        """How long until the next attempt may begin; 0 if it may begin now."""
        if self.is_stopped:
            return float("inf")
        return 0.0 if self._next_probe_s is None else max(0.0, self._next_probe_s - now_s)

    def enable(self, now_s: float) -> None:
        """Find out at once whether it works."""
        self.is_stopped = False
        if self.is_failing:
            self._probe_count, self._next_probe_s = 0, now_s

    def failed_for_s(self, now_s: float) -> float:
        """How long it is since the first failure of the episode."""
        return now_s - self._failing_since_s

    def record_outcome(
        self, outcome: Outcome, now_s: float, random_fraction: float
    ) -> HealthChange | None:
        """Take note of what an attempt came to; ``chance`` is from 0 to 1, for the jitter."""
        if self.is_stopped:  # what was under way changes nothing
            return None
        was_failing, reason = self.is_failing, root_reason(outcome)
        match outcome:
            case Delivered():
                self._failures, self._probe_count, self._next_probe_s = 0, 0, None
                return HealthChange.RECOVERED if was_failing else None
            case _ if reason is Reason.RATE_LIMITED:
                return None
        if self._failures == 0:
            self._failing_since_s = now_s
        self._failures += 1
        if reason is Reason.GONE:
            self.is_stopped, self._failures = True, max(self._failures, FAILURE_THRESHOLD)
        elif reason in _REACHABLE:
            self._probe_count, self._next_probe_s = 0, None
        elif self.is_failing:
            self._schedule_probe(now_s, random_fraction)
        return HealthChange.FAILING if self.is_failing and not was_failing else None

    def restore(self, failing_since_s: float, now_s: float) -> None:
        """Go on with an episode that began at another time of day, in another process."""
        self._failures, self._failing_since_s = FAILURE_THRESHOLD, failing_since_s
        self._next_probe_s = now_s

    def _schedule_probe(self, now_s: float, random_fraction: float) -> None:
        """When the next probe is; attempts that began before an episode do not put it off."""
        if self._next_probe_s is not None and now_s < self._next_probe_s:
            return
        wait_s = backoff_s(Attempt(self._probe_count, 0.0, random_fraction), self._policy)
        self._next_probe_s = now_s + min(wait_s, MAX_PROBE_INTERVAL_S)
        self._probe_count += 1


def root_reason(outcome: Outcome) -> Reason:
    """What the attempt itself came to."""
    return (outcome.last_reason if isinstance(outcome, Dead) else None) or outcome.reason
