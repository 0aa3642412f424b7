"""The pure parts of the engine's client."""

import errno
import grp
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from relay.ingest.docker.engine.client import (
    EngineUnavailable,
    clock_ahead_ns,
    connect,
    describe_error,
    format_engine_time,
)
from relay.ingest.docker.engine.endpoint import Endpoint

NOON_NS = 1795435200 * 10**9
SSH_MODULE = "relay.ingest.docker.engine.ssh"
NOON = "Mon, 23 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("local_ns", "ahead_s"),
    [(NOON_NS, 0), (NOON_NS + 1_900_000_000, 0), (NOON_NS - 3600 * 10**9, 3600)],
)
def test_the_difference_of_the_clocks(local_ns: int, ahead_s: int) -> None:
    """A difference counts only if whole seconds cannot explain it."""
    assert clock_ahead_ns(NOON, local_ns) == ahead_s * 10**9


@pytest.mark.parametrize(
    "date",
    [
        *(None, "", "soon", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "\0"),
        "Sat, 01 Jan 2263 00:00:00 GMT",  # beyond 64 bits of nanoseconds
        "Wed, 01 Jan 2200 00:00:00 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ],
)
def test_an_invalid_date_counts_as_no_difference(date: str | None) -> None:
    """With an invalid date, the clocks count as equal."""
    assert clock_ahead_ns(date, NOON_NS) == 0


def test_an_error_is_one_line() -> None:
    """For any answer of a proxy, the error is one line."""
    assert describe_error(EngineUnavailable("a\nb\r\n c")) == "a b c"


def test_an_error_contains_no_url() -> None:
    """The URL may contain a password."""
    assert "secret" not in describe_error(aiohttp.InvalidURL(URL("http://u:secret@h")))


def test_a_system_error_names_the_file() -> None:
    """A missing certificate is found by its name."""
    error = FileNotFoundError(2, "No such file", "/etc/ca.pem")
    assert describe_error(error) == "/etc/ca.pem: No such file or directory"


def permission_denied(path: Path) -> UnixClientConnectorError:
    """Return the error of a socket that relay may not open."""
    key = ConnectionKey("localhost", None, False, True, None, None, None)
    return UnixClientConnectorError(str(path), key, PermissionError(errno.EACCES, "no"))


def test_a_closed_socket_names_the_missing_group(tmp_path: Path) -> None:
    """The error names the group that relay's user lacks, with its number."""
    path = tmp_path / "docker.sock"
    path.touch()
    path.chmod(0o660)
    group = grp.getgrgid(path.stat().st_gid)
    assert describe_error(permission_denied(path)) == (
        f"{path}: permission denied: relay's user must be in the group "
        f"{group.gr_name} ({group.gr_gid})"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_a_closed_socket_whose_group_has_no_name(tmp_path: Path) -> None:
    """In a container the group has no name: the error shows its number."""
    path = tmp_path / "docker.sock"
    path.touch()
    path.chmod(0o660)
    os.chown(path, -1, 54321)
    assert describe_error(permission_denied(path)).endswith(
        ": relay's user must be in the group 54321"
    )


def test_a_closed_socket_that_no_group_may_open(tmp_path: Path) -> None:
    """No group would help, so none is named."""
    path = tmp_path / "docker.sock"
    path.touch()
    path.chmod(0o600)
    assert describe_error(permission_denied(path)).endswith(
        ": its mode (0600) lets no group in: give its group the right to read and write"
    )


def test_a_closed_socket_that_cannot_be_examined(tmp_path: Path) -> None:
    """If relay may not assess the socket, the error names the possible reasons."""
    assert describe_error(permission_denied(tmp_path / "docker.sock")).endswith(
        ": relay's user must be in the socket's group, and may enter its folder"
    )


def test_engine_times_have_nine_digits() -> None:
    """Engine times have nine digits, including leading zeros."""
    assert format_engine_time(1795416515_000000378) == "1795416515.000000378"


class ImportThreads:
    """Records which thread imports the module for ssh. Finds no module itself."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        """Note who imports the module."""
        if name == SSH_MODULE:
            self.threads.append(threading.current_thread())


async def test_ssh_is_imported_in_a_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its import takes long, and the event loop goes on meanwhile."""
    finder = ImportThreads()
    monkeypatch.delitem(sys.modules, SSH_MODULE, raising=False)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    monkeypatch.setenv("HOME", str(tmp_path))
    with suppress(EngineUnavailable):  # asyncssh is not installed, or the host is not known
        await _connect_by_ssh()
    assert finder.threads
    assert threading.main_thread() not in finder.threads


async def test_an_unknown_ssh_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names the file in which ssh looks for keys of hosts."""
    pytest.importorskip("asyncssh")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="known_hosts"):
        await _connect_by_ssh()


async def _connect_by_ssh() -> None:
    async with connect(Endpoint("ssh://user@127.0.0.1", None, None), lambda: NOON_NS):
        pass
