"""The pure parts of the engine's client."""

import errno
import grp
import os
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from relay.ingest.docker.engine.client import EngineUnavailable, clock_ahead_ns, describe_error

NOON_NS = 1795435200 * 10**9
NOON = "Mon, 23 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("local_ns", "ahead_s"),
    [(NOON_NS, 0), (NOON_NS + 1_900_000_000, 0), (NOON_NS - 3600 * 10**9, 3600)],
)
def test_an_engine_whose_clock_is_off(local_ns: int, ahead_s: int) -> None:
    """Only what whole seconds cannot explain is a difference."""
    assert clock_ahead_ns(NOON, local_ns) == ahead_s * 10**9


@pytest.mark.parametrize(
    "date", [None, "", "soon", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "\0"]
)
def test_a_date_that_is_none_tells_nothing(date: str | None) -> None:
    """The clocks are taken for the same."""
    assert clock_ahead_ns(date, NOON_NS) == 0


def test_words_of_a_failure_are_one_line() -> None:
    """Whatever a proxy answers."""
    assert describe_error(EngineUnavailable("a\nb\r\n c")) == "a b c"


def test_words_of_a_failure_hold_no_url() -> None:
    """It may hold a password."""
    assert "secret" not in describe_error(aiohttp.InvalidURL(URL("http://u:secret@h")))


def test_words_of_the_system_name_the_file() -> None:
    """A missing certificate is found by its name."""
    failure = FileNotFoundError(2, "No such file", "/etc/ca.pem")
    assert describe_error(failure) == "/etc/ca.pem: No such file or directory"


def permission_denied(path: Path) -> UnixClientConnectorError:
    key = ConnectionKey("localhost", None, False, True, None, None, None)
    return UnixClientConnectorError(str(path), key, PermissionError(errno.EACCES, "no"))


def test_words_of_a_socket_name_the_group_that_is_missing(tmp_path: Path) -> None:
    """By its name and its number."""
    path = tmp_path / "docker.sock"
    path.touch()
    path.chmod(0o660)
    group = grp.getgrgid(path.stat().st_gid)
    assert describe_error(permission_denied(path)) == (
        f"{path}: permission denied: relay's user must be in the group "
        f"{group.gr_name} ({group.gr_gid})"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_words_of_a_socket_whose_group_has_no_name_here(tmp_path: Path) -> None:
    """As in a container: its number says which it is."""
    path = tmp_path / "docker.sock"
    path.touch()
    path.chmod(0o660)
    os.chown(path, -1, 54321)
    assert describe_error(permission_denied(path)).endswith(
        ": relay's user must be in the group 54321"
    )


def test_words_of_a_socket_that_no_group_may_open(tmp_path: Path) -> None:
    """No group would help, so none is named."""
    path = tmp_path / "docker.sock"
    path.touch()
    path.chmod(0o600)
    assert describe_error(permission_denied(path)).endswith(
        ": its mode (0600) lets no group in: give its group the right to read and write"
    )


def test_words_of_a_socket_that_cannot_be_seen(tmp_path: Path) -> None:
    """Its folder may be what is closed."""
    assert describe_error(permission_denied(tmp_path / "docker.sock")).endswith(
        ": relay's user must be in the socket's group, and may enter its folder"
    )
