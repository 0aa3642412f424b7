"""What systemd is told, and in which words."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.admin.status import ReloadStatus, StatusSnapshot
from relay.core.counters import EngineCounters
from relay.core.status import DestinationStatus, EngineSnapshot
from relay.daemon.systemd import SystemdNotifier, describe_status
from relay.store.faults import StoreFault, StoreStatus


def vitals(
    streams: dict[str, bool],
    conditions: dict[str, DestinationStatus] | None = None,
    store: StoreStatus | None = None,
) -> StatusSnapshot:
    heard = {name: EngineSnapshot(EngineCounters(), is_open) for name, is_open in streams.items()}
    return StatusSnapshot(
        heard, {}, conditions or {}, store or StoreStatus(), {}, 0, ReloadStatus(0), 0
    )


@pytest.fixture(params=["path", "abstract"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket, and how the environment names it."""
    path = str(tmp_path / "notify")
    address = path if request.param == "path" else "\0" + path
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(address)
        listening.settimeout(5)
        yield listening, address.replace("\0", "@")


def test_it_is_told_where_the_environment_says(place: tuple[socket.socket, str]) -> None:
    """At a path or an abstract address, all in one datagram."""
    listening, address = place
    with closing(SystemdNotifier({"NOTIFY_SOCKET": address})) as manager:
        assert manager.is_enabled
        assert manager.notify(READY="1", STATUS="well")
        assert listening.recv(4096) == b"READY=1\nSTATUS=well"
        manager.notify_stopping()
        assert listening.recv(4096).startswith(b"STOPPING=1\n")


def test_a_manager_that_does_not_read_holds_nothing_up(place: tuple[socket.socket, str]) -> None:
    """What finds no room is not told, and said to be so."""
    _, address = place
    with closing(SystemdNotifier({"NOTIFY_SOCKET": address})) as manager:
        told = [manager.notify(STATUS="x" * 1000) for _ in range(10_000)]
    assert told[0]
    assert not told[-1]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_manager_nobody_is_told(environ: dict[str, str]) -> None:
    """As where a person starts relay."""
    manager = SystemdNotifier(environ)
    assert not manager.is_enabled
    assert not manager.notify(READY="1")


def test_a_manager_that_is_gone_is_said(tmp_path: Path) -> None:
    """relay works without it."""
    with capture_logs() as logs:
        manager = SystemdNotifier({"NOTIFY_SOCKET": f"{tmp_path}/gone"})
    assert not manager.is_enabled
    assert [line["event"] for line in logs] == ["systemd.unreachable"]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_whether_it_wants_to_hear_of_progress(
    environ: dict[str, str], seconds: float | None
) -> None:
    """As sd_watchdog_enabled(3) reads it: meant for this process, and a time."""
    assert SystemdNotifier(environ).watchdog_s == seconds


@pytest.mark.parametrize(
    ("seen", "waiting", "words"),
    [
        (vitals({"a": True}), 0, "listening to 1 engine, nothing waits"),
        (vitals({"a": True, "b": True}), 1, "listening to 2 engines, 1 delivery waits"),
        (
            vitals(
                {"a": True, "b": False},
                {
                    "ops": DestinationStatus(failing=True),
                    "old": DestinationStatus(stopped=True, failing=True),
                },
            ),
            3,
            "listening to 1 of 2 engines (not to b), 3 deliveries wait, ops failing, old stopped",
        ),
        (
            vitals({"a": True}, store=StoreStatus(1, StoreFault.READ_ONLY)),
            None,
            "listening to 1 engine, store failing (read only)",
        ),
        (
            vitals({f"e{number}": False for number in range(7)}),
            0,
            "listening to 0 of 7 engines (not to e0, e1, e2, e3, e4 and 2 more), nothing waits",
        ),
    ],
)
def test_what_relay_does_in_a_line(seen: StatusSnapshot, waiting: int | None, words: str) -> None:
    """Engines, what waits, and what is not well; of many names the first."""
    assert describe_status(seen, waiting) == words


def test_a_reload_is_told_with_its_time_and_its_end(place: tuple[socket.socket, str]) -> None:
    """systemd wants the monotonic clock's, in the same datagram; ready is what ends it."""
    listening, address = place
    with closing(SystemdNotifier({"NOTIFY_SOCKET": address})) as manager:
        before_usec = time.monotonic_ns() // 1000
        manager.reload_started()
        told = dict(line.split("=", 1) for line in listening.recv(4096).decode().split("\n"))
        assert told.keys() == {"RELOADING", "MONOTONIC_USEC"}
        assert told["RELOADING"] == "1"
        assert before_usec <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert not manager.ready_pending
        manager.reload_finished()
        assert listening.recv(4096) == b"READY=1"
        assert not manager.ready_pending


def test_the_end_of_a_reload_that_finds_no_room_is_owed(
    place: tuple[socket.socket, str],
) -> None:
    """Until it is told, systemd takes relay for one that reloads."""
    listening, address = place
    with closing(SystemdNotifier({"NOTIFY_SOCKET": address})) as manager:
        manager.reload_started()
        while manager.notify(STATUS="x" * 1000):
            pass
        manager.reload_finished()
        assert manager.ready_pending
        listening.setblocking(False)
        with suppress(BlockingIOError):
            while listening.recv(4096):
                pass
        manager.notify_ready("well")
        assert listening.recv(4096) == b"READY=1\nSTATUS=well"
        assert not manager.ready_pending


def test_a_reload_that_a_stop_cuts_off_tells_of_no_readiness(
    place: tuple[socket.socket, str],
) -> None:
    """The end is told already."""
    listening, address = place
    with closing(SystemdNotifier({"NOTIFY_SOCKET": address})) as manager:
        manager.reload_started()
        manager.notify_stopping()
        manager.reload_finished()
        assert listening.recv(4096).startswith(b"RELOADING=1\n")
        assert listening.recv(4096).startswith(b"STOPPING=1\n")
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.recv(4096)
