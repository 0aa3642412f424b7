"""``relay tail`` as a process that watches a control socket: signals, terminals and pipes."""

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from select import PIPE_BUF

import pytest

from relay.admin.control_socket import serve_control_socket
from relay.admin.operations import LocalOperations
from relay.admin.tap import EventTap
from tests.component.admin_samples import start_event
from tests.component.wait import TIMEOUT_S, wait_until
from tests.support.idle import idle

TAIL = (sys.executable, "-m", "relay", "tail")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose store is that of `control_socket`."""
    file = tmp_path / "config.yaml"
    file.write_text("store: {path: relay.db}\ndestinations: {}\nroutes: []\n")
    return file


@asynccontextmanager
async def run_tail(
    tap: EventTap, config: Path, *arguments: str, stdout: int = PIPE
) -> AsyncIterator[Process]:
    """Run the command until it watches; afterwards wait until it has ended by itself."""
    process = await asyncio.create_subprocess_exec(
        *TAIL, "--config", str(config), *arguments, stdout=stdout, stderr=PIPE
    )
    try:
        await wait_until(lambda: tap.subscriber_count == 1)
        yield process
        async with asyncio.timeout(TIMEOUT_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def read_line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        return (await process.stdout.readline()).decode()


async def read_errors(process: Process) -> str:
    assert process.stderr is not None
    return (await process.stderr.read()).decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals(
    tap: EventTap,
    local_operations: LocalOperations,
    control_socket: Path,
    config: Path,
    number: signal.Signals,
) -> None:
    """Lines come as events happen; a signal ends it with 0, without a message."""
    async with (
        serve_control_socket(control_socket, local_operations, tap, idle),
        run_tail(tap, config, "--all") as tailing,
    ):
        tap.publish(start_event(10**18), ())
        line = "01:46:40Z container start web-1000000000000000000 → no route matches\n"
        assert await read_line(tailing) == line
        tailing.send_signal(number)
    assert (tailing.returncode, await read_errors(tailing)) == (0, "")


async def test_json_lines(
    tap: EventTap, local_operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """``--json`` prints one JSON object per line."""
    async with (
        serve_control_socket(control_socket, local_operations, tap, idle),
        run_tail(tap, config, "--all", "--json") as tailing,
    ):
        tap.publish(start_event(10**18), ())
        assert json.loads(await read_line(tailing))["event"]["action"] == "start"
        tailing.terminate()


async def test_on_a_terminal(
    tap: EventTap, local_operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """Lines are in colour, JSON is not."""
    for form, coloured in ([], True), (["--json"], False):
        ours, remote = pty.openpty()
        async with (
            serve_control_socket(control_socket, local_operations, tap, idle),
            run_tail(tap, config, "--all", *form, stdout=remote) as tailing,
        ):
            tap.publish(start_event(10**18), ())
            shown = await asyncio.to_thread(os.read, ours, 4096)
            tailing.terminate()
        os.close(ours)
        os.close(remote)
        assert (b"\x1b[2m01:46:40Z\x1b[0m container start" in shown) is coloured
        assert (b"\x1b" in shown) is coloured


async def test_the_daemon_ends(
    tap: EventTap, local_operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """The command says so, with exit code 1."""
    serving = serve_control_socket(control_socket, local_operations, tap, idle)
    await serving.__aenter__()
    async with run_tail(tap, config) as tailing:
        await serving.__aexit__(None, None, None)
    assert tailing.returncode == 1
    assert (
        await read_errors(tailing) == f"relay: the relay that listened at {control_socket} ended\n"
    )


async def test_a_closed_pipe(
    tap: EventTap, local_operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """It ends with its reader, without a message, even if nothing more happens."""
    ours, remote = os.pipe()
    async with (
        serve_control_socket(control_socket, local_operations, tap, idle),
        run_tail(tap, config, stdout=remote) as tailing,
    ):
        os.close(remote)
        os.close(ours)
    assert (tailing.returncode, await read_errors(tailing)) == (0, "")


async def test_a_paused_terminal(
    tap: EventTap, local_operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """A signal does not wait for the terminal."""
    ours, remote = os.pipe()
    room = fcntl.fcntl(remote, fcntl.F_GETPIPE_SZ)

    def full() -> bool:
        held: int = struct.unpack("i", fcntl.ioctl(ours, termios.FIONREAD, bytes(4)))[0]
        return held >= room - PIPE_BUF

    async with (
        serve_control_socket(control_socket, local_operations, tap, idle),
        run_tail(tap, config, "--all", "--json", stdout=remote) as tailing,
    ):
        os.close(remote)
        for number in (1, 2, 3):
            tap.publish(start_event(number, size=room), ())
        await wait_until(full)
        tailing.terminate()
    os.close(ours)
    assert (tailing.returncode, await read_errors(tailing)) == (0, "")
