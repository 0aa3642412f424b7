"""Starting early, stopping in the middle, and being two."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import Binaries, PrivateEngine
from tests.support.receiver import Receiver, Trouble


@pytest.fixture
def late_engine(binaries: Binaries) -> Iterator[PrivateEngine]:
    """An engine that is down when the test begins."""
    with PrivateEngine(binaries) as private:
        private.stop()
        yield private


def deaths_to(receiver: Receiver, folder: Path, engine: PrivateEngine, **more: object) -> Path:
    """A configuration that sends every death to the receiver."""
    return write_config(
        folder,
        engines={"here": {"url": engine.url, **more}},
        store={"path": "relay.db"},
        destinations={"all": {"type": "http", "url": receiver.url("/")}},
        routes=[{"name": "deaths", "match": {"action": "die"}, "to": "all"}],
    )


def test_relay_may_be_there_before_the_engine(
    late_engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """It says once that there is none, tries on, and works when there is one."""
    with RelayProcess(deaths_to(receiver, relay_folder, late_engine)) as relay:
        relay.wait_for_log("engine.unreachable", 15)
        late_engine.start()
        relay.wait_for_log("engine.connected", 45)
        late_engine.run("sh", "-c", "exit 3", name="crash")
        receiver.wait_for(1)
        assert relay.terminate() == 0
        assert len(relay.logs("engine.unreachable")) == 1


def test_what_a_stop_interrupts_is_delivered_after_the_next_start(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """A receiver that hangs holds a stop up for no more than the drain; the id stays the same."""
    receiver.answer(Trouble.HANG)
    config = deaths_to(receiver, relay_folder, engine)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected", 15)
        engine.run("sh", "-c", "exit 3", name="crash")
        receiver.wait_for(1)
        assert relay.terminate() == 0
    receiver.answer(204)
    with RelayProcess(config) as relay:
        receiver.wait_for(2)
        assert relay.terminate() == 0
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.json == second.json


def test_a_first_start_can_take_what_the_engine_remembers(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """With ``start_from: oldest`` a death before relay's first start is told."""
    engine.run("sh", "-c", "exit 3", name="long-ago")
    engine.wait("long-ago")
    with RelayProcess(deaths_to(receiver, relay_folder, engine, start_from="oldest")) as relay:
        receiver.wait_for(
            lambda got: any(one.json["events"][0]["actor"]["name"] == "long-ago" for one in got)
        )
        assert relay.terminate() == 0
    assert {one.json["events"][0]["origin"] for one in receiver.received} == {"replayed"}


def test_two_relays_on_one_store(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """The second refuses with one line that names the first, and exit code 1."""
    config = deaths_to(receiver, relay_folder, engine)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected", 15)
        second = subprocess.run(
            [sys.executable, "-m", "relay", "run", "--config", str(config)],
            cwd=relay_folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode == 1
        (line,) = second.stderr.splitlines()
        assert f"in use by another relay (pid {relay.pid})" in line
        assert relay.terminate() == 0
