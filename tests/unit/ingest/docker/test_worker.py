"""The ingest worker: batch by batch from the buffer into the store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from msgspec.structs import replace

from relay.core.event import GapReason
from relay.destinations.catalog import parse_config
from relay.ingest.docker import gaps
from relay.ingest.docker.buffer import Connection, EventBuffer, RecordsDropped, StreamOpened
from relay.ingest.docker.containers import later_evidence
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine import inspector as engine_inspector
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.inspector import Inspector
from relay.ingest.docker.held import HELD_EVENTS_MAX
from relay.ingest.docker.pipeline import EventPipeline
from relay.ingest.docker.worker import BATCH_ITEMS, IngestWorker
from relay.routing.router import Router
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import CommitResult, IngestCommit
from tests.component.wait import ChangeSignal

if TYPE_CHECKING:
    from relay.ingest.docker.engine.client import EngineClient

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


class FakeClient:
    """An engine's client that shows these containers, and records the requests."""

    def __init__(self, *snapshots: ContainerSnapshot) -> None:
        self.requests: list[str] = []
        self._snapshots = {snapshot.id: snapshot for snapshot in snapshots}

    async def snapshot(self, container: str) -> ContainerSnapshot | None:
        """Return the container's snapshot, if there is one."""
        self.requests.append(container)
        return self._snapshots.get(container)


class WorkerRun:
    """An ingest worker, and what it committed."""

    def __init__(self, outbox: Outbox, client: FakeClient | None = None) -> None:
        self.commits: list[tuple[IngestCommit, CommitResult]] = []
        self.buffer = EventBuffer(2**24)
        self._changes = ChangeSignal()
        router = Router(parse_config(ROUTES, file="routes", environ={}, folder=Path()).routes)
        pipeline = EventPipeline("here", "oldest", router)
        pipeline.since_ns(NOW_NS)
        inspector = Inspector()
        self._connection = ExitStack()
        self._connection.enter_context(inspector.use(cast("EngineClient", client or FakeClient())))
        self.worker = IngestWorker(self.buffer, pipeline, inspector, outbox, lambda: NOW_NS)

    def on_commit(self, commit: IngestCommit, result: CommitResult) -> None:
        """Record a commit."""
        self.commits.append((commit, result))
        self._changes.notify()

    @property
    def routed(self) -> list[str]:
        """The action and the container of each event that was committed."""
        return [
            f"{event.action} {event.actor.id}"
            for commit, _ in self.commits
            for notification, _ in commit.notifications
            for event in notification.events
        ]

    async def wait_for(self, *routed: str) -> None:
        """Return once these events were committed, in this order."""
        await self.wait_until(lambda: self.routed == list(routed))

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Return once the condition holds after a commit."""
        await self._changes.wait_for(holds)

    async def run(self) -> list[str]:
        """Process all that the buffer holds. Returns the routes of the committed notifications."""
        self.buffer.close()
        await self.worker.run(self.on_commit)
        return [
            notification.route
            for commit, _ in self.commits
            for notification, _ in commit.notifications
        ]


def line(action: str, second: float = 0, number: int | None = None, id_: str = "c") -> bytes:
    exit_code = "" if number is None else f'"exitCode":"{number}"'
    return (
        f'{{"Type":"container","Action":"{action}","timeNano":{NOW_NS + int(second * 1e9)},'
        f'"Actor":{{"ID":"{id_}","Attributes":{{{exit_code}}}}}}}'
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
    client = FakeClient(snapshot)
    async with open_outbox(None) as outbox:
        run = WorkerRun(outbox, client)
        run.buffer.put_records(HERE, [line("die", 1, 0), line("pause", 2)])
        assert await run.run() == ["crashed"]
    assert client.requests == ["c"]


class HangingClient(FakeClient):
    """Answers only when the test lets it; about some containers never."""

    def __init__(self, *snapshots: ContainerSnapshot, never: str = "") -> None:
        super().__init__(*snapshots)
        self.may_answer = asyncio.Event()
        self._never = never

    async def snapshot(self, container: str) -> ContainerSnapshot | None:
        """Return the container's snapshot once the test allows it."""
        found = await super().snapshot(container)
        if container == self._never:
            await asyncio.Event().wait()
        await self.may_answer.wait()
        return found


