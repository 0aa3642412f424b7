"""The control socket: who can use it, and who else may be at its path."""

import asyncio
import errno
import os
import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from relay.admin import client
from relay.admin.client import NoDaemon, RequestFailed, connect_to_daemon
from relay.admin.control_socket import ControlSocketError, serve_control_socket, socket_path
from relay.admin.operations import LocalOperations
from relay.admin.tap import EventTap
from tests.component.admin_samples import NOW_NS
from tests.component.http_client import call_api, serve_fixed_response
from tests.support.idle import idle


async def test_the_socket_is_private(
    local_operations: LocalOperations, control_socket: Path
) -> None:
    """Its mode is 0600 whatever the umask, which stays as it was; the socket goes with relay."""
    before = os.umask(0)
    try:
        async with serve_control_socket(control_socket, local_operations, EventTap(), idle):
            assert stat.S_IMODE(control_socket.stat().st_mode) == 0o600
    finally:
        assert os.umask(before) == 0
    assert not control_socket.exists()


async def test_a_socket_in_use(local_operations: LocalOperations, control_socket: Path) -> None:
    """A second daemon cannot open it, and the first one keeps answering."""
    async with serve_control_socket(control_socket, local_operations, EventTap(), idle):
        with pytest.raises(
            ControlSocketError, match=r"^socket .*\.sock cannot be opened: it is taken by"
        ):
            await serve_control_socket(
                control_socket, local_operations, EventTap(), idle
            ).__aenter__()
        assert (await call_api(control_socket, "/api/"))[0] == 200


async def test_a_stale_socket(local_operations: LocalOperations, control_socket: Path) -> None:
    """The next daemon replaces the socket of a relay that was killed."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(control_socket))
    with pytest.raises(NoDaemon, match=r"relay\.db\.sock: Connection refused"):
        await connect_to_daemon(control_socket).__aenter__()
    async with serve_control_socket(control_socket, local_operations, EventTap(), idle):
        assert (await call_api(control_socket, "/api/"))[0] == 200


async def test_a_file_at_the_path(local_operations: LocalOperations, control_socket: Path) -> None:
    """The file is not touched, and the control socket is not opened."""
    control_socket.write_text("precious")
    with pytest.raises(ControlSocketError, match="it is taken by another program or, as a path"):
        await serve_control_socket(control_socket, local_operations, EventTap(), idle).__aenter__()
    with pytest.raises(NoDaemon):
        await connect_to_daemon(control_socket).__aenter__()
    assert control_socket.read_text() == "precious"


@pytest.mark.parametrize("folders", [0, 1, 10])
async def test_a_missing_socket(tmp_path: Path, folders: int) -> None:
    """There is no daemon, whether the folder exists or not."""
    folder = tmp_path.joinpath(*["nowhere at all, far away"] * folders)
    with pytest.raises(NoDaemon, match="No such file or directory"):
        await connect_to_daemon(folder / "relay.db.sock").__aenter__()


async def test_a_path_that_is_too_long_for_a_socket(
    local_operations: LocalOperations, tmp_path: Path
) -> None:
    """It works like a short path, for the daemon and for commands."""
    folder = tmp_path / ("d" * 120) / ("e" * 120)
    folder.mkdir(parents=True)
    control_socket = socket_path(folder / "relay.db")
    async with (
        serve_control_socket(control_socket, local_operations, EventTap(), idle),
        connect_to_daemon(control_socket) as operations,
    ):
        assert await operations.now_ns() == NOW_NS
        assert stat.S_IMODE(control_socket.stat().st_mode) == 0o600
        with pytest.raises(ControlSocketError, match="it is taken"):
            await serve_control_socket(
                control_socket, local_operations, EventTap(), idle
            ).__aenter__()
    assert not control_socket.exists()
    os.mknod(control_socket, stat.S_IFSOCK)
    async with (
        serve_control_socket(control_socket, local_operations, EventTap(), idle),
        connect_to_daemon(control_socket) as operations,
    ):
        assert await operations.now_ns() == NOW_NS


async def test_a_name_that_is_too_long_for_a_socket(
    local_operations: LocalOperations, tmp_path: Path
) -> None:
    """The daemon cannot open the socket; the error is the system's."""
    control_socket = socket_path(tmp_path / ("d" * 200))
    with pytest.raises(ControlSocketError, match=r"\.sock cannot be opened: File name too long"):
        await serve_control_socket(control_socket, local_operations, EventTap(), idle).__aenter__()
    with pytest.raises(NoDaemon):
        await connect_to_daemon(control_socket).__aenter__()


async def test_a_socket_of_another_user(
    control_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which user may connect; the socket does not count as missing."""

    refused = OSError(errno.EACCES, "")

    def fail(_: Path) -> str:
        raise refused

    monkeypatch.setattr(client, "socket_address", fail)
    with pytest.raises(
        RequestFailed, match="Permission denied: run this as the user that runs relay"
    ):
        await connect_to_daemon(control_socket).__aenter__()
    refused.errno = errno.EIO
    with pytest.raises(RequestFailed, match=r"relay\.db\.sock: Input/output error$"):
        await connect_to_daemon(control_socket).__aenter__()


async def test_a_silent_daemon(control_socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that is stopped (SIGSTOP) accepts the connection and does not answer."""
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(control_socket))
        silent.listen()
        with pytest.raises(RequestFailed, match=r"relay\.db\.sock has not answered for 0\.05 s"):
            await connect_to_daemon(control_socket).__aenter__()


async def test_a_full_queue(
    local_operations: LocalOperations, control_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody listens there, and keeps the socket."""
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 0.05)
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(control_socket))
        listener.listen(0)
        with suppress(BlockingIOError):
            while True:
                client_socket = sockets.enter_context(socket.socket(socket.AF_UNIX))
                client_socket.setblocking(False)
                client_socket.connect(str(control_socket))
        with pytest.raises(ControlSocketError, match="it is taken"):
            await serve_control_socket(
                control_socket, local_operations, EventTap(), idle
            ).__aenter__()
        with pytest.raises(RequestFailed):
            await connect_to_daemon(control_socket).__aenter__()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b'{"version": 7}', "sent an answer that cannot be read (200): Expected `str`"),
        (200, b"hello", "sent an answer that cannot be read (200)"),
        (200, b"\xff", "sent an answer that cannot be read (200)"),
        (500, b"oh \x1b[2J", "sent an answer that cannot be read (500)"),
        (
            404,
            b'{"error": "Not Found"}',
            "does not know this request: it runs another version than this command",
        ),
    ],
)
async def test_another_version(
    control_socket: Path, status: int, body: bytes, message: str
) -> None:
    """An answer that cannot be read is reported, without control characters."""
    async with serve_fixed_response(control_socket, status, body):
        with pytest.raises(RequestFailed) as caught:
            await connect_to_daemon(control_socket).__aenter__()
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


async def test_not_http(control_socket: Path) -> None:
    """The socket of another program."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 \x1b[2J mail\r\n\r\n")
        writer.close()

    server = await asyncio.start_unix_server(answer, control_socket)
    async with server:
        with pytest.raises(RequestFailed, match="broke off") as caught:
            await connect_to_daemon(control_socket).__aenter__()
    assert "\x1b" not in str(caught.value)
