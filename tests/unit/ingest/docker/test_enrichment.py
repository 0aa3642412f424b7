"""Enrichment: what routes include with an event, requested from a fake engine."""

import asyncio

import msgspec
import pytest

from relay.core.counters import EngineCounters
from relay.core.event import Event, Origin, format_rfc3339, make_self_event
from relay.core.include import Include, Included
from relay.core.notification import build_notification
from relay.ingest.docker.engine.errors import AnswerTooLong, EngineRefused, EngineUnavailable
from relay.ingest.docker.enrichment import CONCURRENCY, QUEUE_BYTES, QUEUE_SIZE, Engine
from relay.store.records import CommitResult, IngestCommit
from tests.unit.ingest.docker.enricher import (
    NOW_NS,
    FakeEngine,
    FakeOutbox,
    crash,
    make_commit,
    run_enricher,
)

EVERYTHING = Include(logs=2, health=True, inspect=("RestartCount", "State.Nothing"))


async def enrich(
    engine: Engine | None,
    include: Include = EVERYTHING,
    event: Event | None = None,
    timeout_s: float = 60.0,
) -> Included | None:
    """What is included with one event."""
    outbox = FakeOutbox()
    async with run_enricher(engine, outbox, timeout_s) as enricher:
        enricher.enqueue(*make_commit(build_notification("r", event or crash(), include)))
        _, notification, _ = await outbox.enriched.get()
    return notification.included


async def test_a_notification_is_completed() -> None:
    """It keeps its identity, and all of its deliveries get what the engine answered."""
    outbox, engine = FakeOutbox(), FakeEngine()
    before = build_notification("r", crash(), EVERYTHING)
    async with run_enricher(engine, outbox) as enricher:
        enricher.enqueue(*make_commit(before, each=2))
        seqs, after, now_ns = await outbox.enriched.get()
    assert (list(seqs), now_ns) == ([1, 2], NOW_NS)
    assert (after.id, after.route, after.events) == (before.id, before.route, before.events)
    assert after.included == Included(
        logs=("two", "three"),
        health="no answer",
        inspect={"RestartCount": 3, "State.Nothing": None},
    )
    assert engine.requests == ["inspect c1", "logs c1 2"], "once for both deliveries"


def stamped(time_ns: int, text: str) -> bytes:
    """A line of a log, as the engine frames it."""
    content = f"{format_rfc3339(time_ns)} {text}\n".encode()
    return b"\x01\0\0\0" + len(content).to_bytes(4, "big") + content


LAST_WORDS = [stamped(NOW_NS - 2, "a"), stamped(NOW_NS - 1, "b"), stamped(NOW_NS, "c")]
NEXT_LIFE = [stamped(NOW_NS + n, f"boot {n}") for n in (100_000_000, 100_000_001)]
TWO_LINES = Include(logs=2)


async def test_lines_of_the_next_life_are_left_out() -> None:
    """Those before the death are enough: nothing else is requested."""
    engine = FakeEngine(logs=b"".join(LAST_WORDS))
    death = msgspec.structs.replace(crash(), time_ns=NOW_NS)
    assert await enrich(engine, TWO_LINES, death) == Included(logs=("b", "c"))
    assert engine.requests == ["inspect c1", "logs c1 2"]


async def test_lines_that_the_next_life_crowds_out() -> None:
    """They are looked for in the five minutes before the death, or in less if that is too much."""
    engine = FakeEngine(logs=b"".join(NEXT_LIFE))
    death = msgspec.structs.replace(crash(), time_ns=NOW_NS)
    engine.periods = [AnswerTooLong("too long"), b"".join(LAST_WORDS)]
    assert await enrich(engine, TWO_LINES, death) == Included(logs=("b", "c"))
    periods = [f"logs c1 {seconds * 10**9}" for seconds in (300, 10)]
    assert engine.requests == ["inspect c1", "logs c1 2", *periods]


