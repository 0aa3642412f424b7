"""A worker that is stopped or detached at an awkward moment."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from relay.config import Rate
from relay.core.exchange import Request, Response
from relay.core.notification import build_notification
from relay.core.zone import UTC_ZONE
from relay.delivery.client import DestinationClient
from relay.delivery.queue import MemoryBudget
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.worker import DeliveryWorker
from relay.destinations.http import HttpDestination
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import DueDeliveries, IngestCommit
from tests.component.delivery_worker import (
    Clock,
    ScriptedDestination,
    VirtualTime,
    enqueue,
    make_worker,
    run_workers,
    sample_notification,
)
from tests.component.observer import RecordingObserver
from tests.component.wait import TIMEOUT_S
from tests.support.events import make_event

NOW_NS = 10**18
SECRET = "hush-4711"
DESTINATION = HttpDestination.model_validate(
    {"url": f"http://x/{SECRET}", "headers": {"Authorization": f"Bearer {SECRET}"}}
)


class EchoSender:
    """Answers 503 with everything that was sent."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        return Response(503, f"{request.url} {request.headers}".encode())


def make_commit() -> IngestCommit:
    return IngestCommit("here", None, [(build_notification("all", make_event()), ["sink"])])


def make_client(sender: EchoSender) -> DestinationClient:
    return DestinationClient(
        "sink",
        DESTINATION,
        DESTINATION.build_renderer((), print, colour=False, zone=UTC_ZONE),
        sender,
    )


async def test_a_stop_during_a_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due gets one attempt and the worker ends; the retry stays in the store."""
    sender = EchoSender()
    async with open_outbox(tmp_path / "relay.db") as store:
        await store.commit(make_commit(), NOW_NS)
        worker = DeliveryWorker(
            make_client(sender),
            store,
            RateLimiter(),
            MemoryBudget(),
            RecordingObserver(),
            lambda: NOW_NS,
            lambda: 0.5,
        )
        fetch_due = store.fetch_due

        async def interrupted(*args: Any) -> DueDeliveries:
            worker.stop()
            return await fetch_due(*args)

        monkeypatch.setattr(store, "fetch_due", interrupted)
        async with asyncio.timeout(TIMEOUT_S):
            await worker.run()
        assert await store.pending() == {"sink": 1}
    assert len(sender.sent) == 1


async def test_a_detached_worker_leaves_the_queue_of_the_rate_limit() -> None:
    """While its last attempt is open, another destination has all of the shared rate."""
    detached, other, clock = ScriptedDestination(), ScriptedDestination(), Clock()
    limiter = RateLimiter([Rate(1, 60.0)])
    detached.open.clear()
    async with open_outbox(None) as outbox:
        await enqueue(outbox, sample_notification(1, "a"), sample_notification(2, "b"))
        first = make_worker(outbox, detached, clock, rate_limiter=limiter)
        second = make_worker(outbox, other, clock, "more", rate_limiter=limiter)
        async with run_workers(first, second):
            await detached.wait_for_count(1)
            await VirtualTime(outbox, clock).wait_until_idle()
            await enqueue(outbox, sample_notification(3, "c"), to="more")
            await VirtualTime(outbox, clock, "more").wait_until_idle()
            first.detach()
            for _ in range(5):  # the worker queries once, and the store answers in order
                await outbox.pending()
            await VirtualTime(outbox, clock, "more").advance(60)
            await other.wait_for_count(1)
            detached.open.set()
    assert len(detached.received) == 1


async def test_a_commit_while_a_worker_is_cancelled(outbox: Outbox, clock: Clock) -> None:
    """It starts no request any more, and the memory of all deliveries is given back."""
    to = ScriptedDestination()
    to.open.clear()
    worker = make_worker(outbox, to, clock)

    async def send(request: Request) -> Response:
        try:
            return await send_scripted(request)
        finally:
            await enqueue(outbox, sample_notification(2, "b"), now_ns=clock.now_ns)

    send_scripted = to.send
    to.send = send  # type: ignore[method-assign]
    running = asyncio.create_task(worker.run())
    await enqueue(outbox, sample_notification(1, "a"), now_ns=clock.now_ns)
    await to.wait_for_count(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(to.received) == 1
    assert worker._queue._memory.used_bytes == 0
    assert await outbox.pending() == {"hook": 2}
