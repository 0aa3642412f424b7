"""Deliveries as rows: added, due, settled."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from relay.core.event import TYPE_RELAY
from relay.core.exchange import Answer, Reason, Retry
from relay.core.notification import Notification
from relay.store.faults import Broken
from relay.store.records import (
    GIVEN_UP_AT_ONCE,
    HOLD_NS,
    Backlog,
    Delivery,
    Due,
    GivenUp,
    Waiting,
    is_heartbeat,
)
from relay.store.sql import SQL

ANSWER_CHARS = 200
"""What is kept of an answer's text with a delivery that waits; a dead letter has all of it."""

_decode = msgspec.json.Decoder(Notification).decode
_Due = tuple[int, int, int, int, Notification]
"""When it is due, its number, when it was made, its attempts."""
_decode_due = msgspec.json.Decoder(list[_Due]).decode
_decode_answer = msgspec.json.Decoder(Answer).decode


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
    rows, next_ns = connection.execute(SQL["due"], asked).fetchone()
    found = [
        Delivery(seq, destination, notification, created_ns, attempts)
        for _, seq, created_ns, attempts, notification in sorted(_read_due(rows))
    ]
    return Due(found, None if next_ns is None else _time(next_ns))


def pause(destination: str, until_ns: int, connection: sqlite3.Connection) -> None:
    """Keep that the destination wants nothing before then; a longer pause stays."""
    connection.execute(SQL["pause"], {"destination": destination, "until_ns": until_ns})


def expire(
    destination: str,
    before_ns: int,
    now_ns: int,
    besides: list[int],
    connection: sqlite3.Connection,
) -> GivenUp:
    """See `Outbox.expire`."""
    asked = {
        "destination": destination,
        "before_ns": before_ns,
        "besides": msgspec.json.encode(besides).decode(),
        "most": GIVEN_UP_AT_ONCE,
    }
    return _give_up(SQL["too_old"], asked, Reason.EXPIRED, now_ns, connection)


def retire(destination: str, now_ns: int, connection: sqlite3.Connection) -> GivenUp:
    """See `Outbox.retire`."""
    asked = {"destination": destination, "most": GIVEN_UP_AT_ONCE}
    return _give_up(SQL["of_destination"], asked, Reason.REMOVED, now_ns, connection)


def _give_up(
    query: str,
    asked: Mapping[str, object],
    reason: Reason,
    now_ns: int,
    connection: sqlite3.Connection,
) -> GivenUp:
    found = connection.execute(query, asked).fetchall()
    own = 0
    for seq, to, notification, created_ns, attempts, answer in found:
        # the attempt that it is spared is not counted
        delivery = Delivery(
            seq, to, read_notification(notification), _time(created_ns), _time(attempts) - 1
        )
        own += delivery.notification.events[0].type == TYPE_RELAY
        bury(delivery, reason, read_answer(answer), now_ns, connection)
    return GivenUp(len(found), own)


def try_again(
    delivery: Delivery,
    retry: Retry,
    answer: Answer | None,
    now_ns: int,
    connection: sqlite3.Connection,
) -> None:
    """Let it be due again later, with what the destination said."""
    row = {
        "seq": delivery.seq,
        "due_ns": now_ns + int(retry.after_s * 1e9),
        "reason": retry.reason,
        "answer": _written(shortened(answer)),
    }
    connection.execute(SQL["try_again"], row)


def bury(
    delivery: Delivery,
    reason: Reason,
    answer: Answer | None,
    now_ns: int,
    connection: sqlite3.Connection,
) -> bool:
    """Make a dead letter of it, but of no heartbeat; whether another is due by it."""
    if is_heartbeat(delivery.notification.events[0]):
        return remove([delivery.seq], now_ns, connection)
    row = {
        "seq": delivery.seq,
        "id": delivery.notification.id,
        "route": delivery.notification.route,
        "now_ns": now_ns,
        "attempts": delivery.attempts + 1,
        "reason": reason,
        "answer": _written(answer),
    }
    connection.execute(SQL["bury"], row)
    return remove([delivery.seq], now_ns, connection)


