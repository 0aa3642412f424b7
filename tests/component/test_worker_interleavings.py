"""A worker, commits, responses and the store, in every order that their timing allows."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain, count, repeat
from typing import Any, NamedTuple
from unittest.mock import Mock, patch

import msgspec
import structlog
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from relay.core.event import HEARTBEAT, RELAY_ENGINE, TYPE_RELAY, Actor
from relay.core.exchange import Reason, Request, Response
from relay.core.include import Include, Included
from relay.core.notification import Notification, build_notification
from relay.core.zone import UTC_ZONE
from relay.delivery import filler
from relay.delivery import worker as worker_module
from relay.delivery.client import DestinationClient
from relay.delivery.queue import MemoryBudget
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.worker import DeliveryWorker
from relay.store.outbox import Outbox
from relay.store.records import IngestCommit, Quota, Selection, subject_of
from tests.component.delivery_worker import http_destination
from tests.component.observer import RecordingObserver
from tests.support.events import make_event
from tests.support.profiles import examples
from tests.support.virtual_time import StepWriter, open_step_outbox, run_in_virtual_time

NEVER_S = 10.0**7
SETTLED_WITHIN_S = 300.0
"""Longer than holds, pauses, retries and probes last together, once a destination answers 200."""

EPOCH_NS = 10**18
UNLIMITED = 2**30
FINAL = (200, 400)
RETRY = {"initial": "1s", "max": "10s", "max_age": "100d", "jitter": 0, "max_after": "5s"}


class Plan(NamedTuple):
    """How one destination is configured."""

    name: str
    parts: dict[str, Any]


PLANS = [
    Plan("one", {"concurrency": 1}),
    Plan("several", {"concurrency": 3}),
    Plan("loose", {"concurrency": 2, "ordering": "none"}),
    Plan("batches", {"concurrency": 2, "batch": {"max": 4, "wait": "0s"}}),
    Plan("patient", {"concurrency": 2, "batch": {"max": 3, "wait": "2s"}}),
]


class Step(NamedTuple):
    """One thing that happens from outside."""

    what: str
    after_s: float
    events: Sequence[tuple[str, str, int]] = ()
    """Of a commit: the subject, the kind and the length of each event."""


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("aaabcde"),
        st.sampled_from(["plain"] * 6 + ["held", "heartbeat"]),
        st.sampled_from([0, 0, 0, 2_000, 70_000]),
    ),
    min_size=1,
    max_size=6,
)
PAUSES = st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.03, 0.2, 3.0, 30.0])
COMMITS = st.builds(Step, st.just("commit"), PAUSES, EVENTS)
OTHERS = st.builds(
    Step, st.sampled_from(["replace", "stop", "enable", "replay", "enrich", "reorder"]), PAUSES
)
STEPS = st.lists(COMMITS | COMMITS | COMMITS | OTHERS, min_size=1, max_size=12)
ANSWERS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.001, 0.02, 0.3, 5.0]),
        st.sampled_from([200] * 8 + [503, 429, 410, 413, 400, 0]),
    ),
    max_size=30,
)


class Destination:
    """Answers as planned, then 200, and checks order and repetition when something arrives."""

    def __init__(self, name: str, answers: Iterator[tuple[float, int]], writer: StepWriter) -> None:
        self.name = name
        self.answers = answers
        self.arrivals = 0
        self.delivered: set[str] = set()
        self._settled: set[str] = set()
        self._open: set[str] = set()
        self._writer = writer
        self.subjects: dict[str, str] = {}
        """What each notification is about."""

    async def send(self, request: Request) -> Response:
        documents = msgspec.json.decode(request.body)
        documents = documents if isinstance(documents, list) else [documents]
        ids = [document["id"] for document in documents]
        self.arrivals += len(ids)
        self._check(ids)
        self._open.update(ids)
        latency_s, status = next(self.answers)
        try:
            if latency_s:
                await asyncio.sleep(latency_s)
        finally:
            self._open.difference_update(ids)
        if status == 200:
            self.delivered.update(ids)
        if status in FINAL or (status == 413 and len(ids) == 1):
            self._settled.update(ids)
        if status == 0:
            return Response(None, failure=Reason.CONNECTION)
        return Response(status, headers={"retry-after": "3"} if status == 429 else {})

    def replayed(self, ids: Sequence[str]) -> None:
        """Dead letters are deliveries again."""
        self._settled.difference_update(ids)

    def _check(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            assert id_ not in self.delivered, f"{id_} was delivered already"
            assert id_ not in self._open, f"{id_} is under way already"
        rows = self._writer.connection.execute(
            "SELECT deliveries.seq, chain, coalesce(long.notification, deliveries.notification)"
            " FROM deliveries LEFT JOIN long_notifications AS long ON long.seq = long_seq"
            " WHERE destination = ? ORDER BY deliveries.seq",
            (self.name,),
        ).fetchall()
        found = [(chain, msgspec.json.decode(text)["id"]) for _, chain, text in rows]
        chain_of = {id_: chain for chain, id_ in found}
        for id_ in ids:
            if (own := chain_of.get(id_)) is None:
                continue
            for chain_, other in found:
                if other == id_:
                    break
                if chain_ == own:
                    assert other in self._settled, f"{id_} overtakes {other}"
        under_way = [self.subjects[id_] for id_ in (*self._open, *ids)]
        assert len(under_way) == len(set(under_way)), "two of one subject are under way"


class World:
    """Everything that takes part in an example."""

    def __init__(
        self,
        plan: Plan,
        outbox: Outbox,
        writer: StepWriter,
        to: Destination,
        memory: MemoryBudget,
    ) -> None:
        self.plan, self.outbox, self.writer, self.to = plan, outbox, writer, to
        self.memory = memory
        self.limiter = RateLimiter()
        self.worker = self._new_worker()
        self.running: asyncio.Task[None] | None = None
        self.sent: list[str] = []
        """The ids of what was committed and has to be delivered."""
        self._held: list[tuple[Sequence[Sequence[int]], Notification]] = []
        self._numbers = count(1)

    def now_ns(self) -> int:
        return EPOCH_NS + int(asyncio.get_running_loop().time() * 1e9)

    def _new_worker(self) -> DeliveryWorker:
        destination = http_destination(retry=RETRY, **self.plan.parts)
        render = destination.build_renderer((), print, colour=False, zone=UTC_ZONE)
        client = DestinationClient(self.plan.name, destination, render, self.to)
        return DeliveryWorker(
            client,
            self.outbox,
            self.limiter,
            self.memory,
            RecordingObserver(),
            self.now_ns,
            lambda: 0.5,
        )

    def start(self) -> None:
        self.running = asyncio.create_task(self.worker.run())

    async def end(self) -> None:
        """Wait until the worker has ended."""
        assert self.running is not None
        async with asyncio.timeout(SETTLED_WITHIN_S):
            await self.running
        assert_is_empty(self.worker)

    async def take(self, step: Step) -> None:
        await asyncio.sleep(step.after_s)
        match step.what:
            case "commit":
                await self._commit(step.events)
            case "replace" | "stop":
                (self.worker.detach if step.what == "replace" else self.worker.stop)()
                await self.end()
                self.worker = self._new_worker()
                self.start()
            case "enable":
                self.worker.enable()
            case "replay":
                await self._replay()
            case "enrich" if self._held:
                seqs, notification = self._held.pop(0)
                included = msgspec.structs.replace(notification, included=Included(missing="all"))
                await self.outbox.enrich(list(chain(*seqs)), included, self.now_ns())

    async def _commit(self, events: Sequence[tuple[str, str, int]]) -> None:
        notifications = [self._notification(*event) for event in events]
        batch = IngestCommit("here", None, [(each, [self.plan.name]) for each in notifications])
        result = await self.outbox.commit(batch, self.now_ns())
        for notification, seqs in zip(notifications, result.seqs, strict=True):
            if notification.events[0].action != HEARTBEAT and seqs:
                self.sent.append(notification.id)
            if notification.include is not None:
                self._held.append(([seqs], notification))

    async def _replay(self) -> None:
        before = await self.outbox.dead_letters(Selection(), 1000)
        self.to.replayed([dead_letter.notification.id for dead_letter in before])
        await self.outbox.replay_dead_letters(Selection(), lambda: [self.plan.name], self.now_ns())

    def _notification(self, subject: str, kind: str, length: int) -> Notification:
        number = next(self._numbers)
        is_heartbeat = kind == "heartbeat"
        event = make_event(
            id=f"evt_{number:032x}",
            engine=RELAY_ENGINE if is_heartbeat else "here",
            type=TYPE_RELAY if is_heartbeat else "container",
            action=HEARTBEAT if is_heartbeat else "die",
            time_ns=number,
            actor=Actor(subject, subject, None, {"text": "x" * length}),
        )
        include = Include(logs=1) if kind == "held" else None
        notification = build_notification("route", event, include)
        is_ordered = is_heartbeat or self.plan.parts.get("ordering") != "none"
        self.to.subjects[notification.id] = (
            subject_of(notification) if is_ordered else notification.id
        )
        return notification

    async def wait_until_all_is_delivered(self) -> None:
        """The destination answers 200 from now on."""
        self.to.answers = repeat((0.001, 200))
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while self.worker._queue.seqs or await self.outbox.pending():
                if self.running is not None and self.running.done():
                    await self.running  # it has failed
                if self.worker.status.stopped:
                    self.worker.enable()
                await asyncio.sleep(1)


def assert_is_empty(worker: DeliveryWorker) -> None:
    queue = worker._queue
    assert (len(queue), list(queue.seqs), worker._in_flight) == (0, [], set())
    assert worker._open_requests == 0


class Case(NamedTuple):
    """An example."""

    plan: Plan
    steps: Sequence[Step]
    answers: Sequence[tuple[float, int]] = ()
    """How long each takes, and its status; 0 for none."""
    latencies_s: Sequence[float] = ()
    """How long each transaction takes; later ones are quick."""
    max_memory_bytes: int = 16 * 2**20
    fetch_size: int = 256
    max_unacked: int = 512
    max_store_bytes: int = UNLIMITED


CASES = st.builds(
    Case,
    st.sampled_from(PLANS),
    STEPS,
    ANSWERS,
    st.lists(st.sampled_from([0.001, 0.001, 0.02, 0.4]), max_size=12),
    st.sampled_from([1, 6_000, 20_000, 16 * 2**20]),
    st.sampled_from([1, 2, 256]),
    st.sampled_from([1, 512]),
    st.sampled_from([UNLIMITED] * 4 + [200_000]),
)


def commit(*events: tuple[str, str, int], after_s: float = 0.1) -> Step:
    return Step("commit", after_s, events)


PLAIN, HEARTBEAT_EVENT, LONG = ("a", "plain", 0), ("a", "heartbeat", 0), ("b", "plain", 70_000)
REPLAYED = Case(
    PLANS[1],
    [commit(PLAIN), commit(PLAIN), Step("replay", 0.1), commit(PLAIN)],
    [(0.0, 400), (5.0, 200)],
)
"""Nothing that is committed later overtakes a dead letter that is replayed."""
REPLACED = Case(PLANS[1], [commit(HEARTBEAT_EVENT), commit(HEARTBEAT_EVENT)], [(5.0, 200)])
"""A heartbeat waits for one that is under way, although it has replaced it in the store."""
NO_MEMORY = Case(PLANS[1], [commit(PLAIN, LONG)], [(5.0, 200)], max_memory_bytes=6_000)
"""While there is no memory, the store is not queried again and again."""
HELD_DURING_A_QUERY = Case(
    PLANS[1],
    [commit(("a", "plain", 70_000)), commit(("a", "held", 0), after_s=0.6), commit(PLAIN)],
    [(5.0, 200)],
    latencies_s=[0.4] * 12,
)
"""A long notification is read by a second query, and the result of the first is old by then."""
SETTLED_DURING_A_QUERY = Case(
    PLANS[1],
    [commit(LONG), commit(PLAIN, after_s=0.9), commit(PLAIN, after_s=0.5)],
    [(0.0, 503), (1.3, 200)],
    latencies_s=[0.4] * 12,
)
"""The same; by then the first plain delivery is settled, and the second, its successor, is due."""


@given(case=CASES)
@example(REPLAYED)
@example(REPLACED)
@example(NO_MEMORY)
@example(HELD_DURING_A_QUERY)
@example(SETTLED_DURING_A_QUERY)
@settings(max_examples=examples(300), phases=[Phase.explicit, Phase.generate, Phase.shrink])
def test_each_is_delivered_once_and_in_order(case: Case) -> None:
    """And soon: nothing has to wait for one of the rare queries that are always made."""
    plan, steps = case.plan, case.steps

    async def run() -> None:
        waits = chain(case.latencies_s, repeat(0.001))
        unordered = [plan.name] if plan.parts.get("ordering") == "none" else []
        quota = Quota(case.max_store_bytes, "drop-oldest")
        async with open_step_outbox(lambda: next(waits), quota, unordered) as (outbox, writer):
            to = Destination(plan.name, chain(case.answers, repeat((0.001, 200))), writer)
            memory = MemoryBudget(case.max_memory_bytes)
            world = World(plan, outbox, writer, to, memory)
            world.start()
            fetch_due = Mock(wraps=outbox.fetch_due)
            outbox.fetch_due = fetch_due  # type: ignore[method-assign]
            for step in steps:
                await world.take(step)
            await world.wait_until_all_is_delivered()
            assert_is_empty(world.worker)
            assert memory.used_bytes == 0
            world.worker.stop()
            await world.end()
            assert memory.used_bytes == 0
            fetches = fetch_due.call_count
            assert fetches <= 20 * len(steps) + 5 * to.arrivals, "it queries the store in vain"
            dead_letters = await outbox.dead_letters(Selection(), 1000)
            dead = {dead_letter.notification.id for dead_letter in dead_letters}
            if case.max_store_bytes == UNLIMITED:
                assert set(world.sent) - dead <= to.delivered
            assert not dead & to.delivered

    with (
        patch.object(worker_module, "MAX_WAIT_S", NEVER_S),
        patch.object(filler, "FETCH_AGAIN_NS", int(NEVER_S * 1e9)),
        patch.object(worker_module, "FETCH_SIZE", case.fetch_size),
        patch.object(worker_module, "MAX_UNACKED", case.max_unacked),
        structlog.testing.capture_logs(),
    ):
        run_in_virtual_time(run())
