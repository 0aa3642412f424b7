"""Dead letters as rows: found, replayed, dropped."""

import sqlite3
from collections.abc import Collection, Iterable
from itertools import accumulate
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from relay.core.exchange import Answer, Reason
from relay.core.notification import Notification
from relay.store import enqueue
from relay.store.deliveries import decode_answer, decode_notification
from relay.store.enqueue import EnqueueOptions, add_long
from relay.store.records import LONG_BYTES, PAGE_BYTES, DeadLetter, Selection
from relay.store.schema import SQL

BATCH_SIZE = 500
"""How many are read or deleted at once, however many are selected."""

DROP_BYTES = 64 * 2**20
"""About this many bytes of notifications are deleted at once; they are not read."""

PRUNE_SIZE = 100
"""How many are pruned at once for each reason, so that others do not wait long for the store."""

MAX_UNREADABLE = 1000
"""At most so many messages that are no events are kept, so that a host that sends nothing else does
not displace all other dead letters."""

_MAX_NUMBER = 2**63 - 1


class ReplayedBatch(NamedTuple):
    """Dead letters that were replayed in one transaction."""

    size: int
    destinations: set[str]
    last: int
    """The highest number that was looked at."""


def find(
    selection: Selection, limit: int, below: int | None, connection: sqlite3.Connection
) -> list[DeadLetter]:
    """See `Outbox.dead_letters`."""
    span = range(1, below or _MAX_NUMBER)
    numbers = _select(selection, None, span, "DESC", limit, PAGE_BYTES, connection)
    return [_read(number, connection)[0] for number in numbers]


def count(selection: Selection, connection: sqlite3.Connection) -> dict[str, int]:
    """See `Outbox.count_dead_letters`."""
    parameters = _parameters(selection, None, range(1, _MAX_NUMBER))
    counting = f"SELECT destination, count(*) {SQL['selected_dead_letters']} GROUP BY destination"
    return dict(connection.execute(counting, parameters))


def newest_number(connection: sqlite3.Connection) -> int:
    """Return the highest number, 0 if there are none. Later dead letters have higher ones."""
    (number,) = connection.execute(SQL["newest_dead_letter"]).fetchone()
    return int(number)


def replay(
    selection: Selection,
    destinations: Collection[str],
    span: range,
    excluded: Collection[int],
    options: EnqueueOptions,
    connection: sqlite3.Connection,
) -> ReplayedBatch | None:
    """Turn up to `BATCH_SIZE` dead letters into deliveries: the lowest numbers in ``span``.

    Those whose numbers are ``excluded`` are left as they are, and so are messages that are no
    events: they are not for any destination, even if one has the name of their engine. None if none
    is in ``span``.
    """
    selected = _select(selection, destinations, span, "ASC", BATCH_SIZE, PAGE_BYTES, connection)
    if not selected:
        return None
    read = [_read(number, connection) for number in selected if number not in excluded]
    found = [each for each in read if each[0].reason != Reason.UNREADABLE]
    prepared = [
        replace(enqueue.prepare(it.notification, [it.destination], options), long_seq=long_seq)
        for it, long_seq in found
    ]
    enqueue.add(prepared, connection)
    _delete([it.number for it, _ in found], connection)
    return ReplayedBatch(len(found), {it.destination for it, _ in found}, selected[-1])


def add_unreadable(
    engine: str,
    unreadable: Iterable[tuple[Notification, str]],
    now_ns: int,
    connection: sqlite3.Connection,
) -> None:
    """Keep messages that are no events, each with the reason, under the name of their engine."""
    for notification, error in unreadable:
        content = msgspec.json.encode(notification)
        is_long = len(content) > LONG_BYTES
        row = {
            "destination": engine,
            "id": notification.id,
            "route": notification.route,
            "notification": b"" if is_long else content,
            "now_ns": now_ns,
            "reason": Reason.UNREADABLE,
            "answer": msgspec.json.encode(Answer(None, error=error)).decode(),
            "long_seq": add_long(content, connection) if is_long else None,
            "long_bytes": len(content) if is_long else 0,
        }
        connection.execute(SQL["add_dead_letter"], row)
    connection.execute(SQL["prune_unreadable"], {"max_count": MAX_UNREADABLE})


def drop(selection: Selection, span: range, connection: sqlite3.Connection) -> list[int]:
    """Delete up to `BATCH_SIZE` dead letters: the lowest numbers in ``span``. Returns these."""
    numbers = _select(selection, None, span, "ASC", BATCH_SIZE, DROP_BYTES, connection)
    _delete(numbers, connection)
    return numbers


def drop_oldest(limit: int, max_bytes: int, connection: sqlite3.Connection) -> int:
    """Delete up to ``limit`` dead letters, no more than are needed to free ``max_bytes``.

    Returns how many.
    """
    span = range(1, _MAX_NUMBER)
    numbers = _select(Selection(), None, span, "ASC", limit, max_bytes, connection)
    _delete(numbers, connection)
    return len(numbers)


def prune(before_ns: int, max_count: int, connection: sqlite3.Connection) -> int:
    """Delete up to `PRUNE_SIZE` dead letters for their age, and as many beyond ``max_count``.

    Returns how many.
    """
    old = {"before_ns": before_ns, "limit": PRUNE_SIZE}
    surplus = {"max_count": max_count, "limit": PRUNE_SIZE}
    return (
        connection.execute(SQL["prune_old_dead_letters"], old).rowcount
        + connection.execute(SQL["prune_surplus_dead_letters"], surplus).rowcount
    )


def _select(
    selection: Selection,
    destinations: Collection[str] | None,
    span: range,
    order: Literal["ASC", "DESC"],
    limit: int,
    max_bytes: int,
    connection: sqlite3.Connection,
) -> list[int]:
    """Return the first ``limit`` numbers that are selected.

    Returns fewer, but at least one, if their notifications exceed ``max_bytes`` together. Their
    lengths are known without reading them.
    """
    rows = connection.execute(
        f"SELECT seq, length(notification) + long_bytes {SQL['selected_dead_letters']} "
        f"ORDER BY seq {order} LIMIT :limit",
        {**_parameters(selection, destinations, span), "limit": limit},
    ).fetchall()
    ends = accumulate(size for _, size in rows)
    pairs = zip(rows, ends, strict=True)
    return [number for (number, size), end in pairs if end - size < max_bytes]


def _parameters(
    selection: Selection, destinations: Collection[str] | None, span: range
) -> dict[str, object]:
    return {
        "destination": selection.destination,
        "route": selection.route,
        "since_ns": selection.since_ns,
        "about_incidents": selection.about_incidents,
        "ids": _to_json_array(selection.ids),
        "destinations": _to_json_array(destinations),
        "above": span.start - 1,
        "below": span.stop,
    }


def _to_json_array(values: Collection[int | str] | None) -> str | None:
    return None if values is None else msgspec.json.encode(list(values)).decode()


def _read(number: int, connection: sqlite3.Connection) -> tuple[DeadLetter, int | None]:
    """Return a dead letter, and the number of its notification if that is stored by itself."""
    row = connection.execute(SQL["dead_letter"], (number,)).fetchone()
    destination, notification, created_ns, died_ns, attempts, reason, answer, long_seq = row
    dead_letter = DeadLetter(
        number,
        destination,
        decode_notification(notification),
        created_ns,
        died_ns,
        attempts,
        reason,
        decode_answer(answer),
    )
    return dead_letter, long_seq


def _delete(numbers: Collection[int], connection: sqlite3.Connection) -> None:
    connection.executemany(SQL["delete_dead_letter"], [{"seq": number} for number in numbers])