async def test_the_lines_that_there_are_stay() -> None:
    """If the period before the death cannot be read, the lines known so far are included."""
    engine = FakeEngine(logs=b"".join([LAST_WORDS[2], *NEXT_LIFE]))
    death = msgspec.structs.replace(crash(), time_ns=NOW_NS)
    engine.periods = [AnswerTooLong("too long")] * 4
    assert await enrich(engine, TWO_LINES, death) == Included(logs=("c",))
    engine.periods = [EngineUnavailable("is gone")]
    included = await enrich(engine, TWO_LINES, death)
    assert included == Included(logs=("c",), missing="the engine could not be asked: is gone")


async def test_an_inferred_death_is_a_little_before_the_last_output() -> None:
    """Its time is that of the process's end, and the engine reads the rest of its output then."""
    engine = FakeEngine(logs=LAST_WORDS[2] + stamped(NOW_NS + 1_000_000, "read late"))
    death = msgspec.structs.replace(crash(), time_ns=NOW_NS, origin=Origin.INFERRED)
    assert await enrich(engine, TWO_LINES, death) == Included(logs=("c", "read late"))


async def test_other_events_include_the_newest_lines() -> None:
    """An unhealthy container still runs."""
    engine = FakeEngine(logs=b"".join(NEXT_LIFE))
    event = msgspec.structs.replace(crash(), time_ns=NOW_NS, action="health_status")
    assert await enrich(engine, TWO_LINES, event) == Included(
        logs=("boot 100000000", "boot 100000001")
    )


async def test_only_what_is_included_is_requested() -> None:
    """Without log lines no log is read. Without health and fields neither is included."""
    engine = FakeEngine()
    assert await enrich(engine, Include(inspect=("RestartCount",))) == Included(
        inspect={"RestartCount": 3}
    )
    assert engine.requests == ["inspect c1"]
    assert await enrich(FakeEngine(), Include(logs=1)) == Included(logs=("three",))


async def test_the_log_of_a_terminal_has_no_frames() -> None:
    """The container's configuration says whether its log has frames."""
    engine = FakeEngine(inspect={"Config": {"Tty": True}}, logs=b"a\r\nb\r\n")
    assert await enrich(engine, Include(logs=9)) == Included(logs=("a", "b"))


async def test_notifications_without_include_are_left_alone() -> None:
    """Notifications without include, or whose deliveries were all evicted, are not changed."""
    outbox, engine = FakeOutbox(), FakeEngine()
    wanted = build_notification("wanted", crash("c3"), EVERYTHING)
    async with run_enricher(engine, outbox) as enricher:
        enricher.enqueue(*make_commit(build_notification("plain", crash("c1"))))
        enricher.enqueue(
            IngestCommit(
                "here", None, [(build_notification("r", crash("c2"), EVERYTHING), ["ops"])]
            ),
            CommitResult([[]]),
        )
        enricher.enqueue(*make_commit(wanted))
        _, notification, _ = await outbox.enriched.get()
    assert notification.route == "wanted"
    assert outbox.enriched.empty()
    assert engine.requests == ["inspect c3", "logs c3 2"]


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
async def test_the_reason_is_given_if_nothing_can_be_included(
    engine: FakeEngine | None, missing: str
) -> None:
    """An engine that fails does not make relay fail, and the reason is in plain words."""
    assert await enrich(engine) == Included(missing=missing)


@pytest.mark.parametrize(
    ("failure", "missing"),
    [
        (EngineRefused("no such", 404), "the container is gone"),
        (EngineRefused("dead or marked for removal", 409), "the container is gone"),
        (EngineRefused("does not support reading", 501), "its log driver cannot be read"),
    ],
)
async def test_the_inspection_is_kept_if_the_log_fails(failure: Exception, missing: str) -> None:
    """If the log fails, the answers of the inspection are kept."""
    assert await enrich(FakeEngine(logs=failure)) == Included(
        health="no answer",
        inspect={"RestartCount": 3, "State.Nothing": None},
        missing=missing,
    )


