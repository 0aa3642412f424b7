"""Stores the outcomes of attempts, in few statements for many outcomes."""

import sqlite3
from collections.abc import Sequence

from relay.core.exchange import Dead, Delivered, Retry
from relay.store import deliveries
from relay.store.quota import fit_answer
from relay.store.records import Ack, Quota


def settle(acks: Sequence[Ack], quota: Quota, now_ns: int, connection: sqlite3.Connection) -> None:
    """Store outcomes; see `Outbox.ack`."""
    delivered = [ack.delivery.seq for ack in acks if isinstance(ack.outcome, Delivered)]
    deliveries.delete_and_release_next(delivered, now_ns, connection)
    for delivery, outcome, answer in acks:
        if isinstance(outcome, Retry):
            deliveries.schedule_retry(delivery, outcome, answer, now_ns, connection)
        elif isinstance(outcome, Dead):
            fitted = fit_answer(answer, quota, connection)
            reason = outcome.reason
            deliveries.move_to_dead_letters(delivery, reason, fitted, now_ns, connection)
        if outcome.pause_s > 0:
            until_ns = now_ns + int(outcome.pause_s * 1e9)
            deliveries.pause(delivery.destination, until_ns, connection)
