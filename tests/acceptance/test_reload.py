"""Reloads of a relay process by signals."""

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


def write_file(folder: Path, receiver: Receiver, *, to: str = "hook", **more: object) -> Path:
    """Write a file that routes relay's ``started`` and ``heartbeat`` events to the receiver."""
    own = {"type": "relay", "action": ["started", "heartbeat"]}
    return write_config(
        folder,
        engines=NO_ENGINE,
        store={"path": str(folder / "relay.db")},
        destinations={"hook": {"type": "http", "url": receiver.url("/hook")}},
        routes=[{"name": "own", "match": own, "to": to}],
        **more,
    )


def test_sighup_reloads_the_file(receiver: Receiver, relay_folder: Path) -> None:
    """Changes are logged and in force; a broken file is logged line by line and changes nothing."""
    file = write_file(relay_folder, receiver)
    with RelayProcess(file) as relay:
        relay.wait_for_log("relay.started")
        receiver.wait_for(1)
        write_file(relay_folder, receiver, heartbeat={"every": "1h"})
        os.kill(relay.pid, signal.SIGHUP)
        assert relay.wait_for_log("config.reloaded")["changes"] == ["heartbeat changed"]
        heartbeat = receiver.wait_for(2)[-1]
        assert heartbeat.json["events"][0]["action"] == "heartbeat"

        write_file(relay_folder, receiver, to="hok", admn=1)
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

        write_file(relay_folder, receiver)
        os.kill(relay.pid, signal.SIGHUP)
        relay.wait_for_log("config.reloaded", at_least=2)
        assert relay.terminate() == 0
        assert "Traceback" not in relay.stderr


def test_reloads_of_a_real_engine(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """While its configuration changes again and again, every event is delivered exactly once."""

    def write(host: str) -> Path:
        return write_config(
            relay_folder,
            engines={"here": {"url": engine.url, "start_from": "oldest", "host": host}},
            store={"path": str(relay_folder / "relay.db")},
            destinations={"hook": {"type": "http", "url": receiver.url("/hook")}},
            routes=[{"name": "all", "match": {"type": "volume"}, "to": "hook"}],
        )

    # the history also holds events of other tests, and may lose them meanwhile
    started_ns = time_ns()
    with RelayProcess(write("host-0")) as relay:
        relay.wait_for_log("engine.connected")
        for number in range(1, 9):
            engine.make_events(10)
            write(f"host-{number}")
            os.kill(relay.pid, signal.SIGHUP)
            relay.wait_for_log("config.reloaded", at_least=number)
        engine.make_events(2)
        volumes = [it for it in engine.events() if it["Type"] == "volume"]
        made = [it for it in volumes if it["timeNano"] >= started_ns]
        receiver.wait_for(lambda requests: len(_since(started_ns, requests)) >= len(made))
        assert relay.terminate() == 0
        assert "Traceback" not in relay.stderr
    requests = _since(started_ns, receiver.received)
    events = [it.json["events"][0] for it in requests]
    delivered = sorted((it["time_ns"], it["action"], it["actor"]["id"]) for it in events)
    assert delivered == sorted((it["timeNano"], it["Action"], it["Actor"]["ID"]) for it in made)
    assert len({it.headers["webhook-id"] for it in requests}) == len(made)


def _since(start_ns: int, requests: Sequence[Received]) -> list[Received]:
    return [it for it in requests if it.json["events"][0]["time_ns"] >= start_ns]


def test_many_signals(receiver: Receiver, relay_folder: Path) -> None:
    """relay keeps running, and exits with 0 although a signal came just before the end."""
    with RelayProcess(write_file(relay_folder, receiver)) as relay:
        relay.wait_for_log("relay.started")
        for _ in range(300):
            os.kill(relay.pid, signal.SIGHUP)
        relay.wait_for_log("config.reloaded")
        os.kill(relay.pid, signal.SIGHUP)
        assert relay.terminate() == 0
        assert relay.logs("relay.stopped")
        assert "Traceback" not in relay.stderr


def test_a_signal_during_the_drain(receiver: Receiver, relay_folder: Path) -> None:
    """SIGHUP during the shutdown changes nothing: relay drains and exits with 0."""
    receiver.answer(Misbehaviour.HANG)
    with RelayProcess(write_file(relay_folder, receiver)) as relay:
        receiver.wait_for(1)
        os.kill(relay.pid, signal.SIGTERM)
        os.kill(relay.pid, signal.SIGHUP)
        assert relay.wait(10) == 0
        assert not relay.logs("config.reloaded")
        assert "Traceback" not in relay.stderr


@pytest.fixture
def content(relay_folder: Path, receiver: Receiver) -> bytes:
    """The content of the file."""
    return write_file(relay_folder, receiver).read_bytes()


@pytest.fixture
def pipe(relay_folder: Path, content: bytes) -> Path:
    """A pipe in place of the file: reading it blocks until the test has written."""
    file = relay_folder / "config.yaml"
    file.unlink()
    os.mkfifo(file)
    return file


def test_a_signal_while_relay_starts(pipe: Path, content: bytes) -> None:
    """SIGHUP does not end relay, which reads the file once more after its start."""
    with RelayProcess(pipe) as relay:
        with pipe.open("wb") as first:  # opens when relay does
            os.kill(relay.pid, signal.SIGHUP)
            first.write(content)
        relay.wait_for_log("relay.started")
        with pipe.open("wb") as second:
            second.write(content)
        relay.wait_for_log("config.reloaded", changes=[])
        assert relay.terminate() == 0


def test_shutdown_while_the_file_hangs(pipe: Path, content: bytes) -> None:
    """relay exits with 0 at once, although it still waits for the file."""
    with RelayProcess(pipe) as relay:
        pipe.write_bytes(content)
        relay.wait_for_log("relay.started")
        os.kill(relay.pid, signal.SIGHUP)
        with pipe.open("wb"):
            assert relay.terminate(timeout_s=10) == 0
        assert relay.logs("relay.stopped")
        assert "Traceback" not in relay.stderr
