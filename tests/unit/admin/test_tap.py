"""What subscribers of the event tap see."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET

from relay.admin import tap as tap_module
from relay.admin.tap import (
    EventsSkipped,
    EventTap,
    RouteDecision,
    Subscriber,
    TapFilter,
    TappedEvent,
    TooManySubscribers,
)
from relay.core.event import Event
from relay.destinations.catalog import parse_config
from relay.incidents.effect import Effect, EffectKind
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


async def route_events(tap: EventTap, *events: Event) -> None:
    """Route the events, with the tap as the observer, and let it pass them on."""
    router = Router(parse_config(ROUTES, file="t", environ={}, folder=Path()).routes, tap.publish)
    for event in events:
        router.route(event)
    await asyncio.sleep(0)


async def read_chunk(subscriber: Subscriber) -> list[TappedEvent | EventsSkipped]:
    """Read one chunk."""
    async with asyncio.timeout(5):
        piece = await subscriber.read()
    return [
        msgspec.json.decode(line, type=TappedEvent | EventsSkipped) for line in piece.splitlines()
    ]


async def collect(tap_filter: TapFilter, *events: Event) -> list[tuple[str, list[str]]]:
    """Return what a subscriber sees: the action, and each route with its verdict."""
    tap = EventTap()
    with tap.subscribe(tap_filter) as subscriber:
        await route_events(tap, *events)
        subscriber.close()
        tapped = await read_chunk(subscriber)
    return [
        (line.event.action, [f"{decision.route} {decision.verdict}" for decision in line.routes])
        for line in tapped
        if isinstance(line, TappedEvent)
    ]


async def test_an_event_with_its_decisions() -> None:
    """The decisions are those of the router, also for a route that sends to nobody else."""
    tap = EventTap()
    with tap.subscribe(TapFilter()) as subscriber:
        await route_events(tap, DEATH)
        (tapped,) = await read_chunk(subscriber)
    assert tapped == TappedEvent(
        DEATH,
        [
            RouteDecision("deaths", Verdict.SENT, ["ops", "audit"]),
            RouteDecision("late", Verdict.ALREADY_SENT, []),
        ],
    )


async def test_what_an_event_did() -> None:
    """At the destinations that are notified of incidents; it comes in the same step of the loop."""
    tap = EventTap()
    opened = Effect(EffectKind.OPENED, "inc_1", 1)
    counted = Effect(EffectKind.COUNTED, "inc_1", 2)
    routes = parse_config(ROUTES, file="t", environ={}, folder=Path()).routes
    router, later = Router(routes, tap.publish), with_fields(DEATH, id="evt_2")
    assert not tap.is_watching
    tap.on_effects(DEATH, {"ops": opened})  # nobody watches
    with tap.subscribe(TapFilter()) as subscriber:
        assert tap.is_watching
        for event in (DEATH, later):
            router.route(event)
        tap.on_effects(DEATH, {"ops": opened})
        tap.on_effects(later, {"ops": counted, "other": counted})
        one, two = await read_chunk(subscriber)
    assert isinstance(one, TappedEvent)
    assert isinstance(two, TappedEvent)
    assert [each.incidents for each in one.routes] == [{"ops": opened}, UNSET]
    assert [each.incidents for each in two.routes] == [{"ops": counted}, UNSET]


async def test_unrouted_events() -> None:
    """They are shown only to subscribers who want them, with the route that drops them."""
    assert await collect(TapFilter(), NOISE, START, DEATH) == [
        ("die", ["deaths sent", "late already_sent"])
    ]
    assert await collect(ALL, NOISE, START) == [("exec_die", ["noise dropped"]), ("start", [])]


async def test_filter_by_engine() -> None:
    """Events of other engines are left out."""
    other = with_fields(START, engine="edge")
    assert len(await collect(TapFilter(include_unrouted=True, engine="edge"), START, other)) == 1
    assert await collect(TapFilter(include_unrouted=True, engine="edge"), START) == []


async def test_filter_by_host() -> None:
    """At a hub, by the host and by the engine that brings its events."""
    one, other = (with_fields(START, via="fleet", host=host) for host in ("web-1", "db-1"))
    by_host = TapFilter(include_unrouted=True, host="web-*")
    assert len(await collect(by_host, one, other)) == 1
    by_engine = TapFilter(include_unrouted=True, engine="fleet")
    assert len(await collect(by_engine, one, other, START)) == 2
    assert await collect(TapFilter(include_unrouted=True, engine=START.engine), one) == []


async def test_no_subscriber(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a subscriber that wants it, an event is not even encoded."""

    def tapped(_: Event, __: Sequence[RouteResult]) -> TappedEvent:
        raise AssertionError

    monkeypatch.setattr(tap_module, "make_tapped_event", tapped)
    tap = EventTap()
    await route_events(tap, DEATH)
    with tap.subscribe(TapFilter()):
        await route_events(tap, START)  # which it does not want


