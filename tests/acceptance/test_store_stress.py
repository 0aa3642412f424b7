"""A store whose disk fails, fills up, or is written over, while relay runs or between two runs."""

import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Received, Receiver

DISK = "4m"
"""More than SQLite's files need, and soon full."""

BURST = 50
"""Events made at once; with those of a whole test fewer than the engine remembers while relay is
away."""

MIN_ATTEMPTS = 5
"""So many attempts at least are made at once, however badly they end."""

MAX_BURSTS = 60

RECOVERY_S = 30.0


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system for the store alone; where none may be mounted, why there is no test."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={DISK},mode=0700", "relay-store", str(place))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield place
    while place.is_mount():
        subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=30)


@pytest.fixture
def config(relay_folder: Path, disk: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Every volume event goes to the receiver, by way of the small disk."""
    return write_config(
        relay_folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(disk / "relay.db")},
        destinations={
            "hook": {
                "type": "http",
                "url": receiver.url("/hook"),
                "retry": {"initial": "100ms", "max": "500ms"},
            }
        },
        routes=[{"name": "all", "match": {"type": "volume"}, "to": "hook"}],
    )


class MadeEvents:
    """Volume events, each of which is to be told."""

    def __init__(self, engine: PrivateEngine) -> None:
        self._engine = engine
        self.events: list[tuple[str, str]] = []

    def make(self, number: int = BURST) -> None:
        self.events += self._engine.make_events(number)


@pytest.fixture
def made(engine: PrivateEngine) -> MadeEvents:
    """None yet."""
    return MadeEvents(engine)


def ids_by_event(arrived: tuple[Received, ...]) -> dict[tuple[str, str], set[str]]:
    """Of which events the requests tell, each with the ids that it came by."""
    ids: dict[tuple[str, str], set[str]] = {}
    for request in arrived:
        (event,) = request.json["events"]
        fact = event["action"], event["actor"]["id"]
        ids.setdefault(fact, set()).add(request.headers["webhook-id"])
    return ids


def assert_all_arrive(receiver: Receiver, made: MadeEvents) -> None:
    """Each event that was made is told, and one that is told twice has one id."""
    wanted = set(made.events)
    arrived = receiver.wait_for(lambda them: ids_by_event(them).keys() >= wanted, RECOVERY_S)
    ids = ids_by_event(arrived)
    assert ids.keys() == wanted
    assert Counter(len(known_as) for known_as in ids.values()) == {1: len(wanted)}


def fill_disk(disk: Path) -> Path:
    """Take all the room that is left; returns the file to be removed."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            return ballast


def make_until_it_fails(relay: RelayProcess, made: MadeEvents) -> None:
    """Give relay more than its disk takes."""
    for _ in range(MAX_BURSTS):
        if relay.logs("store.failing", reason="full"):
            return
        made.make()
    relay.wait_for_log("store.failing", reason="full")


@contextmanager
def process_stopped(relay: RelayProcess) -> Iterator[None]:
    """While relay stands still, so that it sees all of what is done to it at once."""
    os.kill(relay.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(relay.pid, signal.SIGCONT)


def assert_alive(relay: RelayProcess) -> None:
    """It runs, though its store takes nothing."""
    assert Path(f"/proc/{relay.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_full_disk(config: Path, disk: Path, receiver: Receiver, made: MadeEvents) -> None:
    """relay says so and lives; when there is room again, everything arrives."""
    receiver.answer(503)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        ballast = fill_disk(disk)
        make_until_it_fails(relay, made)
        made.make()
        assert_alive(relay)
        assert len(relay.logs("store.failing", reason="full")) == 1
        ballast.unlink()
        relay.wait_for_log("store.recovered")
        receiver.answer(200)
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def test_killed_while_the_disk_is_full(
    config: Path, disk: Path, receiver: Receiver, made: MadeEvents
) -> None:
    """What was not committed is the engine's to repeat: the next start tells it."""
    receiver.answer(503)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        ballast = fill_disk(disk)
        make_until_it_fails(relay, made)
    ballast.unlink()
    receiver.answer(200)
    with RelayProcess(config) as relay:
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def test_told_to_stop_while_the_disk_is_full(
    config: Path, disk: Path, receiver: Receiver, made: MadeEvents
) -> None:
    """It stops in time, and loses nothing by it."""
    receiver.answer(503)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        ballast = fill_disk(disk)
        make_until_it_fails(relay, made)
        assert relay.terminate(20) == 0
    ballast.unlink()
    receiver.answer(200)
    with RelayProcess(config) as relay:
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def test_writing_fails(config: Path, receiver: Receiver, made: MadeEvents) -> None:
    """The system refuses every write for a while, by the process's own limit on files."""
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        made.make()
        assert_all_arrive(receiver, made)
        _, most = resource.prlimit(relay.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (0, most))
        made.make()
        relay.wait_for_log("store.failing", reason="io")
        assert_alive(relay)
        resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (most, most))
        relay.wait_for_log("store.recovered")
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def test_the_disk_comes_back_empty_and_read_only(
    config: Path, disk: Path, receiver: Receiver, made: MadeEvents
) -> None:
    """Once it can be written to, it has all that was on the one that went."""
    receiver.answer(503)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        made.make()
        receiver.wait_for(MIN_ATTEMPTS)
        with process_stopped(relay):
            subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=30)
            _mount("-t", "tmpfs", "-o", f"size={DISK},mode=0700,ro", "relay-store", str(disk))
        made.make()
        relay.wait_for_log("store.failing", reason="read_only")
        assert_alive(relay)
        _mount("-o", "remount,rw", str(disk))
        relay.wait_for_log("store.recovered")
        assert len(relay.logs("store.restored")) == 1
    receiver.answer(200)
    with RelayProcess(config) as relay:
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def test_a_disk_that_is_read_only_at_the_start(
    config: Path, disk: Path, receiver: Receiver, made: MadeEvents
) -> None:
    """relay says why it does not start; when it can, it goes on from where it was."""
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        assert relay.terminate() == 0
    made.make()
    _mount("-o", "remount,ro", str(disk))
    with RelayProcess(config) as relay:
        assert relay.wait() == 1
        assert "Read-only file system" in relay.stderr
    _mount("-o", "remount,rw", str(disk))
    with RelayProcess(config) as relay:
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def wait_until_stored(store: Path, count: int) -> None:
    """Return once so many deliveries are in the store."""
    until_s = time.monotonic() + RECOVERY_S
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        while connection.execute("SELECT count(*) FROM deliveries").fetchone()[0] < count:
            assert time.monotonic() < until_s, "they were not stored in time"
            time.sleep(0.05)


@pytest.mark.parametrize("what", ["file", "all files"])
def test_a_removed_store(
    config: Path, disk: Path, receiver: Receiver, made: MadeEvents, what: str
) -> None:
    """It is put back; killed after that, relay starts again with all that was in it."""
    receiver.answer(503)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        made.make()
        receiver.wait_for(MIN_ATTEMPTS)
        wait_until_stored(disk / "relay.db", BURST)
        with process_stopped(relay):
            for file in [disk / "relay.db"] if what == "file" else list(disk.iterdir()):
                file.unlink()
        made.make()
        relay.wait_for_log("store.restored")
    receiver.answer(200)
    with RelayProcess(config) as relay:
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def test_a_removed_folder_while_nothing_happens(
    relay_folder: Path, config: Path, receiver: Receiver, made: MadeEvents
) -> None:
    """relay looks by itself: nobody has to make an event first."""
    folder = relay_folder / "state"
    config.write_text(re.sub(r"path: .*relay\.db", f"path: {folder}/relay.db", config.read_text()))
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        made.make()
        assert_all_arrive(receiver, made)
        with process_stopped(relay):
            shutil.rmtree(folder)
        relay.wait_for_log("store.restored")
        assert {path.name for path in folder.iterdir()} >= {"relay.db", "relay.db.lock"}
        made.make()
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def overwrite_page(store: Path) -> bytes:
    """Write over the page with most deliveries; returns what the file then holds."""
    content = bytearray(store.read_bytes())
    pages = range(4096, len(content), 4096)
    worst = max(pages, key=lambda at: content.count(b'"ntf_', at, at + 4096))
    content[worst : worst + 4096] = b"\xa5" * 4096
    store.write_bytes(content)
    return bytes(content)


def test_a_store_that_is_written_over(
    config: Path, disk: Path, receiver: Receiver, made: MadeEvents
) -> None:
    """It is set aside as it is; relay starts, tells what could be read, and goes on."""
    receiver.answer(503)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        made.make()
        receiver.wait_for(MIN_ATTEMPTS)
        wait_until_stored(disk / "relay.db", BURST)
        assert relay.terminate() == 0
    broken = overwrite_page(disk / "relay.db")
    receiver.answer(200)
    with RelayProcess(config) as relay:
        line = relay.wait_for_log("store.broken")
        assert Path(line["set_aside"]).read_bytes() == broken
        assert re.fullmatch(r"relay\.db\.broken-\d{8}T\d{6}Z", Path(line["set_aside"]).name)
        relay.wait_for_log("engine.connected")
        before = len(made.events)
        made.make()
        fresh = set(made.events[before:])
        arrived = receiver.wait_for(lambda them: ids_by_event(them).keys() >= fresh, RECOVERY_S)
        assert relay.terminate() == 0
    assert line["carried"] > BURST // 2
    assert ids_by_event(arrived).keys() <= set(made.events)
