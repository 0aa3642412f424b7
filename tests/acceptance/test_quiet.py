"""What keeps people quiet, on a real engine: a mute interval, ``for``, and ``relay silence run``.

A night ends with a minute of the wall clock, and a silence a minute after its command. So both are
played at the same time, each with a relay of its own.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.acceptance.conftest import required
from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.incident_stage import DIED, Row, messages, run_relay_for
from tests.support.receiver import Received, Receiver
from tests.support.sandboxed_engine import IMAGE, SYSTEM_PATH
from tests.support.services import Services

SOON = timedelta(seconds=20)
"""The least time that the night lasts: for a crash, and for the messages that are not muted."""
TIMEOUT_S = 120.0

COMES_UP = "test -e /data/came && exec sleep 1000000; touch /data/came; exit 3"
"""Crashes on its way, and runs when it is started again."""
SHOP = Row("shop", play=lambda _: None, expected=(), keys={"resolve_after": "2s"})
OTHER = Row("other", play=lambda _: None, expected=())
LABEL = "com.docker.compose.project"


@dataclass(frozen=True, slots=True)
class Night:
    """What three destinations got of a night in which two services crash, and one comes back."""

    morning_s: float
    """When it ended, as a Unix time."""
    received: Sequence[Received]

    def find(self, path: str) -> list[Received]:
        """Return the messages to one destination."""
        return [each for each in self.received if each.path == path]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment under a silence, and then one without."""

    command: subprocess.CompletedProcess[str]
    """``relay silence run``."""
    silence: Mapping[str, Any]
    """What it has held back before its end."""
    listed_s: float
    """When that was known, as a Unix time."""
    states: Sequence[str]
    """The state of each silence, after its end."""
    received: Sequence[int]
    """How many messages each of the destinations of ``shop`` got by then."""
    reported: Sequence[Mapping[str, Any]]
    """The messages about the deployment without a silence."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both."""

    night: Night
    deployment: Deployment | None
    """None if Compose is not installed."""