async def test_a_slow_subscriber_loses_the_oldest_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted, and the count comes once, before the rest."""
    monkeypatch.setattr(tap_module, "QUEUE_LINES", 3)
    tap = EventTap()
    with tap.subscribe(ALL) as subscriber:
        await route_events(tap, *(with_fields(START, time_ns=number) for number in range(10)))
        skipped, *rest = await read_chunk(subscriber)
        assert skipped == EventsSkipped(7)
        assert [line.event.time_ns for line in rest if isinstance(line, TappedEvent)] == [7, 8, 9]
        await route_events(tap, DEATH)
        (tapped,) = await read_chunk(subscriber)
        assert isinstance(tapped, TappedEvent)


async def test_the_queue_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that never fits is skipped as well."""
    tap = EventTap()
    with tap.subscribe(ALL) as subscriber:
        await route_events(tap, DEATH)
        await read_chunk(subscriber)
        await route_events(tap, START)
        size = subscriber._size
        monkeypatch.setattr(tap_module, "QUEUE_BYTES", 2 * size)
        await route_events(tap, START, START)
        assert subscriber._size == 2 * size
        assert (await read_chunk(subscriber))[0] == EventsSkipped(1)
        assert subscriber._size == 0
        await route_events(tap, START, with_fields(START, detail="x" * 3 * size))
        assert subscriber._size == size  # it displaces none that fits
        assert (await read_chunk(subscriber))[0] == EventsSkipped(1)


async def test_chunks_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many lines come in several chunks."""
    monkeypatch.setattr(tap_module, "CHUNK_BYTES", 1)
    tap = EventTap()
    with tap.subscribe(ALL) as subscriber:
        await route_events(tap, START, DEATH)
        assert [len(await read_chunk(subscriber)) for _ in range(2)] == [1, 1]
        assert subscriber._size == 0


async def test_a_slow_subscriber_does_not_affect_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each subscriber has a queue of its own."""
    monkeypatch.setattr(tap_module, "QUEUE_LINES", 1)
    tap = EventTap()
    with tap.subscribe(ALL) as slow, tap.subscribe(ALL) as quick:
        for _ in range(3):
            await route_events(tap, START)
            assert len(await read_chunk(quick)) == 1
        assert (await read_chunk(slow))[0] == EventsSkipped(2)


async def test_close() -> None:
    """What is queued can still be read; then reading returns nothing, and wakes up who waits."""
    tap = EventTap()
    with tap.subscribe(ALL) as subscriber:
        waiting = asyncio.ensure_future(subscriber.read())
        await asyncio.sleep(0)
        await route_events(tap, START)
        subscriber.close()
        assert b'"start"' in await waiting
        assert await subscriber.read() == b""


def test_the_number_of_subscribers_is_bounded() -> None:
    """The next one is refused until another leaves."""
    tap = EventTap()
    with ExitStack() as subscriptions:
        for _ in range(tap_module.MAX_SUBSCRIBERS):
            subscriptions.enter_context(tap.subscribe(ALL))
        with pytest.raises(TooManySubscribers):
            subscriptions.enter_context(tap.subscribe(ALL))
        assert tap.subscriber_count == tap_module.MAX_SUBSCRIBERS
    assert tap.subscriber_count == 0
    with tap.subscribe(ALL):
        assert tap.subscriber_count == 1
