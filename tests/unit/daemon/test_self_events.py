"""relay's own events, on their way into the store."""

import asyncio
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from relay import __version__
from relay.core.event import RELAY_ENGINE
from relay.core.exchange import Reason
from relay.daemon.self_events import SelfEvents
from relay.delivery.circuit_breaker import HealthChange
from relay.destinations.catalog import parse_config
from relay.incidents.incidents import without_incidents
from relay.routing.router import Router
from relay.store.faults import StoreLoss
from relay.store.records import CommitResult, IngestCommit

if TYPE_CHECKING:
    from relay.store.outbox import Outbox

ROUTES = """
destinations: {ops: {type: console}, audit: {type: console}}
routes:
  - {name: everything, to: ops}
  - {name: own, match: {type: relay, action: [started, stopped]}, to: [ops, audit]}
  - {name: gaps, match: {type: relay, action: gap}, to: audit}
  - {name: troubles, match: {type: relay, action: ["destination_*", dead_letter]}, to: [ops, audit]}
  - {name: engines, match: {type: relay, action: "engine_*"}, to: audit}
"""
LOSS = StoreLoss(Path("/state/relay.db.broken-1"), 7, "file is not a database", 5)


class FakeOutbox:
    """Keeps what is committed."""

    def __init__(self) -> None:
        self.committed: list[tuple[IngestCommit, int]] = []
        self.undeclared_evictions = 0

    async def commit(self, batch: IngestCommit, now_ns: int) -> CommitResult:
        self.committed.append((batch, now_ns))
        self.undeclared_evictions -= batch.declared_evictions
        return CommitResult([], undeclared_evictions=self.undeclared_evictions)


@pytest.fixture
def outbox() -> FakeOutbox:
    return FakeOutbox()


@pytest.fixture
def self_events(outbox: FakeOutbox) -> SelfEvents:
    router = Router(parse_config(ROUTES, file="test", environ={}, folder=Path()).routes)
    return SelfEvents(
        router, cast("Outbox", outbox), without_incidents(), lambda: 4711, asyncio.Event()
    )


@pytest.mark.parametrize("action", ["started", "stopped"])
async def test_started_and_stopped(
    self_events: SelfEvents, outbox: FakeOutbox, action: str
) -> None:
    """They go where a route names them, due at once; no engine's checkpoint moves."""
    await self_events.emit(action)
    ((batch, now_ns),) = outbox.committed
    ((notification, destinations),) = batch.notifications
    assert now_ns == 4711
    assert (batch.engine, batch.checkpoint) == (RELAY_ENGINE, None)
    assert (notification.route, list(destinations)) == ("own", ["ops", "audit"])
    (event,) = notification.events
    assert (event.type, event.action, event.engine) == ("relay", action, RELAY_ENGINE)
    assert (event.host, event.actor.name) == (socket.gethostname(), "relay")
    assert event.actor.attributes == {"version": __version__, "pid": str(os.getpid())}


async def test_a_corrupt_store(self_events: SelfEvents, outbox: FakeOutbox) -> None:
    """It is reported as a gap: which file is kept, why, and how much was recovered."""
    await self_events.emit_losses([LOSS])
    ((batch, _),) = outbox.committed
    ((notification, destinations),) = batch.notifications
    assert (notification.route, list(destinations)) == ("gaps", ["audit"])
    (event,) = notification.events
    assert event.action == "gap"
    assert event.actor.attributes == {
        "why": "store_broken",
        "reason": "the store was broken (file is not a database); "
        "it is kept as /state/relay.db.broken-1",
        "file": "/state/relay.db.broken-1",
        "carried": "7",
    }
    assert list(batch.declared_losses) == [5]