@pytest.fixture(scope="module")
def outcome(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Play both once. No relay runs afterwards, since the containers are removed."""
    engine.start()
    engine.remove_containers()
    folders = [tmp_path_factory.mktemp("relay") for _ in range(2)]
    compose = find_compose()
    with ThreadPoolExecutor(2) as pool:
        night = pool.submit(play_night, engine, folders[0])
        deployment = pool.submit(deploy, Shop(engine, compose, folders[1])) if compose else None
    return Outcome(night.result(), deployment.result() if deployment else None)


def test_a_night_and_an_escalation(outcome: Outcome) -> None:
    """In the morning there is one message, of what is down and what came and went."""
    night = outcome.night
    (in_the_morning,) = night.find("/muted")
    assert describe(in_the_morning) == (
        "firing",
        2,
        {"quiet-api-1": "firing", "quiet-web-1": "resolved"},
    )
    assert 0 <= in_the_morning.time_s - night.morning_s < TIMEOUT_S
    first, *_ = night.find("/chat")
    assert describe(first)[:2] == ("firing", 2)
    assert first.time_s < night.morning_s
    (lasting,) = night.find("/later")
    assert describe(lasting) == ("firing", 1, {"quiet-api-1": "firing"})


def test_a_deployment(outcome: Outcome) -> None:
    """B8: a service that crashes on its way and comes up is not reported, but counted.

    The same deployment without a silence is reported, and so is what happens elsewhere meanwhile.
    """
    deployment = outcome.deployment
    if deployment is None:
        if required():
            pytest.fail("docker compose is not installed")
        pytest.skip("docker compose is not installed")
    assert deployment.command.returncode == 0, deployment.command.stderr
    assert "relay: silence 1 until " in deployment.command.stderr
    silence = deployment.silence
    assert silence["held"] == {"incidents": 2, "events": 2}  # of the chat and the program
    assert silence["until_ns"] / 1e9 - deployment.listed_s < 60
    assert deployment.states == ["over"]
    assert deployment.received == [0, 0, 1]
    (message,) = deployment.reported
    assert (message["status"], message["count"], message["suppressed"]) == ("resolved", 1, 1)


def describe(message: Received) -> tuple[str, int, dict[str, str]]:
    """What a message says: its status, its count, and the status of each container."""
    document: dict[str, Any] = message.json
    incidents = {each["subject"]: each["status"] for each in document["incidents"]}
    return document["status"], document["count"], incidents


def play_night(engine: PrivateEngine, folder: Path) -> Night:
    """Let two services crash in a night that began hours ago, and wait for the morning."""
    soon = datetime.now(UTC) + SOON
    morning = (soon + timedelta(minutes=1)).replace(second=0, microsecond=0)
    services = Services(engine, "quiet")
    services.run("web")
    services.run("api", options=["--restart=no"])
    with Receiver() as receiver:
        config = configure_night(folder, engine, receiver, morning)
        with RelayProcess(config) as process:
            process.wait_for_log("engine.connected")
            services.crash("web", "api")
            awaited = {"/later", "/muted"}
            receiver.wait_for(lambda found: awaited <= {it.path for it in found}, TIMEOUT_S)
    return Night(morning.timestamp(), receiver.received)


def configure_night(
    folder: Path, engine: PrivateEngine, receiver: Receiver, morning: datetime
) -> Path:
    """A chat that is muted, another that is not, and one that gets what lasts for five seconds."""
    life = {"notify": "incidents", "type": "http", "group_by": [], "resolve_after": "3s"}
    times = f"{morning - timedelta(hours=8):%H:%M}-{morning:%H:%M}"
    match = {**DIED, "label": {LABEL: "quiet"}}
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": "relay.db"},
        mute_time_intervals={"night": [{"times": times}]},
        destinations={
            "muted": {**life, "url": receiver.url("/muted"), "mute": "night"},
            "chat": {**life, "url": receiver.url("/chat")},
            "later": {**life, "url": receiver.url("/later"), "for": "5s"},
        },
        routes=[{"name": "died", "match": match, "to": ["muted", "chat", "later"]}],
    )


def find_compose() -> list[str] | None:
    """Return Compose's command: Debian's package, or the plugin; None without them."""
    if (program := shutil.which("docker-compose", path=SYSTEM_PATH)) is not None:
        return [program]
    docker = shutil.which("docker", path=SYSTEM_PATH)
    if docker is None:
        return None
    plugin = [docker, "compose"]
    asked = subprocess.run([*plugin, "version"], capture_output=True, check=False)
    return None if asked.returncode else plugin


class Shop:
    """The compose project ``shop`` with two services, of which one crashes on its way."""

    def __init__(self, engine: PrivateEngine, compose: list[str], folder: Path) -> None:
        self.engine, self._compose = engine, compose
        self.folder = folder
        self.file = folder / "compose.yaml"
        self.data = folder / "data"
        self.data.mkdir()
        usual = {
            "image": IMAGE,
            "network_mode": "none",
            "restart": "always",
            "stop_grace_period": "0s",
        }
        web = {"command": ["sh", "-c", COMES_UP], "volumes": [f"{self.data}:/data"]}
        services = {"web": {**usual, **web}, "db": {**usual, "command": ["sleep", "1000000"]}}
        self.file.write_text(yaml.safe_dump({"version": "3", "services": services}))

    @property
    def up(self) -> list[str]:
        """The command of a deployment."""
        usual = ["-p", "shop", "-f", str(self.file)]
        return [*self._compose, *usual, "up", "--force-recreate", "-d"]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command, which finds the engine, and the relay of the folder."""
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            env={
                "PATH": SYSTEM_PATH,
                "HOME": str(self.folder),
                "DOCKER_HOST": self.engine.url,
                "RELAY_CONFIG": str(self.folder / "config.yaml"),
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            },
        )

    def relay(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of relay."""
        return self.run(sys.executable, "-m", "relay", *arguments)

    def list_silences(self) -> list[dict[str, Any]]:
        """What ``relay silence list`` shows."""
        shown = self.relay("silence", "list", "--all", "--json").stdout
        return [msgspec.json.decode(line) for line in shown.splitlines()]

    def wait_until_held(self) -> dict[str, Any]:
        """Wait until the only silence has held back what was over before its end."""
        deadline = time.monotonic() + 60
        while True:
            (silence,) = self.list_silences()
            if silence["held"]["events"]:
                return silence
            assert time.monotonic() < deadline, silence
            time.sleep(0.5)


def deploy(shop: Shop) -> Deployment:
    """Deploy it under a silence, wait for its end, and deploy it again without one."""
    engine = shop.engine
    with Receiver() as receiver, run_relay_for([SHOP, OTHER], engine.url, receiver, shop.folder):
        asked = ("--comment", "deploy", "--by", "ann", "project=shop")
        command = shop.relay("silence", "run", *asked, "--", *shop.up)
        engine.run("sh", "-c", "exit 3", name="other-web-1", labels={LABEL: "other"})
        receiver.wait_for(lambda _: bool(messages(receiver, "other")), 60)
        receiver.wait_for(lambda _: bool(messages(receiver, "shop", "audit")), 60)
        silence, listed_s = shop.wait_until_held(), time.time()
        time.sleep(max(0.0, silence["until_ns"] / 1e9 - time.time()) + 4)
        states = [each["state"] for each in shop.list_silences()]
        received = [len(messages(receiver, "shop", kind)) for kind in ("reported", "chat", "audit")]
        (shop.data / "came").unlink()
        shop.run(*shop.up).check_returncode()
        receiver.wait_for(lambda _: bool(messages(receiver, "shop")), 60)
        reported = [each.json for each in messages(receiver, "shop")]
    return Deployment(command, silence, listed_s, states, received, reported)
