"""Deliveries as they are added: many in few statements."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import msgspec

from relay.core.event import TYPE_RELAY
from relay.core.notification import Notification
from relay.store.records import HOLD_NS, is_heartbeat, subject_of
from relay.store.sql import SQL, run_for_rows


@dataclass(frozen=True, slots=True)
class EnqueueOptions:
    """How deliveries are added."""

    now_ns: int
    unordered: Collection[str] = ()
    """The destinations for which each is a subject of its own."""
    hold_for_included: bool = True
    """Whether one that is to include something waits for that."""


class DeliveryRow(NamedTuple):
    """A delivery as it is added."""

    destination: str
    subject: str
    content: bytes
    """The notification as JSON."""
    now_ns: int
    hold_ns: int


@dataclass(frozen=True, slots=True)
class PreparedNotification:
    """A notification as it is added."""

    rows: Sequence[DeliveryRow]
    """One for each destination."""
    is_heartbeat: bool
    """Whether it takes the place of the one before it."""
    is_self_event: bool
    """Whether it tells of relay itself."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What was added."""

    seqs: list[list[int]] = field(default_factory=list)
    """The numbers of each notification's deliveries."""
    due: set[int] = field(default_factory=set)
    """Those that are due at once, but for a heartbeat among others: the next may take its place."""

    def extend(self, more: "Enqueued") -> None:
        """These were added behind them."""
        self.seqs.extend(more.seqs)
        self.due.update(more.due)


def prepare(
    notification: Notification, destinations: Sequence[str], options: EnqueueOptions
) -> PreparedNotification:
    """How a notification is added, for each destination."""
    event = notification.events[0]
    subject, heartbeat, unordered = subject_of(event), is_heartbeat(event), options.unordered
    if heartbeat:
        unordered = ()  # each is to find the one before it
    held = options.hold_for_included and notification.include is not None
    hold_ns = options.now_ns + HOLD_NS if held else 0
    content = msgspec.json.encode(notification)
    rows = [
        DeliveryRow(
            to, notification.id if to in unordered else subject, content, options.now_ns, hold_ns
        )
        for to in destinations
    ]
    return PreparedNotification(rows, heartbeat, event.type == TYPE_RELAY)


def add(prepared: Sequence[PreparedNotification], connection: sqlite3.Connection) -> Enqueued:
    """Add the deliveries of notifications, in their order.

    Due once it is held no more is each that has none before it about the same subject.
    """
    has_heartbeat = any(each.is_heartbeat for each in prepared)
    if has_heartbeat and len(prepared) > 1:  # few, and each changes what the next one finds
        added = Enqueued()
        for each in prepared:
            one = add([each], connection)
            added.extend(Enqueued(one.seqs) if each.is_heartbeat else one)
        return added
    rows = [row for each in prepared for row in each.rows]
    if has_heartbeat:
        _replace_heartbeat(rows, connection)
    dues_ns = _compute_due_ns(rows, connection)
    full = [(*row, due_ns) for row, due_ns in zip(rows, dues_ns, strict=True)]
    seqs: list[int] = []
    for count, cursor in run_for_rows("add_deliveries", full, connection):
        last = cursor.lastrowid or 0
        seqs += range(last - count + 1, last + 1)  # nobody else adds any
    due = {
        seq for seq, row, due_ns in zip(seqs, rows, dues_ns, strict=True) if due_ns == row.now_ns
    }
    numbers = iter(seqs)
    return Enqueued([list(islice(numbers, len(each.rows))) for each in prepared], due)


def _compute_due_ns(
    rows: Sequence[DeliveryRow], connection: sqlite3.Connection
) -> list[int | None]:
    """When each is due; None for those that stand behind another."""
    subjects = dict.fromkeys((row.destination, row.subject) for row in rows)
    numbered = [(number, *line) for number, line in enumerate(subjects)]
    for _, cursor in run_for_rows("occupied", numbered, connection):
        (numbers,) = cursor.fetchone()
        for number in map(int, numbers.split(",") if numbers else ()):
            del subjects[numbered[number][1:]]
    dues_ns: list[int | None] = []
    for row in rows:
        first = subjects.pop((row.destination, row.subject), False) is None
        dues_ns.append(max(row.now_ns, row.hold_ns) if first else None)
    return dues_ns


def _replace_heartbeat(rows: Sequence[DeliveryRow], connection: sqlite3.Connection) -> None:
    """An attempt that is under way ends all the same, and then settles nothing."""
    parameters = [{"destination": row.destination, "subject": row.subject} for row in rows]
    connection.executemany(SQL["supersede"], parameters)
