"""Deliveries as they are added: many in few statements."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import msgspec

from relay.core.event import TYPE_RELAY
from relay.core.notification import Notification
from relay.store.records import HOLD_NS, is_heartbeat, subject
from relay.store.sql import SQL, run_for_rows


@dataclass(frozen=True, slots=True)
class Adding:
    """How deliveries are added."""

    now_ns: int
    unordered: Collection[str] = ()
    """The destinations for which each is a subject of its own."""
    held: bool = True
    """Whether one that is to include something waits for that."""


class Row(NamedTuple):
    """A delivery as it is added."""

    destination: str
    subject: str
    content: bytes
    """The notification as JSON."""
    now_ns: int
    hold_ns: int


@dataclass(frozen=True, slots=True)
class Written:
    """A notification as it is added."""

    rows: Sequence[Row]
    """One for each destination."""
    heartbeat: bool
    """Whether it takes the place of the one before it."""
    own: bool
    """Whether it tells of relay itself."""


@dataclass(frozen=True, slots=True)
class Added:
    """What was added."""

    seqs: list[list[int]] = field(default_factory=list)
    """The numbers of each notification's deliveries."""
    due: set[int] = field(default_factory=set)
    """Those that are due at once, but for a heartbeat among others: the next may take its place."""

    def extend(self, more: "Added") -> None:
        """These were added behind them."""
        self.seqs.extend(more.seqs)
        self.due.update(more.due)


def write(notification: Notification, destinations: Sequence[str], how: Adding) -> Written:
    """How a notification is added, for each destination."""
    event = notification.events[0]
    about, heartbeat, unordered = subject(event), is_heartbeat(event), how.unordered
    if heartbeat:
        unordered = ()  # each is to find the one before it
    held = how.held and notification.include is not None
    hold_ns = how.now_ns + HOLD_NS if held else 0
    content = msgspec.json.encode(notification)
    rows = [
        Row(to, notification.id if to in unordered else about, content, how.now_ns, hold_ns)
        for to in destinations
    ]
    return Written(rows, heartbeat, event.type == TYPE_RELAY)


def add(written: Sequence[Written], connection: sqlite3.Connection) -> Added:
    """Add the deliveries of notifications, in their order.

    Due once it is held no more is each that has none before it about the same subject.
    """
    heartbeat = any(each.heartbeat for each in written)
    if heartbeat and len(written) > 1:  # few, and each changes what the next one finds
        added = Added()
        for each in written:
            one = add([each], connection)
            added.extend(Added(one.seqs) if each.heartbeat else one)
        return added
    rows = [row for each in written for row in each.rows]
    if heartbeat:
        _supersede(rows, connection)
    dues_ns = _dues_ns(rows, connection)
    full = [(*row, due_ns) for row, due_ns in zip(rows, dues_ns, strict=True)]
    seqs: list[int] = []
    for count, cursor in run_for_rows("add_deliveries", full, connection):
        last = cursor.lastrowid or 0
        seqs += range(last - count + 1, last + 1)  # nobody else adds any
    due = {
        seq for seq, row, due_ns in zip(seqs, rows, dues_ns, strict=True) if due_ns == row.now_ns
    }
    numbers = iter(seqs)
    return Added([list(islice(numbers, len(each.rows))) for each in written], due)


def _dues_ns(rows: Sequence[Row], connection: sqlite3.Connection) -> list[int | None]:
    """When each is due; None for those that stand behind another."""
    lines = dict.fromkeys((row.destination, row.subject) for row in rows)
    places = [(number, *line) for number, line in enumerate(lines)]
    for _, cursor in run_for_rows("occupied", places, connection):
        (numbers,) = cursor.fetchone()
        for number in map(int, numbers.split(",") if numbers else ()):
            del lines[places[number][1:]]
    dues_ns: list[int | None] = []
    for row in rows:
        first = lines.pop((row.destination, row.subject), False) is None
        dues_ns.append(max(row.now_ns, row.hold_ns) if first else None)
    return dues_ns


def _supersede(rows: Sequence[Row], connection: sqlite3.Connection) -> None:
    """An attempt that is under way ends all the same, and then settles nothing."""
    lines = [{"destination": row.destination, "subject": row.subject} for row in rows]
    connection.executemany(SQL["supersede"], lines)
