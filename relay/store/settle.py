"""Stores the outcomes of attempts, in few statements for many outcomes."""

import sqlite3
from collections.abc import Sequence
from itertools import groupby

from relay.core.exchange import Dead, Delivered, Retry
from relay.store import deliveries
from relay.store.quota import fit_answer
from relay.store.records import Ack, Quota


def settle(
    acks: Sequence[Ack], quota: Quota, now_ns: int, connection: sqlite3.Connection
) -> set[str]:
    """See `Outbox.ack`. Returns the destinations with a delivery that becomes due, now or later."""
    destinations = set()
    groups = groupby(acks, lambda ack: (type(ack.outcome), ack.delivery.destination))
    for (outcome, destination), found in groups:
        group = list(found)
        if outcome is Delivered:
            seqs = [each.delivery.seq for each in group]
            has_more_due = deliveries.delete_and_release_next(seqs, now_ns, connection)
        else:
            # not any(): it would stop at the first that is true, and each has to be stored
            has_more_due = (
                sum(_store_failure(each, quota, now_ns, connection) for each in group) > 0
            )
        if has_more_due:
            destinations.add(destination)
        if (pause_s := max(each.outcome.pause_s for each in group)) > 0:
            deliveries.pause(destination, now_ns + int(pause_s * 1e9), connection)
    return destinations


def _store_failure(ack: Ack, quota: Quota, now_ns: int, connection: sqlite3.Connection) -> bool:
    """Store a failed attempt. Returns whether a delivery becomes due, now or later."""
    match ack:
        case delivery, Retry() as retry, answer:
            deliveries.schedule_retry(delivery, retry, answer, now_ns, connection)
            return True
        case delivery, Dead(reason=reason), answer:
            fitted = fit_answer(answer, quota, connection)
            return deliveries.move_to_dead_letters(delivery, reason, fitted, now_ns, connection)
    raise AssertionError("`settle` handles `Delivered`")
