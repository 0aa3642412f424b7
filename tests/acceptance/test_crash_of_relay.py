"""relay is killed while it works: nothing is lost, and repetitions have the same id."""

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
"""Attempts under way at once. A kill can interrupt these, and leave up to `MAX_UNACKED` deliveries
answered whose outcome is not committed."""
MAX_OPEN = 110
"""At most this many events just before a kill, and as many while relay is dead: together they fit
into the engine's history of 256 events."""

ANSWER_S = 0.01
"""How long the receiver takes, so that a kill always finds deliveries under way."""

Fact = tuple[int, str, str]
"""Time in nanoseconds, action and volume: together they identify an event."""


class EventMaker:
    """Makes volume events, and keeps them as the engine recorded them."""

    def __init__(self, engine: PrivateEngine) -> None:
        self._engine = engine
        self.facts: list[Fact] = []

    def make(self, number: int) -> None:
        """Make this many events, at most as many as the engine's history holds."""
        since_ns = self.facts[-1][0] + 1 if self.facts else self._next_ns()
        made = self._engine.make_events(number)
        recorded = self._engine.events(since_ns)
        assert [(event["Action"], event["Actor"]["ID"]) for event in recorded] == made
        self.facts += [(it["timeNano"], it["Action"], it["Actor"]["ID"]) for it in recorded]

    def _next_ns(self) -> int:
        history = self._engine.events()
        return int(history[-1]["timeNano"]) + 1 if history else 0


def write_volume_config(folder: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Route every volume event to the receiver."""
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(folder / "relay.db")},
        log={"level": "debug"},
        destinations={
            "hook": {"type": "http", "url": receiver.url("/hook"), "concurrency": CONCURRENCY}
        },
        routes=[{"name": "all", "match": {"type": "volume"}, "to": "hook"}],
    )


def wait_until_delivered(receiver: Receiver, maker: EventMaker) -> tuple[Received, ...]:
    """Return all requests once there is one about every event that was made."""
    number = len(maker.facts)

    def all_arrived(requests: tuple[Received, ...]) -> bool:
        return len(requests) >= number and len(notification_ids(requests)) >= number

    return receiver.wait_for(all_arrived, timeout_s=30)


def notification_ids(requests: tuple[Received, ...]) -> set[str]:
    """Return the ids of the notifications."""
    return {request.headers["webhook-id"] for request in requests}


def answer_slowly(_: Received) -> int:
    """Answer 200 after a while."""
    time.sleep(ANSWER_S)
    return 200


def kill_repeatedly(
    config: Path, maker: EventMaker, receiver: Receiver, rng: random.Random
) -> None:
    """Run and kill relay, during a burst of events or, every other time, while it catches up."""
    for kill in range(KILLS):
        with RelayProcess(config) as relay:
            relay.wait_for_log("engine.connected")
            if kill % 2:
                relay.wait_for_log("delivery.attempted")
                continue
            maker.make(2 * rng.randint(60, 100))
            wait_until_delivered(receiver, maker)
            maker.make(2 * rng.randint(10, MAX_OPEN // 2))
        # The context has ended relay with SIGKILL, in the middle of the last burst.
        maker.make(2 * rng.randint(10, MAX_OPEN // 2))


def test_repeated_kills_lose_nothing(
    engine: PrivateEngine,
    receiver: Receiver,
    relay_folder: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Each of 2,000 events arrives, despite five kills.

    Whatever arrives twice has one id, and was under way at a kill.
    """
    config = write_volume_config(relay_folder, engine, receiver)
    maker = EventMaker(engine)
    receiver.answer(answer_slowly)

    kill_repeatedly(config, maker, receiver, random.Random(SEED))
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        while (missing := EVENTS - len(maker.facts)) > 0:
            maker.make(min(200, missing))
        wait_until_delivered(receiver, maker)
        assert relay.terminate() == 0

    received = [(read_fact(it), it.headers["webhook-id"]) for it in receiver.received]
    ids_by_fact: defaultdict[Fact, set[str]] = defaultdict(set)
    for event, id_ in received:
        ids_by_fact[event].add(id_)
    figures = {
        "seed": SEED,
        "events": len(maker.facts),
        "kills": KILLS,
        "arrived": len(received),
        "duplicates": len(received) - len(ids_by_fact),
        "lost": len(set(maker.facts) - set(ids_by_fact)),
    }
    for name, figure in figures.items():
        record_property(name, figure)
    print(figures)  # noqa: T201 - shown with -s, and whenever this fails

    assert set(ids_by_fact) == set(maker.facts)
    assert [len(ids) for ids in ids_by_fact.values()] == [1] * EVENTS
    assert figures["duplicates"] <= KILLS * (CONCURRENCY + MAX_UNACKED)
    assert_in_order(received)


def read_fact(request: Received) -> Fact:
    """Return the fact that the request reports."""
    event: dict[str, Any]
    (event,) = request.json["events"]
    return event["time_ns"], event["action"], event["actor"]["id"]


def assert_in_order(received: list[tuple[Fact, str]]) -> None:
    """Every volume is created before it is destroyed."""
    created: set[str] = set()
    for (_, action, volume), _ in received:
        if action == "create":
            created.add(volume)
        else:
            assert volume in created
