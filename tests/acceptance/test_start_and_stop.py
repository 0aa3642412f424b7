"""How relay starts and ends: without an engine, with a receiver that hangs, with a store in use."""

import sys
from pathlib import Path

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Misbehaviour, Receiver

BACK_TIMEOUT_S = 60.0

WITHOUT_PRIVILEGES = (
    *("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"),
    *(sys.executable, "-m", "relay", "run"),
)
"""Runs relay without root's privilege to ignore the mode of a file."""


def write_volume_config(
    folder: Path, engine: PrivateEngine, receiver: Receiver, **more: object
) -> Path:
    """Route the creation of volumes to the receiver; ``more`` goes into the engine's section."""
    return write_config(
        folder,
        engines={"here": {"url": engine.url, **more}},
        store={"path": str(folder / "relay.db")},
        destinations={
            "hook": {"type": "http", "url": receiver.url("/hook"), "concurrency": 1},
        },
        routes=[{"name": "made", "match": {"type": "volume", "action": "create"}, "to": "hook"}],
    )


def test_start_before_the_engine(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """relay logs once that the engine does not answer, and connects when it starts."""
    engine.stop()
    with RelayProcess(write_volume_config(relay_folder, engine, receiver)) as relay:
        line = relay.wait_for_log("engine.unreachable")
        engine.start()
        relay.wait_for_log("engine.connected", BACK_TIMEOUT_S)
        engine.make_events(2)
        receiver.wait_for(1)
        assert relay.terminate() == 0

        assert len(relay.logs("engine.unreachable")) == 1
        assert line["level"] == "warning"
        assert line["reason"].startswith(f"{engine.socket_path}: ")
        assert line["retrying"] == "until it answers"
        assert "Traceback" not in relay.stderr


def test_a_missing_socket_is_named(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """The message has the path and the system's text."""
    config = write_volume_config(relay_folder, engine, receiver, url="unix:///nowhere/docker.sock")
    with RelayProcess(config) as relay:
        line = relay.wait_for_log("engine.unreachable")
        assert line["reason"] == "/nowhere/docker.sock: No such file or directory"
        assert relay.terminate() == 0


def test_missing_permission_is_explained(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """relay logs why it may not open the socket, and connects once it may."""
    engine.socket_path.chmod(0)
    config = write_volume_config(relay_folder, engine, receiver)
    try:
        with RelayProcess(config, program=WITHOUT_PRIVILEGES) as relay:
            line = relay.wait_for_log("engine.unreachable")
            assert line["reason"].startswith(
                f"{engine.socket_path}: permission denied: "
                "its mode (0000) lets no group in: give its group the right to read and write"
            )
            engine.socket_path.chmod(0o660)
            relay.wait_for_log("engine.connected", BACK_TIMEOUT_S)
            assert relay.terminate() == 0
    finally:
        engine.socket_path.chmod(0o660)


def test_a_hanging_delivery_is_repeated_after_the_next_start(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """After SIGTERM relay drains and exits with 0; the next start sends the same id again."""
    config = write_volume_config(relay_folder, engine, receiver)
    receiver.answer(Misbehaviour.HANG)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        engine.make_events(4)
        receiver.wait_for(1)
        assert relay.terminate(timeout_s=10) == 0
        assert relay.logs("relay.stopped")
        assert "Traceback" not in relay.stderr

    receiver.answer(200)
    with RelayProcess(config) as relay:
        interrupted, *rest = receiver.wait_for(3)
        assert relay.terminate() == 0
    assert rest[0].headers["webhook-id"] == interrupted.headers["webhook-id"]
    assert rest[0].body == interrupted.body
    assert len({it.headers["webhook-id"] for it in rest}) == len(rest) == 2


def test_start_from_oldest(engine: PrivateEngine, receiver: Receiver, relay_folder: Path) -> None:
    """The first start delivers everything in the engine's history, as replayed."""
    engine.make_events(10)
    created = [it for it in engine.events() if (it["Type"], it["Action"]) == ("volume", "create")]
    with RelayProcess(
        write_volume_config(relay_folder, engine, receiver, start_from="oldest")
    ) as relay:
        requests = receiver.wait_for(len(created))
        assert relay.terminate() == 0

    events = [it.json["events"][0] for it in requests]
    assert [(it["time_ns"], it["actor"]["id"], it["origin"]) for it in events] == [
        (it["timeNano"], it["Actor"]["ID"], "replayed") for it in created
    ]
    assert len(receiver.received) == len(created) >= 5


def test_start_from_now(engine: PrivateEngine, receiver: Receiver, relay_folder: Path) -> None:
    """Without ``start_from`` the first event is one that happens after the start."""
    engine.make_events(10)
    with RelayProcess(write_volume_config(relay_folder, engine, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        ((_, volume), _) = engine.make_events(2)
        receiver.wait_for(1)
        assert relay.terminate() == 0
    assert [it.json["events"][0]["actor"]["id"] for it in receiver.received] == [volume]


def test_a_store_is_for_one_relay(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """A second relay with the same store names the first one, in one line, and ends with 1."""
    config = write_volume_config(relay_folder, engine, receiver)
    with RelayProcess(config) as first:
        first.wait_for_log("engine.connected")
        with RelayProcess(config) as second:
            assert second.wait() == 1
            assert second.stdout == ""
            assert second.stderr == (
                f"relay: store {relay_folder}/relay.db is in use by another relay "
                f"(pid {first.pid}): stop that one, or give this one a store.path of its own\n"
            )
        engine.make_events(2)
        receiver.wait_for(1)
        assert first.terminate() == 0
