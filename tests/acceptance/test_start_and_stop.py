"""relay's beginning and end: with no engine, with a receiver that hangs, with a store in use."""

import sys
from pathlib import Path

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Misbehaviour, Receiver

BACK_TIMEOUT_S = 60.0

WITHOUT_ROOTS_WAY = (
    *("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"),
    *(sys.executable, "-m", "relay", "run"),
)
"""relay as a user whom a file's mode concerns, which it does not where root keeps its powers."""


def volumes(folder: Path, engine: PrivateEngine, receiver: Receiver, **more: object) -> Path:
    """Creations of volumes go to the receiver; ``more`` goes into the engine's part."""
    return write_config(
        folder,
        engines={"here": {"url": engine.url, **more}},
        store={"path": str(folder / "relay.db")},
        destinations={
            "hook": {"type": "http", "url": receiver.url("/hook"), "concurrency": 1},
        },
        routes=[{"name": "made", "match": {"type": "volume", "action": "create"}, "to": "hook"}],
    )


def test_relay_may_be_there_before_the_engine(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """With no engine there relay says so once, however often it tries, and then works."""
    engine.stop()
    with RelayProcess(volumes(relay_folder, engine, receiver)) as relay:
        said = relay.wait_for_log("engine.unreachable")
        engine.start()
        relay.wait_for_log("engine.connected", BACK_TIMEOUT_S)
        engine.make_events(2)
        receiver.wait_for(1)
        assert relay.terminate() == 0

        assert len(relay.logs("engine.unreachable")) == 1
        assert said["level"] == "warning"
        assert said["reason"].startswith(f"{engine.socket_path}: ")
        assert said["retrying"] == "until it answers"
        assert "Traceback" not in relay.stderr


def test_a_missing_socket_is_named(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """A path where nothing is gives its name and the system's words for it."""
    config = volumes(relay_folder, engine, receiver, url="unix:///nowhere/docker.sock")
    with RelayProcess(config) as relay:
        said = relay.wait_for_log("engine.unreachable")
        assert said["reason"] == "/nowhere/docker.sock: No such file or directory"
        assert relay.terminate() == 0


def test_a_socket_that_may_not_be_opened_is_explained(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """Without permission relay says why, and works once it is let in."""
    engine.socket_path.chmod(0)
    config = volumes(relay_folder, engine, receiver)
    try:
        with RelayProcess(config, program=WITHOUT_ROOTS_WAY) as relay:
            said = relay.wait_for_log("engine.unreachable")
            assert said["reason"] == (
                f"{engine.socket_path}: permission denied: "
                "its mode (0000) lets no group in: give its group the right to read and write"
            )
            engine.socket_path.chmod(0o660)
            relay.wait_for_log("engine.connected", BACK_TIMEOUT_S)
            assert relay.terminate() == 0
    finally:
        engine.socket_path.chmod(0o660)


def test_what_hangs_at_the_end_is_delivered_after_the_next_start(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """SIGTERM while the receiver hangs: exit 0 after the drain; the same id comes again later."""
    config = volumes(relay_folder, engine, receiver)
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
        cut, *rest = receiver.wait_for(3)
        assert relay.terminate() == 0
    assert rest[0].headers["webhook-id"] == cut.headers["webhook-id"]
    assert rest[0].body == cut.body
    assert len({it.headers["webhook-id"] for it in rest}) == len(rest) == 2


def test_start_from_oldest(engine: PrivateEngine, receiver: Receiver, relay_folder: Path) -> None:
    """A first start from the oldest tells all that the engine's history holds, as replayed."""
    engine.make_events(10)
    made = [it for it in engine.events() if (it["Type"], it["Action"]) == ("volume", "create")]
    with RelayProcess(volumes(relay_folder, engine, receiver, start_from="oldest")) as relay:
        came = receiver.wait_for(len(made))
        assert relay.terminate() == 0

    events = [it.json["events"][0] for it in came]
    assert [(it["time_ns"], it["actor"]["id"], it["origin"]) for it in events] == [
        (it["timeNano"], it["Actor"]["ID"], "replayed") for it in made
    ]
    assert len(receiver.received) == len(made) >= 5


def test_a_first_start_takes_nothing_that_was_before(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """Without ``start_from`` the history is not delivered: the first event is one made afterwards."""
    engine.make_events(10)
    with RelayProcess(volumes(relay_folder, engine, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        ((_, volume), _) = engine.make_events(2)
        receiver.wait_for(1)
        assert relay.terminate() == 0
    assert [it.json["events"][0]["actor"]["id"] for it in receiver.received] == [volume]


def test_a_store_is_for_one_relay(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """A second relay on the same store says who has it, in one line, and ends with 1."""
    config = volumes(relay_folder, engine, receiver)
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
