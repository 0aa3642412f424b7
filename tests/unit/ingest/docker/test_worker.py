"""Loop 1: batch by batch from the inbox into the store."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.config import parse
from relay.core.event import GapReason
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
    ingest,
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
    """What an engine would tell of its containers."""

    def __init__(self, *sightings: ContainerSnapshot) -> None:
        super().__init__()
        self.asked: list[set[str]] = []
        self._known = {seen.id: seen for seen in sightings}

    async def inspect_many(self, containers: Iterable[str]) -> dict[str, ContainerSnapshot]:
        self.asked.append(wanted := set(containers))
        return {id_: seen for id_, seen in self._known.items() if id_ in wanted}


class WorkerRun:
    """The loop of one engine, and what it committed."""

    def __init__(self, outbox: Outbox, contact: Inspector | None = None) -> None:
        self.commits: list[tuple[IngestCommit, CommitResult]] = []
        self.buffer = EventBuffer(2**24)
        router = Router(parse(ROUTES, file="routes", environ={}, folder=Path()).routes)
        digest = EventPipeline("here", "oldest", router)
        digest.since_ns(NOW_NS)
        self.worker = IngestWorker(
            self.buffer, digest, contact or FakeInspector(), outbox, lambda: NOW_NS
        )

    def _committed(self, intake: IngestCommit, receipt: CommitResult) -> None:
        self.commits.append((intake, receipt))

    async def run(self) -> list[str]:
        """Take in all that the inbox holds; the routes of what was committed."""
        self.buffer.close()
        await ingest(self.worker, self._committed)
        return [noted.route for intake, _ in self.commits for noted, _ in intake.notifications]


def line(action: str, second: float = 0, number: int | None = None) -> bytes:
    exit_code = "" if number is None else f'"exitCode":"{number}"'
    return (
        f'{{"Type":"container","Action":"{action}","timeNano":{NOW_NS + int(second * 1e9)},'
        f'"Actor":{{"ID":"c","Attributes":{{{exit_code}}}}}}}'
    ).encode()


async def test_all_that_was_read_is_committed_before_the_end() -> None:
    """Batch by batch, until the inbox is closed and empty; every commit is told."""
    async with open_outbox(None) as outbox:
        loop = WorkerRun(outbox)
        loop.buffer.put_records(HERE, [line("oom", second) for second in range(BATCH_ITEMS + 1)])
        assert len(await loop.run()) == BATCH_ITEMS + 1
        assert await outbox.pending() == {"ops": BATCH_ITEMS + 1}
        bookmark = await outbox.checkpoint("here")
        assert [len(receipt.seqs) for _, receipt in loop.commits] == [BATCH_ITEMS, 1, 0]
    assert bookmark is not None
    assert bookmark.position_ns == NOW_NS + BATCH_ITEMS * 10**9


class SlowOutbox:
    """An outbox whose disk takes its time."""

    state = None

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.done = asyncio.Event()

    async def commit(self, intake: IngestCommit, now_ns: int) -> CommitResult:
        """Wait for the disk."""
        self.asked.set()
        await self.done.wait()
        return CommitResult([])


async def test_what_waits_for_a_batch_hears_of_it_after_the_commit() -> None:
    """A stream that was opened, a look, and a loss."""
    outbox = SlowOutbox()
    loop = WorkerRun(outbox)  # type: ignore[arg-type]
    opened, look = StreamOpened(HERE), Snapshot("here", "node-1", NOW_NS)
    for item in (opened, look, RecordsDropped(HERE, 1, GapReason.RECORD_TOO_LONG)):
        loop.buffer.put(item)
    running = asyncio.ensure_future(loop.run())
    await outbox.asked.wait()
    flags = (opened.committed, look.committed, loop.buffer.gap_found)
    assert not any(flag.is_set() for flag in flags)
    outbox.done.set()
    await running
    assert all(flag.is_set() for flag in flags)


async def test_containers_are_asked_about_before_their_deaths_are_judged() -> None:
    """Through the contact, and only those that matter."""
    answer = ContainerSnapshot(
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
    contact = FakeInspector(answer)
    async with open_outbox(None) as outbox:
        loop = WorkerRun(outbox, contact)
        loop.buffer.put_records(HERE, [line("die", 1, 0), line("pause", 2)])
        assert await loop.run() == ["crashed"]
    assert contact.asked == [{"c"}]


class ScriptedSleeps:
    """The pauses of the loop; what is put into the inbox in each of them."""

    def __init__(self, *arriving: list[bytes]) -> None:
        self.count = 0
        self.buffer: EventBuffer | None = None
        self._arriving = list(arriving)

    async def sleep(self, delay_s: float) -> None:
        """In the place of waiting."""
        assert delay_s == module.EVIDENCE_POLL_S
        assert self.buffer is not None
        self.count += 1
        if self._arriving:
            self.buffer.put_records(PODMAN, self._arriving.pop(0))


async def routes_with_sleeps(
    pauses: ScriptedSleeps, monkeypatch: pytest.MonkeyPatch, *contents: bytes
) -> list[str]:
    """The routes of what a Podman says, with what arrives in the pauses."""
    monkeypatch.setattr(module, "asyncio", pauses)
    async with open_outbox(None) as outbox:
        loop = WorkerRun(outbox)
        pauses.buffer = loop.buffer
        loop.buffer.put(StreamOpened(PODMAN))
        loop.buffer.put_records(PODMAN, [line("start"), *contents])
        return await loop.run()


DIED, CLEANED = line("die", 1, 1), line("cleanup", 1.01)


async def test_a_batch_waits_for_what_shows_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Podman tells of a stop behind the death, in pieces."""
    pauses = ScriptedSleeps([], [CLEANED], [line("cleanup", 1.03)])
    assert await routes_with_sleeps(pauses, monkeypatch, DIED) == []
    assert pauses.count == 3


