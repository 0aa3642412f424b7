"""Messages are acknowledged after their commit, and only then."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from relay.ingest.nats.worker import MessageWorker
from relay.nats.puller import PulledMessage
from relay.store.records import CommitResult, IngestCommit
from tests.unit.ingest.nats.samples import ENGINE, SELF_EVENTS, make_message, make_pipeline


class Stage:
    """A worker, and what it does in order."""

    def __init__(self, *batches: Sequence[PulledMessage]) -> None:
        self.did: list[tuple[str, ...]] = []
        self._batches = list(batches)
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.error: Exception | None = None
        self.pulls_cancelled = 0
        puller = SimpleNamespace(ack=self._ack, term=self._term)
        monitor = SimpleNamespace(puller=puller, on_batch=lambda _: True)
        outbox = SimpleNamespace(commit=self._commit)
        pipeline = make_pipeline()
        self.pipeline = pipeline
        make: Any = MessageWorker
        reader = SimpleNamespace(read=self._read)
        self.worker: MessageWorker = make(reader, monitor, pipeline, outbox, lambda: 5)

    async def run(self) -> None:
        """Run the worker to its end."""
        async with asyncio.timeout(10):
            await self.worker.run(lambda _: self.did.append(("committed",)))

    async def _read(self) -> Sequence[PulledMessage]:
        if self._batches:
            return self._batches.pop(0)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.pulls_cancelled += 1
            raise
        raise AssertionError

    async def _commit(self, commit: IngestCommit, _: int) -> CommitResult:
        self.did.append(("commit", str(len(commit.notifications))))
        await self.may_commit.wait()
        if self.error is not None:
            raise self.error
        return CommitResult(())

    async def _ack(self, messages: Sequence[PulledMessage]) -> None:
        if messages:
            self.did.append(("ack", *(str(message.stream_seq) for message in messages)))

    async def _term(self, message: PulledMessage, _: str) -> None:
        self.did.append(("term", str(message.stream_seq)))


async def until(stage: Stage, what: str) -> None:
    """Wait until the worker has done this."""
    async with asyncio.timeout(10):
        while not any(each[0] == what for each in stage.did):
            await asyncio.sleep(0)


async def test_the_acknowledgement_follows_the_commit() -> None:
    """Of events and of what is none; nothing is acknowledged while the disk takes its time."""
    stage = Stage([make_message(2), make_message(1, body=b"{")])
    stage.may_commit.clear()
    running = asyncio.create_task(stage.run())
    await until(stage, "commit")
    await asyncio.sleep(0.01)
    assert stage.did == [("commit", "1")]
    stage.may_commit.set()
    await until(stage, "term")
    stage.worker.end()
    await running
    assert stage.did[:4] == [("commit", "1"), ("committed",), ("ack", "2"), ("term", "1")]


async def test_a_commit_that_fails_acknowledges_nothing() -> None:
    """The session ends, and the messages come again."""
    stage = Stage([make_message(1)])
    stage.error = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        await stage.run()
    assert stage.did == [("commit", "1")]


async def test_nothing_is_committed_for_nothing() -> None:
    """An event that no route sends is acknowledged at once."""
    stage = Stage([make_message(1)])
    stage.pipeline = stage.worker.pipeline = make_pipeline(SELF_EVENTS)
    running = asyncio.create_task(stage.run())
    await until(stage, "ack")
    stage.worker.end()
    await running
    assert stage.did == [("ack", "1")]


async def test_what_was_read_is_committed_at_the_end() -> None:
    """Although the end comes while the disk takes its time; nothing is read after it."""
    stage = Stage([make_message(1)], [make_message(2)])
    stage.may_commit.clear()
    running = asyncio.create_task(stage.run())
    await until(stage, "commit")
    stage.worker.end()
    stage.may_commit.set()
    await running
    assert stage.did == [("commit", "1"), ("committed",), ("ack", "1")]


async def test_an_end_before_the_start() -> None:
    """Nothing is read."""
    stage = Stage([make_message(1)])
    stage.worker.end()
    await stage.run()
    assert stage.did == []
    assert stage.worker.pipeline.engine == ENGINE


async def test_a_worker_that_is_cancelled_ends_its_pull() -> None:
    """As by a second signal."""
    stage = Stage()
    running = asyncio.create_task(stage.run())
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    assert stage.pulls_cancelled == 1
