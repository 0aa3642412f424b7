"""A store whose disk fails or is full, or whose file is overwritten."""

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
from tests.unit.store.samples import overwrite_page

DISK = "4m"
"""Large enough for SQLite's files, and soon full."""

BURST = 50
"""Events made at once. All events of a test are fewer than the engine's history holds."""

MIN_ATTEMPTS = 5
"""How many attempts relay makes at least at the same time, even if all fail."""

MAX_BURSTS = 60

RECOVERY_S = 30.0


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system for the store alone. The test is skipped if it cannot be mounted."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={DISK},mode=0700", "relay-store", str(mount_point))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield mount_point
    while mount_point.is_mount():
        subprocess.run(["umount", "--lazy", str(mount_point)], check=True, timeout=30)


@pytest.fixture
def config(relay_folder: Path, disk: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Sends every volume event to the receiver; the store is on the small disk."""
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
    """Volume events, each of which has to arrive."""

    def __init__(self, engine: PrivateEngine) -> None:
        self._engine = engine
        self.events: list[tuple[str, str]] = []

    def make(self, number: int = BURST) -> None:
        self.events += self._engine.make_events(number)


@pytest.fixture
def made(engine: PrivateEngine) -> MadeEvents:
    """No events yet."""
    return MadeEvents(engine)


def ids_by_event(arrived: tuple[Received, ...]) -> dict[tuple[str, str], set[str]]:
    """The events in the requests, each with the ids of its notifications."""
    ids: dict[tuple[str, str], set[str]] = {}
    for request in arrived:
        (event,) = request.json["events"]
        event_key = event["action"], event["actor"]["id"]
        ids.setdefault(event_key, set()).add(request.headers["webhook-id"])
    return ids


def assert_all_arrive(receiver: Receiver, made: MadeEvents) -> None:
    """Each event that was made arrives, and one that arrives twice has one id."""
    wanted = set(made.events)
    arrived = receiver.wait_for(
        lambda requests: ids_by_event(requests).keys() >= wanted, RECOVERY_S
    )
    ids = ids_by_event(arrived)
    assert ids.keys() == wanted
    assert Counter(len(event_ids) for event_ids in ids.values()) == {1: len(wanted)}


def fill_disk(disk: Path) -> Path:
    """Use all the space that is left; return the file to delete afterwards."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            return filler


def make_until_it_fails(relay: RelayProcess, made: MadeEvents) -> None:
    """Make events until relay's disk is full."""
    for _ in range(MAX_BURSTS):
        if relay.logs("store.failing", reason="full"):
            return
        made.make()
    relay.wait_for_log("store.failing", reason="full")


@contextmanager
def process_stopped(relay: RelayProcess) -> Iterator[None]:
    """Stop the process while the context lasts, so that it sees all changes at once."""
    os.kill(relay.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(relay.pid, signal.SIGCONT)


def assert_alive(relay: RelayProcess) -> None:
    """relay runs, although its store cannot commit."""
    assert Path(f"/proc/{relay.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_full_disk(config: Path, disk: Path, receiver: Receiver, made: MadeEvents) -> None:
    """relay logs a full disk and keeps running; with free space everything arrives."""
    receiver.answer(503)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        filler = fill_disk(disk)
        make_until_it_fails(relay, made)
        made.make()
        assert_alive(relay)
        assert len(relay.logs("store.failing", reason="full")) == 1
        filler.unlink()
        relay.wait_for_log("store.recovered")
        receiver.answer(200)
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def test_killed_while_the_disk_is_full(
    config: Path, disk: Path, receiver: Receiver, made: MadeEvents
) -> None:
    """The next start delivers what was not committed: the engine still remembers it."""
    receiver.answer(503)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        filler = fill_disk(disk)
        make_until_it_fails(relay, made)
    filler.unlink()
    receiver.answer(200)
    with RelayProcess(config) as relay:
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def test_stopped_while_the_disk_is_full(
    config: Path, disk: Path, receiver: Receiver, made: MadeEvents
) -> None:
    """relay stops in time and loses nothing."""
    receiver.answer(503)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        filler = fill_disk(disk)
        make_until_it_fails(relay, made)
        assert relay.terminate(20) == 0
    filler.unlink()
    receiver.answer(200)
    with RelayProcess(config) as relay:
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def test_writing_fails(config: Path, receiver: Receiver, made: MadeEvents) -> None:
    """relay keeps running while the system refuses every write (by the limit on file sizes)."""
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        made.make()
        assert_all_arrive(receiver, made)
        _, max_size = resource.prlimit(relay.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (0, max_size))
        made.make()
        relay.wait_for_log("store.failing", reason="io")
        assert_alive(relay)
        resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (max_size, max_size))
        relay.wait_for_log("store.recovered")
        assert_all_arrive(receiver, made)
        assert relay.terminate() == 0


def test_the_disk_comes_back_empty_and_read_only(
    config: Path, disk: Path, receiver: Receiver, made: MadeEvents
) -> None:
    """Once the disk is writable, the store is restored with everything it held before."""
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
    """relay says why it does not start; on a writable disk it resumes where it was."""
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
    """Return once the store holds this many deliveries."""
    until_s = time.monotonic() + RECOVERY_S
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        while connection.execute("SELECT count(*) FROM deliveries").fetchone()[0] < count:
            assert time.monotonic() < until_s, "they were not stored in time"
            time.sleep(0.05)


@pytest.mark.parametrize("what", ["file", "all files"])
def test_a_removed_store(
    config: Path, disk: Path, receiver: Receiver, made: MadeEvents, what: str
) -> None:
    """The store is restored; after a kill relay starts with everything that was in it."""
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
    """relay notices the removal without any event, and restores the store."""
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


def test_a_store_that_is_overwritten(
    config: Path, disk: Path, receiver: Receiver, made: MadeEvents
) -> None:
    """The store is moved aside unchanged; relay starts with what could be read, and works."""
    receiver.answer(503)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        made.make()
        receiver.wait_for(MIN_ATTEMPTS)
        wait_until_stored(disk / "relay.db", BURST)
        assert relay.terminate() == 0
    corrupt = overwrite_page(disk / "relay.db")
    receiver.answer(200)
    with RelayProcess(config) as relay:
        line = relay.wait_for_log("store.broken")
        assert Path(line["set_aside"]).read_bytes() == corrupt
        assert re.fullmatch(r"relay\.db\.broken-\d{8}T\d{6}Z", Path(line["set_aside"]).name)
        relay.wait_for_log("engine.connected")
        before = len(made.events)
        made.make()
        new_events = set(made.events[before:])
        arrived = receiver.wait_for(
            lambda requests: ids_by_event(requests).keys() >= new_events, RECOVERY_S
        )
        assert relay.terminate() == 0
    assert line["carried"] > BURST // 2
    assert ids_by_event(arrived).keys() <= set(made.events)
