"""What people read of an error of an engine's API."""

import errno
import grp
import os
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from relay.ingest.docker.engine.errors import EngineUnavailable, describe_error


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
    """The error names the group that relay's user lacks, and how it is given each way to run."""
    path = tmp_path / "docker.sock"
    path.touch()
    path.chmod(0o660)
    group, owner = grp.getgrgid(path.stat().st_gid), path.stat().st_uid
    assert describe_error(permission_denied(path)) == (
        f"{path}: permission denied: relay's user must be in the group "
        f"{group.gr_name} ({group.gr_gid}): usermod -aG {group.gr_name} USER, docker run "
        f"--group-add {group.gr_gid}, or SupplementaryGroups={group.gr_gid} under systemd; "
        f"or run relay as the user {owner} (docker run --user {owner})"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_a_closed_socket_whose_group_has_no_name(tmp_path: Path) -> None:
    """In a container the group has no name: the error shows its number."""
    path = tmp_path / "docker.sock"
    path.touch()
    path.chmod(0o660)
    os.chown(path, -1, 54321)
    assert describe_error(permission_denied(path)).endswith(
        ": relay's user must be in the group 54321: docker run --group-add 54321, or "
        "SupplementaryGroups=54321 under systemd; or run relay as the user 0 (docker run --user 0)"
    )


def test_a_closed_socket_that_no_group_may_open(tmp_path: Path) -> None:
    """No group would help, so none is named; its owner may open it."""
    path = tmp_path / "docker.sock"
    path.touch()
    path.chmod(0o600)
    owner = path.stat().st_uid
    assert describe_error(permission_denied(path)).endswith(
        ": its mode (0600) lets no group in: give its group the right to read and write, "
        f"or run relay as the user {owner} (docker run --user {owner})"
    )


def test_a_closed_socket_that_cannot_be_examined(tmp_path: Path) -> None:
    """If relay may not assess the socket, the error names the possible reasons."""
    assert describe_error(permission_denied(tmp_path / "docker.sock")).endswith(
        ": relay's user must be in the socket's group, and may enter its folder"
    )
