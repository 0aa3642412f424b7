"""The store's size limit, and what is evicted when it is reached.

A destination that is down must not fill the disk. The limit counts used pages, so that it holds for
the file's size, and it is enforced in the transaction that inserts. Dead letters are evicted first;
after them the oldest deliveries, or those of the batch itself, as configured. Evicted deliveries
are counted until an event has declared them.
"""

import sqlite3
from collections.abc import Collection, Sequence

import msgspec

from relay.core.exchange import Answer
from relay.core.include import Included
from relay.core.notification import Notification
from relay.store import dead_letters, deliveries, enqueue, incidents
from relay.store.enqueue import Enqueued, EnqueueOptions, PreparedNotification
from relay.store.records import (
    CommitResult,
    EnrichResult,
    IngestCommit,
    MessageKey,
    Quota,
    RowChanges,
)
from relay.store.schema import SQL

EVICT_BATCH = 32
"""How many rows are evicted at once, so that not every insert has to evict."""

EVICT_SPARE_BYTES = 256 * 1024
"""About how many bytes more than necessary are evicted at once."""

MAX_PAGES_PER_ROW = 8
"""More pages than inserting one row and its index entries can split, inner pages included."""

MAX_PAGES_PER_CHANGE = 16
"""More pages than any other change of a row adds: a container's is the largest. A dead letter may
be larger, but replaces a delivery; after a larger row of incidents the store is measured."""

MAX_CHANGE_BYTES = 16 * 2**10
"""A row of incidents up to this length adds fewer pages than that, even if its key, which is in an
index too, has four bytes for each character."""

MAX_UTF8_BYTES = 4
"""Bytes of a character in UTF-8."""

STORE_FULL = "the store is full"


class Evicted(msgspec.Struct):
    """What a batch evicted."""

    seqs: set[int] = msgspec.field(default_factory=set)
    messages: list[MessageKey] = msgspec.field(default_factory=list)
    """Those of the evicted deliveries that report incidents."""
    dead_letters: int = 0
    destinations: set[str] = msgspec.field(default_factory=set)
    """Destinations where a delivery may be due now because it waited for an evicted one."""


class UsedSpace:
    """An upper bound of the store's size, so that not every commit has to measure it.

    The store was measured once. Since then each row that was inserted or changed counts as much as
    it can take at most. Used in the writer thread only.
    """

    def __init__(self) -> None:
        self.undeclared_evictions = 0
        """How many deliveries were evicted that no event has declared yet."""
        self._max_pages = 0
        self._page_size = 0
        self._connection: sqlite3.Connection | None = None
        """The connection that was measured; None to measure before the next use."""
        self._changes = 0
        """How many of the rows that this connection has changed are counted."""

    def reserve(
        self,
        prepared: Sequence[PreparedNotification],
        max_bytes: int,
        connection: sqlite3.Connection,
    ) -> bool:
        """Count these as inserted, unless the store may then be larger than ``max_bytes``.

        Returns whether they are counted. If so, the caller has to insert them next.
        """
        if connection is self._connection:
            changes = connection.total_changes
            self._max_pages += MAX_PAGES_PER_CHANGE * max(0, changes - self._changes)
            self._changes = changes
            if self._count_if_fitting(prepared, max_bytes):
                return True
        self._max_pages, self._page_size, self.undeclared_evictions = _measure(connection)
        self._connection, self._changes = connection, connection.total_changes
        return self._count_if_fitting(prepared, max_bytes)

    def invalidate(self) -> None:
        """Measure before the next use."""
        self._connection = None

    def _count_if_fitting(self, prepared: Sequence[PreparedNotification], max_bytes: int) -> bool:
        pages = self._max_pages + _max_growth_pages(prepared, self._page_size)
        if pages * self._page_size > max_bytes:
            return False
        self._max_pages = pages
        self._changes += sum(len(each.rows) + each.is_long for each in prepared)
        return True


def save_incident_rows(rows: RowChanges, used: UsedSpace, connection: sqlite3.Connection) -> None:
    """Store rows of incidents. They count for the quota, but are never evicted."""
    if any(len(key) + len(content or b"") > MAX_CHANGE_BYTES for (_, key), content in rows.items()):
        used.invalidate()
    incidents.save_rows(rows, connection)


def keep_unreadable(
    batch: IngestCommit, now_ns: int, used: UsedSpace, connection: sqlite3.Connection
) -> None:
    """Make dead letters of a batch's unreadable messages. `add_within_quota` has to follow."""
    used.invalidate()
    dead_letters.add_unreadable(batch.engine, batch.unreadable, now_ns, connection)


def add_within_quota(
    batch: IngestCommit,
    quota: Quota,
    options: EnqueueOptions,
    used: UsedSpace,
    connection: sqlite3.Connection,
) -> tuple[CommitResult, Evicted]:
    """Insert a batch's deliveries, and evict what exceeds the quota."""
    prepared = [enqueue.prepare(*each, options) for each in batch.notifications]
    sizes = [each.size_bytes for each in prepared]
    chains = [[row.chain for row in each.rows] for each in prepared]
    if used.reserve(prepared, quota.max_bytes, connection):
        added, evicted = enqueue.add(prepared, connection), Evicted()
        stored, due = added.seqs, frozenset(added.due)
    else:
        used.invalidate()
        evicted = Evicted()
        added = _add_evicting(prepared, quota, evicted, options.now_ns, connection)
        if not prepared and (batch.incident_rows or batch.unreadable):
            _make_room(quota, evicted, options.now_ns, connection)
        stored = [[seq for seq in seqs if seq not in evicted.seqs] for seqs in added.seqs]
        due = frozenset(added.due - evicted.seqs)
    undeclared = used.undeclared_evictions
    if change := len(evicted.seqs) - batch.declared_evictions:
        connection.execute(SQL["add_to_counter"], {"name": "undeclared_shed", "change": change})
        _, _, undeclared = _measure(connection)
        used.invalidate()  # this transaction may be rolled back
    result = CommitResult(
        stored,
        due,
        chains,
        sizes,
        len(evicted.seqs),
        evicted.dead_letters,
        undeclared,
        tuple(evicted.messages),
    )
    return result, evicted


