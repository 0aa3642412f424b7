"""How much a store may hold, and what goes when it holds more."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from relay.event import TYPE_RELAY
from relay.exchange import Answer
from relay.notification import Included, Notification
from relay.store import deliveries
from relay.store.deliveries import Adding
from relay.store.outbox import Enriched, Intake, Receipt, Room
from relay.store.statements import SQL

CHUNK = 32
"""How many are given up at once: so many that not every new one costs others their place."""


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
    """Add the deliveries of a batch, and give up what there is no room for.

    Looked at after each notification, so that the file grows beyond its bound by one at most.
    """
    added: list[Sequence[int]] = []
    shed = Shed()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    for notification, destinations in intake.notifications:
        seqs = deliveries.add(notification, destinations, how, connection)
        added.append(seqs)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        if pages * page_bytes <= room.most:  # whatever of them is free: there is room
            continue
        if room.when_full == "drop-oldest":
            _drop_oldest(room, shed, how.now_ns, connection)
        else:
            # relay's own are few, and say that others are missing
            own = notification.events[0].type == TYPE_RELAY
            _drop_new(room, shed, [] if own else seqs, connection)
    kept = [[seq for seq in seqs if seq not in shed.seqs] for seqs in added]
    untold = _count_shed(len(shed.seqs) - intake.declares_shed, connection)
    return Receipt(kept, len(shed.seqs), shed.letters, untold), shed


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
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _count_shed(change: int, connection: sqlite3.Connection) -> int:
    """Returns how many were given up that no event has told of."""
    row = {"name": "undeclared_shed", "change": change}
    if change:
        connection.execute(SQL["count"], row)
    (untold,) = connection.execute(SQL["counted"], row).fetchone()
    return int(untold)


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
        for seq in seqs:  # none waits behind them yet
            connection.execute(SQL["remove"], {"seq": seq})
        shed.seqs.update(seqs)


def _drop_letters(room: Room, shed: Shed, connection: sqlite3.Connection) -> None:
    """Dead letters go first, either way: else they would take the place of what is alive."""
    while used(connection) > room.most:
        gone = connection.execute(SQL["drop_letters"], {"most": CHUNK}).rowcount
        if not gone:
            return
        shed.letters += gone
