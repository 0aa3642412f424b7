"""The ingest worker: batch by batch from the buffer into the store."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from relay.core.event import GapReason
from relay.destinations.catalog import parse_config
from relay.ingest.docker import worker as module
from relay.ingest.docker.buffer import (
    BATCH_BYTES,
    Connection,
    EventBuffer,
    RecordsDropped,
    StreamOpened,
)
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.inspector import Inspector
from relay.ingest.docker.pipeline import Batch, EventPipeline
from relay.ingest.docker.worker import (
    BATCH_ITEMS,
    EVIDENCE_BATCHES_MAX,
    EVIDENCE_POLLS_MAX,
    IngestWorker,
)
from relay.routing.router import Router
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import CommitResult, IngestCommit

NOW_NS = 1795420000_000000000
HERE = Connection(engine="here", host="node-1", opened_ns=0, since_ns=0)
PODMAN = replace(HERE, podman=True)
ROUTES = """
destinations:
  ops: {type: console}
routes:
  - {name: oom, match: {action: oom}, to: ops}
  - {name: crashed, match: {action: die, cause: crashed}, to: ops}
  - {name: own, match: {type: relay}, to: ops}
"""


class FakeInspector(Inspector):
    """Answers with these snapshots, and records the requests."""

    def __init__(self, *snapshots: ContainerSnapshot) -> None:
        super().__init__()
        self.requests: list[set[str]] = []
        self._snapshots = {snapshot.id: snapshot for snapshot in snapshots}

    async def inspect_many(self, containers: Iterable[str]) -> dict[str, ContainerSnapshot]:
        self.requests.append(ids := set(containers))
        return {id_: snapshot for id_, snapshot in self._snapshots.items() if id_ in ids}


class WorkerRun:
    """An ingest worker, and what it committed."""

    def __init__(self, outbox: Outbox, inspector: Inspector | None = None) -> None:
        self.commits: list[tuple[IngestCommit, CommitResult]] = []
        self.buffer = EventBuffer(2**24)
        router = Router(parse_config(ROUTES, file="routes", environ={}, folder=Path()).routes)
        pipeline = EventPipeline("here", "oldest", router)
        pipeline.since_ns(NOW_NS)
        self.worker = IngestWorker(
            self.buffer, pipeline, inspector or FakeInspector(), outbox, lambda: NOW_NS
        )

    def _on_commit(self, commit: IngestCommit, result: CommitResult) -> None:
        self.commits.append((commit, result))

    async def run(self) -> list[str]:
        """Process all that the buffer holds. Returns the routes of the committed notifications."""
        self.buffer.close()
        await self.worker.run(self._on_commit)
        return [
            notification.route
            for commit, _ in self.commits
            for notification, _ in commit.notifications
        ]


def line(action: str, second: float = 0, number: int | None = None) -> bytes:
    exit_code = "" if number is None else f'"exitCode":"{number}"'
    return (
        f'{{"Type":"container","Action":"{action}","timeNano":{NOW_NS + int(second * 1e9)},'
        f'"Actor":{{"ID":"c","Attributes":{{{exit_code}}}}}}}'
    ).encode()


async def test_everything_read_is_committed_before_the_end() -> None:
    """Batch by batch, until the buffer is closed and empty. Every commit is passed on."""
    async with open_outbox(None) as outbox:
        run = WorkerRun(outbox)
        run.buffer.put_records(HERE, [line("oom", second) for second in range(BATCH_ITEMS + 1)])
        assert len(await run.run()) == BATCH_ITEMS + 1
        assert await outbox.pending() == {"ops": BATCH_ITEMS + 1}
        checkpoint = await outbox.checkpoint("here")
        assert [len(result.seqs) for _, result in run.commits] == [BATCH_ITEMS, 1, 0]
    assert checkpoint is not None
    assert checkpoint.position_ns == NOW_NS + BATCH_ITEMS * 10**9


class SlowOutbox:
    """An outbox whose commit waits for the test."""

    state = None

    def __init__(self) -> None:
        self.commit_started = asyncio.Event()
        self.done = asyncio.Event()

    async def commit(self, commit: IngestCommit, now_ns: int) -> CommitResult:
        """Return once the test allows it."""
        self.commit_started.set()
        await self.done.wait()
        return CommitResult([])


async def test_waiters_are_notified_after_the_commit() -> None:
    """Waiters for an opened stream, a snapshot or a gap are notified after the commit."""
    outbox = SlowOutbox()
    run = WorkerRun(outbox)  # type: ignore[arg-type]
    opened, snapshot = StreamOpened(HERE), Snapshot("here", "node-1", NOW_NS)
    for item in (opened, snapshot, RecordsDropped(HERE, 1, GapReason.RECORD_TOO_LONG)):
        run.buffer.put(item)
    running = asyncio.ensure_future(run.run())
    await outbox.commit_started.wait()
    flags = (opened.committed, snapshot.committed, run.buffer.gap_found)
    assert not any(flag.is_set() for flag in flags)
    outbox.done.set()
    await running
    assert all(flag.is_set() for flag in flags)


async def test_containers_are_inspected_before_their_deaths_are_processed() -> None:
    """Containers are inspected before their deaths get a cause, and only if that matters."""
    snapshot = ContainerSnapshot(
        id="c",
        name="web",
        image="bb:1",
        labels={"exitCode": "0"},
        is_running=False,
        started_ns=NOW_NS,
        finished_ns=NOW_NS + 1,
        exit_code=7,
        oom_killed=False,
        stop_signal=None,
        hiding_labels=frozenset({"exitCode"}),
    )
    inspector = FakeInspector(snapshot)
    async with open_outbox(None) as outbox:
        run = WorkerRun(outbox, inspector)
        run.buffer.put_records(HERE, [line("die", 1, 0), line("pause", 2)])
        assert await run.run() == ["crashed"]
    assert inspector.requests == [{"c"}]


class ScriptedSleeps:
    """Replaces ``asyncio`` in the worker: each sleep puts records into the buffer."""

    def __init__(self, *arriving: list[bytes]) -> None:
        self.count = 0
        self.buffer: EventBuffer | None = None
        self._arriving = list(arriving)

    async def sleep(self, delay_s: float) -> None:
        """Put the next records instead of sleeping."""
        assert delay_s == module.EVIDENCE_POLL_S
        assert self.buffer is not None
        self.count += 1
        if self._arriving:
            self.buffer.put_records(PODMAN, self._arriving.pop(0))


async def routes_with_sleeps(
    sleeps: ScriptedSleeps, monkeypatch: pytest.MonkeyPatch, *contents: bytes
) -> list[str]:
    """The routes of these records of a Podman, and of what arrives during the sleeps."""
    monkeypatch.setattr(module, "asyncio", sleeps)
    async with open_outbox(None) as outbox:
        run = WorkerRun(outbox)
        sleeps.buffer = run.buffer
        run.buffer.put(StreamOpened(PODMAN))
        run.buffer.put_records(PODMAN, [line("start"), *contents])
        return await run.run()


DIED, CLEANED = line("die", 1, 1), line("cleanup", 1.01)


async def test_a_batch_waits_for_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Podman reports a stop after the death, in several records."""
    sleeps = ScriptedSleeps([], [CLEANED], [line("cleanup", 1.03)])
    assert await routes_with_sleeps(sleeps, monkeypatch, DIED) == []
    assert sleeps.count == 3


