"""The engine restarts while relay runs: relay comes back by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import Binaries, PrivateEngine
from tests.support.receiver import Receiver


@pytest.fixture
def own_engine(binaries: Binaries) -> Iterator[PrivateEngine]:
    """An engine that the test may kill, with a history of its own."""
    with PrivateEngine(binaries) as private:
        yield private


def test_nothing_is_lost_that_the_engine_still_knows(
    own_engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """Stopped once and killed once: every death that the engine remembers is told, once."""
    engine = own_engine
    config = write_config(
        relay_folder,
        engines={"here": {"url": engine.url}},
        store={"path": "relay.db"},
        destinations={"all": {"type": "http", "url": receiver.url("/")}},
        routes=[
            {"name": "deaths", "match": {"type": "container", "action": "die"}, "to": "all"},
            {"name": "relay", "match": {"type": "relay", "action": "engine_*"}, "to": "all"},
        ],
    )
    known: set[int] = set()
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected", 15)
        engine.run("sh", "-c", "exit 3", name="before")
        engine.wait("before")
        known |= deaths(engine)
        engine.stop()
        relay.wait_for_log("engine.unreachable", 15)
        engine.start()
        relay.wait_for_log("engine.connected", 45, at_least=2)
        engine.run("sleep", "60", name="victim")
        engine.kill()
        relay.wait_for_log("engine.unreachable", 15, at_least=2)
        engine.start()
        relay.wait_for_log("engine.connected", 45, at_least=3)
        engine.run("sh", "-c", "exit 4", name="after")
        engine.wait("after")
        known |= deaths(engine)
        receiver.wait_for(lambda got: known <= {time_of(one.json) for one in got})
        assert relay.terminate() == 0

    events = [one.json["events"][0] for one in receiver.received]
    died = [event for event in events if event["action"] == "die"]
    assert sorted(event["time_ns"] for event in died) == sorted(known)
    victim = [event for event in died if event["actor"]["name"] == "victim"]
    assert [event["origin"] for event in victim] == ["replayed"]
    said = [event["action"] for event in events if event["type"] == "relay"]
    assert sorted(said) == ["engine_back", "engine_back", "engine_lost", "engine_lost"]


def deaths(engine: PrivateEngine) -> set[int]:
    """The times of all deaths that the engine remembers."""
    return {event["timeNano"] for event in engine.events(1) if event["Action"] == "die"}


def time_of(notification: object) -> int:
    """The time of the event that a notification tells of."""
    assert isinstance(notification, dict)
    return int(notification["events"][0]["time_ns"])
