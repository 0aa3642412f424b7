"""Outages and pauses of destinations, as rows: they continue after a restart."""

import sqlite3

from relay.store.schema import SQL


def begin(destination: str, now_ns: int, connection: sqlite3.Connection) -> None:
    """See `Outbox.begin_outage`."""
    connection.execute(SQL["begin_outage"], {"destination": destination, "now_ns": now_ns})


def end(destination: str, connection: sqlite3.Connection) -> None:
    """See `Outbox.end_outage`."""
    connection.execute(SQL["end_outage"], {"destination": destination})


def find_all(connection: sqlite3.Connection) -> dict[str, int]:
    """See `Outbox.outages`."""
    return dict(connection.execute(SQL["outages"]))


def pause(destination: str, until_ns: int, connection: sqlite3.Connection) -> None:
    """Store that the destination is paused until then; a longer pause stays."""
    connection.execute(SQL["pause"], {"destination": destination, "until_ns": until_ns})


def find_pauses(now_ns: int, connection: sqlite3.Connection) -> dict[str, int]:
    """See `Outbox.pauses`."""
    return dict(connection.execute(SQL["pauses"], {"now_ns": now_ns}))


def end_pause(destination: str, connection: sqlite3.Connection) -> None:
    """See `Outbox.end_pause`."""
    connection.execute(SQL["end_pause"], {"destination": destination})
