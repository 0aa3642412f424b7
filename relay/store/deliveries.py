"""Deliveries as rows: fetched, retried, given up, deleted."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from relay.core.event import TYPE_RELAY
from relay.core.exchange import Answer, Reason, Retry
from relay.core.notification import Notification
from relay.store import records
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
_DueRow = tuple[int, int, int, int, int, int, int, Notification | None]
"""When the delivery is due, its number, creation time, attempts, chain, whether others wait for it,
its size and notification, unless that is long."""
_due_rows_from_json = msgspec.json.Decoder(list[_DueRow]).decode
_answer_from_json = msgspec.json.Decoder(Answer).decode


def enrich(
    seqs: Sequence[int], notification: Notification, now_ns: int, connection: sqlite3.Connection
) -> dict[int, str]:
    """Replace the notification of those still held; return their destinations by number."""
    row = {"notification": msgspec.json.encode(notification), "now_ns": now_ns}
    return dict(
        found
        for seq in seqs
        for found in connection.execute(SQL["enrich"], {**row, "seq": seq}).fetchall()
    )


def replace_notification(
    seqs: Iterable[int], notification: Notification, connection: sqlite3.Connection
) -> None:
    """Replace the notification of these deliveries."""
    content = msgspec.json.encode(notification)
    connection.executemany(
        SQL["replace_notification"], [{"seq": seq, "notification": content} for seq in seqs]
    )


class FetchRequest(NamedTuple):
    """The arguments of `Outbox.fetch_due`."""

    destination: str
    until_ns: int
    max_count: int
    exclude: Sequence[int]
    max_bytes: int


class FetchedRows(NamedTuple):
    """What is due, as it was read. Long notifications are left out."""

    destination: str
    rows: "Sequence[_DueRow]"
    next_due_ns: int | None
    has_more: bool

    @property
    def long_seqs(self) -> list[int]:
        """The numbers of the deliveries whose notifications were left out."""
        return [seq for _, seq, *_, notification in self.rows if notification is None]


def fetch_due(request: FetchRequest, connection: sqlite3.Connection) -> FetchedRows:
    """Read what `Outbox.fetch_due` returns, except for long notifications."""
    destination = request.destination
    parameters = {
        "destination": destination,
        "now_ns": request.until_ns,
        "max_count": request.max_count,
        "max_bytes": request.max_bytes,
        "exclude": msgspec.json.encode(request.exclude).decode(),
        "long": LONG_BYTES,
    }
    content, listed, next_due_ns = connection.execute(SQL["fetch_due"], parameters).fetchone()
    rows = sorted(_decode_due_rows(content))
    next_ns = None if next_due_ns is None else _require_int(next_due_ns)
    has_more = listed == request.max_count or listed > len(rows)
    return FetchedRows(destination, rows, next_ns, has_more)


def read_notifications(seqs: Sequence[int], connection: sqlite3.Connection) -> dict[int, bytes]:
    """Return the JSON of these deliveries' notifications; those that are gone are left out."""
    found = (
        (seq, connection.execute(SQL["notification"], {"seq": seq}).fetchone()) for seq in seqs
    )
    return {seq: row[0] for seq, row in found if row is not None}


def check_notifications(seqs: Sequence[int], connection: sqlite3.Connection) -> None:
    """Raise `Corrupt` if one of them cannot be decoded."""
    for content in read_notifications(seqs, connection).values():
        decode_notification(content)


def build_due(fetched: FetchedRows, long: Mapping[int, bytes]) -> DueDeliveries:
    """Return the deliveries in rows that were read; raises `Corrupt`.

    ``long`` has the notifications that were left out, by number. Where one is missing, the delivery
    is gone.
    """
    found, followed = [], set()
    for _, seq, created_ns, attempts, chain, is_followed, size_bytes, short in fetched.rows:
        if short is None and seq not in long:
            continue
        notification = short or decode_notification(long[seq])
        found.append(
            Delivery(
                seq, fetched.destination, notification, created_ns, attempts, chain, size_bytes
            )
        )
        if is_followed:
            followed.add(seq)
    return DueDeliveries(found, frozenset(followed), fetched.next_due_ns, fetched.has_more)


def pause(destination: str, until_ns: int, connection: sqlite3.Connection) -> None:
    """Store that the destination is paused until then; a longer pause stays."""
    connection.execute(SQL["pause"], {"destination": destination, "until_ns": until_ns})


def expire(
    destination: str,
    before_ns: int,
    now_ns: int,
    exclude: list[int],
    connection: sqlite3.Connection,
) -> GiveUpResult:
    """See `Outbox.expire`."""
    parameters = {
        "destination": destination,
        "before_ns": before_ns,
        "exclude": msgspec.json.encode(exclude).decode(),
    }
    return _give_up("select_expired", parameters, Reason.EXPIRED, now_ns, connection)