def _max_growth_pages(prepared: Sequence[PreparedNotification], page_size: int) -> int:
    """Return an upper bound for the pages by which the file grows.

    Each row has entries in two indexes, and in others if the notification is long or reports
    incidents. Each entry may split its page and those above it, and leave them half empty.
    """
    count = size = 0
    for each in prepared:
        count += len(each.rows)
        if each.is_long:
            count += 1
            size += each.size_bytes
        for to, _, content, *_ in each.rows:
            size += len(content) + MAX_UTF8_BYTES * 2 * len(to)
    return MAX_PAGES_PER_ROW * count + 2 * size // page_size


def _add_evicting(
    prepared: Sequence[PreparedNotification],
    quota: Quota,
    evicted: Evicted,
    now_ns: int,
    connection: sqlite3.Connection,
) -> Enqueued:
    """Insert one by one; evict after each, so that the file exceeds its limit by one at most."""
    added = Enqueued()
    for each in prepared:
        one = enqueue.add([each], connection)
        added.extend(one)
        if bytes_used(connection) <= quota.max_bytes:
            continue
        if quota.when_full == "drop-oldest":
            _evict_oldest(quota, evicted, now_ns, connection)
        else:
            _evict_new(quota, evicted, each, one.seqs[0], connection)
    return added


def _make_room(quota: Quota, evicted: Evicted, now_ns: int, connection: sqlite3.Connection) -> None:
    """Evict what was stored before, for rows that are not evicted themselves."""
    if quota.when_full == "drop-oldest":
        _evict_oldest(quota, evicted, now_ns, connection)
    else:
        _evict_dead_letters(quota, evicted, connection)


def enrich_within_quota(
    seqs: Sequence[int],
    notification: Notification,
    quota: Quota,
    now_ns: int,
    used: UsedSpace,
    connection: sqlite3.Connection,
) -> tuple[EnrichResult, Collection[str]]:
    """Replace held notifications as far as the quota allows; return their destinations too.

    A notification that takes no more space than before is replaced even if the store is full.
    """
    used.invalidate()  # what is included may be large
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
    """Return an answer to store with a dead letter, shortened if the store is full.

    A dead letter takes little more space than its delivery did, but its answer can take twice that.
    """
    return answer if bytes_used(connection) <= quota.max_bytes else deliveries.shorten(answer)


def bytes_used(connection: sqlite3.Connection) -> int:
    """Return the size of the pages in use, as the current transaction sees them."""
    pages, page_size, _ = _measure(connection)
    return pages * page_size


def _measure(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return the used pages, the bytes of one, and the number of undeclared evictions."""
    pages, page_size, undeclared = connection.execute(SQL["measure"]).fetchone()
    return int(pages), int(page_size), int(undeclared)


def _evict_oldest(
    quota: Quota, evicted: Evicted, now_ns: int, connection: sqlite3.Connection
) -> None:
    _evict_dead_letters(quota, evicted, connection)
    while max_bytes := _bytes_to_evict(quota, connection):
        limits = {"limit": EVICT_BATCH, "max_bytes": max_bytes}
        rows = connection.execute(SQL["evict_oldest"], limits).fetchall()
        if not rows:
            return
        evicted.seqs.update(seq for seq, *_ in rows)
        for chain in {chain for _, _, chain, _ in rows}:
            connection.execute(SQL["release_head"], {"chain": chain, "now_ns": now_ns})
        evicted.destinations.update(destination for _, destination, *_ in rows)
        evicted.messages += [(to, id_) for _, to, _, id_ in rows if id_ is not None]


def _evict_new(
    quota: Quota,
    evicted: Evicted,
    prepared: PreparedNotification,
    seqs: Sequence[int],
    connection: sqlite3.Connection,
) -> None:
    """Evict the deliveries of a notification, which were just inserted."""
    _evict_dead_letters(quota, evicted, connection)
    # Never relay's own events: they are few, and report that others are missing.
    if bytes_used(connection) > quota.max_bytes and not prepared.is_self_event:
        deliveries.delete(seqs, connection)  # no other waits behind them yet
        evicted.seqs.update(seqs)
        if prepared.message_id is not None:
            evicted.messages += [(row.destination, prepared.message_id) for row in prepared.rows]


def _evict_dead_letters(quota: Quota, evicted: Evicted, connection: sqlite3.Connection) -> None:
    """Evict dead letters first: they must not displace deliveries that can still be sent."""
    while max_bytes := _bytes_to_evict(quota, connection):
        count = dead_letters.drop_oldest(EVICT_BATCH, max_bytes, connection)
        if not count:
            return
        evicted.dead_letters += count


def _bytes_to_evict(quota: Quota, connection: sqlite3.Connection) -> int:
    """Return how many bytes to evict at once; 0 if the store is within its quota."""
    surplus = bytes_used(connection) - quota.max_bytes
    return surplus + EVICT_SPARE_BYTES if surplus > 0 else 0
