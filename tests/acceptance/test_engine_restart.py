"""The engine restarts while relay runs: relay reconnects, and delivers what it remembers."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import Binaries, PrivateEngine
from tests.support.receiver import Receiver

BACK_TIMEOUT_S = 60.0
"""The delays between attempts grow to 30 s, and are reset only by a stable connection."""

Fact = tuple[int, str, str, str]
"""Time in nanoseconds, type, action with its detail, and actor."""


@pytest.fixture
def private_engine(binaries: Binaries) -> Iterator[PrivateEngine]:
    """An engine for this test alone, because it is restarted."""
    with PrivateEngine(binaries) as engine:
        yield engine


def write_restart_config(folder: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Route the engine's events to one path, and relay's own about engines to another."""
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(folder / "relay.db")},
        destinations={
            "hook": {"type": "http", "url": receiver.url("/events")},
            "watch": {"type": "http", "url": receiver.url("/relay"), "concurrency": 1},
        },
        routes=[
            {"name": "engine", "match": {"type": "relay", "action": "engine_*"}, "to": "watch"},
            {"name": "all", "to": "hook"},
        ],
    )


def known_facts(engine: PrivateEngine) -> Counter[Fact]:
    """Return what the engine's history holds now."""
    return Counter(
        (it["timeNano"], it["Type"], it["Action"], it["Actor"]["ID"]) for it in engine.events()
    )


def delivered_facts(receiver: Receiver) -> Counter[Fact]:
    """Return which of the engine's events arrived, and how often."""
    return Counter(_fact(event) for event in _events(receiver, "/events"))


def _events(receiver: Receiver, path: str) -> list[dict[str, Any]]:
    requests = [request for request in receiver.received if request.path == path]
    return [event for request in requests for event in request.json["events"]]


def _fact(event: dict[str, Any]) -> Fact:
    detail = f": {event['detail']}" if event["detail"] else ""
    return event["time_ns"], event["type"], f"{event['action']}{detail}", event["actor"]["id"]


def wait_until_delivered(receiver: Receiver, facts: Counter[Fact]) -> None:
    """Wait until the receiver has all these facts."""
    receiver.wait_for(lambda _: not facts - delivered_facts(receiver), BACK_TIMEOUT_S)


def test_two_restarts_lose_nothing_that_the_engine_remembers(
    private_engine: PrivateEngine,
    receiver: Receiver,
    relay_folder: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """relay resumes after the engine was ended by SIGTERM, and by SIGKILL under a container."""
    engine = private_engine
    with RelayProcess(write_restart_config(relay_folder, engine, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        before = known_facts(engine)
        engine.run("sleep", "60", name="first", options=["--init"])
        engine.make_events(20)
        facts = known_facts(engine) - before
        wait_until_delivered(receiver, facts)

        engine.stop()
        relay.wait_for_log("engine.unreachable")
        engine.start()
        engine.make_events(20)
        facts |= known_facts(engine)
        wait_until_delivered(receiver, facts)

        second = engine.run("sleep", "60", name="second", options=["--init"])
        engine.kill()
        relay.wait_for_log("engine.unreachable", BACK_TIMEOUT_S, at_least=2)
        engine.start()
        facts |= known_facts(engine)
        engine.make_events(2)
        facts |= known_facts(engine)
        wait_until_delivered(receiver, facts)
        assert relay.terminate() == 0

    deaths = [
        event
        for event in _events(receiver, "/events")
        if (event["action"], event["actor"]["id"]) == ("die", second)
    ]
    outages = [event["action"] for event in _events(receiver, "/relay")]
    arrived = delivered_facts(receiver)
    figures = {
        "known to the engine": len(facts),
        "arrived": arrived.total(),
        "arrived again": arrived.total() - len(arrived),
        "lost": (facts - arrived).total(),
        "outages": outages,
        "deaths": [(it["cause"], it["exit_code"], it["origin"]) for it in deaths],
    }
    for name, figure in figures.items():
        record_property(name, figure)
    print(figures)  # noqa: T201 - shown with -s, and whenever this fails

    assert set(arrived.values()) == {1}
    assert [it["origin"] for it in deaths] == ["replayed"]
    assert outages == ["engine_lost", "engine_back"] * 2