async def test_evictions(self_events: SelfEvents, outbox: FakeOutbox) -> None:
    """They are a gap with their number and time, declared in the same commit, and reported once."""
    self_events.on_commit(CommitResult([]))
    assert not self_events.losses_pending.is_set()
    outbox.undeclared_evictions = 7
    self_events.on_commit(CommitResult([], evicted=3, undeclared_evictions=7))
    assert self_events.losses_pending.is_set()
    await self_events.emit_losses([])
    await self_events.emit_losses([])
    ((batch, _),) = outbox.committed
    assert batch.declared_evictions == 7
    (event,) = batch.notifications[0][0].events
    facts = event.actor.attributes
    assert (facts["why"], facts["count"]) == ("store_full", "7")
    assert facts["from"] < facts["until"]


async def test_ids_are_unique(self_events: SelfEvents, outbox: FakeOutbox) -> None:
    """Two starts have different ids, and so have two gaps."""
    for _ in range(2):
        await self_events.emit("started")
        await self_events.emit_losses([LOSS])
    ids = {batch.notifications[0][0].events[0].id for batch, _ in outbox.committed}
    assert len(ids) == 4


async def test_events_that_no_route_names(outbox: FakeOutbox) -> None:
    """They are not delivered."""
    text = "destinations: {ops: {type: console}}\nroutes: [{name: everything, to: ops}]"
    router = Router(parse_config(text, file="test", environ={}, folder=Path()).routes)
    to = cast("Outbox", outbox)
    await SelfEvents(router, to, without_incidents(), lambda: 1, asyncio.Event()).emit("started")
    assert [batch.notifications for batch, _ in outbox.committed] == [[]]


async def test_a_failing_destination(self_events: SelfEvents, outbox: FakeOutbox) -> None:
    """Everyone whom the route names is notified, except the destination itself."""
    self_events.health_changed(
        HealthChange.FAILING, "ops", {"why": "timeout", "reason": "no answer in 15 s"}
    )
    self_events.health_changed(HealthChange.RECOVERED, "ops", {"failed_for_s": "60"})
    await self_events.drain()
    assert [list(batch.notifications[0][1]) for batch, _ in outbox.committed] == [["audit"]] * 2
    events = [batch.notifications[0][0].events[0] for batch, _ in outbox.committed]
    assert [event.action for event in events] == ["destination_failing", "destination_recovered"]
    assert events[0].actor.attributes == {
        "destination": "ops",
        "why": "timeout",
        "reason": "no answer in 15 s",
    }


async def test_an_engine_whose_events_cannot_be_processed(
    self_events: SelfEvents, outbox: FakeOutbox
) -> None:
    """Its events are about the engine, and no engine's checkpoint moves."""
    self_events.engine_changed("engine_lost", "edge", {"reason": "its events make no sense"})
    await self_events.drain()
    ((batch, _),) = outbox.committed
    assert (batch.engine, batch.checkpoint) == (RELAY_ENGINE, None)
    (event,) = batch.notifications[0][0].events
    assert (event.action, event.engine, event.actor.name) == ("engine_lost", "edge", "edge")
    assert event.actor.attributes == {"reason": "its events make no sense"}


async def test_health_changes_are_emitted_as_they_come(
    self_events: SelfEvents, outbox: FakeOutbox
) -> None:
    """They wait for nothing else."""
    running = asyncio.ensure_future(self_events.run())
    self_events.health_changed(HealthChange.FAILING, "ops", {})
    async with asyncio.timeout(5):
        while not outbox.committed:
            await asyncio.sleep(0)
    running.cancel()
    assert len(outbox.committed) == 1


async def test_dead_letters(self_events: SelfEvents, outbox: FakeOutbox) -> None:
    """One event for each destination has their number and the reasons; it comes once."""
    for reason, count in ((Reason.REFUSED, 1), (Reason.EXPIRED, 499), (Reason.REFUSED, 1)):
        self_events.dead_lettered("audit", reason, count)
    assert self_events.losses_pending.is_set()
    await self_events.emit_losses([])
    await self_events.emit_losses([])
    ((batch, _),) = outbox.committed
    ((notification, destinations),) = batch.notifications
    assert list(destinations) == ["ops"]
    assert notification.events[0].actor.attributes == {
        "destination": "audit",
        "count": "501",
        "reason": "2 refused, 499 expired",
    }
