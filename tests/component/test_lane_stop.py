"""A lane that is told to stop at an awkward moment, and what its log line keeps to itself."""

import asyncio
from collections.abc import Collection
from pathlib import Path

from structlog.testing import capture_logs

from relay.config import HttpDestination
from relay.event import Actor, Event
from relay.exchange import Request, Response
from relay.formats import renderer
from relay.lanes import Channel, Lane
from relay.notification import notify
from relay.store.outbox import Due, Intake
from relay.store.sqlite import SqliteOutbox, open_outbox
from tests.component.bell import PATIENCE_S

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


class Interrupted:
    """An outbox whose lane is told to stop while it fetches."""

    def __init__(self, outbox: SqliteOutbox) -> None:
        self._outbox = outbox
        self.lane: Lane | None = None
        self.bookmark, self.take_in = outbox.bookmark, outbox.take_in
        self.settle, self.news, self.pending = outbox.settle, outbox.news, outbox.pending
        self.containers, self.enrich, self.state = outbox.containers, outbox.enrich, outbox.state
        self.settle_clock, self.losses = outbox.settle_clock, outbox.losses

    async def due(
        self, destination: str, now_ns: int, most: int, besides: Collection[int] = ()
    ) -> Due:
        assert self.lane is not None
        self.lane.stop()
        return await self._outbox.due(destination, now_ns, most, besides)


def intake() -> Intake:
    actor = Actor("id", "web", None, {})
    event = Event("evt_" + "0" * 32, "here", "here", "container", "die", None, "local", 1, actor)
    return Intake("here", None, [(notify("all", event), ["sink"])])


def channel(sink: Sink) -> Channel:
    return Channel("sink", DESTINATION, renderer(DESTINATION, (), colour=False, failed=print), sink)


async def test_a_stop_during_a_fetch(tmp_path: Path) -> None:
    """What is due gets its one attempt and the lane ends; the retry stays in the store."""
    sink = Sink()
    async with open_outbox(tmp_path / "relay.db") as store:
        await store.take_in(intake(), NOW_NS)
        outbox = Interrupted(store)
        outbox.lane = Lane(channel(sink), outbox, lambda: NOW_NS, lambda: 0.5)
        async with asyncio.timeout(PATIENCE_S):
            await outbox.lane.run()
        assert await store.pending() == {"sink": 1}
    assert len(sink.sent) == 1


async def test_the_line_about_an_attempt_holds_no_secret(tmp_path: Path) -> None:
    """Neither the URL nor a header, even where the answer repeats them."""
    sink = Sink()
    async with open_outbox(tmp_path / "relay.db") as store:
        await store.take_in(intake(), NOW_NS)
        lane = Lane(channel(sink), store, lambda: NOW_NS, lambda: 0.5)
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(lane.run())
                await sink.taken.wait()
                lane.stop()
    assert [line["event"] for line in logs] == ["delivery.attempted"]
    assert SECRET in sink.sent[0].url
    assert SECRET not in repr(logs)
