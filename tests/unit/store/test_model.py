"""The outbox against the simplest model that keeps the same promises."""

import asyncio
import heapq
from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from relay.config import WhenFull
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Retry
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import Ack, IngestCommit
from tests.unit.store.samples import make_notification

DESTINATIONS = ("ops", "audit")
SMALL = 80 * 1024
"""Room for some forty deliveries beside the empty tables."""


@dataclass
class QueuedDelivery:
    """A delivery of the model."""

    number: int
    created_ns: int
    position: int
    """Its position among all, in the order in which they came."""
    attempts: int = 0


@dataclass
class SubjectQueue:
    """Deliveries about one subject to one destination: only the first has a due time."""

    ready_ns: int = 0
    deliveries: list[QueuedDelivery] = field(default_factory=list)


class Model:
    """A queue of deliveries for each destination and subject."""

    def __init__(self) -> None:
        self.queues: defaultdict[tuple[str, str], SubjectQueue] = defaultdict(SubjectQueue)
        self.dead_letters = 0
        self._next_position = 0

    def commit(self, number: int, container: str, to: str, now_ns: int) -> None:
        queue = self.queues[to, container]
        if not queue.deliveries:
            queue.ready_ns = now_ns
        queue.deliveries.append(QueuedDelivery(number, now_ns, self._next_position))
        self._next_position += 1

    def drop_oldest(self, count: int, now_ns: int) -> None:
        queues = [queue for to in DESTINATIONS for queue in self._non_empty(to)]
        all_ = [(waiting.position, queue) for queue in queues for waiting in queue.deliveries]
        for _, queue in heapq.nsmallest(count, all_, key=lambda each: each[0]):
            queue.deliveries.pop(0)
            queue.ready_ns = now_ns

    def ack(self, number: int, to: str, outcome: Outcome, now_ns: int) -> None:
        (queue,) = (queue for queue in self._non_empty(to) if queue.deliveries[0].number == number)
        queue.ready_ns = now_ns
        match outcome:
            case Retry(after_s=after_s):
                queue.deliveries[0].attempts += 1
                queue.ready_ns += int(after_s) * 10**9
            case Delivered() | Dead():
                queue.deliveries.pop(0)
                self.dead_letters += isinstance(outcome, Dead)

    def drop_destination(self, to: str) -> int:
        """Returns how many are given up."""
        gone = [waiting for queue in self._non_empty(to) for waiting in queue.deliveries]
        for queue in self._non_empty(to):
            queue.deliveries.clear()
        self.dead_letters += len(gone)
        return len(gone)

    def fetch_due(self, to: str, now_ns: int) -> list[tuple[int, int, int]]:
        ready = sorted(
            (queue.ready_ns, queue.deliveries[0].number, queue)
            for queue in self._non_empty(to)
            if queue.ready_ns <= now_ns
        )
        heads = [queue.deliveries[0] for _, _, queue in ready]
        return [(head.number, head.attempts, head.created_ns) for head in heads]

    def next_due_ns(self, to: str, now_ns: int) -> int | None:
        return min((x.ready_ns for x in self._non_empty(to) if x.ready_ns > now_ns), default=None)

    def pending(self) -> dict[str, int]:
        counts = {
            to: sum(len(queue.deliveries) for queue in self._non_empty(to)) for to in DESTINATIONS
        }
        return {to: count for to, count in counts.items() if count}

    def _non_empty(self, to: str) -> list[SubjectQueue]:
        return [
            queue
            for (destination, _), queue in self.queues.items()
            if destination == to and queue.deliveries
        ]


@dataclass(frozen=True)
class Commit:
    """A batch: for each event its container and its destinations."""

    events: list[tuple[str, tuple[str, ...]]]


@dataclass(frozen=True)
class AckOne:
    """The outcome of one of those that are due, if there is one."""

    to: str
    which: int
    outcome: Outcome


@dataclass(frozen=True)
class AckMany:
    """The outcomes of the first ones that are due, all at once."""

    to: str
    outcomes: list[Outcome]


@dataclass(frozen=True)
class DropDestination:
    """A destination is no longer configured."""

    to: str


@dataclass(frozen=True)
class Advance:
    """Time passes."""

    seconds: int