async def test_a_batch_waits_no_longer_than_it_has_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """What crashes shows by nothing; then it is judged as it is."""
    pauses = ScriptedSleeps([CLEANED])
    assert await routes_with_sleeps(pauses, monkeypatch, DIED) == ["crashed"]
    assert pauses.count == EVIDENCE_POLLS_MAX


async def test_a_batch_that_is_clear_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """It began its next life, so it crashed."""
    pauses = ScriptedSleeps()
    assert await routes_with_sleeps(pauses, monkeypatch, DIED, line("restart", 1.01)) == ["crashed"]
    assert pauses.count == 0


@pytest.mark.parametrize(
    ("padding", "first"),
    [
        (0, EVIDENCE_BATCHES_MAX * BATCH_ITEMS),
        (130_000, EVIDENCE_BATCHES_MAX * BATCH_BYTES // 130_000),
    ],
    ids=["count", "size"],
)
async def test_what_is_gathered_meanwhile_is_bounded(
    monkeypatch: pytest.MonkeyPatch, padding: int, first: int
) -> None:
    """Under a flood nobody waits for what shows a meaning: it is judged as it is."""
    flood = line("oom", 2).replace(b'"ID":"c"', b'"ID":"d"') + b" " * padding
    sizes: list[int] = []
    take_in = EventPipeline.process

    def spy(digest: EventPipeline, batch: Batch, *args: Any) -> IngestCommit:
        sizes.append(len(batch))
        return take_in(digest, batch, *args)

    monkeypatch.setattr(EventPipeline, "process", spy)
    contents = [DIED, *(flood for _ in range(2 * first))]
    assert await routes_with_sleeps(ScriptedSleeps(), monkeypatch, *contents) == ["crashed", "oom"]
    assert sum(sizes) == len(contents) + 2
    assert first - EVIDENCE_BATCHES_MAX <= sizes[0] <= first + EVIDENCE_BATCHES_MAX


class EvictingOutbox:
    """An outbox that gives up two deliveries and a dead letter with every batch."""

    async def commit(self, intake: IngestCommit, now_ns: int) -> CommitResult:
        """Commit, and shed."""
        return CommitResult([[1] for _ in intake.notifications], evicted=2, dead_letters_evicted=1)


async def test_what_a_full_store_gives_up_is_counted() -> None:
    """With every commit, the last included."""
    loop = WorkerRun(EvictingOutbox())  # type: ignore[arg-type]
    loop.buffer.put_records(HERE, [line("oom", second) for second in range(BATCH_ITEMS + 1)])
    assert await loop.run() == ["oom"] * (BATCH_ITEMS + 1)
    assert (
        loop.worker.pipeline.counters.evicted,
        loop.worker.pipeline.counters.evicted_dead_letters,
    ) == (6, 3)
