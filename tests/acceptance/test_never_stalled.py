"""Destinations that hang do not make relay miss events or slow the engine down."""

import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Misbehaviour, Receiver

EVENTS = 6_000
DRAIN_TIMEOUT_S = 90.0

VolumeEvent = tuple[str, str]
"""Action and volume."""


def write_two_hooks_config(folder: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Route every volume event to two destinations."""
    hook = {"type": "http", "retry": {"initial": "100ms", "max": "1s"}, "concurrency": 32}
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(folder / "relay.db")},
        destinations={
            "one": hook | {"url": receiver.url("/one")},
            "two": hook | {"url": receiver.url("/two")},
        },
        routes=[
            {"name": "gaps", "match": {"type": "relay", "action": "gap"}, "to": "one"},
            {"name": "volumes", "match": {"type": "volume"}, "to": ["one", "two"]},
        ],
    )


def find_arrivals(receiver: Receiver, path: str, after: int) -> dict[str, VolumeEvent]:
    """Return the events that arrived at a path after the first ``after`` requests, by id."""
    events = [
        event
        for request in receiver.received[after:]
        if request.path == path
        for event in request.json["events"]
    ]
    return {it["id"]: (it["action"], it["actor"]["name"]) for it in events}


def all_arrived(receiver: Receiver, path: str, after: int, _: object) -> bool:
    """Return whether all events arrived; cheap as long as there are too few requests."""
    enough = len(receiver.received) >= after + 2 * EVENTS
    return enough and len(find_arrivals(receiver, path, after)) >= EVENTS


def time_events(engine: PrivateEngine, number: int) -> tuple[list[VolumeEvent], float]:
    """Make events; return them, and how many were made per second."""
    started_s = time.monotonic()
    made = engine.make_events(number)
    return made, number / (time.monotonic() - started_s)


def test_hanging_destinations_stall_nothing(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """While no destination answers every event is stored; all arrive once they answer."""
    config = write_two_hooks_config(relay_folder, engine, receiver)
    _, without_relay = time_events(engine, EVENTS)
    receiver.answer(Misbehaviour.HANG)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        made, with_relay = time_events(engine, EVENTS)
        hanging = len(receiver.received)
        receiver.answer(200)
        for path in ("/one", "/two"):
            receiver.wait_for(
                partial(all_arrived, receiver, path, hanging),
                DRAIN_TIMEOUT_S,
            )
        assert relay.terminate() == 0
    lost = [
        Counter(made) - Counter(find_arrivals(receiver, path, hanging).values())
        for path in ("/one", "/two")
    ]
    figures = {
        "events": EVENTS,
        "lost": sum(each.total() for each in lost),
        "api_calls_per_s_alone": round(without_relay),
        "api_calls_per_s_with_relay": round(with_relay),
        "ratio": round(with_relay / without_relay, 2),
    }
    print(figures)  # noqa: T201 - shown with -s, and whenever this fails
    assert lost == [Counter(), Counter()]
    assert "gap" not in {action for action, _ in find_arrivals(receiver, "/one", 0).values()}
