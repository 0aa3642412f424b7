"""How much a store may hold, and what goes when it holds more."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from relay.core.exchange import Answer
from relay.core.notification import Included, Notification
from relay.store import deliveries, enqueue
from relay.store.enqueue import Added, Adding, Written
from relay.store.records import Enriched, Intake, Receipt, Room
from relay.store.sql import SQL

CHUNK = 32
"""How many are given up at once: so many that not every new one costs others their place."""

ROW_PAGES = 8
"""More than one new row and its two entries in indexes split, even if they split more above."""

MOST_BYTES = 4
"""Of a character in UTF-8."""

NO_ROOM = "the store is full"


@dataclass(slots=True)
class Shed:
    """What a batch made the store give up."""

    seqs: set[int] = field(default_factory=set)
    letters: int = 0
    destinations: set[str] = field(default_factory=set)
    """Where something may be due now that waited for what was given up."""


def store(
    intake: Intake, room: Room, how: Adding, connection: sqlite3.Connection
) -> tuple[Receipt, Shed]:
    """Add the deliveries of a batch, and give up what there is no room for."""
    written = [enqueue.write(*each, how) for each in intake.notifications]
    shed, (pages, page_size, untold) = Shed(), _standing(connection)
    if (pages + _grows_by(written, page_size)) * page_size <= room.most:
        added = enqueue.add(written, connection)
    else:
        added = _squeeze_in(written, room, shed, how.now_ns, connection)
    kept = [[seq for seq in seqs if seq not in shed.seqs] for seqs in added.seqs]
    if change := len(shed.seqs) - intake.declares_shed:
        connection.execute(SQL["count"], {"name": "undeclared_shed", "change": change})
        _, _, untold = _standing(connection)
    due = frozenset(added.due - shed.seqs)
    return Receipt(kept, due, len(shed.seqs), shed.letters, untold), shed


def _grows_by(written: Sequence[Written], page_size: int) -> int:
    """At least as many pages as the file may grow by, whatever is in it.

    A row and its entries in two indexes; each may split its page and those above it, leave them
    half empty, and fill others beside them.
    """
    rows = [row for each in written for row in each.rows]
    size = sum(
        len(row.content) + MOST_BYTES * (3 * len(row.destination) + 2 * len(row.subject))
        for row in rows
    )
    return ROW_PAGES * len(rows) + 2 * size // page_size


def _squeeze_in(
    written: Sequence[Written],
    room: Room,
    shed: Shed,
    now_ns: int,
    connection: sqlite3.Connection,
) -> Added:
    """Looked at after each notification, so that the file grows beyond its bound by one at most."""
    added = Added()
    for each in written:
        one = enqueue.add([each], connection)
        added.extend(one)
        if used(connection) <= room.most:
            continue
        if room.when_full == "drop-oldest":
            _drop_oldest(room, shed, now_ns, connection)
        else:
            # relay's own are few, and say that others are missing
            _drop_new(room, shed, [] if each.own else one.seqs[0], connection)
    return added


def enrich(
    seqs: Sequence[int],
    notification: Notification,
    room: Room,
    now_ns: int,
    connection: sqlite3.Connection,
) -> tuple[Enriched, Collection[str]]:
    """Complete deliveries as far as there is room; returns the destinations that they are for.

    One that takes no more than before stays as it is, though the store is full.
    """
    most = max(room.most, used(connection))
    held = deliveries.enrich(seqs, notification, now_ns, connection)
    shed = Shed()
    if used(connection) > most:
        _drop_letters(room, shed, connection)
    if used(connection) <= most:
        return Enriched(0, shed.letters), held.values()
    bare = msgspec.structs.replace(notification, included=Included(missing=NO_ROOM))
    deliveries.rewrite(held, bare, connection)
    return Enriched(len(held), shed.letters), held.values()


def answer_within(
    answer: Answer | None, room: Room, connection: sqlite3.Connection
) -> Answer | None:
    """As much of a dead letter's answer as there is room for: a letter takes little more than the
    delivery that it was, its answer can take twice that."""
    return answer if used(connection) <= room.most else deliveries.shortened(answer)


def used(connection: sqlite3.Connection) -> int:
    """The bytes of the pages that are in use, by the transaction that is under way."""
    pages, page_size, _ = _standing(connection)
    return pages * page_size


def _standing(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """The pages in use, the bytes of one, and how many went that no event has told of."""
    pages, page_size, untold = connection.execute(SQL["standing"]).fetchone()
    return int(pages), int(page_size), int(untold)


def _drop_oldest(room: Room, shed: Shed, now_ns: int, connection: sqlite3.Connection) -> None:
    _drop_letters(room, shed, connection)
    while used(connection) > room.most:
        gone = connection.execute(SQL["drop_oldest"], {"most": CHUNK}).fetchall()
        if not gone:
            return
        shed.seqs.update(seq for seq, _, _ in gone)
        for destination, subject in {(to, about) for _, to, about in gone}:
            row = {"destination": destination, "subject": subject, "now_ns": now_ns}
            connection.execute(SQL["promote_head"], row)
            shed.destinations.add(destination)


def _drop_new(room: Room, shed: Shed, seqs: Sequence[int], connection: sqlite3.Connection) -> None:
    _drop_letters(room, shed, connection)
    if used(connection) > room.most:
        deliveries.forget(seqs, connection)  # none waits behind them yet
        shed.seqs.update(seqs)


def _drop_letters(room: Room, shed: Shed, connection: sqlite3.Connection) -> None:
    """Dead letters go first, either way: else they would take the place of what is alive."""
    while used(connection) > room.most:
        gone = connection.execute(SQL["drop_letters"], {"most": CHUNK}).rowcount
        if not gone:
            return
        shed.letters += gone