async def test_the_wait_for_evidence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last poll the cause of a death is decided without further evidence."""
    sleeps = ScriptedSleeps([CLEANED])
    assert await routes_with_sleeps(sleeps, monkeypatch, DIED) == ["crashed"]
    assert sleeps.count == EVIDENCE_POLLS_MAX


async def test_a_batch_without_doubt_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch does not wait if a restart follows the death: then no evidence can come."""
    sleeps = ScriptedSleeps()
    assert await routes_with_sleeps(sleeps, monkeypatch, DIED, line("restart", 1.01)) == ["crashed"]
    assert sleeps.count == 0


@pytest.mark.parametrize(
    ("padding", "first"),
    [
        (0, EVIDENCE_BATCHES_MAX * BATCH_ITEMS),
        (130_000, EVIDENCE_BATCHES_MAX * BATCH_BYTES // 130_000),
    ],
    ids=["count", "size"],
)
async def test_what_is_collected_while_waiting_is_bounded(
    monkeypatch: pytest.MonkeyPatch, padding: int, first: int
) -> None:
    """During a flood of events a batch does not wait for evidence."""
    flood = line("oom", 2).replace(b'"ID":"c"', b'"ID":"d"') + b" " * padding
    sizes: list[int] = []
    process = EventPipeline.process

    def spy(pipeline: EventPipeline, batch: Batch, *args: Any) -> IngestCommit:
        sizes.append(len(batch))
        return process(pipeline, batch, *args)

    monkeypatch.setattr(EventPipeline, "process", spy)
    contents = [DIED, *(flood for _ in range(2 * first))]
    assert await routes_with_sleeps(ScriptedSleeps(), monkeypatch, *contents) == ["crashed", "oom"]
    assert sum(sizes) == len(contents) + 2
    assert first - EVIDENCE_BATCHES_MAX <= sizes[0] <= first + EVIDENCE_BATCHES_MAX


class EvictingOutbox:
    """An outbox that evicts two deliveries and a dead letter with every commit."""

    async def commit(self, commit: IngestCommit, now_ns: int) -> CommitResult:
        """Report evictions."""
        return CommitResult([[1] for _ in commit.notifications], evicted=2, dead_letters_evicted=1)


async def test_evictions_of_a_full_store_are_counted() -> None:
    """The evictions of every commit are counted, including the last."""
    run = WorkerRun(EvictingOutbox())  # type: ignore[arg-type]
    run.buffer.put_records(HERE, [line("oom", second) for second in range(BATCH_ITEMS + 1)])
    assert await run.run() == ["oom"] * (BATCH_ITEMS + 1)
    assert (
        run.worker.pipeline.counters.evicted,
        run.worker.pipeline.counters.evicted_dead_letters,
    ) == (6, 3)
