"""``relay silence run``, as a process: the command's exit code, its signals, and the silence."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from time import time_ns
from typing import Any

import pytest
import pytest_asyncio

from relay.admin.operations import LocalOperations
from relay.cli import child_process
from relay.cli.child_process import run_child
from relay.incidents.silence_view import SilenceView
from relay.store.outbox import open_outbox
from tests.component.daemon_with_config import DaemonWithConfig, http_destination
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S

MINUTE_NS = 60 * 10**9


@pytest_asyncio.fixture
async def daemon(
    tmp_path: Path, engine: ScriptedEngine, url: str
) -> AsyncIterator[DaemonWithConfig]:
    """A daemon that has run once, so that there is a store, and does not run."""
    async with engine.serve():
        first = DaemonWithConfig(tmp_path, engine)
        async with first.running(**config(url, tmp_path)):
            pass
        yield DaemonWithConfig(tmp_path, engine)


def config(url: str, folder: Path) -> dict[str, Any]:
    deaths = {"name": "deaths", "match": {"action": "die"}, "to": ["ops"]}
    store = {"path": str(folder / "relay.db")}
    return {"destinations": {"ops": http_destination(url)}, "routes": [deaths], "store": store}


async def start(
    daemon: DaemonWithConfig, *command: str, match: str = "project=shop", **environment: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relay", "silence", "run"),
        *("--config", str(daemon.file), "--comment", "deploy", "--by", "ann", match),
        *(("--", *command) if command else ()),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )


async def finish(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    """Return the exit code and what was written."""
    async with asyncio.timeout(TIMEOUT_S):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def list_silences(daemon: DaemonWithConfig) -> list[SilenceView]:
    """Return the silences in the store, while no relay runs."""
    async with open_outbox(daemon.store) as outbox:
        operations = LocalOperations(outbox, tuple, time_ns)
        return await operations.list_silences(include_over=True)


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)],
)
async def test_the_exit_code_is_that_of_the_command(
    daemon: DaemonWithConfig, script: str, code: int
) -> None:
    """And the silence ends a minute after it."""
    before_ns = time_ns()
    found = await finish(await start(daemon, "sh", "-c", f"echo out; {script}"))
    assert found[:2] == (code, "out\n")
    assert "relay: silence 1 until " in found[2]
    assert "project=shop (deploy, ann)" in found[2]
    (silence,) = await list_silences(daemon)
    assert before_ns + MINUTE_NS <= silence.until_ns <= time_ns() + MINUTE_NS
    assert silence.expired_ns is None


async def test_with_a_running_relay(daemon: DaemonWithConfig, url: str, tmp_path: Path) -> None:
    """The silence is in force while the command runs."""
    async with daemon.running(**config(url, tmp_path)), daemon.operations() as operations:
        process = await start(daemon, "sh", "-c", "echo up; exec sleep 100", match="name=web")
        assert process.stdout is not None
        assert await process.stdout.readline() == b"up\n"
        (silence,) = await operations.list_silences()
        assert silence.until_ns > time_ns() + 50 * MINUTE_NS
        process.terminate()  # it is passed on
        assert (await finish(process))[0] == 143
        (silence,) = await operations.list_silences()
        assert silence.until_ns <= time_ns() + MINUTE_NS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
async def test_the_command_decides_what_a_signal_does(
    daemon: DaemonWithConfig, number: signal.Signals
) -> None:
    script = f"trap 'echo caught; exit 7' {number.name[3:]}; echo up; while :; do sleep 0.01; done"
    process = await start(daemon, "sh", "-c", script)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    process.send_signal(number)
    assert (await finish(process))[:2] == (7, "caught\n")


async def test_a_command_that_does_not_exist(daemon: DaemonWithConfig, tmp_path: Path) -> None:
    """Exit codes as a shell has them; the silence ends at once."""
    code, output, errors = await finish(await start(daemon, "docker-compoze", "up"))
    assert (code, output) == (127, "")
    assert "relay: docker-compoze: command not found" in errors
    script = tmp_path / "script"
    script.write_text("echo")
    script.chmod(stat.S_IRUSR)
    for name, message in ((str(script), "Permission denied"), (str(tmp_path), "Permission denied")):
        code, _, errors = await finish(await start(daemon, name))
        assert code == 126
        assert f"{name}: {message}" in errors
    script.chmod(stat.S_IRWXU)
    code, _, errors = await finish(await start(daemon, str(script)))
    assert code == 126
    assert "Exec format error" in errors
    assert all(each.expired_ns is not None for each in await list_silences(daemon))


async def test_if_it_is_killed_the_silence_has_its_end(daemon: DaemonWithConfig) -> None:
    process = await start(daemon, "sh", "-c", "echo $$; exec sleep 100")
    assert process.stdout is not None
    command = int(await process.stdout.readline())
    process.kill()
    os.kill(command, signal.SIGTERM)  # it goes on, and here it is not needed
    await process.wait()
    (silence,) = await list_silences(daemon)
    assert silence.until_ns - silence.from_ns == 60 * MINUTE_NS


async def test_without_a_silence_the_command_runs_all_the_same(
    tmp_path: Path, daemon: DaemonWithConfig
) -> None:
    """The deployment matters more."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relay", "silence", "run", "--config", str(tmp_path / "none.yaml")),
        *("--comment", "deploy", "project=shop", "--", "sh", "-c", "echo out; exit 3"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    code, output, errors = await finish(process)
    assert (code, output) == (3, "out\n")
    assert "relay: no silence, the command runs all the same: " in errors
    async with open_outbox(daemon.store):  # as a relay that is just starting
        code, output, errors = await finish(await start(daemon, "sh", "-c", "echo out; exit 4"))
    assert (code, output) == (4, "out\n")
    assert "no silence, the command runs all the same: a relay is running, but" in errors


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "<&- >&- 2>&-"])
async def test_the_command_runs_if_nobody_reads_what_relay_says(
    daemon: DaemonWithConfig, tmp_path: Path, redirection: str
) -> None:
    """A full disk below its log, or a parent without standard streams."""
    relay = f"{sys.executable} -m relay silence run --config {daemon.file} --comment deploy"
    script = f"{relay} project=shop -- sh -c 'touch {tmp_path}/deployed; exit 7' {redirection}"
    process = await asyncio.create_subprocess_exec("sh", "-c", script)
    async with asyncio.timeout(TIMEOUT_S):
        assert await process.wait() == 7
    assert (tmp_path / "deployed").exists()
    (silence,) = await list_silences(daemon)
    assert silence.until_ns < time_ns() + 2 * MINUTE_NS


