"""What routes want to be told beside an event, asked of a scripted engine."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from relay.core.counters import EngineCounters
from relay.core.event import Actor, Event, make_self_event
from relay.core.notification import Include, Included, Notification, build_notification
from relay.ingest.docker.engine.client import EngineRefused, EngineUnavailable
from relay.ingest.docker.enrichment import CONCURRENCY, QUEUE_SIZE, Engine, Enricher
from relay.store.records import CommitResult, EnrichResult, IngestCommit

if TYPE_CHECKING:
    from relay.store.outbox import Outbox

NOW_NS = 1795420000_000000000
EVERYTHING = Include(logs=2, health=True, inspect=("RestartCount", "State.Nothing"))
INSPECTED = {
    "RestartCount": 3,
    "Config": {"Tty": False},
    "State": {"Health": {"Log": [{"Output": "no answer\n"}]}},
}
LOG = b"\x01\0\0\0\0\0\0\x04one\n\x02\0\0\0\0\0\0\x0atwo\nthree\n"


def crash(id_: str = "c1", type_: str = "container") -> Event:
    return Event("evt_1", "here", "h", type_, "die", None, "local", 1, Actor(id_, "web", "bb", {}))


class FakeEngine:
    """An engine that answers what it is told to; a test may hold it back."""

    def __init__(self, inspect: Any = INSPECTED, logs: bytes | Exception = LOG) -> None:
        self._inspect = inspect
        self._logs = logs
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def inspect(self, container: str) -> bytes | None:
        self.asked.append(f"inspect {container}")
        await self.may_answer.wait()
        if isinstance(self._inspect, Exception):
            raise self._inspect
        return None if self._inspect is None else json.dumps(self._inspect).encode()

    async def logs(self, container: str, lines: int) -> bytes:
        self.asked.append(f"logs {container} {lines}")
        if isinstance(self._logs, Exception):
            raise self._logs
        return self._logs


class FakeOutbox:
    """The part of an outbox in which what is held becomes complete."""

    def __init__(self) -> None:
        self.enriched: asyncio.Queue[tuple[Sequence[int], Notification, int]] = asyncio.Queue()

    async def enrich(
        self, seqs: Sequence[int], notification: Notification, now_ns: int
    ) -> EnrichResult:
        self.enriched.put_nowait((seqs, notification, now_ns))
        return EnrichResult(dead_letters_evicted=2)


@asynccontextmanager
async def run_enricher(
    engine: Engine | None,
    held: FakeOutbox,
    answer_s: float = 60.0,
    tally: EngineCounters | None = None,
) -> AsyncIterator[Enricher]:
    """An enricher at work."""
    outbox = cast("Outbox", held)
    counted = tally or EngineCounters()
    enricher = Enricher(lambda: engine, outbox, lambda: NOW_NS, counted, answer_s)
    work = asyncio.create_task(enricher.run())
    try:
        yield enricher
    finally:
        work.cancel()
        await asyncio.wait([work])
    assert work.cancelled()


def make_commit(*notifications: Notification, each: int = 1) -> tuple[IngestCommit, CommitResult]:
    """A batch after its commit, each notification with so many deliveries."""
    intake = IngestCommit("here", None, [(it, ["ops"] * each) for it in notifications])
    numbers = iter(range(1, 1 + each * len(notifications)))
    return intake, CommitResult([[next(numbers) for _ in range(each)] for _ in notifications])


async def enrich(
    engine: Engine | None,
    include: Include = EVERYTHING,
    event: Event | None = None,
    answer_s: float = 60.0,
) -> Included | None:
    """What comes of it for one event."""
    held = FakeOutbox()
    async with run_enricher(engine, held, answer_s) as enricher:
        enricher.enqueue(*make_commit(build_notification("r", event or crash(), include)))
        _, notification, _ = await held.enriched.get()
    return notification.included


async def test_puts_what_was_asked_for_in_place() -> None:
    """The notification as it was, with all that the engine told, for all of its deliveries."""
    held, engine = FakeOutbox(), FakeEngine()
    before = build_notification("r", crash(), EVERYTHING)
    async with run_enricher(engine, held) as enricher:
        enricher.enqueue(*make_commit(before, each=2))
        seqs, after, now_ns = await held.enriched.get()
    assert (list(seqs), now_ns) == ([1, 2], NOW_NS)
    assert (after.id, after.route, after.events) == (before.id, before.route, before.events)
    assert after.included == Included(
        logs=("two", "three"),
        health="no answer",
        inspect={"RestartCount": 3, "State.Nothing": None},
    )
    assert engine.asked == ["inspect c1", "logs c1 2"], "once for both deliveries"


async def test_asks_for_nothing_more_than_is_wanted() -> None:
    """Without log lines no log is read; without health and fields nothing is told of them."""
    engine = FakeEngine()
    assert await enrich(engine, Include(inspect=("RestartCount",))) == Included(
        inspect={"RestartCount": 3}
    )
    assert engine.asked == ["inspect c1"]
    assert await enrich(FakeEngine(), Include(logs=1)) == Included(logs=("three",))


async def test_a_terminals_log_is_taken_as_it_is() -> None:
    """Whether it has frames the container's configuration tells."""
    engine = FakeEngine(inspect={"Config": {"Tty": True}}, logs=b"a\r\nb\r\n")
    assert await enrich(engine, Include(logs=9)) == Included(logs=("a", "b"))


