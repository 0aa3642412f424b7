"""Dead letters as rows: found, replayed, dropped."""

import sqlite3
from collections.abc import Collection

import msgspec

from relay.store import enqueue
from relay.store.deliveries import decode_answer, decode_notification
from relay.store.enqueue import EnqueueOptions
from relay.store.records import DeadLetter, Selection
from relay.store.schema import SQL

BATCH_SIZE = 500
"""How many are read at once, however many are selected."""

_MAX_NUMBER = 2**63 - 1


def find(
    selection: Selection, limit: int, below: int | None, connection: sqlite3.Connection
) -> list[DeadLetter]:
    """See `Outbox.dead_letters`."""
    parameters = {
        **_parameters(selection, None),
        "above": 0,
        "below": below or _MAX_NUMBER,
        "limit": limit,
    }
    return _select(
        f"{SQL['select_dead_letters']} ORDER BY seq DESC LIMIT :limit", parameters, connection
    )


def newest_number(connection: sqlite3.Connection) -> int:
    """Return the highest number, 0 if there are none. Later dead letters have higher ones."""
    (number,) = connection.execute(SQL["newest_dead_letter"]).fetchone()
    return int(number)


def replay(
    selection: Selection,
    destinations: Collection[str],
    span: range,
    options: EnqueueOptions,
    connection: sqlite3.Connection,
) -> list[DeadLetter]:
    """Turn up to `BATCH_SIZE` dead letters into deliveries: the lowest numbers in ``span``."""
    found = _find_lowest(selection, destinations, span, connection)
    prepared = [enqueue.prepare(it.notification, [it.destination], options) for it in found]
    enqueue.add(prepared, connection)
    _delete(found, connection)
    return found


def drop(selection: Selection, span: range, connection: sqlite3.Connection) -> list[DeadLetter]:
    """Delete up to `BATCH_SIZE` dead letters: the lowest numbers in ``span``."""
    found = _find_lowest(selection, None, span, connection)
    _delete(found, connection)
    return found


def prune(before_ns: int, max_count: int, connection: sqlite3.Connection) -> int:
    """See `Outbox.prune_dead_letters`."""
    old = connection.execute(SQL["prune_old_dead_letters"], {"before_ns": before_ns}).rowcount
    surplus = connection.execute(SQL["prune_surplus_dead_letters"], {"limit": max_count}).rowcount
    return old + surplus


def _find_lowest(
    selection: Selection,
    destinations: Collection[str] | None,
    span: range,
    connection: sqlite3.Connection,
) -> list[DeadLetter]:
    parameters = {
        **_parameters(selection, destinations),
        "above": span.start - 1,
        "below": span.stop,
        "limit": BATCH_SIZE,
    }
    return _select(
        f"{SQL['select_dead_letters']} ORDER BY seq LIMIT :limit", parameters, connection
    )


def _parameters(selection: Selection, destinations: Collection[str] | None) -> dict[str, object]:
    return {
        "destination": selection.destination,
        "route": selection.route,
        "since_ns": selection.since_ns,
        "ids": _to_json_array(selection.ids),
        "destinations": _to_json_array(destinations),
    }


def _to_json_array(values: Collection[int | str] | None) -> str | None:
    return None if values is None else msgspec.json.encode(list(values)).decode()


def _select(
    query: str, parameters: dict[str, object], connection: sqlite3.Connection
) -> list[DeadLetter]:
    return [
        DeadLetter(
            number,
            destination,
            decode_notification(notification),
            created_ns,
            died_ns,
            attempts,
            reason,
            decode_answer(answer),
        )
        for number, destination, notification, created_ns, died_ns, attempts, reason, answer in (
            connection.execute(query, parameters)
        )
    ]


def _delete(dead_letters: Collection[DeadLetter], connection: sqlite3.Connection) -> None:
    connection.executemany(
        SQL["delete_dead_letter"], [{"seq": dead_letter.number} for dead_letter in dead_letters]
    )
