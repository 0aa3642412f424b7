"""A lane that is told to stop at an awkward moment."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from relay.config import HttpDestination, Rate
from relay.core.event import Actor, Event
from relay.core.exchange import Request, Response
from relay.core.notification import build_notification
from relay.delivery.client import DestinationClient
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.worker import DeliveryWorker
from relay.destinations.catalog import build_renderer
from relay.store.outbox import open_outbox
from relay.store.records import DueDeliveries, IngestCommit
from tests.component.delivery_worker import (
    Clock,
    ScriptedDestination,
    VirtualTime,
    enqueue,
    run_workers,
    sample_notification,
)
from tests.component.delivery_worker import make_worker as make_lane
from tests.component.observer import RecordingObserver
from tests.component.wait import TIMEOUT_S

NOW_NS = 10**18
SECRET = "hush-4711"
DESTINATION = HttpDestination.model_validate(
    {"url": f"http://sink/{SECRET}", "headers": {"Authorization": f"Bearer {SECRET}"}}
)


class Sink:
    """Takes everything, and echoes what it was sent in its answer."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.taken = asyncio.Event()

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        self.taken.set()
        return Response(503, f"{request.url} {request.headers}".encode())


def make_commit() -> IngestCommit:
    actor = Actor("id", "web", None, {})
    event = Event("evt_" + "0" * 32, "here", "here", "container", "die", None, "local", 1, actor)
    return IngestCommit("here", None, [(build_notification("all", event), ["sink"])])


def make_client(sink: Sink) -> DestinationClient:
    return DestinationClient(
        "sink",
        DESTINATION,
        build_renderer(DESTINATION, (), colour=False, on_template_error=print),
        sink,
    )


async def test_a_stop_during_a_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due gets its one attempt and the lane ends; the retry stays in the store."""
    sink = Sink()
    async with open_outbox(tmp_path / "relay.db") as store:
        await store.commit(make_commit(), NOW_NS)
        lane = DeliveryWorker(
            make_client(sink),
            store,
            RateLimiter(),
            RecordingObserver(),
            lambda: NOW_NS,
            lambda: 0.5,
        )
        due = store.fetch_due

        async def interrupted(*asked: Any) -> DueDeliveries:
            lane.stop()
            return await due(*asked)

        monkeypatch.setattr(store, "fetch_due", interrupted)
        async with asyncio.timeout(TIMEOUT_S):
            await lane.run()
        assert await store.pending() == {"sink": 1}
    assert len(sink.sent) == 1


async def test_a_lane_that_leaves_takes_no_turn_from_another() -> None:
    """While its last attempt gets no answer, what shares its place goes on at the place's rate."""
    leaving, other, clock = ScriptedDestination(), ScriptedDestination(), Clock()
    valve = RateLimiter([Rate(1, 60.0)])
    leaving.open.clear()
    async with open_outbox(None) as outbox:
        await enqueue(outbox, sample_notification(1, "a"), sample_notification(2, "b"))
        first = make_lane(outbox, leaving, clock, rate_limiter=valve)
        second = make_lane(outbox, other, clock, "more", rate_limiter=valve)
        async with run_workers(first, second):
            await leaving.wait_for_count(1)
            await VirtualTime(outbox, clock).wait_until_idle()
            await enqueue(outbox, sample_notification(3, "c"), to="more")
            await VirtualTime(outbox, clock, "more").wait_until_idle()
            first.detach()
            for _ in range(5):  # it asks the store once, which answers in order
                await outbox.pending()
            await VirtualTime(outbox, clock, "more").advance(60)
            await other.wait_for_count(1)
            leaving.open.set()
    assert len(leaving.received) == 1