@asynccontextmanager
async def running(client: FakeClient | None = None) -> AsyncIterator[WorkerRun]:
    """Run a worker until the end of the block, and then until it has committed everything."""
    async with open_outbox(None) as outbox:
        run = WorkerRun(outbox, client)
        task = asyncio.ensure_future(run.worker.run(run.on_commit))
        try:
            yield run
        finally:
            run.buffer.close()
            async with asyncio.timeout(10):
                await task


async def test_an_inspection_holds_up_no_other_container() -> None:
    """The events of others are committed while it is under way; then those that waited."""
    client = HangingClient()
    async with running(client) as run:
        run.buffer.put_records(HERE, [line("start"), line("die", 1, 137), line("start", 1.5)])
        run.buffer.put_records(HERE, [line("oom", 2), line("oom", 3, id_="d")])
        await run.wait_for("oom d")
        run.buffer.put_records(HERE, [line("oom", 4, id_="d")])
        await run.wait_for("oom d", "oom d")
        assert run.routed == ["oom d", "oom d"]
        client.may_answer.set()
        await run.wait_for("oom d", "oom d", "die c", "oom c")
    assert client.requests == ["c"]


async def test_one_inspection_that_hangs_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each has its own time. Without an answer the death is decided without one."""
    monkeypatch.setattr(engine_inspector, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(later_evidence, "OOM_WAIT_S", 0)
    client = HangingClient(never="c")
    client.may_answer.set()
    async with running(client) as run:
        for id_ in "cd":
            run.buffer.put_records(HERE, [line("start", id_=id_), line("die", 1, 137, id_)])
        await run.wait_for("die d", "die c")


async def test_an_inspection_that_fails_ends_the_worker() -> None:
    """An unexpected error is not swallowed: what waits would wait for ever."""

    class BrokenClient(FakeClient):
        async def snapshot(self, container: str) -> ContainerSnapshot | None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with running(BrokenClient()) as run:
            run.buffer.put_records(HERE, [line("start"), line("die", 1, 137)])


DIED, CLEANED = line("die", 1, 1), line("cleanup", 1.01)


async def test_a_death_waits_for_evidence() -> None:
    """Podman reports a stop after the death, in several records. Others do not wait."""
    async with running() as run:
        run.buffer.put(StreamOpened(PODMAN))
        run.buffer.put_records(PODMAN, [line("start"), DIED, line("oom", 1, id_="d")])
        await run.wait_for("oom d")
        run.buffer.put_records(PODMAN, [CLEANED, line("oom", 2, id_="d")])
        await run.wait_for("oom d", "oom d")
        run.buffer.put_records(PODMAN, [line("cleanup", 1.03), line("oom", 3)])
        await run.wait_for("oom d", "oom d", "oom c")
    assert run.routed == ["oom d", "oom d", "oom c"]


async def test_the_wait_for_evidence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """After that the cause of a death is decided without it."""
    monkeypatch.setattr(later_evidence, "PODMAN_WAIT_S", 0.1)
    async with running() as run:
        run.buffer.put(StreamOpened(PODMAN))
        run.buffer.put_records(PODMAN, [line("start"), DIED, CLEANED])
        await run.wait_for("die c")
        run.buffer.put_records(PODMAN, [line("oom", 2)])
        await run.wait_for("die c", "oom c")


async def test_a_death_without_doubt_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait if a restart follows the death: then no evidence can come."""
    monkeypatch.setattr(later_evidence, "PODMAN_WAIT_S", 1e6)
    async with running() as run:
        run.buffer.put(StreamOpened(PODMAN))
        run.buffer.put_records(PODMAN, [line("start"), DIED, line("restart", 1.01)])
        await run.wait_for("die c")


