"""Dead letters as rows: found, replayed, dropped."""

import sqlite3
from collections.abc import Collection

import msgspec

from relay.store import enqueue
from relay.store.deliveries import read_answer, read_notification
from relay.store.enqueue import Adding
from relay.store.records import DeadLetter, Selection
from relay.store.sql import SQL

AT_ONCE = 500
"""So many are read at once, whatever a selection holds."""

_HIGHEST = 2**63 - 1


def find(
    selection: Selection, most: int, below: int | None, connection: sqlite3.Connection
) -> list[DeadLetter]:
    """See `Outbox.dead_letters`."""
    asked = {**_asked(selection, None), "above": 0, "below": below or _HIGHEST, "most": most}
    return _read(f"{SQL['letters']} ORDER BY seq DESC LIMIT :most", asked, connection)


def newest(connection: sqlite3.Connection) -> int:
    """The highest number, 0 where there are none: letters to come have higher ones."""
    (number,) = connection.execute(SQL["newest_letter"]).fetchone()
    return int(number)


def replay(
    selection: Selection,
    destinations: Collection[str],
    span: range,
    how: Adding,
    connection: sqlite3.Connection,
) -> list[DeadLetter]:
    """Make deliveries of up to `AT_ONCE` letters, those with the lowest numbers within a span."""
    found = _lowest(selection, destinations, span, connection)
    written = [enqueue.write(it.notification, [it.destination], how) for it in found]
    enqueue.add(written, connection)
    _drop(found, connection)
    return found


def drop(selection: Selection, span: range, connection: sqlite3.Connection) -> list[DeadLetter]:
    """Forget up to `AT_ONCE` letters, likewise."""
    found = _lowest(selection, None, span, connection)
    _drop(found, connection)
    return found


def prune(before_ns: int, most: int, connection: sqlite3.Connection) -> int:
    """See `Outbox.prune`."""
    old = connection.execute(SQL["drop_old_letters"], {"before_ns": before_ns}).rowcount
    surplus = connection.execute(SQL["drop_surplus_letters"], {"most": most}).rowcount
    return old + surplus


def _lowest(
    selection: Selection,
    destinations: Collection[str] | None,
    span: range,
    connection: sqlite3.Connection,
) -> list[DeadLetter]:
    asked = {
        **_asked(selection, destinations),
        "above": span.start - 1,
        "below": span.stop,
        "most": AT_ONCE,
    }
    return _read(f"{SQL['letters']} ORDER BY seq LIMIT :most", asked, connection)


def _asked(selection: Selection, destinations: Collection[str] | None) -> dict[str, object]:
    return {
        "destination": selection.destination,
        "route": selection.route,
        "since_ns": selection.since_ns,
        "ids": _listed(selection.ids),
        "destinations": _listed(destinations),
    }


def _listed(values: Collection[int | str] | None) -> str | None:
    return None if values is None else msgspec.json.encode(list(values)).decode()


def _read(query: str, asked: dict[str, object], connection: sqlite3.Connection) -> list[DeadLetter]:
    return [
        DeadLetter(
            number,
            destination,
            read_notification(notification),
            created_ns,
            died_ns,
            attempts,
            reason,
            read_answer(answer),
        )
        for number, destination, notification, created_ns, died_ns, attempts, reason, answer in (
            connection.execute(query, asked)
        )
    ]


def _drop(found: Collection[DeadLetter], connection: sqlite3.Connection) -> None:
    connection.executemany(SQL["drop_letter"], [{"seq": letter.number} for letter in found])
