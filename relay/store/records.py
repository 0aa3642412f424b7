"""What the two loops may ask of a store; they share nothing else."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from relay.config import WhenFull
from relay.core.checkpoint import Checkpoint
from relay.core.container import Container
from relay.core.event import HEARTBEAT, RELAY_ENGINE, TYPE_RELAY, Event
from relay.core.exchange import Answer, Outcome
from relay.core.notification import Notification
from relay.store.faults import StoreLoss, StoreStatus
from relay.store.wakeup import Wakeup

GIVE_UP_BATCH = 500
"""So many deliveries are given up in one commit, for their age or their destination."""

HOLD_NS = 3_000_000_000
"""How long a delivery waits at most for what its notification is to include."""


@dataclass(frozen=True, slots=True)
class Quota:
    """The bound of a store."""

    max_bytes: int
    """In bytes, of the pages that are in use."""
    when_full: WhenFull


@dataclass(frozen=True, slots=True)
class IngestCommit:
    """What one batch of events gives rise to; all of it is committed, or nothing."""

    engine: str
    checkpoint: Checkpoint | None
    """Where the engine's cursor stands after the batch; None leaves it where it is."""
    notifications: Sequence[tuple[Notification, Sequence[str]]]
    """Each with the destinations it goes to, in the order of the events."""
    containers: Sequence[Container] = ()
    """Those of which something new is known."""
    removed_containers: Sequence[str] = ()
    """The ids of those that are to be known no more."""
    declared_losses: Sequence[int] = ()
    """The numbers of the losses that the notifications tell of."""
    declared_evictions: int = 0
    """How many of the deliveries that were given up the notifications tell of."""


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What became of a batch."""

    seqs: Sequence[Sequence[int]]
    """For each notification of the batch the numbers of those of its deliveries that are kept."""
    due: frozenset[int] = frozenset()
    """Which of these are due at once: neither held nor behind another about their subject. Where
    something was given up, what stood behind it is due as well and not among them; neither is a
    heartbeat that came with others."""
    evicted: int = 0
    """How many deliveries, of this batch or older, were given up because the store is full."""
    dead_letters_evicted: int = 0
    """How many dead letters went for the same reason."""
    undeclared_evictions: int = 0
    """How many deliveries were given up, by this batch and earlier ones, that none has declared."""


@dataclass(frozen=True, slots=True)
class EnrichResult:
    """What became of a notification that was completed."""

    stripped: int = 0
    """How many deliveries go without what it includes, because the store is full."""
    dead_letters_evicted: int = 0
    """How many dead letters were given up for the same reason."""


@dataclass(frozen=True, slots=True)
class GiveUpResult:
    """Deliveries that were given up without another attempt."""

    count: int = 0
    self_events: int = 0
    """How many of them tell of relay itself."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification for one destination, with its attempts."""

    seq: int
    """The store's number of it: later deliveries have higher ones."""
    destination: str
    notification: Notification
    created_ns: int
    attempts: int
    """Those that were made so far."""


class Ack(NamedTuple):
    """A delivery with what an attempt came to."""

    delivery: Delivery
    outcome: Outcome
    answer: Answer | None = None
    """What the destination said; kept with what is not gone."""


class WaitingDelivery(msgspec.Struct, frozen=True):
    """A delivery as it waits."""

    seq: int
    destination: str
    notification: Notification
    created_ns: int
    attempts: int
    due_ns: int | None
    """None while one about the same subject is before it."""
    reason: str | None
    """Why the last attempt failed; None before the first."""
    answer: Answer | None


class DeadLetter(msgspec.Struct, frozen=True):
    """A delivery that was given up."""

    number: int
    """The store's; never given twice."""
    destination: str
    notification: Notification
    created_ns: int
    died_ns: int
    attempts: int
    reason: str
    answer: Answer | None
    """What the destination said last; None for those that an older relay gave up."""


class Selection(msgspec.Struct, frozen=True):
    """Which dead letters are meant: all of it has to hold, None is anything."""

    ids: tuple[int | str, ...] | None = None
    """Their numbers, or the ids of their notifications."""
    destination: str | None = None
    route: str | None = None
    since_ns: int | None = None
    """They died then or later."""


class Backlog(msgspec.Struct, frozen=True):
    """What waits for one destination."""

    count: int
    oldest_ns: int
    """When the one that has waited longest was made."""


@dataclass(frozen=True, slots=True)
class DueDeliveries:
    """What a lane can do now, and when there is more."""

    deliveries: Sequence[Delivery]
    next_due_ns: int | None
    """When the first delivery that is not due yet will be; None if there is none."""


DestinationNames = Callable[[], Collection[str]]
"""Those of the destinations that are configured at the moment."""


