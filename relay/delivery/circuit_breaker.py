"""The circuit breaker of a destination.

While a destination does not respond, sending it everything that waits would only produce thousands
of failed attempts. So after `FAILURE_THRESHOLD` failures in a row an outage begins. If the
destination does not respond at all, the breaker is half open: it allows one attempt at a time (a
probe), at growing intervals of at most `MAX_PROBE_INTERVAL_S`. The first success ends the outage,
and everything that waits is sent at once. The response 410 (Gone) stops the destination until
somebody enables it.
"""

from enum import StrEnum

from relay.config import RetryConfig
from relay.core.exchange import Dead, Delivered, Outcome, Reason
from relay.delivery.retry import Attempt, backoff_s

FAILURE_THRESHOLD = 5
"""How many failures in a row begin an outage. The response 429 does not count as a failure."""

MAX_PROBE_INTERVAL_S = 60.0
"""The longest interval between probes, so that a recovery is noticed within a minute."""

_REFUSALS = (Reason.REDIRECT, Reason.REFUSED, Reason.REJECTED)
"""The destination responds and did not accept this delivery; it may accept another."""


class HealthChange(StrEnum):
    """The beginning and the end of an outage."""

    FAILING = "destination_failing"
    RECOVERED = "destination_recovered"


class CircuitBreaker:
    """Decides when the next attempt may start, from the outcomes of the last ones.

    All times are in seconds, of any clock that does not go backwards.
    """

    def __init__(self, policy: RetryConfig) -> None:
        self._policy = policy
        self._failures = 0
        self._probe_count = 0
        self._next_probe_s: float | None = None
        self._failing_since_s = 0.0
        self.is_stopped = False
        """Whether the destination refuses all further deliveries (410)."""

    @property
    def is_failing(self) -> bool:
        """Whether there is an outage at the moment."""
        return self._failures >= FAILURE_THRESHOLD

    @property
    def is_half_open(self) -> bool:
        """Whether only one attempt at a time is allowed."""
        return self._next_probe_s is not None

    def wait_s(self, now_s: float) -> float:
        """Return how long until the next attempt may start; 0 if it may start now."""
        if self.is_stopped:
            return float("inf")
        return 0.0 if self._next_probe_s is None else max(0.0, self._next_probe_s - now_s)

    def enable(self, now_s: float) -> None:
        """End a stop (410), and allow the next probe at once."""
        self.is_stopped = False
        if self.is_failing:
            self._probe_count, self._next_probe_s = 0, now_s

    def failed_for_s(self, now_s: float) -> float:
        """Return the time since the first failure of the outage."""
        return now_s - self._failing_since_s

    def record_outcome(
        self, outcome: Outcome, now_s: float, random_fraction: float
    ) -> HealthChange | None:
        """Take note of the outcome of an attempt. Returns the change if an outage began or ended.

        ``random_fraction`` is from 0 to 1, for the jitter.
        """
        if self.is_stopped:  # an attempt that was open before the stop does not end it
            return None
        was_failing, reason = self.is_failing, root_reason(outcome)
        match outcome:
            case Delivered():
                self._failures, self._probe_count, self._next_probe_s = 0, 0, None
                return HealthChange.RECOVERED if was_failing else None
            case _ if reason is Reason.RATE_LIMITED:
                return None
            case _ if reason is Reason.EXHAUSTED:  # it says nothing of the destination
                if self.is_half_open:
                    self._next_probe_s = now_s + self._policy.initial.total_seconds()
                return None
        if self._failures == 0:
            self._failing_since_s = now_s
        self._failures += 1
        if reason is Reason.GONE:
            self.is_stopped, self._failures = True, max(self._failures, FAILURE_THRESHOLD)
        elif reason in _REFUSALS:
            self._probe_count, self._next_probe_s = 0, None
        elif self.is_failing:
            self._schedule_probe(now_s, random_fraction)
        return HealthChange.FAILING if self.is_failing and not was_failing else None

    def restore(self, failing_since_s: float, now_s: float) -> None:
        """Continue an outage that began in another process; the first probe is due now."""
        self._failures, self._failing_since_s = FAILURE_THRESHOLD, failing_since_s
        self._next_probe_s = now_s

    def _schedule_probe(self, now_s: float, random_fraction: float) -> None:
        """Schedule the next probe, unless one is scheduled.

        Attempts that were already open when the outage began fail too, and must not postpone it.
        """
        if self._next_probe_s is not None and now_s < self._next_probe_s:
            return
        wait_s = backoff_s(Attempt(self._probe_count, 0.0, random_fraction), self._policy)
        self._next_probe_s = now_s + min(wait_s, MAX_PROBE_INTERVAL_S)
        self._probe_count += 1


def root_reason(outcome: Outcome) -> Reason:
    """Return why the attempt failed, even if its delivery died of its age or its attempts."""
    return (outcome.last_reason if isinstance(outcome, Dead) else None) or outcome.reason