async def test_leaves_alone_what_asks_for_nothing() -> None:
    """Neither a route without ``include`` nor one whose deliveries were all given up is touched."""
    held, engine = FakeOutbox(), FakeEngine()
    wanted = build_notification("wanted", crash("c3"), EVERYTHING)
    async with run_enricher(engine, held) as enricher:
        enricher.enqueue(*make_commit(build_notification("plain", crash("c1"))))
        enricher.enqueue(
            IngestCommit(
                "here", None, [(build_notification("r", crash("c2"), EVERYTHING), ["ops"])]
            ),
            CommitResult([[]]),
        )
        enricher.enqueue(*make_commit(wanted))
        _, notification, _ = await held.enriched.get()
    assert notification.route == "wanted"
    assert held.enriched.empty()
    assert engine.asked == ["inspect c3", "logs c3 2"]


@pytest.mark.parametrize(
    ("engine", "missing"),
    [
        (FakeEngine(inspect=None), "the container is gone"),
        (FakeEngine(inspect=EngineRefused("no such", 404)), "the container is gone"),
        (FakeEngine(inspect=EngineRefused("no", 403)), "a socket proxy forbids it (403)"),
        (FakeEngine(inspect=[]), "the engine's answer cannot be read"),
        (
            FakeEngine(inspect=EngineUnavailable("answers 500\nto /x")),
            "the engine could not be asked: answers 500 to /x",
        ),
        (
            FakeEngine(inspect=ConnectionResetError(104, "Connection reset by peer")),
            "the engine could not be asked: Connection reset by peer",
        ),
        (None, "the engine is not connected"),
    ],
)
async def test_says_why_it_has_nothing(engine: FakeEngine | None, missing: str) -> None:
    """No failure of an engine is one of relay's; the reason is in plain words."""
    assert await enrich(engine) == Included(missing=missing)


@pytest.mark.parametrize(
    ("failure", "missing"),
    [
        (EngineRefused("no such", 404), "the container is gone"),
        (EngineRefused("dead or marked for removal", 409), "the container is gone"),
        (EngineRefused("does not support reading", 501), "its log driver cannot be read"),
    ],
)
async def test_keeps_what_it_has_when_the_log_fails(failure: Exception, missing: str) -> None:
    """The inspection came before."""
    assert await enrich(FakeEngine(logs=failure)) == Included(
        health="no answer",
        inspect={"RestartCount": 3, "State.Nothing": None},
        missing=missing,
    )


async def test_waits_for_no_slow_engine() -> None:
    """When its time is over the notification is complete without."""
    engine = FakeEngine()
    engine.may_answer.clear()
    assert await enrich(engine, answer_s=0) == Included(missing="the engine did not answer in 0 s")


@pytest.mark.parametrize(
    "event",
    [
        crash(type_="network"),
        crash(""),
        make_self_event("gap", engine="here", host="h", time_ns=1),
    ],
)
async def test_only_containers_have_something_to_tell(event: Event) -> None:
    """For anything else the engine is not asked."""
    engine = FakeEngine()
    assert await enrich(engine, event=event) == Included(
        missing="only containers have logs, health checks and inspect fields"
    )
    assert engine.asked == []


async def test_asks_about_few_at_once() -> None:
    """A burst of crashes is no burst of requests; all get their turn."""
    held, engine = FakeOutbox(), FakeEngine()
    engine.may_answer.clear()
    many = [
        build_notification("r", crash(f"c{n}"), Include(health=True))
        for n in range(3 * CONCURRENCY)
    ]
    async with run_enricher(engine, held) as enricher:
        enricher.enqueue(*make_commit(*many))
        await _settled()
        assert len(engine.asked) == CONCURRENCY
        engine.may_answer.set()
        done = [await held.enriched.get() for _ in many]
    assert sorted(seq for seqs, *_ in done for seq in seqs) == list(range(1, 3 * CONCURRENCY + 1))


async def test_only_so_many_wait() -> None:
    """What is further behind goes out without, at the end of its hold; nothing grows."""
    held, engine = FakeOutbox(), FakeEngine()
    too_many = [build_notification("r", crash(), Include(health=True))] * (QUEUE_SIZE + 5)
    async with run_enricher(engine, held) as enricher:
        enricher.enqueue(*make_commit(*too_many))
        done = [await held.enriched.get() for _ in range(QUEUE_SIZE)]
        await _settled()
    assert [seq for seqs, *_ in done for seq in seqs] == list(range(1, QUEUE_SIZE + 1))
    assert held.enriched.empty()


async def test_stopping_leaves_the_rest() -> None:
    """What is under way is given up; nothing half done reaches the store."""
    held, engine = FakeOutbox(), FakeEngine()
    engine.may_answer.clear()
    async with run_enricher(engine, held) as enricher:
        enricher.enqueue(*make_commit(build_notification("r", crash(), EVERYTHING)))
        await _settled()
    assert engine.asked == ["inspect c1"]
    assert held.enriched.empty()


async def _settled() -> None:
    """Let every task go on until it waits for something that only the test can do."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_what_a_full_store_gave_up_for_it() -> None:
    """Dead letters that made room are counted."""
    held, tally = FakeOutbox(), EngineCounters()
    async with run_enricher(FakeEngine(), held, tally=tally) as enricher:
        for _ in range(2):
            enricher.enqueue(*make_commit(build_notification("r", crash(), Include(logs=5))))
            await held.enriched.get()
        await asyncio.sleep(0)
    assert tally.evicted_dead_letters == 4
