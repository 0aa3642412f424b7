"""Inserts the deliveries of a batch, in few statements for many rows.

A long notification gets a row of its own, to which the rows of its deliveries refer.

Deliveries about one subject to one destination are sent in order: only the first has a due time,
the others wait until `deliveries.delete_and_release_next` gives them one. A heartbeat replaces the
one before it, because only the newest one matters.
"""

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import NamedTuple

import msgspec

from relay.core.event import TYPE_RELAY, is_self_event
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
    """The notification as JSON; empty if it is long."""
    now_ns: int
    hold_ns: int


class PreparedNotification(msgspec.Struct, frozen=True):
    """A notification to insert."""

    rows: Sequence[DeliveryRow]
    """One for each destination."""
    content: bytes
    """The notification as JSON."""
    is_heartbeat: bool
    """Whether it replaces the one before it."""
    is_self_event: bool
    """Whether it is about this relay itself."""
    is_long: bool
    """Whether it is stored once for all its rows."""
    message_id: str | None
    """Its id if it reports incidents, else None."""
    statement: str
    """The name of the statement that inserts its rows."""
    long_seq: int | None = None
    """The number under which the long notification is stored already; None if it is not."""

    @property
    def size_bytes(self) -> int:
        """The length of its JSON."""
        return len(self.content)


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
    heartbeat = event.type == TYPE_RELAY and is_heartbeat(event)
    held = options.hold_for_included and notification.include is not None
    hold_ns = now_ns + records.HOLD_NS if held else 0
    content = msgspec.json.encode(notification)
    is_long = len(content) > LONG_BYTES and bool(destinations)
    row_content = b"" if is_long else content
    # In order everywhere: a heartbeat, because each has to find the one before it, and what is
    # reported about incidents.
    message_id = None if notification.update is None else notification.id
    is_ordered = heartbeat or message_id is not None
    unordered = () if is_ordered else options.unordered
    rows = []
    for to in destinations:
        chain = chain_of(to, notification.id if to in unordered else subject)
        rows.append(DeliveryRow(to, chain, row_content, now_ns, hold_ns))
    statement = "add_deliveries" if message_id is None else "add_messages"
    if is_long:
        statement = "add_long_deliveries"
    return PreparedNotification(
        rows, content, heartbeat, is_self_event(event), is_long, message_id, statement
    )


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
    seqs = _insert(prepared, dues_ns, connection)
    due = {
        seq for seq, row, due_ns in zip(seqs, rows, dues_ns, strict=True) if due_ns == row.now_ns
    }
    numbers = iter(seqs)
    return Enqueued([list(islice(numbers, len(each.rows))) for each in prepared], due)


def _insert(
    prepared: Sequence[PreparedNotification],
    dues_ns: Iterable[int | None],
    connection: sqlite3.Connection,
) -> list[int]:
    """Insert the rows in few statements, each with its due time; return their numbers."""
    seqs: list[int] = []
    due_ns = iter(dues_ns)
    rows: Sequence[Sequence[object]]
    for statement, group in groupby(prepared, attrgetter("statement")):
        match statement:
            case "add_deliveries":
                rows = [(*row, next(due_ns)) for each in group for row in each.rows]
            case "add_messages":
                rows = [
                    (*row, next(due_ns), each.message_id) for each in group for row in each.rows
                ]
            case _:
                referring = ((each, _store_long(each, connection)) for each in group)
                rows = [
                    (*row, next(due_ns), each.message_id, long_seq, each.size_bytes)
                    for each, long_seq in referring
                    for row in each.rows
                ]
        for count, cursor in run_for_rows(statement, rows, connection):
            last = cursor.lastrowid or 0
            seqs += range(last - count + 1, last + 1)  # consecutive: there is no other writer
    return seqs


def _store_long(prepared: PreparedNotification, connection: sqlite3.Connection) -> int:
    """Store a long notification unless it is stored; return its number."""
    return prepared.long_seq or add_long(prepared.content, connection)


def add_long(content: bytes, connection: sqlite3.Connection) -> int:
    """Store a long notification; return its number, to which a row has to refer next."""
    parameters = {"notification": content}
    return connection.execute(SQL["add_long_notification"], parameters).lastrowid or 0


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
