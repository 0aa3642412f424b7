"""Deliveries as rows: added, due, settled."""

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from relay.exchange import Dead, Delivered, Outcome, Retry
from relay.notification import Notification
from relay.store.outbox import HOLD_NS, Delivery, Due, subject
from relay.store.statements import SQL
from relay.store.trouble import Broken

_decode = msgspec.json.Decoder(Notification).decode


def add(
    notification: Notification,
    destinations: Sequence[str],
    now_ns: int,
    connection: sqlite3.Connection,
) -> list[int]:
    """Add one for each destination; returns their numbers."""
    row = {
        "subject": subject(notification.events[0]),
        "notification": msgspec.json.encode(notification),
        "now_ns": now_ns,
        "hold_ns": 0 if notification.include is None else now_ns + HOLD_NS,
    }
    return [
        connection.execute(SQL["add_delivery"], {**row, "destination": destination}).lastrowid or 0
        for destination in destinations
    ]


def enrich(
    seqs: Sequence[int], notification: Notification, now_ns: int, connection: sqlite3.Connection
) -> dict[int, str]:
    """Returns the numbers of those that were still held, each with its destination."""
    row = {"notification": msgspec.json.encode(notification), "now_ns": now_ns}
    return dict(
        found
        for seq in seqs
        for found in connection.execute(SQL["enrich"], {**row, "seq": seq}).fetchall()
    )


def rewrite(
    seqs: Iterable[int], notification: Notification, connection: sqlite3.Connection
) -> None:
    """Put another notification in the place of theirs."""
    content = msgspec.json.encode(notification)
    connection.executemany(SQL["rewrite"], [{"seq": seq, "notification": content} for seq in seqs])


def due(
    destination: str, now_ns: int, most: int, besides: list[int], connection: sqlite3.Connection
) -> Due:
    """See `Outbox.due`."""
    asked = {
        "destination": destination,
        "now_ns": now_ns,
        "most": most,
        "besides": msgspec.json.encode(besides).decode(),
    }
    found = [
        Delivery(seq, to, read_notification(notification), _time(created_ns), _time(attempts))
        for seq, to, notification, created_ns, attempts in connection.execute(SQL["due"], asked)
    ]
    (next_ns,) = connection.execute(SQL["next_due"], asked).fetchone()
    return Due(found, None if next_ns is None else _time(next_ns))


def settle(
    delivery: Delivery, outcome: Outcome, now_ns: int, connection: sqlite3.Connection
) -> None:
    """See `Outbox.settle`."""
    row: dict[str, object] = {"seq": delivery.seq, "now_ns": now_ns, "reason": outcome.reason}
    match outcome:
        case Retry(after_s=after_s):
            connection.execute(SQL["try_again"], {**row, "due_ns": now_ns + int(after_s * 1e9)})
            return
        case Dead():
            connection.execute(SQL["bury"], row)
        case Delivered():
            pass
    connection.execute(SQL["promote_next"], row)
    connection.execute(SQL["remove"], row)


def pending(connection: sqlite3.Connection) -> dict[str, int]:
    """How many wait, by destination."""
    return dict(connection.execute(SQL["pending"]))


def settle_clock(now_ns: int, most_ns: int, connection: sqlite3.Connection) -> int:
    """Returns how many had times that cannot be."""
    row = {"now_ns": now_ns, "most_ns": most_ns, "held_ns": HOLD_NS}
    return connection.execute(SQL["settle_clock"], row).rowcount


def promote_heads(now_ns: int, connection: sqlite3.Connection) -> None:
    """Let none wait for one that is not there."""
    connection.execute(SQL["promote_heads"], {"now_ns": now_ns})


def read_notification(notification: bytes) -> Notification:
    """A notification as it is kept; raises `Broken`."""
    try:
        return _decode(notification)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as error:
        raise Broken(f"a notification: {error}") from error


def _time(value: object) -> int:
    if isinstance(value, int):
        return value
    raise Broken(f"a number: {type(value).__name__}")
