"""What a response means for a delivery, and when to try again."""

import re

import msgspec

from relay.config import RetryConfig
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Response, Retry
from relay.destinations.common.responses import parse_date_s

_DELAY_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")
"""RFC 9110, section 10.2.3, and the fractions that some servers write. The number may have any
length: ``max_after`` bounds it."""

_RETRY_AFTER_STATUSES = (429, 503)
"""With these statuses ``Retry-After`` applies to the whole destination."""


class Attempt(msgspec.Struct, frozen=True):
    """What is known about an attempt when its response is classified."""

    earlier_attempts: int
    """How many attempts were made before it."""
    age_s: float
    """How long the delivery has existed."""
    random_fraction: float
    """A random number from 0 to 1, for the jitter."""
    wall_clock_s: float = 0.0
    """The time in seconds since 1970, for a response with a date and no ``Date`` header."""


def classify(response: Response, attempt: Attempt, policy: RetryConfig) -> Outcome:
    """Return what becomes of a delivery.

    2xx is delivered, unless the body says otherwise. No response, 408, 425, 429, 5xx, anything that
    is not an HTTP status, and a 2xx with another body than the destination's are tried again, until
    ``max_age`` or ``max_attempts`` is reached. A lack of file descriptors counts as no attempt. 410
    waits until somebody enables the destination. Everything else (redirects, other 4xx, and 2xx
    whose body says that the delivery was rejected) is dead at once.
    """
    reason = _response_reason(response)
    requested_s = requested_pause_s(response, attempt.wall_clock_s, policy)
    match reason:
        case Reason.OK:
            return Delivered(pause_s=requested_s)
        case Reason.GONE:
            return Retry(0.0, reason)
        case Reason.REDIRECT | Reason.REFUSED | Reason.REJECTED:
            return Dead(reason, pause_s=requested_s)
    wait_s = max(requested_s, backoff_s(attempt, policy))
    pause_s = 0.0
    if requested_s or reason is Reason.RATE_LIMITED:
        # If a destination keeps asking for almost no time, relay must not send in a tight loop.
        pause_s = max(requested_s, policy.initial.total_seconds())
    if attempt.age_s >= policy.max_age.total_seconds():
        return Dead(Reason.EXPIRED, reason, pause_s)
    if reason is Reason.EXHAUSTED:
        return Retry(wait_s, reason)
    if policy.max_attempts is not None and attempt.earlier_attempts + 1 >= policy.max_attempts:
        return Dead(Reason.ATTEMPTS, reason, pause_s)
    return Retry(wait_s, reason, pause_s)


def backoff_s(attempt: Attempt, policy: RetryConfig) -> float:
    """Return the wait after an attempt: exponential from ``initial`` to ``max``, with jitter."""
    initial_s, max_s = policy.initial.total_seconds(), policy.max.total_seconds()
    try:
        wait_s = min(initial_s * float(policy.factor) ** attempt.earlier_attempts, max_s)
    except OverflowError:
        wait_s = max_s
    return wait_s * (1 + policy.jitter * (2 * attempt.random_fraction - 1))


def requested_pause_s(response: Response, wall_clock_s: float, policy: RetryConfig) -> float:
    """Return for how long the destination asks for no requests; 0 if it does not ask.

    It is at most ``retry.max_after``.
    """
    waits = [response.hint.retry_after_s or 0.0]
    if (response.hint.status or response.status) in _RETRY_AFTER_STATUSES:
        waits.append(_retry_after_s(response, wall_clock_s))
    return min(max(waits), policy.max_after.total_seconds())


def _response_reason(response: Response) -> Reason:
    hint = response.hint
    if response.status is None:
        return response.failure or Reason.CONNECTION
    if 200 <= response.status < 300:
        if hint.is_rejected:
            return Reason.REJECTED
        if hint.unexpected is not None:
            return Reason.UNEXPECTED
    return _status_reason(hint.status or response.status)


def _status_reason(status: int) -> Reason:
    match status:
        case 429:
            return Reason.RATE_LIMITED
        case 410:
            return Reason.GONE
        case 408 | 425:
            return Reason.UNAVAILABLE
        case 407:  # from the proxy: the destination did not get the request
            return Reason.CONNECTION
        case _ if 200 <= status < 300:
            return Reason.OK
        case _ if 300 <= status < 400:
            return Reason.REDIRECT
        case _ if 400 <= status < 500:
            return Reason.REFUSED
        case _:
            return Reason.UNAVAILABLE


def _retry_after_s(response: Response, wall_clock_s: float) -> float:
    """Return ``Retry-After`` in seconds; 0 if it is missing or invalid.

    A date counts from the response's own ``Date``, because clocks differ.
    """
    text = response.headers.get("retry-after", "").strip()
    if _DELAY_SECONDS.fullmatch(text):
        return float(text)
    until_s = parse_date_s(text)
    if until_s is None:
        return 0.0
    return max(0.0, until_s - (parse_date_s(response.headers.get("date", "")) or wall_clock_s))
