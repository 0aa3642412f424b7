"""Inserts the deliveries of a batch, in few statements for many rows.

Deliveries about one subject to one destination are sent in order: only the first has a due time,
the others wait until `deliveries.delete_and_release_next` gives them one. A heartbeat replaces the
one before it, because only the newest one matters.
"""

import sqlite3
from collections.abc import Collection, Sequence
from itertools import groupby, islice
from typing import NamedTuple

import msgspec

from relay.core.event import TYPE_RELAY
from relay.core.notification import Notification
from relay.store import records
from relay.store.records import LONG_BYTES, chain_of, is_heartbeat, subject_of
from relay.store.schema import SQL, run_for_rows


class EnqueueOptions(msgspec.Struct, frozen=True):
    """How deliveries are inserted."""

    now_ns: int
    unordered: Collection[str] = ()
    """The destinations without an order: there each delivery is a subject of its own."""
    hold_for_included: bool = True
    """Whether a delivery waits for what its notification is to include."""


class DeliveryRow(NamedTuple):
    """A delivery to insert."""

    destination: str
    chain: int
    """See `records.chain_of`."""
    content: bytes
    """The notification as JSON."""
    now_ns: int
    hold_ns: int


class PreparedNotification(msgspec.Struct, frozen=True):
    """A notification to insert."""

    rows: Sequence[DeliveryRow]
    """One for each destination."""
    is_heartbeat: bool
    """Whether it replaces the one before it."""
    is_self_event: bool
    """Whether it is about relay itself."""
    size_bytes: int
    """The length of its JSON."""
    message_id: str | None = None
    """Its id if it tells about incidents, else None."""


class Enqueued(msgspec.Struct, frozen=True):
    """What was inserted."""

    seqs: list[list[int]] = msgspec.field(default_factory=list)
    """The numbers of each notification's deliveries."""
    due: set[int] = msgspec.field(default_factory=set)
    """Which of them are due at once.

    Does not list a heartbeat that came with other notifications: a later one of the batch may have
    replaced it.
    """

    def extend(self, more: "Enqueued") -> None:
        """Append the result of a later insert."""
        self.seqs.extend(more.seqs)
        self.due.update(more.due)


def prepare(
    notification: Notification, destinations: Sequence[str], options: EnqueueOptions
) -> PreparedNotification:
    """Return a notification's rows, one for each destination."""
    event = notification.events[0]
    subject, now_ns = subject_of(notification), options.now_ns
    is_self_event = event.type == TYPE_RELAY
    heartbeat = is_self_event and is_heartbeat(event)
    held = options.hold_for_included and notification.include is not None
    hold_ns = now_ns + records.HOLD_NS if held else 0
    content = msgspec.json.encode(notification)
    # In order everywhere: a heartbeat, because each has to find the one before it, and what is told
    # about incidents.
    message_id = None if notification.update is None else notification.id
    is_ordered = heartbeat or message_id is not None
    unordered = () if is_ordered else options.unordered
    rows = []
    for to in destinations:
        chain = chain_of(to, notification.id if to in unordered else subject)
        rows.append(DeliveryRow(to, chain, content, now_ns, hold_ns))
    return PreparedNotification(rows, heartbeat, is_self_event, len(content), message_id)


def add(prepared: Sequence[PreparedNotification], connection: sqlite3.Connection) -> Enqueued:
    """Insert the deliveries of notifications, in order.

    A delivery gets a due time if no earlier one is about the same subject: now, or when its hold
    ends.
    """
    has_heartbeat = any(each.is_heartbeat for each in prepared)
    if has_heartbeat and len(prepared) > 1:
        # One by one: they are few, and each changes the rows that the next one finds.
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
    seqs = _insert(prepared, full, connection)
    due = {
        seq for seq, row, due_ns in zip(seqs, rows, dues_ns, strict=True) if due_ns == row.now_ns
    }
    numbers = iter(seqs)
    return Enqueued([list(islice(numbers, len(each.rows))) for each in prepared], due)


_FullRow = tuple[str, int, bytes, int, int, int | None]
"""The values of a `DeliveryRow`, and when it is due."""


def _insert(
    prepared: Sequence[PreparedNotification],
    full: Sequence[_FullRow],
    connection: sqlite3.Connection,
) -> list[int]:
    """Insert the rows in few statements, but each long one by itself; return their numbers."""
    seqs: list[int] = []
    left = iter(full)
    for (is_message, is_long), group in groupby(prepared, _select_statement):
        together = list(group)
        count = sum(len(each.rows) for each in together)
        rows: list[tuple[object, ...]] = list(islice(left, count))
        if is_message:
            ids = [each.message_id for each in together for _ in each.rows]
            rows = [(*row, id_) for row, id_ in zip(rows, ids, strict=True)]
        name = "add_messages" if is_message else "add_deliveries"
        for part in [[row] for row in rows] if is_long else [rows]:
            for count, cursor in run_for_rows(name, part, connection):
                last = cursor.lastrowid or 0
                seqs += range(last - count + 1, last + 1)  # consecutive: there is no other writer
    return seqs


def _select_statement(prepared: PreparedNotification) -> tuple[bool, bool]:
    """Return whether a notification tells about incidents, and whether it is long."""
    return prepared.message_id is not None, prepared.size_bytes > LONG_BYTES


def _compute_due_ns(
    rows: Sequence[DeliveryRow], connection: sqlite3.Connection
) -> list[int | None]:
    """Return when each row is due; None for those that wait for another."""
    chains = dict.fromkeys(row.chain for row in rows)
    for _, cursor in run_for_rows("occupied_chains", [(chain,) for chain in chains], connection):
        (occupied,) = cursor.fetchone()
        for chain in map(int, occupied.split(",") if occupied else ()):
            del chains[chain]
    dues_ns: list[int | None] = []
    for row in rows:
        is_first = chains.pop(row.chain, False) is None
        dues_ns.append(max(row.now_ns, row.hold_ns) if is_first else None)
    return dues_ns


def _replace_heartbeat(rows: Sequence[DeliveryRow], connection: sqlite3.Connection) -> None:
    """Delete older heartbeats. An attempt under way for one of them will find no row to settle."""
    parameters = [{"chain": row.chain} for row in rows]
    connection.executemany(SQL["replace_heartbeat"], parameters)
