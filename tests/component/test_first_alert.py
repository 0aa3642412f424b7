"""From one variable to the first alert: the program itself, without a configuration file."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

import relay
from relay.cli.options import DEFAULT_FILE
from tests.component.scripted_engine import ScriptedEngine
from tests.support.daemon import RelayProcess
from tests.support.receiver import Received, Receiver

CANARY = "canary-in-the-path"

pytestmark = pytest.mark.skipif(DEFAULT_FILE.exists(), reason="this machine has a configuration")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def serving(engine: ScriptedEngine) -> AsyncIterator[ScriptedEngine]:
    """The engine, with a container."""
    engine.run("web")
    async with engine.serve():
        yield engine


class Machine:
    """A machine with an engine, where only the environment says what relay is to do."""

    def __init__(self, folder: Path, engine: ScriptedEngine, receiver: Receiver) -> None:
        self.folder = folder
        self.engine = engine
        self.receiver = receiver
        self.env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(Path(relay.__file__).parents[1]),
            "DOCKER_HOST": f"unix://{engine.socket}",
            "STATE_DIRECTORY": str(folder),
        }

    def start(self) -> RelayProcess:
        """``relay run``, to be entered as a context."""
        return RelayProcess(None, folder=self.folder, env=self.env)

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command in the same environment."""
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "relay", *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    async def crash(self, wanted: Callable[[Received], bool]) -> Received:
        """Let the container crash; return the request that reports it."""
        while not self.engine.open_streams():
            await asyncio.sleep(0.01)
        self.engine.die("web", 3)
        self.engine.emit("web", "die", exitCode="3")
        found = await asyncio.to_thread(
            self.receiver.wait_for, lambda received: any(map(wanted, received))
        )
        self.engine.run("web")
        self.engine.emit("web", "start")
        return next(filter(wanted, found))


@pytest.fixture
def machine(tmp_path: Path, serving: ScriptedEngine, receiver: Receiver) -> Machine:
    return Machine(tmp_path, serving, receiver)


def reports_crash(path: str) -> Callable[[Received], bool]:
    """Whether a request to this path reports a crash."""
    return lambda it: it.path == path and it.json["events"][0]["action"] == "die"


async def test_one_variable(machine: Machine) -> None:
    """A crash is reported, commands find the daemon, and nothing shows the URL."""
    machine.env["RELAY_WEBHOOK_URL"] = machine.receiver.url(f"/{CANARY}")
    with machine.start() as daemon:
        await asyncio.to_thread(daemon.wait_for_log, "engine.connected")
        report = await machine.crash(reports_crash(f"/{CANARY}"))
        assert report.json["route"] == "died"
        assert report.json["events"][0]["actor"]["name"] == "web"
        status = await machine.run("status")
        assert "webhook" in status.stdout
        sent = await machine.run("send", "webhook")
        assert sent.returncode == 0
        assert await asyncio.to_thread(daemon.terminate) == 0
        printed = daemon.stdout + daemon.stderr + status.stdout + sent.stdout + sent.stderr
    assert "the built-in configuration, with RELAY_WEBHOOK_URL" in printed
    assert CANARY not in printed


async def test_a_file_with_the_secret_is_read_again(machine: Machine) -> None:
    """A reload takes what the file holds now; without the file nothing changes."""
    secret = machine.folder / "hook"
    secret.write_text(machine.receiver.url("/one") + "\n")
    machine.env["RELAY_WEBHOOK_URL_FILE"] = str(secret)
    with machine.start() as daemon:
        await machine.crash(reports_crash("/one"))
        secret.write_text(machine.receiver.url("/two") + "\n")
        reloaded = await machine.run("reload")
        assert reloaded.stdout == "reloaded: destination webhook changed\n"
        await machine.crash(reports_crash("/two"))
        secret.unlink()
        refused = await machine.run("reload")
        assert refused.returncode == 1
        assert "RELAY_WEBHOOK_URL_FILE" in refused.stderr
        secret.write_text(machine.receiver.url("/three") + "\n")
        os.kill(daemon.pid, signal.SIGHUP)
        await asyncio.to_thread(daemon.wait_for_log, "config.reloaded", at_least=2)
        await machine.crash(reports_crash("/three"))
        assert await asyncio.to_thread(daemon.terminate) == 0


async def test_a_whole_configuration_in_a_variable(machine: Machine) -> None:
    """It may refer to other variables."""
    machine.env["RELAY_WEBHOOK_URL"] = machine.receiver.url("/inline")
    machine.env["RELAY_CONFIG_YAML"] = """
destinations: {ops: {type: http, url: "${RELAY_WEBHOOK_URL}"}}
routes: [{name: ends, match: {action: die}, to: ops}]
"""
    with machine.start() as daemon:
        report = await machine.crash(reports_crash("/inline"))
        assert report.json["route"] == "ends"
        assert await asyncio.to_thread(daemon.terminate) == 0


async def test_the_file_that_relay_init_writes(machine: Machine) -> None:
    """It does what the variables did."""
    machine.env["RELAY_WEBHOOK_URL"] = machine.receiver.url("/init")
    machine.env["RELAY_CONFIG"] = str(machine.folder / "config.yaml")
    written = await machine.run("init")
    assert (written.returncode, written.stderr) == (0, "")
    assert (await machine.run("check", "--strict")).returncode == 0
    with machine.start() as daemon:
        report = await machine.crash(reports_crash("/init"))
        assert report.json["route"] == "died"
        assert await asyncio.to_thread(daemon.terminate) == 0


async def test_nothing_where_something_is_required(machine: Machine) -> None:
    """It ends with 2, and says both cures."""
    machine.env["RELAY_REQUIRE_CONFIG"] = "1"
    ended = await machine.run("run")
    assert ended.returncode == 2
    assert "docker run -e RELAY_SLACK_URL=https://…" in ended.stderr
    assert f"docker run -v ./config.yaml:{DEFAULT_FILE}:ro" in ended.stderr


async def test_a_misspelled_variable(machine: Machine) -> None:
    """It is not taken for nothing."""
    machine.env["RELAY_SLACK_ULR"] = f"https://hooks.slack.com/{CANARY}"
    ended = await machine.run("run")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "environment: RELAY_SLACK_ULR: is no variable of relay's (did you mean RELAY_SLACK_URL?)\n"
    )