class Outbox(Protocol):
    """Every call returns when what it did is on disk; while the disk fails, none returns."""

    def set_limits(self, quota: Quota, unordered: Collection[str]) -> None:
        """How much it may hold, and whose deliveries are in no order.

        It holds for all that comes from now on. Waits for nothing.
        """
        ...

    @property
    def status(self) -> StoreStatus:
        """Whether the disk does its part; may be asked in any thread."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether anybody is there to do what is asked; a disk that hangs only holds them up."""
        ...

    @property
    def oldest_wait_s(self) -> float:
        """How long the oldest call has waited to return; 0.0 where none does."""
        ...

    async def checkpoint(self, engine: str) -> Checkpoint | None:
        """Where an engine's cursor stood at its last commit; None for an engine never heard."""
        ...

    async def containers(self, engine: str) -> list[Container]:
        """What was known of an engine's containers at the last commit."""
        ...

    async def commit(self, batch: IngestCommit, now_ns: int) -> CommitResult:
        """Commit a batch: its deliveries and the cursor that moves past it.

        A delivery is due at once, or `HOLD_NS` later if its notification is to include something.
        A heartbeat takes the place of one that waits for the same destination.

        A store that is full gives up dead letters, then the oldest deliveries or those of this
        batch, as it was told; the cursor moves all the same. How many deliveries went is kept, in
        the same commit, until a batch declares it.
        """
        ...

    async def losses(self) -> list[StoreLoss]:
        """The broken stores that were set aside and that no batch has declared, oldest first."""
        ...

    async def enrich(
        self, seqs: Sequence[int], notification: Notification, now_ns: int
    ) -> EnrichResult:
        """Put the notification, with what it includes, in the place of the one that is held.

        What is held no more stays as it is: it may be under way. A store that is full gives up
        dead letters for it; if that is not enough, the notification says that this is missing.
        """
        ...

    async def fetch_due(
        self, destination: str, now_ns: int, limit: int, exclude: Collection[int] = ()
    ) -> DueDeliveries:
        """Up to ``most`` deliveries that are due, the longest due first.

        Those whose ``seq`` is among ``besides`` are left out: they are under way.

        Of deliveries about one subject only the first is ever due: they stay in order.
        """
        ...

    async def ack(self, acks: Sequence[Ack], now_ns: int) -> bool:
        """Commit what attempts came to, all at once: gone, due again later, or a dead letter.

        A heartbeat is never kept. Unless one is to be tried again, the next delivery about the same
        subject becomes due. Where an outcome pauses the destination, that is kept. Returns whether
        anything is due by it, now or later.
        """
        ...

    async def expire(
        self, destination: str, before_ns: int, now_ns: int, exclude: Collection[int] = ()
    ) -> GiveUpResult:
        """Give up up to `GIVE_UP_BATCH` deliveries made before then, without another attempt.

        Those whose ``seq`` is among ``besides`` are left alone, and those that stand behind them.
        """
        ...

    async def drop_destination(self, destination: str, now_ns: int) -> GiveUpResult:
        """Give up up to `GIVE_UP_BATCH` deliveries to a destination that is no more."""
        ...

    async def retry_now(self, destination: str, now_ns: int) -> None:
        """Make due what waits for another attempt: the destination works again."""
        ...

    async def begin_outage(self, destination: str, now_ns: int) -> None:
        """The destination fails."""
        ...

    async def end_outage(self, destination: str) -> None:
        """It works again."""
        ...

    async def outages(self) -> dict[str, int]:
        """Since when destinations fail, for those that do."""
        ...

    async def pauses(self, now_ns: int) -> dict[str, int]:
        """Until when destinations want nothing, for those that do."""
        ...

    async def end_pause(self, destination: str) -> None:
        """Forget that the destination wants nothing."""
        ...

    async def correct_times(self, now_ns: int, max_wait_ns: int) -> int:
        """Mend the times of deliveries that cannot be, because the clock was set back meanwhile.

        What was made in the future was made now, and what waits longer than ``most_ns`` is due.
        Returns how many.
        """
        ...

    async def waiting(self, destination: str | None, limit: int) -> list[WaitingDelivery]:
        """Up to ``most`` deliveries that wait, the oldest first; of one destination or of all."""
        ...

    async def dead_letters(
        self, selection: Selection, limit: int, below: int | None = None
    ) -> list[DeadLetter]:
        """Up to ``most`` of those, the newest first; with numbers less than ``below``."""
        ...

    async def replay_dead_letters(
        self, selection: Selection, destinations: DestinationNames, now_ns: int
    ) -> int:
        """Make deliveries of dead letters again, under the same ids, as if they were new.

        Only of those for these ``destinations``, which are asked for before each commit: for others
        nobody would make them. Returns how many. Those about one subject are in the order in which
        they were given up, behind those that wait.
        """
        ...

    async def drop_dead_letters(self, selection: Selection) -> int:
        """Forget dead letters. Returns how many."""
        ...

    async def prune_dead_letters(self, before_ns: int, max_count: int) -> int:
        """Forget dead letters that died before then, and the oldest beyond so many."""
        ...

    def wakeup(self, destination: str) -> Wakeup[Delivery]:
        """Set whenever the destination may have more that is due; the lane clears it.

        What a batch brings that is due at once is handed over, as far as the lane has room.
        """
        ...

    async def pending(self) -> dict[str, int]:
        """How many deliveries wait, by destination."""
        ...

    async def backlog(self) -> dict[str, Backlog]:
        """The same, with since when; a destination for which nothing waits is not among them."""
        ...


def is_heartbeat(event: Event) -> bool:
    """Whether a delivery of it takes the place of one that still waits, and is never kept dead."""
    return (event.engine, event.type, event.action) == (RELAY_ENGINE, TYPE_RELAY, HEARTBEAT)


def subject_of(event: Event) -> str:
    """What an event is about; deliveries about one subject and destination stay in order.

    Heartbeats have one of their own, so that they wait for nothing else.
    """
    if is_heartbeat(event):
        return f"{event.engine}/{event.type}//{event.action}"
    return f"{event.engine}/{event.type}/{event.actor.id or event.actor.name or ''}"
