"""The values that the two loops exchange with the store."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from relay.config import WhenFull
from relay.core.checkpoint import Checkpoint
from relay.core.container import Container
from relay.core.event import HEARTBEAT, RELAY_ENGINE, TYPE_RELAY, Event, source_of
from relay.core.exchange import Answer, Outcome, Reason
from relay.core.notification import Notification

GIVE_UP_BATCH = 500
"""At most this many deliveries are given up in one commit, for their age or their destination."""

GIVE_UP_BYTES = 16 * 2**20
"""And about this many bytes of notifications; a single one may be longer."""

LONG_BYTES = 16 * 2**10
"""A longer notification is stored once for all its destinations, and read by itself, because
statements copy their values. A shorter one is stored in the row of each delivery: with one
destination that is faster below 4 KB, and takes as long at 16 KB."""

PAGE_BYTES = 4 * 2**20
"""About this many bytes of notifications are read at once; a single one may be longer."""

SEEN_KEY_BYTES = 8
"""How long the keys in a `SeenChunk` are: hashes, of which two among a million are equal once in
30 million times."""

HOLD_NS = 3_000_000_000
"""How long a delivery waits at most for what its notification is to include."""


class Quota(msgspec.Struct, frozen=True):
    """The size limit of a store."""

    max_bytes: int
    """Counted are the pages in use, not free ones."""
    when_full: WhenFull


MessageKey = tuple[str, str]
"""A destination and the id of a notification that reports incidents to it."""


StoredRow = tuple[str, str, bytes]
"""The kind and the key of a row, and its content as JSON."""


RowChanges = Mapping[tuple[str, str], bytes | None]
"""Changes of what is stored of incidents: by kind and key the content of each row as JSON, or None
for a row that is deleted."""


class MessageFates(msgspec.Struct, frozen=True):
    """What became of notifications about incidents. What is in neither was delivered or lost."""

    waiting: frozenset[MessageKey]
    """Those that wait for their first or next attempt."""
    dead: Mapping[MessageKey, Reason]
    """Those that are dead letters, each with the reason."""


class SeenChunk(msgspec.Struct, frozen=True):
    """Events of other hosts that were committed together, so that one that comes again is known."""

    number: int
    """Later chunks of an engine have higher ones."""
    seen_ns: int
    """When they were committed, by the clock by which deliveries are due."""
    keys: bytes
    """What identifies each of them, `SEEN_KEY_BYTES` long."""


class HostRow(msgspec.Struct, frozen=True):
    """What is stored of a host that sends heartbeats to an engine."""

    host: str
    heard_ns: int
    """When a heartbeat came, by the clock by which deliveries are due: not of every one."""
    lost_ns: int | None = None
    """Since when the host counts as lost; None if it does not."""


class IngestCommit(msgspec.Struct, frozen=True):
    """What one batch of events leads to. All of it is committed, or nothing."""

    engine: str
    checkpoint: Checkpoint | None
    """Where the engine's cursor stands after the batch; None leaves it unchanged."""
    notifications: Sequence[tuple[Notification, Sequence[str]]]
    """Each with its destinations, in the order of the events."""
    containers: Sequence[Container] = ()
    """The containers to store as a whole."""
    removed_containers: Sequence[str] = ()
    """The ids of containers whose state is to be deleted."""
    declared_losses: Sequence[int] = ()
    """The numbers of the losses that the notifications declare."""
    declared_evictions: int = 0
    """How many evicted deliveries the notifications declare."""
    container_times: Sequence[Container] = ()
    """Stored containers of which only `CHANGING_FIELDS` have changed."""
    first_chunk: int = 0
    """The number of the first chunk of `Checkpoint.sealed` that is not stored yet."""
    incident_rows: RowChanges = {}
    """What changed of incidents."""
    seen: Sequence[SeenChunk] = ()
    """Events of other hosts that are in the batch."""
    oldest_seen: int = 0
    """The engine's chunks with lower numbers are deleted."""
    hosts: Sequence[HostRow] = ()
    """What changed of the hosts that the engine hears."""
    forgotten_hosts: Sequence[str] = ()
    """The hosts of which nothing is to be known any longer."""
    unreadable: Sequence[tuple[Notification, str]] = ()
    """Messages that are no events, each with the reason: they become dead letters."""


class CommitResult(msgspec.Struct, frozen=True):
    """The result of committing a batch."""

    seqs: Sequence[Sequence[int]]
    """For each notification of the batch the numbers of its deliveries, without those evicted."""
    due: frozenset[int] = frozenset()
    """Which of these are due at once: not held, and the first about their subject.

    Does not list deliveries released by an eviction, nor a heartbeat committed together with other
    events.
    """
    chains: Sequence[Sequence[int]] = ()
    """For each notification the chains of its deliveries, one for each destination."""
    sizes: Sequence[int] = ()
    """For each notification the length of its JSON in bytes."""
    evicted: int = 0
    """How many deliveries, of this batch or older, were evicted because the store is full."""
    dead_letters_evicted: int = 0
    """How many dead letters were evicted for the same reason."""
    undeclared_evictions: int = 0
    """How many deliveries this batch and earlier ones evicted that no event has declared yet."""
    evicted_messages: Sequence[MessageKey] = ()
    """Those of the evicted deliveries that report incidents."""


