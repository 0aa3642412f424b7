"""The outbox against the plainest thing that keeps the same promises."""

import asyncio
import heapq
from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from relay.config import WhenFull
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Retry
from relay.store.outbox import open_outbox
from relay.store.records import Intake, Outbox, Settled
from tests.unit.store.samples import told

DESTINATIONS = ("ops", "audit")
SMALL = 80 * 1024
"""Room for some forty deliveries beside the empty tables."""


@dataclass
class Waiting:
    """One delivery."""

    number: int
    created_ns: int
    place: int
    """Among all, in the order in which they came."""
    attempts: int = 0


@dataclass
class Line:
    """Deliveries about one subject for one destination: the first has a time, the others wait."""

    ready_ns: int = 0
    waiting: list[Waiting] = field(default_factory=list)


class Model:
    """A line of deliveries for each destination and subject."""

    def __init__(self) -> None:
        self.lines: defaultdict[tuple[str, str], Line] = defaultdict(Line)
        self.letters = 0
        self._places = 0

    def take_in(self, number: int, about: str, to: str, now_ns: int) -> None:
        line = self.lines[to, about]
        if not line.waiting:
            line.ready_ns = now_ns
        line.waiting.append(Waiting(number, now_ns, self._places))
        self._places += 1

    def drop_oldest(self, count: int, now_ns: int) -> None:
        lines = [line for to in DESTINATIONS for line in self._open(to)]
        all_ = [(waiting.place, line) for line in lines for waiting in line.waiting]
        for _, line in heapq.nsmallest(count, all_, key=lambda each: each[0]):
            line.waiting.pop(0)
            line.ready_ns = now_ns

    def settle(self, number: int, to: str, outcome: Outcome, now_ns: int) -> None:
        (line,) = (line for line in self._open(to) if line.waiting[0].number == number)
        line.ready_ns = now_ns
        match outcome:
            case Retry(after_s=after_s):
                line.waiting[0].attempts += 1
                line.ready_ns += int(after_s) * 10**9
            case Delivered() | Dead():
                line.waiting.pop(0)
                self.letters += isinstance(outcome, Dead)

    def retire(self, to: str) -> int:
        """Returns how many are given up."""
        gone = [waiting for line in self._open(to) for waiting in line.waiting]
        for line in self._open(to):
            line.waiting.clear()
        self.letters += len(gone)
        return len(gone)

    def due(self, to: str, now_ns: int) -> list[tuple[int, int, int]]:
        ready = sorted(
            (line.ready_ns, line.waiting[0].number, line)
            for line in self._open(to)
            if line.ready_ns <= now_ns
        )
        heads = [line.waiting[0] for _, _, line in ready]
        return [(head.number, head.attempts, head.created_ns) for head in heads]

    def next_ns(self, to: str, now_ns: int) -> int | None:
        return min((x.ready_ns for x in self._open(to) if x.ready_ns > now_ns), default=None)

    def pending(self) -> dict[str, int]:
        counts = {to: sum(len(line.waiting) for line in self._open(to)) for to in DESTINATIONS}
        return {to: count for to, count in counts.items() if count}

    def _open(self, to: str) -> list[Line]:
        return [line for (place, _), line in self.lines.items() if place == to and line.waiting]


