"""What is told of an attempt."""

from collections import Counter
from collections.abc import Mapping, Sequence

from relay.core.event import TYPE_RELAY
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Response, Retry, outcome_kind
from relay.store.records import Ack

MAX_ANSWER_CHARS = 200
"""How much of an answer a log line shows."""


def log_fields(
    settled: Sequence[Ack], response: Response, duration_s: float, *, is_batch: bool
) -> Mapping[str, object]:
    """The one wide line about a request."""
    outcomes = [it.outcome for it in settled]
    outcome = next((it for it in outcomes if isinstance(it, Retry)), outcomes[0])
    return {
        **(_batch_fields(settled) if is_batch else _delivery_fields(settled[0])),
        "status": response.status,
        "duration_ms": round(duration_s * 1000, 1),
        "outcome": outcome_kind(outcome),
        "reason": outcome.reason.value,
        "error": response.error,
        "answer": None if isinstance(outcome, Delivered) else _answer_excerpt(response) or None,
        "retry_in_s": round(outcome.after_s, 1) if isinstance(outcome, Retry) else None,
    }


def describe_failure(response: Response, outcome: Outcome) -> str:
    """What went wrong, for people."""
    if response.status is None:
        return response.error or outcome.reason.value
    text = response.error or _answer_excerpt(response).strip()
    return f"answered {response.status}" + (f": {text}" if text else "")


def count_dead_letters(settled: Sequence[Ack]) -> Counter[Reason]:
    """How many were given up, by why; without those that tell of relay itself."""
    return Counter(
        outcome.reason
        for delivery, outcome, _ in settled
        if isinstance(outcome, Dead) and delivery.notification.events[0].type != TYPE_RELAY
    )


def _batch_fields(settled: Sequence[Ack]) -> Mapping[str, object]:
    attempts = max(delivery.attempts for delivery, *_ in settled)
    return {"batch": len(settled), "attempt": attempts + 1}


def _delivery_fields(settled: Ack) -> Mapping[str, object]:
    delivery = settled.delivery
    return {
        "route": delivery.notification.route,
        "notification": delivery.notification.id,
        "attempt": delivery.attempts + 1,
    }


def _answer_excerpt(response: Response) -> str:
    return response.answer.text[:MAX_ANSWER_CHARS]