class EnrichResult(msgspec.Struct, frozen=True):
    """The result of completing a notification."""

    stripped: int = 0
    """How many deliveries go without what the notification includes, because the store is full."""
    dead_letters_evicted: int = 0
    """How many dead letters were evicted for the same reason."""


class GiveUpResult(msgspec.Struct, frozen=True):
    """How many deliveries were given up without another attempt."""

    count: int = 0
    self_events: int = 0
    """How many of them are about relay itself."""
    messages: Sequence[MessageKey] = ()
    """Those of them that report incidents."""


class Delivery(msgspec.Struct, frozen=True):
    """One notification for one destination, with its attempts."""

    seq: int
    """The number in the store; later deliveries have higher ones."""
    destination: str
    notification: Notification
    created_ns: int
    attempts: int
    """How many attempts were made so far."""
    chain: int = 0
    """The number of its chain (see `chain_of`). Without an order each has a chain of its own."""
    size_bytes: int = 0
    """The size of its notification in the store."""


class Ack(NamedTuple):
    """A delivery with the outcome of an attempt."""

    delivery: Delivery
    outcome: Outcome
    answer: Answer | None = None
    """What the destination answered. Stored unless the outcome is `Delivered`."""


class WaitingDelivery(msgspec.Struct, frozen=True):
    """A delivery that waits for its first or its next attempt."""

    seq: int
    destination: str
    notification: Notification
    created_ns: int
    attempts: int
    due_ns: int | None
    """None while it waits behind another one about the same subject."""
    reason: str | None
    """Why the last attempt failed; None before the first."""
    answer: Answer | None


class DeadLetter(msgspec.Struct, frozen=True):
    """A delivery that was given up."""

    number: int
    """The number in the store; never used twice."""
    destination: str
    notification: Notification
    created_ns: int
    died_ns: int
    attempts: int
    reason: str
    answer: Answer | None
    """What the destination answered last; None for those that an older relay gave up."""


class Selection(msgspec.Struct, frozen=True):
    """Which dead letters are selected. All conditions have to hold; None matches all."""

    ids: tuple[int | str, ...] | None = None
    """Their numbers, or the ids of their notifications."""
    destination: str | None = None
    route: str | None = None
    since_ns: int | None = None
    """Those that were given up at this time or later."""
    about_incidents: bool = False
    """Only those that report incidents; a few others may be among them."""


class Backlog(msgspec.Struct, frozen=True):
    """How much waits for one destination."""

    count: int
    oldest_ns: int
    """When the delivery that has waited longest was created."""


class DueDeliveries(msgspec.Struct, frozen=True):
    """What a delivery worker can send now, and when there will be more."""

    deliveries: Sequence[Delivery]
    followed: frozenset[int]
    """The numbers of deliveries that others of their chain wait for."""
    next_due_ns: int | None
    """When the first delivery that is not due yet will be due; None if there is none."""
    has_more: bool = False
    """Whether more are due now: a limit was reached."""


DestinationNames = Callable[[], Collection[str]]
"""Returns the names of the destinations that are configured at the moment."""


class EventKind(msgspec.Struct, frozen=True):
    """The part of an event that decides how its delivery is stored."""

    engine: str
    type: str
    action: str
    via: str | None = None


def chain_of(destination: str, subject: str) -> int:
    """Return the number of the chain of all deliveries about a subject to a destination.

    It is a hash of 63 bits, because an index of such numbers is a tenth of one of names, and stays
    in memory. Two chains with the same number would wait for each other, and nothing else.
    """
    identity = f"{destination}\0{subject}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(identity, digest_size=8).digest()) >> 1


def is_heartbeat(event: Event | EventKind) -> bool:
    """Return whether an event is a heartbeat.

    Its delivery replaces one that still waits, and never becomes a dead letter.
    """
    return (event.engine, event.type, event.action) == (RELAY_ENGINE, TYPE_RELAY, HEARTBEAT)


def subject_of(notification: Notification) -> str:
    """Return what a notification is about; deliveries about one subject to one destination stay in
    order.

    What is reported about incidents is in order within its group. Heartbeats are a subject of their
    own, so that they never wait for another event.
    """
    update, event = notification.update, notification.events[0]
    if update is not None:
        return f"group/{msgspec.json.encode(update.group, order='sorted').decode()}"
    if is_heartbeat(event):
        return f"{source_of(event)}/{event.type}//{event.action}"
    return f"{source_of(event)}/{event.type}/{event.actor.id or event.actor.name or ''}"
