"""Evaluates an attempt: classifies its response, and describes it in the log and in events."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from time import time_ns
from typing import Any

from relay.core.event import is_self_event
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Response, Retry, outcome_kind
from relay.delivery.batching import align_retries
from relay.delivery.circuit_breaker import HealthChange, root_reason
from relay.delivery.retry import Attempt
from relay.store.records import Ack, Delivery

MAX_ANSWER_CHARS = 200
"""How much of a response body a log line shows."""


def classify_batch(
    classify: Callable[[Response, Attempt], Outcome],
    deliveries: Sequence[Delivery],
    response: Response,
    started_ns: int,
    random_fraction: float,
) -> Sequence[Ack]:
    """Return the outcome of each delivery that was in one request.

    All have the same response and random number, and each has its own age and attempts.
    """
    outcomes: list[Outcome] = []
    wall_clock_s = time_ns() / 1e9
    for delivery in deliveries:
        age_s = (started_ns - delivery.created_ns) / 1e9
        attempt = Attempt(delivery.attempts, age_s, random_fraction, wall_clock_s)
        outcomes.append(classify(response, attempt))
        if isinstance(outcomes[0], Delivered):  # which depends on neither age nor attempts
            return [Ack(each, outcomes[0]) for each in deliveries]
    answer, pairs = response.answer, zip(deliveries, align_retries(outcomes), strict=True)
    return [Ack(delivery, outcome, answer) for delivery, outcome in pairs]


def log_attempt(
    log: Any, acks: Sequence[Ack], response: Response, duration_s: float, *, is_batch: bool
) -> None:
    """Write the one log line of a request.

    A success at the first attempt is written at debug level: it is expected, and on a busy host
    there are hundreds of such lines a second. So is an attempt that relay could not make, because
    what it lacks is logged elsewhere.
    """
    is_delivered = isinstance(acks[0].outcome, Delivered)  # then all are
    is_expected = is_delivered and not any(delivery.attempts for delivery, *_ in acks)
    is_expected = is_expected or response.failure is Reason.EXHAUSTED
    level = logging.DEBUG if is_expected else logging.INFO
    if log.is_enabled_for(level):
        log.log(level, "delivery.attempted", **log_fields(acks, response, duration_s, is_batch))


def log_fields(
    acks: Sequence[Ack], response: Response, duration_s: float, is_batch: bool
) -> Mapping[str, object]:
    """Return the fields of the one log line of a request."""
    outcomes = [ack.outcome for ack in acks]
    outcome = next((retry for retry in outcomes if isinstance(retry, Retry)), outcomes[0])
    return {
        **(_batch_fields(acks) if is_batch else _delivery_fields(acks[0])),
        "status": response.status,
        "duration_ms": round(duration_s * 1000, 1),
        "outcome": outcome_kind(outcome),
        "reason": outcome.reason.value,
        "error": response.error,
        "answer": None if isinstance(outcome, Delivered) else answer_excerpt(response) or None,
        "retry_in_s": round(outcome.after_s, 1) if isinstance(outcome, Retry) else None,
    }


def health_change_facts(
    change: HealthChange, response: Response, outcome: Outcome, failed_for_s: float
) -> Mapping[str, str]:
    """Return the facts of the event that reports a change of health."""
    if change is HealthChange.RECOVERED:
        return {"failed_for_s": f"{failed_for_s:.0f}"}
    return {"why": root_reason(outcome).value, "reason": describe_failure(response, outcome)}


def describe_failure(response: Response, outcome: Outcome) -> str:
    """Return why an attempt failed: the status and what was answered, or the error."""
    if response.status is None:
        return response.error or outcome.reason.value
    text = response.error or answer_excerpt(response).strip()
    return f"answered {response.status}" + (f": {text}" if text else "")


def count_dead_letters(acks: Sequence[Ack]) -> Counter[Reason]:
    """Count the deliveries that were given up, by reason, without those of relay's own events.

    A ``dead_letter`` event reports the result. If relay's own events counted, two dead destinations
    would report each other's dead letters for ever.
    """
    return Counter(
        outcome.reason
        for delivery, outcome, _ in acks
        if isinstance(outcome, Dead) and not is_self_event(delivery.notification.events[0])
    )


def _batch_fields(acks: Sequence[Ack]) -> Mapping[str, object]:
    attempts = max(delivery.attempts for delivery, *_ in acks)
    return {"batch": len(acks), "attempt": attempts + 1}


def _delivery_fields(ack: Ack) -> Mapping[str, object]:
    delivery = ack.delivery
    return {
        "route": delivery.notification.route,
        "notification": delivery.notification.id,
        "attempt": delivery.attempts + 1,
    }


def answer_excerpt(response: Response) -> str:
    """Return as much of a response body as a log line shows."""
    return response.answer.text[:MAX_ANSWER_CHARS]
