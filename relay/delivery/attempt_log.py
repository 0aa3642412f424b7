"""What is logged of an attempt: one line for each request, with everything that is known of it."""

from collections import Counter
from collections.abc import Mapping, Sequence

from relay.core.event import TYPE_RELAY
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Response, Retry, outcome_kind
from relay.store.records import Ack

MAX_ANSWER_CHARS = 200
"""How much of a response body a log line shows."""


def log_fields(
    acks: Sequence[Ack], response: Response, duration_s: float, *, is_batch: bool
) -> Mapping[str, object]:
    """Return the fields of the log line of a request."""
    outcomes = [ack.outcome for ack in acks]
    outcome = next((each for each in outcomes if isinstance(each, Retry)), outcomes[0])
    return {
        **(_batch_fields(acks) if is_batch else _delivery_fields(acks[0])),
        "status": response.status,
        "duration_ms": round(duration_s * 1000, 1),
        "outcome": outcome_kind(outcome),
        "reason": outcome.reason.value,
        "error": response.error,
        "answer": None if isinstance(outcome, Delivered) else _answer_excerpt(response) or None,
        "retry_in_s": round(outcome.after_s, 1) if isinstance(outcome, Retry) else None,
    }


def describe_failure(response: Response, outcome: Outcome) -> str:
    """Return what went wrong, as a text for people."""
    if response.status is None:
        return response.error or outcome.reason.value
    text = response.error or _answer_excerpt(response).strip()
    return f"answered {response.status}" + (f": {text}" if text else "")


def count_dead_letters(acks: Sequence[Ack]) -> Counter[Reason]:
    """Count the deliveries that were given up, by reason; those of relay's own events excluded.

    A ``dead_letter`` event is made of the result. If it counted relay's own events, two dead
    destinations would report each other's dead letters for ever.
    """
    return Counter(
        outcome.reason
        for delivery, outcome, _ in acks
        if isinstance(outcome, Dead) and delivery.notification.events[0].type != TYPE_RELAY
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


def _answer_excerpt(response: Response) -> str:
    return response.answer.text[:MAX_ANSWER_CHARS]
