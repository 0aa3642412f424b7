"""How much a store may hold, and what goes when it holds more."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from relay.core.exchange import Answer
from relay.core.notification import Included, Notification
from relay.store import deliveries, enqueue
from relay.store.enqueue import Enqueued, EnqueueOptions, PreparedNotification
from relay.store.records import CommitResult, EnrichResult, IngestCommit, Quota
from relay.store.sql import SQL

EVICT_BATCH = 32
"""How many are given up at once: so many that not every new one costs others their place."""

MAX_PAGES_PER_ROW = 8
"""More than one new row and its two entries in indexes split, even if they split more above."""

MAX_UTF8_BYTES = 4
"""Of a character in UTF-8."""

STORE_FULL = "the store is full"


@dataclass(slots=True)
class Evicted:
    """What a batch made the store give up."""

    seqs: set[int] = field(default_factory=set)
    dead_letters: int = 0
    destinations: set[str] = field(default_factory=set)
    """Where something may be due now that waited for what was given up."""


def add_within_quota(
    batch: IngestCommit, quota: Quota, options: EnqueueOptions, connection: sqlite3.Connection
) -> tuple[CommitResult, Evicted]:
    """Add the deliveries of a batch, and give up what there is no room for."""
    prepared = [enqueue.prepare(*each, options) for each in batch.notifications]
    evicted, (pages, page_size, undeclared) = Evicted(), _measure(connection)
    if (pages + _max_growth_pages(prepared, page_size)) * page_size <= quota.max_bytes:
        added = enqueue.add(prepared, connection)
    else:
        added = _add_evicting(prepared, quota, evicted, options.now_ns, connection)
    kept = [[seq for seq in seqs if seq not in evicted.seqs] for seqs in added.seqs]
    if change := len(evicted.seqs) - batch.declared_evictions:
        connection.execute(SQL["count"], {"name": "undeclared_shed", "change": change})
        _, _, undeclared = _measure(connection)
    due = frozenset(added.due - evicted.seqs)
    return CommitResult(kept, due, len(evicted.seqs), evicted.dead_letters, undeclared), evicted


def _max_growth_pages(prepared: Sequence[PreparedNotification], page_size: int) -> int:
    """At least as many pages as the file may grow by, whatever is in it.

    A row and its entries in two indexes; each may split its page and those above it, leave them
    half empty, and fill others beside them.
    """
    rows = [row for each in prepared for row in each.rows]
    size = sum(
        len(row.content) + MAX_UTF8_BYTES * (3 * len(row.destination) + 2 * len(row.subject))
        for row in rows
    )
    return MAX_PAGES_PER_ROW * len(rows) + 2 * size // page_size


def _add_evicting(
    prepared: Sequence[PreparedNotification],
    quota: Quota,
    evicted: Evicted,
    now_ns: int,
    connection: sqlite3.Connection,
) -> Enqueued:
    """Looked at after each notification, so that the file grows beyond its bound by one at most."""
    added = Enqueued()
    for each in prepared:
        one = enqueue.add([each], connection)
        added.extend(one)
        if bytes_used(connection) <= quota.max_bytes:
            continue
        if quota.when_full == "drop-oldest":
            _evict_oldest(quota, evicted, now_ns, connection)
        else:
            # relay's own are few, and say that others are missing
            _evict_new(quota, evicted, [] if each.is_self_event else one.seqs[0], connection)
    return added


def enrich(
    seqs: Sequence[int],
    notification: Notification,
    quota: Quota,
    now_ns: int,
    connection: sqlite3.Connection,
) -> tuple[EnrichResult, Collection[str]]:
    """Complete deliveries as far as there is room; returns the destinations that they are for.

    One that takes no more than before stays as it is, though the store is full.
    """
    max_bytes = max(quota.max_bytes, bytes_used(connection))
    held = deliveries.enrich(seqs, notification, now_ns, connection)
    evicted = Evicted()
    if bytes_used(connection) > max_bytes:
        _evict_dead_letters(quota, evicted, connection)
    if bytes_used(connection) <= max_bytes:
        return EnrichResult(0, evicted.dead_letters), held.values()
    stripped = msgspec.structs.replace(notification, included=Included(missing=STORE_FULL))
    deliveries.replace_notification(held, stripped, connection)
    return EnrichResult(len(held), evicted.dead_letters), held.values()


def fit_answer(
    answer: Answer | None, quota: Quota, connection: sqlite3.Connection
) -> Answer | None:
    """As much of a dead letter's answer as there is room for: a letter takes little more than the
    delivery that it was, its answer can take twice that."""
    return answer if bytes_used(connection) <= quota.max_bytes else deliveries.shorten(answer)


def bytes_used(connection: sqlite3.Connection) -> int:
    """The bytes of the pages that are in use, by the transaction that is under way."""
    pages, page_size, _ = _measure(connection)
    return pages * page_size


def _measure(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """The pages in use, the bytes of one, and how many went that no event has told of."""
    pages, page_size, undeclared = connection.execute(SQL["standing"]).fetchone()
    return int(pages), int(page_size), int(undeclared)


def _evict_oldest(
    quota: Quota, evicted: Evicted, now_ns: int, connection: sqlite3.Connection
) -> None:
    _evict_dead_letters(quota, evicted, connection)
    while bytes_used(connection) > quota.max_bytes:
        gone = connection.execute(SQL["drop_oldest"], {"most": EVICT_BATCH}).fetchall()
        if not gone:
            return
        evicted.seqs.update(seq for seq, _, _ in gone)
        for destination, subject in {(to, about) for _, to, about in gone}:
            row = {"destination": destination, "subject": subject, "now_ns": now_ns}
            connection.execute(SQL["promote_head"], row)
            evicted.destinations.add(destination)


def _evict_new(
    quota: Quota, evicted: Evicted, seqs: Sequence[int], connection: sqlite3.Connection
) -> None:
    _evict_dead_letters(quota, evicted, connection)
    if bytes_used(connection) > quota.max_bytes:
        deliveries.delete(seqs, connection)  # none waits behind them yet
        evicted.seqs.update(seqs)


def _evict_dead_letters(quota: Quota, evicted: Evicted, connection: sqlite3.Connection) -> None:
    """Dead letters go first, either way: else they would take the place of what is alive."""
    while bytes_used(connection) > quota.max_bytes:
        gone = connection.execute(SQL["drop_letters"], {"most": EVICT_BATCH}).rowcount
        if not gone:
            return
        evicted.dead_letters += gone
