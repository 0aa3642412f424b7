"""Whatever its destinations do, relay costs the engine nothing that anybody would notice."""

import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Misbehaviour, Receiver

EVENTS = 6_000
DRAIN_TIMEOUT_S = 90.0

Told = tuple[str, str]
"""Action and volume."""


def configured(folder: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Every volume event to two destinations."""
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


def arrivals(receiver: Receiver, path: str, after: int) -> dict[str, Told]:
    """What arrived at a path behind the first ``after`` requests, by the id of its event."""
    events = [
        event
        for request in receiver.received[after:]
        if request.path == path
        for event in request.json["events"]
    ]
    return {it["id"]: (it["action"], it["actor"]["name"]) for it in events}


def all_there(receiver: Receiver, path: str, after: int, _: object) -> bool:
    """Whether as many events arrived as were made; looked at once there are enough requests."""
    enough = len(receiver.received) >= after + 2 * EVENTS
    return enough and len(arrivals(receiver, path, after)) >= EVENTS


def time_events(engine: PrivateEngine, number: int) -> tuple[list[Told], float]:
    """The events that were made, and how many of them in a second."""
    begun_s = time.monotonic()
    made = engine.make_events(number)
    return made, number / (time.monotonic() - begun_s)


def test_hanging_destinations_stall_nothing(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """With no answer from any destination each event is kept, and comes once they answer."""
    config = configured(relay_folder, engine, receiver)
    _, alone = time_events(engine, EVENTS)
    receiver.answer(Misbehaviour.HANG)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        made, beside = time_events(engine, EVENTS)
        hanging = len(receiver.received)
        receiver.answer(200)
        for path in ("/one", "/two"):
            receiver.wait_for(
                partial(all_there, receiver, path, hanging),
                DRAIN_TIMEOUT_S,
            )
        assert relay.terminate() == 0
    lost = [
        Counter(made) - Counter(arrivals(receiver, path, hanging).values())
        for path in ("/one", "/two")
    ]
    figures = {
        "events": EVENTS,
        "lost": sum(each.total() for each in lost),
        "api_calls_per_s_alone": round(alone),
        "api_calls_per_s_with_relay": round(beside),
        "ratio": round(beside / alone, 2),
    }
    print(figures)  # noqa: T201 - shown with -s, and whenever this fails
    assert lost == [Counter(), Counter()]
    assert "gap" not in {action for action, _ in arrivals(receiver, "/one", 0).values()}
