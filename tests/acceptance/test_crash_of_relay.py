"""relay killed in the middle of its work: nothing is lost, what comes twice has one id."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Receiver

SEED = 2
STEPS = 10
STEP = 200
"""Events per step; fewer than the 256 that the engine remembers, so a relay that is dead for the
rest of a step can still be told of them."""
KILLS = 5


class Crashing:
    """A relay that is killed and started again, over one configuration and store."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self.kills = 0
        self._relay = self._started()

    def kill(self) -> None:
        """Kill it by SIGKILL and leave it dead."""
        self._relay.kill9()
        self.kills += 1

    def start(self) -> None:
        """Start it again."""
        self._relay = self._started()

    def kill_while_it_catches_up(self) -> None:
        """Kill it once more after the first delivery since its start, and start it again."""
        self._relay.wait_for_log("delivery.attempted")
        self.kill()
        self.start()

    def close(self) -> None:
        """End it; raises AssertionError unless it ends with 0."""
        assert self._relay.terminate() == 0

    def abandon(self) -> None:
        """Make sure that it does not run."""
        self._relay.kill9()

    def _started(self) -> RelayProcess:
        relay = RelayProcess(self._config).__enter__()
        relay.wait_for_log("relay.started")
        return relay


@contextmanager
def crashing(config: Path) -> Iterator[Crashing]:
    """A relay to be killed, which is gone at the end however that comes."""
    relay = Crashing(config)
    try:
        yield relay
    finally:
        relay.abandon()


def all_volumes(folder: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Every volume event goes to the receiver."""
    return write_config(
        folder,
        engines={"here": {"url": engine.url, "start_from": "now"}},
        store={"path": str(folder / "relay.db")},
        destinations={"hook": {"type": "http", "url": receiver.url("/hook")}},
        routes=[{"name": "all", "match": {"type": "volume"}, "to": "hook"}],
    )


def test_nothing_is_lost_when_relay_is_killed_again_and_again(
    engine: PrivateEngine,
    receiver: Receiver,
    relay_folder: Path,
    record_property: pytest.FixtureRequest,
) -> None:
    """Of 2,000 events with five kills in their midst each one arrives, always under one id."""
    chance = random.Random(SEED)
    struck = set(chance.sample(range(STEPS), KILLS))
    truths: list[dict[str, Any]] = []
    with crashing(all_volumes(relay_folder, engine, receiver)) as relay:
        relay._relay.wait_for_log("engine.connected")
        for step in range(STEPS):
            since_ns = truths[-1]["timeNano"] + 1 if truths else 0