def drop_destination(destination: str, now_ns: int, connection: sqlite3.Connection) -> GiveUpResult:
    """See `Outbox.drop_destination`."""
    reason = Reason.DESTINATION_REMOVED
    return _give_up(
        "select_of_destination", {"destination": destination}, reason, now_ns, connection
    )


class _DeadNotification(msgspec.Struct, frozen=True):
    """What giving up has to know of a notification. Decoding skips everything else."""

    id: str
    route: str
    events: tuple[EventKind, ...]


_dead_notification_from_json = msgspec.json.Decoder(_DeadNotification).decode


def _give_up(
    query: str,
    parameters: Mapping[str, object],
    reason: Reason,
    now_ns: int,
    connection: sqlite3.Connection,
) -> GiveUpResult:
    """Move the selected deliveries to the dead letters, at most `GIVE_UP_BATCH` of them.

    Only one notification at a time is in memory.
    """
    limits = {"limit": GIVE_UP_BATCH, "max_bytes": GIVE_UP_BYTES}
    found = connection.execute(SQL[query], {**parameters, **limits}).fetchall()
    self_events = 0
    for seq, attempts, answer_json in found:
        (content,) = connection.execute(SQL["notification"], {"seq": seq}).fetchone()
        notification = _decode(_dead_notification_from_json, content)
        self_events += notification.events[0].type == TYPE_RELAY
        answer = decode_answer(answer_json)
        _make_dead_letter(
            seq, notification, _require_int(attempts), reason, answer, now_ns, connection
        )
    return GiveUpResult(len(found), self_events)


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
    """See `move_to_dead_letters`. SQLite copies the notification, whatever its length."""
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
    """Delete settled deliveries; the ones behind them become due."""
    if seqs:
        numbers = msgspec.json.encode(seqs).decode()
        connection.execute(SQL["release_next"], (now_ns, numbers))
        connection.execute(SQL["delete_deliveries"], (numbers,))


def delete(seqs: Sequence[int], connection: sqlite3.Connection) -> None:
    """Delete deliveries that no other waits for."""
    connection.execute(SQL["delete_deliveries"], (msgspec.json.encode(seqs).decode(),))


def retry_now(destination: str, now_ns: int, connection: sqlite3.Connection) -> None:
    """See `Outbox.retry_now`."""
    connection.execute(SQL["retry_now"], {"destination": destination, "now_ns": now_ns})


def begin_outage(destination: str, now_ns: int, connection: sqlite3.Connection) -> None:
    """See `Outbox.begin_outage`."""
    connection.execute(SQL["begin_outage"], {"destination": destination, "now_ns": now_ns})


def end_outage(destination: str, connection: sqlite3.Connection) -> None:
    """See `Outbox.end_outage`."""
    connection.execute(SQL["end_outage"], {"destination": destination})


def outages(connection: sqlite3.Connection) -> dict[str, int]:
    """See `Outbox.outages`."""
    return dict(connection.execute(SQL["outages"]))


def pauses(now_ns: int, connection: sqlite3.Connection) -> dict[str, int]:
    """See `Outbox.pauses`."""
    return dict(connection.execute(SQL["pauses"], {"now_ns": now_ns}))


def end_pause(destination: str, connection: sqlite3.Connection) -> None:
    """See `Outbox.end_pause`."""
    connection.execute(SQL["end_pause"], {"destination": destination})


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
    """Make deliveries due whose predecessor no longer exists."""
    connection.execute(SQL["release_heads"], {"now_ns": now_ns})


def decode_notification(notification: bytes) -> Notification:
    """Decode a notification; raises `Corrupt`."""
    return _decode(_notification_from_json, notification)


def _decode(decode: Callable[[bytes], T], notification: bytes) -> T:
    try:
        return decode(notification)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as error:
        raise Corrupt(f"a notification: {error}") from error


def _decode_due_rows(rows: bytes) -> list[_DueRow]:
    """Decode the JSON array that the statement ``fetch_due`` returns; raises `Corrupt`."""
    try:
        return _due_rows_from_json(rows)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as error:
        raise Corrupt(f"a delivery: {error}") from error


def decode_answer(answer: str | None) -> Answer | None:
    """Decode an answer; raises `Corrupt`."""
    try:
        return None if answer is None else _answer_from_json(answer)
    except (msgspec.MsgspecError, TypeError) as error:
        raise Corrupt(f"an answer: {error}") from error


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
