"""Signals make relay, in a process of its own, read its configuration again."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from time import time_ns

import pytest

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Misbehaviour, Received, Receiver

NO_ENGINE = {"here": {"url": "unix:///nowhere/docker.sock"}}


def started(folder: Path, receiver: Receiver, *, to: str = "hook", **more: object) -> Path:
    """A file in which relay tells the receiver that it started and that it lives."""
    own = {"type": "relay", "action": ["started", "heartbeat"]}
    return write_config(
        folder,
        engines=NO_ENGINE,
        store={"path": str(folder / "relay.db")},
        destinations={"hook": {"type": "http", "url": receiver.url("/hook")}},
        routes=[{"name": "own", "match": own, "to": to}],
        **more,
    )


def test_a_signal_has_the_file_read_again(receiver: Receiver, relay_folder: Path) -> None:
    """What it changed is logged, and holds; a broken file is logged line by line, and does not."""
    file = started(relay_folder, receiver)
    with RelayProcess(file) as relay:
        relay.wait_for_log("relay.started")
        receiver.wait_for(1)
        started(relay_folder, receiver, heartbeat={"every": "1h"})
        os.kill(relay.pid, signal.SIGHUP)
        assert relay.wait_for_log("config.reloaded")["changes"] == ["heartbeat changed"]
        beaten = receiver.wait_for(2)[-1]
        assert beaten.json["events"][0]["action"] == "heartbeat"

        started(relay_folder, receiver, to="hok", admn=1)
        lines = file.read_text().splitlines()
        os.kill(relay.pid, signal.SIGHUP)
        relay.wait_for_log("config.reload_failed")
        problems = [log["problem"] for log in relay.logs("config.problem")]
        line = next(number for number, it in enumerate(lines, 1) if "to: hok" in it)
        column = lines[line - 1].index("hok") + 1
        assert problems == [
            f"{file}:{line}:{column}: routes[0].to: 'hok' is not a destination (did you mean "
            "'hook'?)",
            f"{file}:{len(lines)}:1: admn: unknown key 'admn' (did you mean 'admin'?)",
        ]
        assert all(log["level"] == "error" for log in relay.logs("config.problem"))

        started(relay_folder, receiver)
        os.kill(relay.pid, signal.SIGHUP)
        relay.wait_for_log("config.reloaded", at_least=2)
        assert relay.terminate() == 0
        assert "Traceback" not in relay.stderr


def test_a_real_engine_that_is_listened_to_anew(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """Its part of the file changes while events come: each event is delivered once."""

    def written(host: str) -> Path:
        return write_config(
            relay_folder,
            engines={"here": {"url": engine.url, "start_from": "oldest", "host": host}},
            store={"path": str(relay_folder / "relay.db")},
            destinations={"hook": {"type": "http", "url": receiver.url("/hook")}},
            routes=[{"name": "all", "match": {"type": "volume"}, "to": "hook"}],
        )

    begun_ns = time_ns()  # what other tests did is remembered as well, and forgotten meanwhile
    with RelayProcess(written("host-0")) as relay:
        relay.wait_for_log("engine.connected")
        for number in range(1, 9):
            engine.make_events(10)
            written(f"host-{number}")
            os.kill(relay.pid, signal.SIGHUP)
            relay.wait_for_log("config.reloaded", at_least=number)
        engine.make_events(2)
        volumes = [it for it in engine.events() if it["Type"] == "volume"]
        made = [it for it in volumes if it["timeNano"] >= begun_ns]
        receiver.wait_for(lambda arrived: len(_since(begun_ns, arrived)) >= len(made))
        assert relay.terminate() == 0
        assert "Traceback" not in relay.stderr
    arrived = _since(begun_ns, receiver.received)
    events = [it.json["events"][0] for it in arrived]
    delivered = sorted((it["time_ns"], it["action"], it["actor"]["id"]) for it in events)
    assert delivered == sorted((it["timeNano"], it["Action"], it["Actor"]["ID"]) for it in made)
    assert len({it.headers["webhook-id"] for it in arrived}) == len(made)


def _since(begun_ns: int, arrived: Sequence[Received]) -> list[Received]:
    return [it for it in arrived if it.json["events"][0]["time_ns"] >= begun_ns]


def test_signals_upon_signals(receiver: Receiver, relay_folder: Path) -> None:
    """However many come, relay goes on; and ends well though one came right before."""
    with RelayProcess(started(relay_folder, receiver)) as relay:
        relay.wait_for_log("relay.started")
        for _ in range(300):
            os.kill(relay.pid, signal.SIGHUP)
        relay.wait_for_log("config.reloaded")
        os.kill(relay.pid, signal.SIGHUP)
        assert relay.terminate() == 0
        assert relay.logs("relay.stopped")
        assert "Traceback" not in relay.stderr


def test_one_during_a_drain(receiver: Receiver, relay_folder: Path) -> None:
    """It is no reason to stay, nor to end otherwise."""
    receiver.answer(Misbehaviour.HANG)
    with RelayProcess(started(relay_folder, receiver)) as relay:
        receiver.wait_for(1)
        os.kill(relay.pid, signal.SIGTERM)
        os.kill(relay.pid, signal.SIGHUP)
        assert relay.wait(10) == 0
        assert not relay.logs("config.reloaded")
        assert "Traceback" not in relay.stderr


@pytest.fixture
def content(relay_folder: Path, receiver: Receiver) -> bytes:
    """What a file says."""
    return started(relay_folder, receiver).read_bytes()


@pytest.fixture
def pipe(relay_folder: Path, content: bytes) -> Path:
    """A pipe in place of the file: whoever reads it is held up until somebody has written."""
    file = relay_folder / "config.yaml"
    file.unlink()
    os.mkfifo(file)
    return file


def test_a_signal_while_relay_starts(pipe: Path, content: bytes) -> None:
    """While it reads its file: it does not end, and reads it once more when it can."""
    with RelayProcess(pipe) as relay:
        with pipe.open("wb") as first:  # opens when relay does
            os.kill(relay.pid, signal.SIGHUP)
            first.write(content)
        relay.wait_for_log("relay.started")
        with pipe.open("wb") as second:
            second.write(content)
        relay.wait_for_log("config.reloaded", changes=[])
        assert relay.terminate() == 0


def test_a_stop_while_the_file_hangs(pipe: Path, content: bytes) -> None:
    """relay ends at once, and well, though what it reads never comes."""
    with RelayProcess(pipe) as relay:
        pipe.write_bytes(content)
        relay.wait_for_log("relay.started")
        os.kill(relay.pid, signal.SIGHUP)
        with pipe.open("wb"):
            assert relay.terminate(timeout_s=10) == 0
        assert relay.logs("relay.stopped")
        assert "Traceback" not in relay.stderr
