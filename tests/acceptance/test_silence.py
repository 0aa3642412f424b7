"""A deployment on a real engine under ``relay silence run``: nobody is told of it."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.support.docker import PrivateEngine
from tests.support.incident_stage import Row, messages, run_relay_for
from tests.support.receiver import Receiver
from tests.support.sandboxed_engine import IMAGE, SYSTEM_PATH

COMES_UP = "test -e /data/came && exec sleep 1000000; touch /data/came; exit 3"
"""Crashes on its way, and runs when it is started again."""

ROW = Row("shop", play=lambda _: None, expected=(), keys={"resolve_after": "2s"})
OTHER = Row("other", play=lambda _: None, expected=())

LABEL = "com.docker.compose.project"

COMMAND_TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def compose() -> list[str]:
    """Compose's command: Debian's package, or the plugin; without them the test is skipped."""
    if (program := shutil.which("docker-compose", path=SYSTEM_PATH)) is not None:
        return [program]
    docker = shutil.which("docker", path=SYSTEM_PATH)
    plugin = [docker or "docker", "compose"]
    asked = [*plugin, "version"]
    if docker is None or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    return plugin


class Shop:
    """The compose project ``shop`` with two services, of which one crashes on its way."""

    def __init__(self, engine: PrivateEngine, compose: list[str], folder: Path) -> None:
        self._engine, self._compose = engine, compose
        self.folder = folder
        self.file = folder / "compose.yaml"
        self.data = folder / "data"
        self.data.mkdir()
        usual = {"image": IMAGE, "network_mode": "none", "restart": "always"}
        services = {
            "web": {
                **usual,
                "command": ["sh", "-c", COMES_UP],
                "volumes": [f"{self.data}:/data"],
                "stop_grace_period": "0s",
            },
            "db": {**usual, "command": ["sleep", "1000000"], "stop_grace_period": "0s"},
        }
        self.file.write_text(yaml.safe_dump({"version": "3", "services": services}))

    @property
    def up(self) -> list[str]:
        """The command of a deployment."""
        usual = ["-p", "shop", "-f", str(self.file)]
        return [*self._compose, *usual, "up", "--force-recreate", "-d"]

    @property
    def env(self) -> dict[str, str]:
        """The environment of the command."""
        return {"PATH": SYSTEM_PATH, "HOME": str(self.folder), "DOCKER_HOST": self._engine.url}

    def relay(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of relay; it finds the relay of the folder."""
        return subprocess.run(
            [sys.executable, "-m", "relay", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
            env={
                **self.env,
                "RELAY_CONFIG": str(self.folder / "config.yaml"),
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            },
        )

    def silences(self) -> list[dict[str, Any]]:
        """What ``relay silence list`` shows."""
        shown = self.relay("silence", "list", "--all", "--json").stdout
        return [msgspec.json.decode(line) for line in shown.splitlines()]

    def deploy(self, *, silenced: bool) -> subprocess.CompletedProcess[str]:
        """Deploy it, with or without a silence."""
        (self.data / "came").unlink(missing_ok=True)
        if not silenced:
            return subprocess.run(
                self.up,
                env=self.env,
                capture_output=True,
                text=True,
                check=True,
                timeout=COMMAND_TIMEOUT_S,
            )
        asked = ("--comment", "deploy", "--by", "ann", "project=shop")
        return self.relay("silence", "run", *asked, "--", *self.up)


def test_a_deployment(engine: PrivateEngine, compose: list[str], tmp_path: Path) -> None:
    """B8: a service that crashes on its way and comes up is not told, but counted.

    The same deployment without a silence is told, and so is what happens elsewhere meanwhile.
    """
    shop = Shop(engine, compose, tmp_path)
    with Receiver() as receiver, run_relay_for([ROW, OTHER], engine.url, receiver, tmp_path):
        done = shop.deploy(silenced=True)
        assert done.returncode == 0, done.stderr
        assert "relay: silence 1 until " in done.stderr
        engine.run("sh", "-c", "exit 3", name="other-web-1", labels={LABEL: "other"})
        receiver.wait_for(lambda _: bool(messages(receiver, "other")), 60)
        receiver.wait_for(lambda _: bool(messages(receiver, "shop", "audit")), 60)
        (silence,) = wait_until_held(shop)
        assert silence["held"] == {"incidents": 2, "events": 2}  # of the chat and the program
        assert silence["until_ns"] - time.time_ns() < 60 * 10**9
        time.sleep(max(0.0, silence["until_ns"] / 1e9 - time.time()) + 4)
        assert [silence["state"] for silence in shop.silences()] == ["over"]
        assert messages(receiver, "shop") == messages(receiver, "shop", "chat") == []
        assert len(messages(receiver, "shop", "audit")) == 1
        shop.deploy(silenced=False)
        receiver.wait_for(lambda _: bool(messages(receiver, "shop")), 60)
        (told,) = (each.json for each in messages(receiver, "shop"))
        assert (told["status"], told["count"], told["suppressed"]) == ("resolved", 1, 1)


def wait_until_held(shop: Shop) -> list[dict[str, Any]]:
    """Wait until the silence has held back what was over before its end."""
    deadline = time.monotonic() + 60
    while True:
        found = shop.silences()
        if any(each["held"]["events"] for each in found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
