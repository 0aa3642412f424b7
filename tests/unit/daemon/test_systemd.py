"""The notifications that relay sends to systemd."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.admin.health import ReloadStatus, StatusSnapshot
from relay.core.counters import EngineCounters, EngineSnapshot
from relay.core.status import DestinationStatus
from relay.daemon.systemd import SystemdNotifier, describe_status
from relay.store.faults import StoreFault, StoreStatus


def make_snapshot(
    streams: dict[str, bool],
    conditions: dict[str, DestinationStatus] | None = None,
    store: StoreStatus | None = None,
) -> StatusSnapshot:
    snapshots = {
        name: EngineSnapshot(EngineCounters(), is_open) for name, is_open in streams.items()
    }
    return StatusSnapshot(
        snapshots, {}, conditions or {}, store or StoreStatus(), {}, 0, ReloadStatus(0), 0
    )


@pytest.fixture(params=["path", "abstract"])
def notify_socket(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and its name in the environment."""
    path = str(tmp_path / "notify")
    address = path if request.param == "path" else "\0" + path
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(address)
        receiver.settimeout(5)
        yield receiver, address.replace("\0", "@")


def test_notifications_go_to_the_named_socket(notify_socket: tuple[socket.socket, str]) -> None:
    """To a path or an abstract address, all assignments in one datagram."""
    receiver, address = notify_socket
    with closing(SystemdNotifier({"NOTIFY_SOCKET": address})) as notifier:
        assert notifier.is_enabled
        assert notifier.notify(READY="1", STATUS="well")
        assert receiver.recv(4096) == b"READY=1\nSTATUS=well"
        notifier.notify_stopping()
        assert receiver.recv(4096).startswith(b"STOPPING=1\n")


def test_a_manager_that_does_not_read(notify_socket: tuple[socket.socket, str]) -> None:
    """Notifying never waits; it returns False if the datagram was not sent."""
    _, address = notify_socket
    with closing(SystemdNotifier({"NOTIFY_SOCKET": address})) as notifier:
        sent = [notifier.notify(STATUS="x" * 1000) for _ in range(10_000)]
    assert sent[0]
    assert not sent[-1]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_no_manager(environ: dict[str, str]) -> None:
    """Without a manager nothing is sent, as if a person starts relay."""
    notifier = SystemdNotifier(environ)
    assert not notifier.is_enabled
    assert not notifier.notify(READY="1")


def test_an_unreachable_manager_is_logged(tmp_path: Path) -> None:
    """relay works without it."""
    with capture_logs() as logs:
        notifier = SystemdNotifier({"NOTIFY_SOCKET": f"{tmp_path}/gone"})
    assert not notifier.is_enabled
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
def test_watchdog_variables(environ: dict[str, str], seconds: float | None) -> None:
    """As sd_watchdog_enabled(3) reads them: meant for this process, and a valid time."""
    assert SystemdNotifier(environ).watchdog_s == seconds


@pytest.mark.parametrize(
    ("snapshot", "pending", "line"),
    [
        (make_snapshot({"a": True}), 0, "listening to 1 engine, nothing waits"),
        (make_snapshot({"a": True, "b": True}), 1, "listening to 2 engines, 1 delivery waits"),
        (
            make_snapshot(
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
            make_snapshot({"a": True}, {"hub": DestinationStatus(not_connected="refused")}),
            0,
            "listening to 1 engine, nothing waits, hub not connected",
        ),
        (
            make_snapshot({"a": True}, store=StoreStatus(1, StoreFault.READ_ONLY)),
            None,
            "listening to 1 engine, store failing (read only)",
        ),
        (
            make_snapshot({f"e{number}": False for number in range(7)}),
            0,
            "listening to 0 of 7 engines (not to e0, e1, e2, e3, e4 and 2 more), nothing waits",
        ),
    ],
)
def test_the_status_line(snapshot: StatusSnapshot, pending: int | None, line: str) -> None:
    """It shows engines, waiting deliveries and what fails; of many names only the first."""
    assert describe_status(snapshot, pending) == line


def test_a_reload(notify_socket: tuple[socket.socket, str]) -> None:
    """systemd wants the monotonic time in the same datagram; READY ends the reload."""
    receiver, address = notify_socket
    with closing(SystemdNotifier({"NOTIFY_SOCKET": address})) as notifier:
        before_usec = time.monotonic_ns() // 1000
        notifier.reload_started()
        sent = dict(line.split("=", 1) for line in receiver.recv(4096).decode().split("\n"))
        assert sent.keys() == {"RELOADING", "MONOTONIC_USEC"}
        assert sent["RELOADING"] == "1"
        assert before_usec <= int(sent["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert not notifier.ready_pending
        notifier.reload_finished()
        assert receiver.recv(4096) == b"READY=1"
        assert not notifier.ready_pending


def test_the_end_of_a_reload_is_repeated(
    notify_socket: tuple[socket.socket, str],
) -> None:
    """If it cannot be sent it stays pending: until then systemd believes that relay reloads."""
    receiver, address = notify_socket
    with closing(SystemdNotifier({"NOTIFY_SOCKET": address})) as notifier:
        notifier.reload_started()
        while notifier.notify(STATUS="x" * 1000):
            pass
        notifier.reload_finished()
        assert notifier.ready_pending
        receiver.setblocking(False)
        with suppress(BlockingIOError):
            while receiver.recv(4096):
                pass
        notifier.notify_ready("well")
        assert receiver.recv(4096) == b"READY=1\nSTATUS=well"
        assert not notifier.ready_pending


def test_a_stop_during_a_reload(
    notify_socket: tuple[socket.socket, str],
) -> None:
    """No READY is sent after STOPPING."""
    receiver, address = notify_socket
    with closing(SystemdNotifier({"NOTIFY_SOCKET": address})) as notifier:
        notifier.reload_started()
        notifier.notify_stopping()
        notifier.reload_finished()
        assert receiver.recv(4096).startswith(b"RELOADING=1\n")
        assert receiver.recv(4096).startswith(b"STOPPING=1\n")
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(4096)