async def test_a_slow_engine_is_not_waited_for() -> None:
    """After the timeout the notification is completed without it."""
    engine = FakeEngine()
    engine.may_answer.clear()
    assert await enrich(engine, timeout_s=0) == Included(missing="the engine did not answer in 0 s")


@pytest.mark.parametrize(
    "event",
    [
        crash(type_="network"),
        crash(""),
        make_self_event("gap", engine="here", host="h", time_ns=1),
    ],
)
async def test_only_containers_can_be_asked_about(event: Event) -> None:
    """Only events of containers are enriched; for any other event the engine is not asked."""
    engine = FakeEngine()
    assert await enrich(engine, event=event) == Included(
        missing="only containers have logs, health checks and inspect fields"
    )
    assert engine.requests == []


async def test_few_requests_run_at_the_same_time() -> None:
    """A burst of crashes is no burst of requests, and each gets its turn."""
    outbox, engine = FakeOutbox(), FakeEngine()
    engine.may_answer.clear()
    many = [
        build_notification("r", crash(f"c{n}"), Include(health=True))
        for n in range(3 * CONCURRENCY)
    ]
    async with run_enricher(engine, outbox) as enricher:
        enricher.enqueue(*make_commit(*many))
        await _run_tasks()
        assert len(engine.requests) == CONCURRENCY
        engine.may_answer.set()
        done = [await outbox.enriched.get() for _ in many]
    assert sorted(seq for seqs, *_ in done for seq in seqs) == list(range(1, 3 * CONCURRENCY + 1))


async def test_the_queue_is_bounded() -> None:
    """Notifications that do not fit into the queue are sent without an answer after their hold."""
    outbox, engine = FakeOutbox(), FakeEngine()
    too_many = [build_notification("r", crash(), Include(health=True))] * (QUEUE_SIZE + 5)
    async with run_enricher(engine, outbox) as enricher:
        enricher.enqueue(*make_commit(*too_many))
        done = [await outbox.enriched.get() for _ in range(QUEUE_SIZE)]
        await _run_tasks()
    assert [seq for seqs, *_ in done for seq in seqs] == list(range(1, QUEUE_SIZE + 1))
    assert outbox.enriched.empty()


async def test_the_queue_is_bounded_in_bytes() -> None:
    """Long notifications that cannot be completed in time do not fill the memory."""
    event = crash()
    actor = msgspec.structs.replace(event.actor, attributes={"label": "x" * (QUEUE_BYTES // 2)})
    long = [
        build_notification(
            "crashed", msgspec.structs.replace(event, id=f"evt_{n}", actor=actor), EVERYTHING
        )
        for n in range(4)
    ]
    outbox = FakeOutbox()
    async with run_enricher(None, outbox) as enricher:
        enricher.enqueue(*make_commit(*long))
        completed = [await outbox.enriched.get() for _ in range(2)]
        assert [seqs for seqs, *_ in completed] == [[1], [2]]
        enricher.enqueue(*make_commit(long[3]))
        seqs, *_ = await outbox.enriched.get()
        assert seqs == [1]


async def test_stopping_drops_the_remaining_jobs() -> None:
    """Nothing half done reaches the store."""
    outbox, engine = FakeOutbox(), FakeEngine()
    engine.may_answer.clear()
    async with run_enricher(engine, outbox) as enricher:
        enricher.enqueue(*make_commit(build_notification("r", crash(), EVERYTHING)))
        await _run_tasks()
    assert engine.requests == ["inspect c1"]
    assert outbox.enriched.empty()


async def _run_tasks() -> None:
    """Let every task run until it waits for the test."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_evictions_of_a_full_store_are_counted() -> None:
    """Dead letters that were evicted to store what is included."""
    outbox, counters = FakeOutbox(), EngineCounters()
    async with run_enricher(FakeEngine(), outbox, counters=counters) as enricher:
        for _ in range(2):
            enricher.enqueue(*make_commit(build_notification("r", crash(), Include(logs=5))))
            await outbox.enriched.get()
        await asyncio.sleep(0)
    assert counters.evicted_dead_letters == 4
