"""relay killed in the middle of its work: nothing is lost, what comes twice has one id."""

import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from relay.delivery.worker import MAX_UNACKED
from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Received, Receiver

SEED = 2
EVENTS = 2_000
KILLS = 5
CONCURRENCY = 8
"""Deliveries under way at once: these, and `MAX_UNACKED` that were answered, one kill can leave sent
and not settled."""
MOST = 110
"""Events in a row whose fate is open: what is made just before a kill and what is made while relay
is dead are together fewer than the 256 that the engine remembers."""

ANSWER_S = 0.01
"""How long the receiver takes, so that a kill always finds deliveries under way."""

Fact = tuple[int, str, str]
"""Time in nanoseconds, action and volume: what tells an event from any other."""


class Making:
    """Volume events as they are made, by the engine's own account."""

    def __init__(self, engine: PrivateEngine) -> None:
        self._engine = engine
        self.facts: list[Fact] = []

    def make(self, number: int) -> None:
        """Make so many events, at most as many as the engine remembers."""
        since_ns = self.facts[-1][0] + 1 if self.facts else self._next_ns()
        made = self._engine.make_events(number)
        reported = self._engine.events(since_ns)
        assert [(event["Action"], event["Actor"]["ID"]) for event in reported] == made
        self.facts += [(it["timeNano"], it["Action"], it["Actor"]["ID"]) for it in reported]

    def _next_ns(self) -> int:
        history = self._engine.events()
        return int(history[-1]["timeNano"]) + 1 if history else 0


def all_volumes(folder: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Every volume event goes to the receiver."""
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(folder / "relay.db")},
        destinations={
            "hook": {"type": "http", "url": receiver.url("/hook"), "concurrency": CONCURRENCY}
        },
        routes=[{"name": "all", "match": {"type": "volume"}, "to": "hook"}],
    )


def wait_until_told(receiver: Receiver, making: Making) -> tuple[Received, ...]:
    """All that arrived, once there is something about every event that was made."""
    number = len(making.facts)

    def all_there(arrived: tuple[Received, ...]) -> bool:
        return len(arrived) >= number and len(ids(arrived)) >= number

    return receiver.wait_for(all_there, timeout_s=30)


def ids(arrived: tuple[Received, ...]) -> set[str]:
    """The notifications' ids."""
    return {request.headers["webhook-id"] for request in arrived}


def slowly(_: Received) -> int:
    """Answer 200, after a while."""
    time.sleep(ANSWER_S)
    return 200


def die_five_times(config: Path, making: Making, receiver: Receiver, chance: random.Random) -> None:
    """Run and kill relay, in a burst of events or, every other time, while it catches up."""
    for kill in range(KILLS):
        with RelayProcess(config) as relay:
            relay.wait_for_log("engine.connected")
            if kill % 2:
                relay.wait_for_log("delivery.attempted")
                continue
            making.make(2 * chance.randint(60, 100))
            wait_until_told(receiver, making)
            making.make(2 * chance.randint(10, MOST // 2))
        # Left by SIGKILL, with what it read or committed or sent of the last burst in mid-air.
        making.make(2 * chance.randint(10, MOST // 2))


def test_nothing_is_lost_when_relay_is_killed_again_and_again(
    engine: PrivateEngine,
    receiver: Receiver,
    relay_folder: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Of 2,000 events with five kills in their midst each arrives.

    What comes twice has one id, and was under way at a kill.
    """
    config = all_volumes(relay_folder, engine, receiver)
    making = Making(engine)
    receiver.answer(slowly)

    die_five_times(config, making, receiver, random.Random(SEED))
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        while (missing := EVENTS - len(making.facts)) > 0:
            making.make(min(200, missing))
        wait_until_told(receiver, making)
        assert relay.terminate() == 0

    arrivals = [(fact(it), it.headers["webhook-id"]) for it in receiver.received]
    ids_by_fact: defaultdict[Fact, set[str]] = defaultdict(set)
    for what, id_ in arrivals:
        ids_by_fact[what].add(id_)
    figures = {
        "seed": SEED,
        "events": len(making.facts),
        "kills": KILLS,
        "arrived": len(arrivals),
        "duplicates": len(arrivals) - len(ids_by_fact),
        "lost": len(set(making.facts) - set(ids_by_fact)),
    }
    for name, figure in figures.items():
        record_property(name, figure)
    print(figures)  # noqa: T201 - shown with -s, and whenever this fails

    assert set(ids_by_fact) == set(making.facts)
    assert [len(known_as) for known_as in ids_by_fact.values()] == [1] * EVENTS
    assert figures["duplicates"] <= KILLS * (CONCURRENCY + MAX_UNACKED)
    assert_in_order(arrivals)


def fact(request: Received) -> Fact:
    """What the request tells of."""
    event: dict[str, Any]
    (event,) = request.json["events"]
    return event["time_ns"], event["action"], event["actor"]["id"]


def assert_in_order(arrivals: list[tuple[Fact, str]]) -> None:
    """No volume's end was reported before its beginning."""
    created: set[str] = set()
    for (_, action, volume), _ in arrivals:
        if action == "create":
            created.add(volume)
        else:
            assert volume in created
