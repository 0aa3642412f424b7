"""What became of deliveries, as it is kept: many in few statements."""

import sqlite3
from collections.abc import Sequence
from itertools import groupby

from relay.core.exchange import Dead, Delivered, Retry
from relay.store import deliveries
from relay.store.quota import answer_within
from relay.store.records import Room, Settled


def settle(
    settled: Sequence[Settled], room: Room, now_ns: int, connection: sqlite3.Connection
) -> set[str]:
    """See `Outbox.settle`; the destinations for which anything is due by it, now or later."""
    told = set()
    alike = groupby(settled, lambda it: (type(it.outcome), it.delivery.destination))
    for (outcome, destination), found in alike:
        group = list(found)
        if outcome is Delivered:
            seqs = [each.delivery.seq for each in group]
            more = deliveries.remove(seqs, now_ns, connection)
        else:
            more = sum(_keep(each, room, now_ns, connection) for each in group) > 0
        if more:
            told.add(destination)
        if (pause_s := max(each.outcome.pause_s for each in group)) > 0:
            deliveries.pause(destination, now_ns + int(pause_s * 1e9), connection)
    return told


def _keep(each: Settled, room: Room, now_ns: int, connection: sqlite3.Connection) -> bool:
    """Whether anything is due by it, now or later."""
    match each:
        case delivery, Retry() as retry, answer:
            deliveries.try_again(delivery, retry, answer, now_ns, connection)
            return True
        case delivery, Dead(reason=reason), answer:
            kept = answer_within(answer, room, connection)
            return deliveries.bury(delivery, reason, kept, now_ns, connection)
    raise AssertionError("what was delivered is not kept")
