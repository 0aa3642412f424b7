"""What is told of an attempt."""

from collections import Counter
from collections.abc import Mapping, Sequence

from relay.core.event import TYPE_RELAY
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Response, Retry, kind
from relay.store.records import Settled

ANSWER_CHARS = 200
"""How much of an answer a log line shows."""


def line(
    settled: Sequence[Settled], response: Response, took_s: float, *, batched: bool
) -> Mapping[str, object]:
    """The one wide line about a request."""
    outcomes = [it.outcome for it in settled]
    outcome = next((it for it in outcomes if isinstance(it, Retry)), outcomes[0])
    return {
        **(_of_many(settled) if batched else _of_one(settled[0])),
        "status": response.status,
        "duration_ms": round(took_s * 1000, 1),
        "outcome": kind(outcome),
        "reason": outcome.reason.value,
        "error": response.error,
        "answer": None if isinstance(outcome, Delivered) else _said(response) or None,
        "retry_in_s": round(outcome.after_s, 1) if isinstance(outcome, Retry) else None,
    }


def words(response: Response, outcome: Outcome) -> str:
    """What went wrong, for people."""
    if response.status is None:
        return response.error or outcome.reason.value
    said = response.error or _said(response).strip()
    return f"answered {response.status}" + (f": {said}" if said else "")


def buried(settled: Sequence[Settled]) -> Counter[Reason]:
    """How many were given up, by why; without those that tell of relay itself."""
    return Counter(
        outcome.reason
        for delivery, outcome, _ in settled
        if isinstance(outcome, Dead) and delivery.notification.events[0].type != TYPE_RELAY
    )


def _of_many(settled: Sequence[Settled]) -> Mapping[str, object]:
    most = max(delivery.attempts for delivery, *_ in settled)
    return {"batch": len(settled), "attempt": most + 1}


def _of_one(settled: Settled) -> Mapping[str, object]:
    delivery = settled.delivery
    return {
        "route": delivery.notification.route,
        "notification": delivery.notification.id,
        "attempt": delivery.attempts + 1,
    }


def _said(response: Response) -> str:
    return response.answer.text[:ANSWER_CHARS]
