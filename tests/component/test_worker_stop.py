"""A lane that is told to stop at an awkward moment."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from relay.config import HttpDestination, Rate
from relay.core.event import Actor, Event
from relay.core.exchange import Request, Response
from relay.core.notification import notify
from relay.delivery.client import Channel
from relay.delivery.rate_limit import Valve
from relay.delivery.worker import Lane
from relay.destinations.catalog import renderer
from relay.store.outbox import open_outbox
from relay.store.records import Due, Intake
from tests.component.delivery_worker import Clock, Destination, Hours, running, take_in, told
from tests.component.delivery_worker import lane as make_lane
from tests.component.observer import Heard
from tests.component.wait import PATIENCE_S

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


def intake() -> Intake:
    actor = Actor("id", "web", None, {})
    event = Event("evt_" + "0" * 32, "here", "here", "container", "die", None, "local", 1, actor)
    return Intake("here", None, [(notify("all", event), ["sink"])])


def channel(sink: Sink) -> Channel:
    return Channel("sink", DESTINATION, renderer(DESTINATION, (), colour=False, failed=print), sink)


async def test_a_stop_during_a_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due gets its one attempt and the lane ends; the retry stays in the store."""
    sink = Sink()
    async with open_outbox(tmp_path / "relay.db") as store:
        await store.take_in(intake(), NOW_NS)
        lane = Lane(channel(sink), store, Valve(), Heard(), lambda: NOW_NS, lambda: 0.5)
        due = store.due

        async def interrupted(*asked: Any) -> Due:
            lane.stop()
            return await due(*asked)

        monkeypatch.setattr(store, "due", interrupted)
        async with asyncio.timeout(PATIENCE_S):
            await lane.run()
        assert await store.pending() == {"sink": 1}
    assert len(sink.sent) == 1


async def test_a_lane_that_leaves_takes_no_turn_from_another() -> None:
    """While its last attempt gets no answer, what shares its place goes on at the place's rate."""
    leaving, other, clock = Destination(), Destination(), Clock()
    valve = Valve([Rate(1, 60.0)])
    leaving.open.clear()
    async with open_outbox(None) as outbox:
        await take_in(outbox, told(1, "a"), told(2, "b"))
        first = make_lane(outbox, leaving, clock, valve=valve)
        second = make_lane(outbox, other, clock, "more", valve=valve)
        async with running(first, second):
            await leaving.until(1)
            await Hours(outbox, clock).settle()
            await take_in(outbox, told(3, "c"), to="more")
            await Hours(outbox, clock, "more").settle()
            first.leave()
            for _ in range(5):  # it asks the store once, which answers in order
                await outbox.pending()
            await Hours(outbox, clock, "more").move(60)
            await other.until(1)
            leaving.open.set()
    assert len(leaving.begun) == 1
