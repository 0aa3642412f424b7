"""relay's own happenings, on their way into the store."""

import asyncio
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from relay import __version__
from relay.config import parse
from relay.core.event import RELAY_ENGINE
from relay.core.exchange import Reason
from relay.daemon.self_events import SelfEvents
from relay.delivery.circuit_breaker import HealthChange
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
"""
LOSS = StoreLoss(Path("/state/relay.db.broken-1"), 7, "file is not a database", 5)


class Store:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.taken: list[tuple[IngestCommit, int]] = []
        self.undeclared_evictions = 0

    async def commit(self, intake: IngestCommit, now_ns: int) -> CommitResult:
        self.taken.append((intake, now_ns))
        self.undeclared_evictions -= intake.declared_evictions
        return CommitResult([], undeclared_evictions=self.undeclared_evictions)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def announcer(store: Store) -> SelfEvents:
    router = Router(parse(ROUTES, file="test", environ={}, folder=Path()).routes)
    return SelfEvents(router, cast("Outbox", store), lambda: 4711, asyncio.Event())


@pytest.mark.parametrize("action", ["started", "stopped"])
async def test_what_happens_to_relay(announcer: SelfEvents, store: Store, action: str) -> None:
    """It goes where a route names it, due at once; no engine's cursor moves."""
    await announcer.emit(action)
    ((intake, now_ns),) = store.taken
    ((notification, destinations),) = intake.notifications
    assert now_ns == 4711
    assert (intake.engine, intake.checkpoint) == (RELAY_ENGINE, None)
    assert (notification.route, list(destinations)) == ("own", ["ops", "audit"])
    (event,) = notification.events
    assert (event.type, event.action, event.engine) == ("relay", action, RELAY_ENGINE)
    assert (event.host, event.actor.name) == (socket.gethostname(), "relay")
    assert event.actor.attributes == {"version": __version__, "pid": str(os.getpid())}


async def test_a_store_that_was_set_aside(announcer: SelfEvents, store: Store) -> None:
    """It is a gap: which file is kept, why, and how much was carried over."""
    await announcer.emit_losses([LOSS])
    ((intake, _),) = store.taken
    ((notification, destinations),) = intake.notifications
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
    assert list(intake.declared_losses) == [5]


async def test_what_a_full_store_gave_up(announcer: SelfEvents, store: Store) -> None:
    """It is a gap with how many and since when, in the commit that counts it as told; and news."""
    announcer.on_commit(CommitResult([]))
    assert not announcer.losses_pending.is_set()
    store.undeclared_evictions = 7
    announcer.on_commit(CommitResult([], evicted=3, undeclared_evictions=7))
    assert announcer.losses_pending.is_set()
    await announcer.emit_losses([])
    await announcer.emit_losses([])
    ((intake, _),) = store.taken
    assert intake.declared_evictions == 7
    (event,) = intake.notifications[0][0].events
    facts = event.actor.attributes
    assert (facts["why"], facts["count"]) == ("store_full", "7")
    assert facts["from"] < facts["until"]


async def test_each_start_is_an_event_of_its_own(announcer: SelfEvents, store: Store) -> None:
    """Two of them are not taken for one, nor is a gap for another."""
    for _ in range(2):
        await announcer.emit("started")
        await announcer.emit_losses([LOSS])
    ids = {intake.notifications[0][0].events[0].id for intake, _ in store.taken}
    assert len(ids) == 4


async def test_what_no_route_names(store: Store) -> None:
    """Nothing comes of it."""
    text = "destinations: {ops: {type: console}}\nroutes: [{name: everything, to: ops}]"
    router = Router(parse(text, file="test", environ={}, folder=Path()).routes)
    await SelfEvents(router, cast("Outbox", store), lambda: 1, asyncio.Event()).emit("started")
    assert [intake.notifications for intake, _ in store.taken] == [[]]


async def test_a_destination_that_fails(announcer: SelfEvents, store: Store) -> None:
    """It is told by `run` as it comes, to all that the route names but itself."""
    announcer.health_changed(
        HealthChange.FAILING, "ops", {"why": "timeout", "reason": "no answer in 15 s"}
    )
    announcer.health_changed(HealthChange.RECOVERED, "ops", {"failed_for_s": "60"})
    await announcer.drain()
    assert [list(intake.notifications[0][1]) for intake, _ in store.taken] == [["audit"]] * 2
    events = [intake.notifications[0][0].events[0] for intake, _ in store.taken]
    assert [event.action for event in events] == ["destination_failing", "destination_recovered"]
    assert events[0].actor.attributes == {
        "destination": "ops",
        "why": "timeout",
        "reason": "no answer in 15 s",
    }


async def test_turns_are_told_as_they_come(announcer: SelfEvents, store: Store) -> None:
    """Without waiting for whatever else is to be declared."""
    running = asyncio.ensure_future(announcer.run())
    announcer.health_changed(HealthChange.FAILING, "ops", {})
    async with asyncio.timeout(5):
        while not store.taken:
            await asyncio.sleep(0)
    running.cancel()
    assert len(store.taken) == 1


async def test_what_was_given_up_for_a_destination(announcer: SelfEvents, store: Store) -> None:
    """One event for each destination, however many there were, with why; told once."""
    for reason, count in ((Reason.REFUSED, 1), (Reason.EXPIRED, 499), (Reason.REFUSED, 1)):
        announcer.dead_lettered("audit", reason, count)
    assert announcer.losses_pending.is_set()
    await announcer.emit_losses([])
    await announcer.emit_losses([])
    ((intake, _),) = store.taken
    ((notification, destinations),) = intake.notifications
    assert list(destinations) == ["ops"]
    assert notification.events[0].actor.attributes == {
        "destination": "audit",
        "count": "501",
        "reason": "2 refused, 499 expired",
    }
