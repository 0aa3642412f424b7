"""What those who listen get to see of what is decided."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from relay.admin import tap as module
from relay.admin.tap import (
    EventsSkipped,
    EventTap,
    RouteDecision,
    Subscriber,
    TapFilter,
    TappedEvent,
    TooManySubscribers,
)
from relay.config import parse
from relay.core.event import Event
from relay.routing.router import Router, RouteResult, Verdict
from tests.unit.destinations.samples import container_event, with_fields

ROUTES = """
destinations: {ops: {type: console}, audit: {type: console}}
routes:
  - {name: noise, match: {action: exec_die}, drop: true}
  - {name: deaths, match: {action: die}, to: [ops, audit]}
  - {name: late, match: {action: die}, to: ops}
"""
DEATH = container_event("die", 7, "c0", {"name": "web"})
NOISE = container_event("exec_die", 8, "c0", {"name": "web"})
START = container_event("start", 9, "c0", {"name": "web"})
ALL = TapFilter(include_unrouted=True)


def fed(tap: EventTap, *events: Event) -> None:
    """Route the events, with the tap as the witness."""
    router = Router(parse(ROUTES, file="t", environ={}, folder=Path()).routes, tap.publish)
    for event in events:
        router.route(event)


async def taken(listener: Subscriber) -> list[TappedEvent | EventsSkipped]:
    """One piece, read."""
    async with asyncio.timeout(5):
        piece = await listener.read()
    return [
        msgspec.json.decode(line, type=TappedEvent | EventsSkipped) for line in piece.splitlines()
    ]


async def shown(wish: TapFilter, *events: Event) -> list[tuple[str, list[str]]]:
    """What a listener sees: the action, and each route with its verdict."""
    tap = EventTap()
    with tap.subscribe(wish) as listener:
        fed(tap, *events)
        listener.close()
        seen = await taken(listener)
    return [
        (it.event.action, [f"{said.route} {said.verdict}" for said in it.routes])
        for it in seen
        if isinstance(it, TappedEvent)
    ]


async def test_an_event_with_the_routes_that_match() -> None:
    """As the router said it: where it goes, and that it goes nowhere else."""
    tap = EventTap()
    with tap.subscribe(TapFilter()) as listener:
        fed(tap, DEATH)
        (seen,) = await taken(listener)
    assert seen == TappedEvent(
        DEATH,
        [
            RouteDecision("deaths", Verdict.SENT, ["ops", "audit"]),
            RouteDecision("late", Verdict.ALREADY_SENT, []),
        ],
    )


async def test_what_goes_nowhere() -> None:
    """It is shown to those who want all, with the route that drops it."""
    assert await shown(TapFilter(), NOISE, START, DEATH) == [
        ("die", ["deaths sent", "late already_sent"])
    ]
    assert await shown(ALL, NOISE, START) == [("exec_die", ["noise dropped"]), ("start", [])]


async def test_one_engine() -> None:
    """The events of others are left out."""
    other = with_fields(START, engine="edge")
    assert len(await shown(TapFilter(include_unrouted=True, engine="edge"), START, other)) == 1
    assert await shown(TapFilter(include_unrouted=True, engine="edge"), START) == []


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made of an event then."""

    def seen(_: Event, __: Sequence[RouteResult]) -> TappedEvent:
        raise AssertionError

    monkeypatch.setattr(module, "make_tapped_event", seen)
    tap = EventTap()
    fed(tap, DEATH)
    with tap.subscribe(TapFilter()):
        fed(tap, START)  # which it does not want


async def test_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are lost, counted, and told before the rest; once."""
    monkeypatch.setattr(module, "QUEUE_LINES", 3)
    tap = EventTap()
    with tap.subscribe(ALL) as listener:
        fed(tap, *(with_fields(START, time_ns=number) for number in range(10)))
        first, *rest = await taken(listener)
        assert first == EventsSkipped(7)
        assert [it.event.time_ns for it in rest if isinstance(it, TappedEvent)] == [7, 8, 9]
        fed(tap, DEATH)
        (seen,) = await taken(listener)
        assert isinstance(seen, TappedEvent)


async def test_bytes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the lines are; one that never fits is lost as well."""
    tap = EventTap()
    with tap.subscribe(ALL) as listener:
        fed(tap, DEATH)
        await taken(listener)
        fed(tap, START)
        size = listener._size
        monkeypatch.setattr(module, "QUEUE_BYTES", 2 * size)
        fed(tap, START, START)
        assert listener._size == 2 * size
        assert (await taken(listener))[0] == EventsSkipped(1)
        assert listener._size == 0
        fed(tap, with_fields(START, detail="x" * 3 * size))
        assert listener._size == 0
        assert await taken(listener) == [EventsSkipped(1)]


async def test_pieces_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many lines come in several."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    tap = EventTap()
    with tap.subscribe(ALL) as listener:
        fed(tap, START, DEATH)
        assert [len(await taken(listener)) for _ in range(2)] == [1, 1]
        assert listener._size == 0


async def test_a_slow_listener_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a queue of its own."""
    monkeypatch.setattr(module, "QUEUE_LINES", 1)
    tap = EventTap()
    with tap.subscribe(ALL) as slow, tap.subscribe(ALL) as quick:
        for _ in range(3):
            fed(tap, START)
            assert len(await taken(quick)) == 1
        assert (await taken(slow))[0] == EventsSkipped(2)


async def test_the_end() -> None:
    """What waits is taken; then there is nothing, and whoever waits is told."""
    tap = EventTap()
    with tap.subscribe(ALL) as listener:
        waiting = asyncio.ensure_future(listener.read())
        await asyncio.sleep(0)
        fed(tap, START)
        listener.close()
        assert b'"start"' in await waiting
        assert await listener.read() == b""


def test_only_so_many() -> None:
    """The next is refused until one of them goes."""
    tap = EventTap()
    with ExitStack() as listening:
        for _ in range(module.MAX_SUBSCRIBERS):
            listening.enter_context(tap.subscribe(ALL))
        with pytest.raises(TooManySubscribers):
            listening.enter_context(tap.subscribe(ALL))
        assert tap.subscriber_count == module.MAX_SUBSCRIBERS
    assert tap.subscriber_count == 0
    with tap.subscribe(ALL):
        assert tap.subscriber_count == 1