async def test_what_is_asked_for_wrongly_runs_nothing(daemon: DaemonWithConfig) -> None:
    for match in ("shop", "projct=shop", "route=nothing", "inc_ffff"):
        code, output, errors = await finish(await start(daemon, "echo", "out", match=match))
        assert (code, output) == (2, ""), errors
        assert "Error: " in errors
    code, _, errors = await finish(await start(daemon))
    assert code == 2
    assert "write the command behind --" in errors


async def test_relay_that_is_restarted_by_the_command(
    daemon: DaemonWithConfig, url: str, tmp_path: Path
) -> None:
    """The command ends the relay that knows of the silence; the next one ends the silence."""
    async with daemon.running(**config(url, tmp_path)):
        process = await start(daemon, "sh", "-c", "echo up; exec sleep 100")
        assert process.stdout is not None
        assert await process.stdout.readline() == b"up\n"
    process.terminate()
    code, _, errors = await finish(process)
    assert (code, errors.count("\n")) == (143, 1), errors
    (silence,) = await list_silences(daemon)
    assert silence.until_ns <= time_ns() + MINUTE_NS


def test_a_parent_that_ignores_the_ends_of_children() -> None:
    """Whoever started relay may have left SIGCHLD ignored; the exit code counts all the same."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert run_child(["sh", "-c", "exit 7"], 10, lambda: pytest.fail("it did not end")) == 7
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def test_a_command_that_takes_longer_goes_on() -> None:
    """`run_child` says so when its time has come, once."""
    seen: list[str] = []
    assert run_child(["sh", "-c", "sleep 0.3; exit 5"], 0.05, lambda: seen.append("limit")) == 5
    assert seen == ["limit"]
    assert run_child(["sh", "-c", "exit 6"], TIMEOUT_S, lambda: seen.append("limit")) == 6
    assert seen == ["limit"]


# A process of its own: where there are other threads, such a signal may go to one of them.
SIGNALLED = """
import os
from relay.cli import child_process
child_process._SI_KERNEL = {sender}
script = f"kill -USR1 {{os.getpid()}}; sleep 0.2; exit 3"
raise SystemExit(child_process.run_child(["sh", "-c", script], 10, lambda: None))
"""


@pytest.mark.parametrize(
    ("sender", "code"),
    [("0", 3), ("child_process._SI_KERNEL", 128 + signal.SIGUSR1)],
    ids=["terminal", "process"],
)
def test_a_signal_from_the_terminal_is_not_passed_on(sender: str, code: int) -> None:
    """The command got it already: it is in the same process group. 0 is SI_USER, as of kill(2)."""
    program = SIGNALLED.format(sender=sender)
    ended = subprocess.run([sys.executable, "-c", program], timeout=TIMEOUT_S, check=False)
    assert ended.returncode == code


def test_a_signal_that_comes_when_the_command_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was meant for the command, whose exit code is still to be returned."""

    def wait(child: subprocess.Popen[bytes], _: float | None) -> None:
        child.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    monkeypatch.setattr(child_process, "_wait", wait)
    received: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    try:
        assert run_child(["sh", "-c", "exit 3"], TIMEOUT_S, lambda: None) == 3
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == []
