"""What an answer means, and when to try again."""

from dataclasses import dataclass

from relay.config import RetryConfig
from relay.exchange import Dead, Delivered, Outcome, Reason, Response, Retry

FACTOR = 2
"""Each wait is so many times the one before it."""

JITTER = 0.2
"""Each wait is up to this share shorter or longer, so that receivers are not hit in step."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known of an attempt when it is judged."""

    earlier: int
    """How many were made before it."""
    age_s: float
    """How long the delivery has existed."""
    chance: float
    """A random number from 0 to 1, for the jitter."""


def judge(response: Response, attempt: Attempt, policy: RetryConfig) -> Outcome:
    """What became of a delivery: any 2xx is delivered, everything else is tried again.

    Until the delivery is older than ``max_age``: then it is dead.
    """
    if response.status is not None and 200 <= response.status < 300:
        return Delivered()
    if attempt.age_s >= policy.max_age.total_seconds():
        return Dead(Reason.EXPIRED)
    return Retry(backoff_s(attempt, policy), response.failure or Reason.STATUS)


def backoff_s(attempt: Attempt, policy: RetryConfig) -> float:
    """How long to wait after an attempt: from ``initial``, growing to ``max``, with jitter."""
    growth = float(FACTOR ** min(attempt.earlier, 64))
    wait_s = min(policy.initial.total_seconds() * growth, policy.max.total_seconds())
    return wait_s * (1 + JITTER * (2 * attempt.chance - 1))