def remove(seqs: Sequence[int], now_ns: int, connection: sqlite3.Connection) -> bool:
    """Remove those that are settled; whether others are due by it."""
    numbers = msgspec.json.encode(seqs).decode()
    promoted = connection.execute(SQL["promote_next"], (now_ns, numbers)).rowcount
    connection.execute(SQL["remove"], (numbers,))
    return promoted > 0


def forget(seqs: Sequence[int], connection: sqlite3.Connection) -> None:
    """Remove those behind which none waits."""
    connection.execute(SQL["remove"], (msgspec.json.encode(seqs).decode(),))


def hurry(destination: str, now_ns: int, connection: sqlite3.Connection) -> None:
    """See `Outbox.hurry`."""
    connection.execute(SQL["hurry"], {"destination": destination, "now_ns": now_ns})


def begin_episode(destination: str, now_ns: int, connection: sqlite3.Connection) -> None:
    """See `Outbox.begin_episode`."""
    connection.execute(SQL["begin_episode"], {"destination": destination, "now_ns": now_ns})


def end_episode(destination: str, connection: sqlite3.Connection) -> None:
    """See `Outbox.end_episode`."""
    connection.execute(SQL["end_episode"], {"destination": destination})


def episodes(connection: sqlite3.Connection) -> dict[str, int]:
    """See `Outbox.episodes`."""
    return dict(connection.execute(SQL["episodes"]))


def pauses(now_ns: int, connection: sqlite3.Connection) -> dict[str, int]:
    """See `Outbox.pauses`."""
    return dict(connection.execute(SQL["pauses"], {"now_ns": now_ns}))


def end_pause(destination: str, connection: sqlite3.Connection) -> None:
    """See `Outbox.end_pause`."""
    connection.execute(SQL["end_pause"], {"destination": destination})


def waiting(destination: str | None, most: int, connection: sqlite3.Connection) -> list[Waiting]:
    """See `Outbox.waiting`."""
    asked = {"destination": destination, "most": most}
    return [
        Waiting(
            seq,
            to,
            read_notification(notification),
            _time(created_ns),
            _time(attempts),
            due_ns,
            reason,
            read_answer(answer),
        )
        for seq, to, notification, created_ns, attempts, due_ns, reason, answer in (
            connection.execute(SQL["waiting"], asked)
        )
    ]


def backlog(connection: sqlite3.Connection) -> dict[str, Backlog]:
    """See `Outbox.backlog`."""
    return {
        to: Backlog(count, _time(oldest_ns))
        for to, count, oldest_ns in connection.execute(SQL["backlog"])
    }


def settle_clock(now_ns: int, most_ns: int, connection: sqlite3.Connection) -> int:
    """Returns how many had times that cannot be."""
    row = {"now_ns": now_ns, "most_ns": most_ns, "held_ns": HOLD_NS}
    connection.execute(SQL["end_pauses"], row)
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


def _read_due(rows: bytes) -> list[_Due]:
    """What is due, as the statement for it gives it; raises `Broken`."""
    try:
        return _decode_due(rows)
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as error:
        raise Broken(f"a delivery: {error}") from error


def read_answer(answer: str | None) -> Answer | None:
    """An answer as it is kept; raises `Broken`."""
    try:
        return None if answer is None else _decode_answer(answer)
    except (msgspec.MsgspecError, TypeError) as error:
        raise Broken(f"an answer: {error}") from error


def shortened(answer: Answer | None) -> Answer | None:
    """What is kept of an answer while its delivery waits."""
    if answer is None:
        return None
    return msgspec.structs.replace(answer, text=answer.text[:ANSWER_CHARS])


def _written(answer: Answer | None) -> str | None:
    return None if answer is None else msgspec.json.encode(answer).decode()


def _time(value: object) -> int:
    if isinstance(value, int):
        return value
    raise Broken(f"a number: {type(value).__name__}")
