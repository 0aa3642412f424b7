"""Deliveries as rows: fetched, retried, given up, deleted."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from relay.core.event import TYPE_RELAY
from relay.core.exchange import Answer, Reason, Retry
from relay.core.notification import Notification
from relay.store import records
from relay.store.enqueue import add_long
from relay.store.faults import Corrupt
from relay.store.records import (
    GIVE_UP_BATCH,
    GIVE_UP_BYTES,
    LONG_BYTES,
    PAGE_BYTES,
    Backlog,
    Delivery,
    DueDeliveries,
    EventKind,
    GiveUpResult,
    WaitingDelivery,
    is_heartbeat,
)
from relay.store.schema import SQL

ANSWER_CHARS = 200
"""How much of an answer's text is stored with a waiting delivery; a dead letter has all of it."""

T = TypeVar("T")

_notification_from_json = msgspec.json.Decoder(Notification).decode
_answer_from_json = msgspec.json.Decoder(Answer).decode


class DueRow(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A delivery as the statement ``fetch_due`` returns it."""

    due_ns: int
    seq: int
    created_ns: int
    attempts: int
    chain: int
    is_followed: int
    """1 if others of its chain wait for it, else 0."""
    size_bytes: int
    notification: Notification | None
    """None if it is longer than `LONG_BYTES`."""


_due_rows_from_json = msgspec.json.Decoder(list[DueRow]).decode


def enrich(
    seqs: Sequence[int], notification: Notification, now_ns: int, connection: sqlite3.Connection
) -> dict[int, str]:
    """Replace the notification of deliveries that are still held; return their destinations."""
    numbers = msgspec.json.encode(seqs).decode()
    held = dict(connection.execute(SQL["end_hold"], {"seqs": numbers, "now_ns": now_ns}).fetchall())
    if held:
        replace_notification(held, notification, connection)
    return held


def replace_notification(
    seqs: Iterable[int], notification: Notification, connection: sqlite3.Connection
) -> None:
    """Replace the notification of these deliveries, of which there has to be one at least."""
    content = msgspec.json.encode(notification)
    is_long = len(content) > LONG_BYTES
    row = {
        "notification": b"" if is_long else content,
        "long_seq": add_long(content, connection) if is_long else None,
        "long_bytes": len(content) if is_long else 0,
        "seqs": msgspec.json.encode(list(seqs)).decode(),
    }
    connection.execute(SQL["replace_notification"], row)


class FetchedRows(NamedTuple):
    """What `fetch_due` found. Long notifications are left out."""

    destination: str
    rows: Sequence[DueRow]
    next_due_ns: int | None
    has_more: bool

    @property
    def long_seqs(self) -> list[int]:
        """The numbers of the deliveries whose notifications are left out."""
        return [row.seq for row in self.rows if row.notification is None]

    def with_long(self, long: Mapping[int, Notification]) -> DueDeliveries:
        """Return the deliveries, with the notifications that were left out, by number.

        A delivery whose notification is missing is left out: it no longer exists.
        """
        found, followed = [], set()
        for row in self.rows:
            if (notification := row.notification or long.get(row.seq)) is None:
                continue
            found.append(
                Delivery(
                    row.seq,
                    self.destination,
                    notification,
                    row.created_ns,
                    row.attempts,
                    row.chain,
                    row.size_bytes,
                )
            )
            if row.is_followed:
                followed.add(row.seq)
        return DueDeliveries(found, frozenset(followed), self.next_due_ns, self.has_more)


def fetch_due(
    destination: str,
    until_ns: int,
    max_count: int,
    exclude: Sequence[int],
    max_bytes: int,
    connection: sqlite3.Connection,
) -> FetchedRows:
    """See `Outbox.fetch_due`; raises `Corrupt`."""
    parameters = {
        "destination": destination,
        "now_ns": until_ns,
        "max_count": max_count,
        "max_bytes": max_bytes,
        "exclude": msgspec.json.encode(exclude).decode(),
        "long": LONG_BYTES,
    }
    content, listed, next_due_ns = connection.execute(SQL["fetch_due"], parameters).fetchone()
    rows = sorted(_decode(_due_rows_from_json, content, "a delivery"))
    next_ns = None if next_due_ns is None else _require_int(next_due_ns)
    has_more = listed == max_count or listed > len(rows)
    return FetchedRows(destination, rows, next_ns, has_more)


def read_notifications(
    seqs: Sequence[int], connection: sqlite3.Connection
) -> dict[int, Notification]:
    """Return the notifications of these deliveries, except those that no longer exist.

    Reads one by one. Raises `Corrupt`.
    """
    found = {}
    for seq in seqs:
        row = connection.execute(SQL["notification"], {"seq": seq}).fetchone()
        if row is not None:
            found[seq] = decode_notification(row[0])
    return found


def expire(
    destination: str,
    before_ns: int,
    now_ns: int,
    exclude: list[int],
    connection: sqlite3.Connection,
) -> GiveUpResult:
    """See `Outbox.expire`."""
    return _give_up(destination, before_ns, exclude, Reason.EXPIRED, now_ns, connection)


def drop_destination(destination: str, now_ns: int, connection: sqlite3.Connection) -> GiveUpResult:
    """See `Outbox.drop_destination`."""
    return _give_up(destination, None, [], Reason.DESTINATION_REMOVED, now_ns, connection)


class _DeadNotification(msgspec.Struct, frozen=True):
    """What `_give_up` needs of a notification. Decoding skips everything else."""

    id: str
    route: str
    events: tuple[EventKind, ...]


_dead_notification_from_json = msgspec.json.Decoder(_DeadNotification).decode


def _give_up(
    destination: str,
    before_ns: int | None,
    exclude: Sequence[int],
    reason: Reason,
    now_ns: int,
    connection: sqlite3.Connection,
) -> GiveUpResult:
    """Move deliveries created before then to the dead letters; with None, of any age.

    Moves the oldest, as many as `Outbox.expire` says. Only one notification at a time is in memory.
    """
    parameters = {
        "destination": destination,
        "before_ns": before_ns,
        "exclude": msgspec.json.encode(exclude).decode(),
        "limit": GIVE_UP_BATCH,
        "max_bytes": GIVE_UP_BYTES,
    }
    found = connection.execute(SQL["select_to_give_up"], parameters).fetchall()
    self_events = 0
    for seq, attempts, answer_json, _ in found:
        (content,) = connection.execute(SQL["notification"], {"seq": seq}).fetchone()
        notification = _decode(_dead_notification_from_json, content, "a notification")
        event = notification.events[0]
        self_events += event.type == TYPE_RELAY and event.via is None
        answer = decode_answer(answer_json)
        _make_dead_letter(
            seq, notification, _require_int(attempts), reason, answer, now_ns, connection
        )
    messages = tuple((destination, id_) for *_, id_ in found if id_ is not None)
    return GiveUpResult(len(found), self_events, messages)


def schedule_retry(
    delivery: Delivery,
    retry: Retry,
    answer: Answer | None,
    now_ns: int,
    connection: sqlite3.Connection,
) -> None:
    """Make a delivery due again later, and store the destination's answer."""
    row = {
        "seq": delivery.seq,
        "due_ns": now_ns + int(retry.after_s * 1e9),
        "is_attempt": retry.is_attempt,
        "reason": retry.reason,
        "answer": _encode_answer(shorten(answer)),
    }
    connection.execute(SQL["schedule_retry"], row)


def move_to_dead_letters(
    delivery: Delivery,
    reason: Reason,
    answer: Answer | None,
    now_ns: int,
    connection: sqlite3.Connection,
) -> None:
    """Turn a delivery into a dead letter, or delete it if it is a heartbeat."""
    seq, attempts = delivery.seq, delivery.attempts + 1
    _make_dead_letter(seq, delivery.notification, attempts, reason, answer, now_ns, connection)


def _make_dead_letter(
    seq: int,
    notification: Notification | _DeadNotification,
    attempts: int,
    reason: Reason,
    answer: Answer | None,
    now_ns: int,
    connection: sqlite3.Connection,
) -> None:
    """See `move_to_dead_letters`. A long notification is not copied."""
    if not is_heartbeat(notification.events[0]):
        row = {
            "seq": seq,
            "id": notification.id,
            "route": notification.route,
            "now_ns": now_ns,
            "attempts": attempts,
            "reason": reason,
            "answer": _encode_answer(answer),
        }
        connection.execute(SQL["insert_dead_letter"], row)
    delete_and_release_next([seq], now_ns, connection)


def delete_and_release_next(
    seqs: Sequence[int], now_ns: int, connection: sqlite3.Connection
) -> None:
    """Delete settled deliveries; their successors become due."""
    if seqs:
        numbers = msgspec.json.encode(seqs).decode()
        connection.execute(SQL["release_next"], (now_ns, numbers))
        connection.execute(SQL["delete_deliveries"], (numbers,))


def delete(seqs: Sequence[int], connection: sqlite3.Connection) -> None:
    """Delete deliveries that have no successors."""
    connection.execute(SQL["delete_deliveries"], (msgspec.json.encode(seqs).decode(),))


def retry_now(destination: str, now_ns: int, connection: sqlite3.Connection) -> None:
    """See `Outbox.retry_now`."""
    connection.execute(SQL["retry_now"], {"destination": destination, "now_ns": now_ns})


def waiting(
    destination: str | None, limit: int, connection: sqlite3.Connection
) -> list[WaitingDelivery]:
    """See `Outbox.waiting`."""
    parameters = {"destination": destination, "limit": limit, "max_bytes": PAGE_BYTES}
    return [
        WaitingDelivery(
            seq,
            to,
            decode_notification(notification),
            _require_int(created_ns),
            _require_int(attempts),
            due_ns,
            reason,
            decode_answer(answer),
        )
        for seq, to, notification, created_ns, attempts, due_ns, reason, answer in (
            connection.execute(SQL["waiting"], parameters)
        )
    ]


def backlog(connection: sqlite3.Connection) -> dict[str, Backlog]:
    """See `Outbox.backlog`."""
    return {
        to: Backlog(count, _require_int(oldest_ns))
        for to, count, oldest_ns in connection.execute(SQL["backlog"])
    }


def correct_times(now_ns: int, max_wait_ns: int, connection: sqlite3.Connection) -> int:
    """See `Outbox.correct_times`."""
    row = {"now_ns": now_ns, "max_wait_ns": max_wait_ns, "max_hold_ns": records.HOLD_NS}
    connection.execute(SQL["end_pauses"], row)
    return connection.execute(SQL["correct_times"], row).rowcount


def release_heads(now_ns: int, connection: sqlite3.Connection) -> None:
    """Make deliveries due that wait for another one that no longer exists."""
    connection.execute(SQL["release_heads"], {"now_ns": now_ns})


def delete_unreadable(connection: sqlite3.Connection) -> None:
    """Delete deliveries and dead letters whose long notification is lost, and those of no use."""
    connection.execute(SQL["delete_deliveries_without_notification"])
    connection.execute(SQL["delete_dead_letters_without_notification"])
    connection.execute(SQL["delete_unused_notifications"])


def decode_notification(notification: bytes) -> Notification:
    """Decode a notification; raises `Corrupt`."""
    return _decode(_notification_from_json, notification, "a notification")


def decode_answer(answer: str | None) -> Answer | None:
    """Decode an answer; raises `Corrupt`."""
    return None if answer is None else _decode(_answer_from_json, answer, "an answer")


def _decode(decode: Callable[[Any], T], stored: object, what: str) -> T:
    try:
        return decode(stored)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as error:
        raise Corrupt(f"{what}: {error}") from error


def shorten(answer: Answer | None) -> Answer | None:
    """Return what is stored of an answer while its delivery waits."""
    if answer is None:
        return None
    return msgspec.structs.replace(answer, text=answer.text[:ANSWER_CHARS])


def _encode_answer(answer: Answer | None) -> str | None:
    return None if answer is None else msgspec.json.encode(answer).decode()


def _require_int(value: object) -> int:
    if isinstance(value, int):
        return value
    raise Corrupt(f"a number: {type(value).__name__}")
