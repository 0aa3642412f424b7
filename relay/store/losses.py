"""Losses as rows: kept until an event has told of them."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from relay.store.faults import StoreLoss
from relay.store.sql import SQL


def add_loss(file: Path, carried: int, reason: str, connection: sqlite3.Connection) -> StoreLoss:
    """Keep one; returns it with its number."""
    row = {"file": str(file), "carried": carried, "reason": reason}
    number = connection.execute(SQL["add_loss"], row).lastrowid
    return StoreLoss(file, carried, reason, number or 0)


def undeclared_losses(connection: sqlite3.Connection) -> list[StoreLoss]:
    """See `Outbox.losses`."""
    return [
        StoreLoss(Path(file), carried, reason, number)
        for number, file, carried, reason in connection.execute(SQL["losses"])
    ]


def declare_losses(numbers: Sequence[int], connection: sqlite3.Connection) -> None:
    """These were told of."""
    connection.executemany(SQL["declare_loss"], [{"seq": number} for number in numbers])
