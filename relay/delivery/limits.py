"""How fast a destination may be sent to."""

from relay.config import Rate


class TokenBucket:
    """Lets ``rate.count`` through at once, and from then on evenly that many in ``rate.per_s``.

    Takes the time in seconds of any clock that does not go backwards.
    """

    def __init__(self, rate: Rate) -> None:
        self._per_token_s = rate.per_s / rate.count
        self._burst_s = rate.per_s - self._per_token_s
        self._next_s = float("-inf")

    def wait_s(self, now_s: float) -> float:
        """How long until the next may go; 0 if it may go now."""
        return max(0.0, self._next_s - self._burst_s - now_s)

    def spend(self, now_s: float) -> None:
        """Let one go."""
        self._next_s = max(self._next_s, now_s) + self._per_token_s