@dataclass(frozen=True)
class TakeIn:
    """A batch: what each event is about, and where it goes."""

    events: list[tuple[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Settle:
    """One of those that are due, if there is one."""

    to: str
    which: int
    outcome: Outcome


@dataclass(frozen=True)
class SettleAll:
    """The first of those that are due, at once."""

    to: str
    outcomes: list[Outcome]


@dataclass(frozen=True)
class Retire:
    """A destination is no more."""

    to: str


@dataclass(frozen=True)
class Pass:
    """Time."""

    seconds: int


_outcomes = st.one_of(
    st.just(Delivered()),
    st.just(Dead(Reason.EXPIRED)),
    st.builds(Retry, st.integers(0, 5).map(float), st.just(Reason.UNAVAILABLE)),
)
_events = st.tuples(st.sampled_from("abc"), st.sets(st.sampled_from(DESTINATIONS)).map(tuple))
_steps = st.one_of(
    st.builds(TakeIn, st.lists(_events, max_size=4)),
    st.builds(TakeIn, st.lists(_events, min_size=30, max_size=60)),
    st.builds(Settle, st.sampled_from(DESTINATIONS), st.integers(0, 5), _outcomes),
    st.builds(SettleAll, st.sampled_from(DESTINATIONS), st.lists(_outcomes, min_size=1)),
    st.builds(Retire, st.sampled_from(DESTINATIONS)),
    st.builds(Pass, st.integers(0, 4)),
)


_Steps = list[TakeIn | Settle | SettleAll | Retire | Pass]


@given(st.lists(_steps, max_size=30))
def test_does_what_its_model_does(steps: _Steps) -> None:
    """Whatever is taken in and settled, in whatever order: the same are due, at the same times."""
    asyncio.run(_does_what_its_model_does(steps, 2**30, "drop-oldest"))


@given(st.lists(_steps, max_size=30), st.sampled_from(["drop-oldest", "drop-new"]))
def test_does_what_its_model_does_when_full(steps: _Steps, when_full: WhenFull) -> None:
    """Where there is little room, too: exactly the oldest or the newest are gone, as it says."""
    asyncio.run(_does_what_its_model_does(steps, SMALL, when_full))


async def _does_what_its_model_does(steps: _Steps, max_size: int, when_full: WhenFull) -> None:
    model, now_ns, number = Model(), 0, 0
    async with open_outbox(None, max_size=max_size, when_full=when_full) as outbox:
        for step in steps:
            match step:
                case Pass(seconds=seconds):
                    now_ns += seconds * 10**9
                case TakeIn():
                    await _take_in(outbox, model, step, number, now_ns, when_full)
                    number += len(step.events)
                case Retire(to=to):
                    assert (await outbox.retire(to, now_ns)).count == model.retire(to)
                case Settle():
                    await _settle(outbox, model, step, now_ns)
                case SettleAll():
                    await _settle_all(outbox, model, step, now_ns)
            await _compare(outbox, model, now_ns)


async def _take_in(
    outbox: Outbox, model: Model, step: TakeIn, number: int, now_ns: int, when_full: WhenFull
) -> None:
    batch = [(told(number + index, about), to) for index, (about, to) in enumerate(step.events)]
    receipt = await outbox.take_in(Intake("here", None, batch), now_ns)
    refused = 0
    for index, ((about, destinations), seqs) in enumerate(
        zip(step.events, receipt.seqs, strict=True)
    ):
        if when_full == "drop-new" and not seqs:
            refused += len(destinations)
            continue
        for to in destinations:
            model.take_in(number + index, about, to, now_ns)
    if when_full == "drop-new":
        assert receipt.shed == refused
    else:
        model.drop_oldest(receipt.shed, now_ns)
    assert receipt.letters_shed <= model.letters
    model.letters -= receipt.letters_shed
    assert not receipt.shed or not model.letters


async def _settle(outbox: Outbox, model: Model, step: Settle, now_ns: int) -> None:
    due = (await outbox.due(step.to, now_ns, 10_000)).deliveries
    if step.which < len(due):
        delivery = due[step.which]
        await outbox.settle([Settled(delivery, step.outcome)], now_ns)
        model.settle(delivery.notification.events[0].time_ns, step.to, step.outcome, now_ns)


async def _settle_all(outbox: Outbox, model: Model, step: SettleAll, now_ns: int) -> None:
    due = (await outbox.due(step.to, now_ns, len(step.outcomes))).deliveries
    if due:
        settled = list(map(Settled, due, step.outcomes))
        await outbox.settle(settled, now_ns)
        for delivery, outcome, _ in settled:
            model.settle(delivery.notification.events[0].time_ns, step.to, outcome, now_ns)


async def _compare(outbox: Outbox, model: Model, now_ns: int) -> None:
    for to in DESTINATIONS:
        due = await outbox.due(to, now_ns, 10_000)
        assert [
            (delivery.notification.events[0].time_ns, delivery.attempts, delivery.created_ns)
            for delivery in due.deliveries
        ] == model.due(to, now_ns)
        assert due.next_ns == model.next_ns(to, now_ns)
    assert await outbox.pending() == model.pending()