async def test_the_end_of_a_session_waits_for_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """None can arrive any more."""
    monkeypatch.setattr(later_evidence, "PODMAN_WAIT_S", 1e6)
    async with running() as run:
        run.buffer.put(StreamOpened(PODMAN))
        run.buffer.put_records(PODMAN, [line("start"), DIED])
    assert run.routed == ["die c"]


async def test_evidence_ends_an_inspection_that_is_no_longer_needed() -> None:
    """The cause is known before the engine has answered; the answer is not kept."""
    client = HangingClient()
    async with running(client) as run:
        run.buffer.put_records(HERE, [line("start"), line("die", 1, 137)])
        await run.wait_until(lambda: bool(run.worker.pipeline.questions))
        run.buffer.put_records(HERE, [line("oom", 1.002)])
        await run.wait_for("oom c")
    assert [task for task in asyncio.all_tasks() if "inspection" in task.get_name()] == []


async def test_the_wait_for_an_oom_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine shows a container that was not killed for memory, and no ``oom`` follows."""
    monkeypatch.setattr(later_evidence, "OOM_WAIT_S", 0.1)
    async with running() as run:
        run.buffer.put_records(HERE, [line("start"), line("die", 1, 137)])
        await run.wait_for("die c")


async def test_a_flood_while_a_death_waits() -> None:
    """What is taken meanwhile is bounded; everything is committed once the answer is there."""
    client = HangingClient()
    async with running(client) as run:
        count = 3 * HELD_EVENTS_MAX
        flood = [line("oom", 2 + number / 1000, id_="d") for number in range(count)]
        run.buffer.put_records(HERE, [line("start"), line("die", 1, 137), *flood])
        await run.wait_until(lambda: run.worker.pipeline.is_full)
        assert run.routed == ["oom d"] * (HELD_EVENTS_MAX - 1)
        client.may_answer.set()
        await run.wait_until(lambda: len(run.routed) == count + 1)
    assert run.routed.count("die c") == 1


async def test_the_end_of_a_session_is_idle_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the time for evidence is over while an inspection is under way."""
    monkeypatch.setattr(later_evidence, "PODMAN_WAIT_S", 0)
    client = HangingClient()
    waits: list[float | None] = []
    wait = asyncio.wait

    async def counted_wait(tasks: Any, *, timeout: float | None, return_when: str) -> Any:
        waits.append(timeout)
        if len(waits) == 5:
            client.may_answer.set()
        return await wait(tasks, timeout=timeout, return_when=return_when)

    async with running(client) as run:
        run.buffer.put(StreamOpened(PODMAN))
        run.buffer.put_records(PODMAN, [line("start"), line("die", 1, 137)])
        await run.wait_until(lambda: bool(run.worker.pipeline.questions))
        monkeypatch.setattr(asyncio, "wait", counted_wait)
        asyncio.get_running_loop().call_later(0.2, client.may_answer.set)
    assert len(waits) < 5


@pytest.mark.parametrize("asks", [False, True])
async def test_drops_are_reported_although_nothing_follows(
    monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    """Once a minute at most, but no later: the engine may be silent from then on."""
    monkeypatch.setattr(gaps, "REPORT_INTERVAL_NS", 10**8)
    monkeypatch.setattr(later_evidence, "OOM_WAIT_S", 0)
    async with running() as run:
        asked = []
        if asks:  # afterwards the next items are awaited in another way
            run.buffer.put_records(HERE, [line("start"), line("die", 1, 137)])
            asked = ["die c"]
            await run.wait_for(*asked)
        run.buffer.put(RecordsDropped(HERE, 1, GapReason.RECORD_TOO_LONG))
        await run.wait_for(*asked, "gap ")
        run.buffer.put(RecordsDropped(HERE, 2, GapReason.BUFFER_FULL))
        await run.wait_for(*asked, "gap ", "gap ")


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
