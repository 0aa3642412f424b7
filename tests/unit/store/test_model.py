"""The outbox against the plainest thing that keeps the same promises."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from relay.exchange import Dead, Delivered, Outcome, Reason, Retry
from relay.store.outbox import Intake, Outbox
from relay.store.sqlite import open_outbox

from .samples import told

DESTINATIONS = ("ops", "audit")


@dataclass
class Waiting:
    """One delivery."""

    number: int
    created_ns: int
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

    def take_in(self, number: int, about: str, to: str, now_ns: int) -> None:
        line = self.lines[to, about]
        if not line.waiting:
            line.ready_ns = now_ns
        line.waiting.append(Waiting(number, now_ns))

    def settle(self, number: int, to: str, outcome: Outcome, now_ns: int) -> None:
        (line,) = (line for line in self._open(to) if line.waiting[0].number == number)
        line.ready_ns = now_ns
        match outcome:
            case Retry(after_s=after_s):
                line.waiting[0].attempts += 1
                line.ready_ns += int(after_s) * 10**9
            case Delivered() | Dead():
                line.waiting.pop(0)

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
class Pass:
    """Time."""

    seconds: int


_outcomes = st.one_of(
    st.just(Delivered()),
    st.just(Dead(Reason.EXPIRED)),
    st.builds(Retry, st.integers(0, 5).map(float), st.just(Reason.STATUS)),
)
_events = st.tuples(st.sampled_from("abc"), st.sets(st.sampled_from(DESTINATIONS)).map(tuple))
_steps = st.one_of(
    st.builds(TakeIn, st.lists(_events, max_size=4)),
    st.builds(Settle, st.sampled_from(DESTINATIONS), st.integers(0, 5), _outcomes),
    st.builds(Pass, st.integers(0, 4)),
)


@given(st.lists(_steps, max_size=30))
def test_does_what_its_model_does(steps: list[TakeIn | Settle | Pass]) -> None:
    """Whatever is taken in and settled, in whatever order: the same are due, at the same times."""
    asyncio.run(_does_what_its_model_does(steps))


async def _does_what_its_model_does(steps: list[TakeIn | Settle | Pass]) -> None:
    model, now_ns, number = Model(), 0, 0
    async with open_outbox(None) as outbox:
        for step in steps:
            match step:
                case Pass(seconds=seconds):
                    now_ns += seconds * 10**9
                case TakeIn(events=events):
                    await _take_in(outbox, model, events, number, now_ns)
                    number += len(events)
                case Settle():
                    await _settle(outbox, model, step, now_ns)
            await _compare(outbox, model, now_ns)


async def _take_in(
    outbox: Outbox,
    model: Model,
    events: list[tuple[str, tuple[str, ...]]],
    number: int,
    now_ns: int,
) -> None:
    notifications = [(told(number + index, about), to) for index, (about, to) in enumerate(events)]
    await outbox.take_in(Intake("here", None, notifications), now_ns)
    for index, (about, destinations) in enumerate(events):
        for to in destinations:
            model.take_in(number + index, about, to, now_ns)


async def _settle(outbox: Outbox, model: Model, step: Settle, now_ns: int) -> None:
    due = (await outbox.due(step.to, now_ns, 100)).deliveries
    if step.which < len(due):
        delivery = due[step.which]
        await outbox.settle(delivery, step.outcome, now_ns)
        model.settle(delivery.notification.events[0].time_ns, step.to, step.outcome, now_ns)


async def _compare(outbox: Outbox, model: Model, now_ns: int) -> None:
    for to in DESTINATIONS:
        due = await outbox.due(to, now_ns, 100)
        assert [
            (delivery.notification.events[0].time_ns, delivery.attempts, delivery.created_ns)
            for delivery in due.deliveries
        ] == model.due(to, now_ns)
        assert due.next_ns == model.next_ns(to, now_ns)
    assert await outbox.pending() == model.pending()
