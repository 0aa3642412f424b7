"""Whether a destination works, as far as its last attempts tell."""

from enum import StrEnum

from relay.config import RetryConfig
from relay.core.exchange import Dead, Delivered, Outcome, Reason
from relay.delivery.retry import Attempt, backoff_s

FAILURES = 5
"""So many in a row make an episode. One that is busy (429) is none."""

PROBE_MAX_S = 60.0
"""The longest wait between two probes, so that what works again is noticed within a minute."""

_ANSWERED = (Reason.REDIRECT, Reason.REFUSED, Reason.REJECTED)
"""Somebody is there and did not take it: another delivery may be taken."""


class Turn(StrEnum):
    """The beginning and the end of an episode."""

    FAILING = "destination_failing"
    RECOVERED = "destination_recovered"


class Health:
    """Counts failures in a row, and while nobody answers lets one attempt at a time find out.

    Takes the time in seconds of any clock that does not go backwards.
    """

    def __init__(self, policy: RetryConfig) -> None:
        self._policy = policy
        self._failures = 0
        self._probes = 0
        self._probe_s: float | None = None
        self._since_s = 0.0
        self.stopped = False
        """Whether it said that it wants nothing any more (410)."""

    @property
    def failing(self) -> bool:
        """Whether an episode is under way."""
        return self._failures >= FAILURES

    @property
    def probing(self) -> bool:
        """Whether no more than one attempt may be under way."""
        return self._probe_s is not None

    def wait_s(self, now_s: float) -> float:
        """How long until the next attempt may begin; 0 if it may begin now."""
        if self.stopped:
            return float("inf")
        return 0.0 if self._probe_s is None else max(0.0, self._probe_s - now_s)

    def enable(self, now_s: float) -> None:
        """Find out at once whether it works."""
        self.stopped = False
        if self.failing:
            self._probes, self._probe_s = 0, now_s

    def failed_for_s(self, now_s: float) -> float:
        """How long it is since the first failure of the episode."""
        return now_s - self._since_s

    def record(self, outcome: Outcome, now_s: float, chance: float) -> Turn | None:
        """Take note of what an attempt came to; ``chance`` is from 0 to 1, for the jitter."""
        if self.stopped:  # what was under way changes nothing
            return None
        before, reason = self.failing, answered(outcome)
        match outcome:
            case Delivered():
                self._failures, self._probes, self._probe_s = 0, 0, None
                return Turn.RECOVERED if before else None
            case _ if reason is Reason.RATE_LIMITED:
                return None
        if self._failures == 0:
            self._since_s = now_s
        self._failures += 1
        if reason is Reason.GONE:
            self.stopped, self._failures = True, max(self._failures, FAILURES)
        elif reason in _ANSWERED:
            self._probes, self._probe_s = 0, None
        elif self.failing:
            self._schedule(now_s, chance)
        return Turn.FAILING if self.failing and not before else None

    def resume(self, since_s: float, now_s: float) -> None:
        """Go on with an episode that began at another time of day, in another process."""
        self._failures, self._since_s = FAILURES, since_s
        self._probe_s = now_s

    def _schedule(self, now_s: float, chance: float) -> None:
        """When the next probe is; attempts that began before an episode do not put it off."""
        if self._probe_s is not None and now_s < self._probe_s:
            return
        wait_s = backoff_s(Attempt(self._probes, 0.0, chance), self._policy)
        self._probe_s = now_s + min(wait_s, PROBE_MAX_S)
        self._probes += 1


def answered(outcome: Outcome) -> Reason:
    """What the attempt itself came to."""
    return (outcome.last if isinstance(outcome, Dead) else None) or outcome.reason