_outcomes = st.one_of(
    st.just(Delivered()),
    st.just(Dead(Reason.EXPIRED)),
    st.builds(Retry, st.integers(0, 5).map(float), st.just(Reason.UNAVAILABLE)),
)
_events = st.tuples(st.sampled_from("abc"), st.sets(st.sampled_from(DESTINATIONS)).map(tuple))
_steps = st.one_of(
    st.builds(Commit, st.lists(_events, max_size=4)),
    st.builds(Commit, st.lists(_events, min_size=30, max_size=60)),
    st.builds(AckOne, st.sampled_from(DESTINATIONS), st.integers(0, 5), _outcomes),
    st.builds(AckMany, st.sampled_from(DESTINATIONS), st.lists(_outcomes, min_size=1)),
    st.builds(DropDestination, st.sampled_from(DESTINATIONS)),
    st.builds(Advance, st.integers(0, 4)),
)


_Steps = list[Commit | AckOne | AckMany | DropDestination | Advance]


@given(st.lists(_steps, max_size=30))
def test_the_outbox_behaves_like_its_model(steps: _Steps) -> None:
    """Whatever is committed and acknowledged, the same deliveries are due at the same times."""
    asyncio.run(_run_both(steps, 2**30, "drop-oldest"))


@given(st.lists(_steps, max_size=30), st.sampled_from(["drop-oldest", "drop-new"]))
def test_a_full_outbox_behaves_like_its_model(steps: _Steps, when_full: WhenFull) -> None:
    """A full outbox evicts exactly the oldest or the newest deliveries, as configured."""
    asyncio.run(_run_both(steps, SMALL, when_full))


async def _run_both(steps: _Steps, max_size: int, when_full: WhenFull) -> None:
    model, now_ns, number = Model(), 0, 0
    async with open_outbox(None, max_size=max_size, when_full=when_full) as outbox:
        for step in steps:
            match step:
                case Advance(seconds=seconds):
                    now_ns += seconds * 10**9
                case Commit():
                    await _commit(outbox, model, step, number, now_ns, when_full)
                    number += len(step.events)
                case DropDestination(to=to):
                    assert (
                        await outbox.drop_destination(to, now_ns)
                    ).count == model.drop_destination(to)
                case AckOne():
                    await _ack_one(outbox, model, step, now_ns)
                case AckMany():
                    await _ack_many(outbox, model, step, now_ns)
            await _compare(outbox, model, now_ns)


async def _commit(
    outbox: Outbox, model: Model, step: Commit, number: int, now_ns: int, when_full: WhenFull
) -> None:
    batch = [
        (make_notification(number + index, about), to)
        for index, (about, to) in enumerate(step.events)
    ]
    result = await outbox.commit(IngestCommit("here", None, batch), now_ns)
    refused = 0
    for index, ((about, destinations), seqs) in enumerate(
        zip(step.events, result.seqs, strict=True)
    ):
        if when_full == "drop-new" and not seqs:
            refused += len(destinations)
            continue
        for to in destinations:
            model.commit(number + index, about, to, now_ns)
    if when_full == "drop-new":
        assert result.evicted == refused
    else:
        model.drop_oldest(result.evicted, now_ns)
    assert result.dead_letters_evicted <= model.dead_letters
    model.dead_letters -= result.dead_letters_evicted
    assert not result.evicted or not model.dead_letters


async def _ack_one(outbox: Outbox, model: Model, step: AckOne, now_ns: int) -> None:
    due = (await outbox.fetch_due(step.to, now_ns, 10_000)).deliveries
    if step.which < len(due):
        delivery = due[step.which]
        await outbox.ack([Ack(delivery, step.outcome)], now_ns, flush=True)
        model.ack(delivery.notification.events[0].time_ns, step.to, step.outcome, now_ns)


async def _ack_many(outbox: Outbox, model: Model, step: AckMany, now_ns: int) -> None:
    due = (await outbox.fetch_due(step.to, now_ns, len(step.outcomes))).deliveries
    if due:
        acks = list(map(Ack, due, step.outcomes))
        await outbox.ack(acks, now_ns, flush=True)
        for delivery, outcome, _ in acks:
            model.ack(delivery.notification.events[0].time_ns, step.to, outcome, now_ns)


async def _compare(outbox: Outbox, model: Model, now_ns: int) -> None:
    for to in DESTINATIONS:
        due = await outbox.fetch_due(to, now_ns, 10_000)
        assert [
            (delivery.notification.events[0].time_ns, delivery.attempts, delivery.created_ns)
            for delivery in due.deliveries
        ] == model.fetch_due(to, now_ns)
        assert due.next_due_ns == model.next_due_ns(to, now_ns)
    assert await outbox.pending() == model.pending()
