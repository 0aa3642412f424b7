"""The image on a real engine: run with next to no rights, beside the proxy that is shipped."""

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import required
from tests.support import image
from tests.support.daemon import write_config
from tests.support.docker import PrivateEngine
from tests.support.engine_api import EngineApi
from tests.support.image import IMAGE, USER
from tests.support.proxy import find_haproxy, socket_proxy
from tests.support.receiver import Received, Receiver
from tests.support.sandboxed_engine import EngineError

PATIENCE_S = 20.0
OOM = "x=a; while true; do x=$x$x; done"
SMALL = ("--memory=16m", "--memory-swap=16m")

CONFINED = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--network=host",  # which leads to the receiver; no engine of the tests has a bridge
)
OFTEN = ("--health-interval=500ms", "--health-timeout=2s", "--health-retries=1")
"""A health check that a test can wait for."""

REFUSED = (
    "/info",
    "/images/json",
    "/containers/relay/archive?path=/",
    "/containers/relay/export",
    "/containers/relay/attach/ws",
    "/v1.41/secrets",
    "/containers/json/../../info",
)


@dataclass(frozen=True, slots=True)
class Story:
    """What came of relay in a container."""

    build: str
    inspected: dict[str, Any]
    health: str
    received: tuple[Received, ...]
    history: list[dict[str, Any]]
    exit_code: int
    said: str

    @property
    def delivered(self) -> list[tuple[str, str, str]]:
        """Action, container and origin of what came to the hook, in the order of arrival."""
        events = [it.json["events"][0] for it in self.received if it.path == "/hook"]
        return [(it["action"], it["actor"]["name"], it["origin"]) for it in events]


@pytest.fixture(scope="module")
def built(engine: PrivateEngine) -> str:
    """What the build of the image printed, which is then in the tests' engine."""
    engine.start()
    try:
        return image.build(engine)
    except EngineError as missing:
        if required():
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def haproxy() -> str:
    """Its program; where it is missing, why there is no test."""
    try:
        return find_haproxy()
    except EngineError as missing:
        if required():
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def story(
    engine: PrivateEngine, built: str, haproxy: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    """relay runs, hears of an OOM kill and of commands, is stopped, misses one, and comes back."""
    engine.remove_containers()
    folder = tmp_path_factory.mktemp("contained")
    proxy = folder / "proxy"
    proxy.mkdir()
    with (
        Receiver() as receiver,
        socket_proxy(haproxy, engine.socket_path, proxy / "docker.sock"),
    ):
        receiver.answer(500, path="/dead")
        options = [
            *(*CONFINED, *OFTEN, "--volume=relay-state:/var/lib/relay"),
            *_mounted(_config(folder, receiver), "/etc/relay/config.yaml"),
            *_mounted(_secret(folder, receiver.url("/hook")), "/run/secrets/hook"),
            *_mounted(proxy, "/run/proxy"),
            "--env=DOCKER_HOST=unix:///run/proxy/docker.sock",
        ]
        _start(engine, *options)
        _wait_for(engine, "engine.connected")
        engine.run("sh", "-c", OOM, name="greedy", options=SMALL)
        engine.run("sleep", "60", name="other", options=["--init"])
        _until(lambda: _health(engine) == "healthy", engine)
        _until(lambda: _execs(engine.events(), "relay").count("exec_die") >= 2, engine)
        engine.docker("exec", "other", "true")
        receiver.wait_for(lambda arrived: _last(arrived, "exec_die", "other"))
        receiver.wait_for(lambda arrived: any(it.path == "/dead" for it in arrived))
        time.sleep(1.1)  # two more probes, with a destination that is dead
        inspected, health = engine.inspect("relay"), _health(engine)
        history = engine.events()
        engine.docker("stop", "--time=20", "relay")
        exit_code = int(engine.inspect("relay")["State"]["ExitCode"])
        engine.run("sh", "-c", OOM, name="missed", options=SMALL)
        engine.wait("missed")
        engine.docker("start", "relay")
        received = receiver.wait_for(lambda arrived: _last(arrived, "oom", "missed"))
        said = engine.logs("relay")
    yield Story(built, inspected, health, received, history, exit_code, said)
    engine.start()
    engine.remove_containers()
    engine.docker("volume", "rm", "relay-state")


def test_an_oom_kill_of_another_container_is_told(story: Story) -> None:
    """Through the proxy, from a container that may do nothing, to the address in a secret."""
    assert ("oom", "greedy", "live") in story.delivered


def test_it_runs_with_next_to_no_rights(story: Story) -> None:
    """As the image's user, who is nobody; nothing but the volume can be written to."""
    config, host = story.inspected["Config"], story.inspected["HostConfig"]
    assert config["User"] == f"{USER}:{USER}"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert not host["Privileged"]


def test_a_dead_webhook_makes_it_not_unhealthy(story: Story) -> None:
    """Its health is that of relay: a restart would help no webhook."""
    assert story.health == "healthy"
    assert story.inspected["State"]["Health"]["FailingStreak"] == 0
    assert any(it.path == "/dead" for it in story.received)


def test_its_own_probes_are_told_to_nobody(story: Story) -> None:
    """They did happen, and a command in another container is delivered."""
    assert _execs(story.history, "relay").count("exec_die") >= 2
    events = [(action, name) for action, name, _ in story.delivered if action.startswith("exec_")]
    assert events == [(action, "other") for action in ("exec_create", "exec_start", "exec_die")]
    assert f'"id": "{story.inspected["Id"]}"' in story.said  # whose they are, it says


def test_it_stops_in_time_and_resumes(story: Story) -> None:
    """With 0 on SIGTERM; by the store on its volume it knows what it missed meanwhile."""
    assert story.exit_code == 0
    assert story.delivered[-1] == ("oom", "missed", "replayed")
    assert story.delivered.count(("oom", "greedy", "live")) == 1
    assert '"why"' not in story.said  # of a gap


def test_what_installs_is_not_in_it(engine: PrivateEngine, built: str) -> None:
    """No pip, and everybody can read what it is made of."""
    look = "ls /opt/relay/lib/*/site-packages; find /opt/relay ! -perm -004 ! -type l"
    shell = ["--rm", "--network=none", "--entrypoint=/bin/sh"]
    listed = engine.docker("run", *shell, IMAGE, "-c", look).splitlines()
    assert "relay" in listed
    assert not [it for it in listed if it.startswith(("pip", "setuptools", "/"))]


def test_the_proxy_refuses_the_rest(engine: PrivateEngine, haproxy: str, tmp_path: Path) -> None:
    """What relay does not read, in whatever words, and every way to change something."""
    with socket_proxy(haproxy, engine.socket_path, tmp_path / "docker.sock"):
        behind = EngineApi(tmp_path / "docker.sock")
        before = [it for it in engine.events() if it["Type"] == "volume"]
        assert behind.get("/containers/json?all=1") == []
        for path in REFUSED:
            with pytest.raises(AssertionError, match=": 403 "):
                behind.get(path)
        with pytest.raises((AssertionError, ConnectionError)):  # it reads no body
            behind.make_events(2)
        assert [it for it in engine.events() if it["Type"] == "volume"] == before


def test_a_relay_that_hangs_is_unhealthy(engine: PrivateEngine, built: str, tmp_path: Path) -> None:
    """It is there, but does not answer."""
    config = _printing(tmp_path)
    _start(engine, *CONFINED, *OFTEN, *_mounted(config, "/etc/relay/config.yaml"))
    _until(lambda: _health(engine) == "healthy", engine)
    engine.docker("kill", "--signal=STOP", "relay")
    _until(lambda: _health(engine) == "unhealthy", engine)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (None, "/etc/relay/config.yaml: cannot be read: No such file or directory"),
        (0o600, "/etc/relay/config.yaml: cannot be read: Permission denied"),
        (0o644, "/run/secrets/hook"),
    ],
    ids=["no configuration", "a configuration that it may not read", "no secret"],
)
def test_what_is_wrong_is_said_in_its_logs(
    engine: PrivateEngine, built: str, tmp_path: Path, mode: int | None, words: str
) -> None:
    """And it ends with 2."""
    options: list[str] = []
    if mode is not None:
        with Receiver() as receiver:
            config = _config(tmp_path, receiver)
        config.chmod(mode)
        options += _mounted(config, "/etc/relay/config.yaml")
    _start(engine, *CONFINED, *options)
    assert engine.wait("relay") == 2
    assert words in engine.logs("relay")
    assert "Traceback" not in engine.logs("relay")


def test_a_socket_that_it_may_not_open(engine: PrivateEngine, built: str, tmp_path: Path) -> None:
    """The group is said that it lacks, and it tries again; with that group it may."""
    config = _printing(tmp_path)
    options = [
        *(*CONFINED, *_mounted(config, "/etc/relay/config.yaml")),
        *_mounted(engine.socket_path, "/var/run/docker.sock"),
    ]
    _start(engine, *options)
    number = engine.socket_path.stat().st_gid
    _wait_for(engine, "permission denied: relay's user must be in the group ")
    assert re.search(rf"in the group (\w+ \({number}\)|{number})", engine.logs("relay"))
    assert engine.inspect("relay")["State"]["Running"]
    engine.remove_containers()
    _start(engine, *options, f"--group-add={number}")
    _wait_for(engine, "engine.connected")


def test_what_an_editor_wrote_is_read_again(
    engine: PrivateEngine, built: str, tmp_path: Path
) -> None:
    """Also where it is a new file in the old one's place, for the folder is mounted."""
    folder = tmp_path / "config"
    folder.mkdir()
    path = _printing(folder)
    _start(engine, *CONFINED, *_mounted(folder, "/etc/relay"))
    _wait_for(engine, "relay.started")
    fresh = folder / "config.yaml~"
    fresh.write_text(path.read_text().replace("name: all", "name: everything"))
    fresh.chmod(0o644)
    fresh.replace(path)
    assert engine.docker("exec", "relay", "relay", "reload").strip() == "reloaded: routes changed"


def _config(folder: Path, receiver: Receiver) -> Path:
    hook = {"type": "http", "url_file": "/run/secrets/hook", "concurrency": 1}
    oom = {"type": "container", "action": "oom"}
    path = write_config(
        folder,
        destinations={"hook": hook, "dead": {"type": "http", "url": receiver.url("/dead")}},
        routes=[
            {"name": "out-of-memory", "match": oom, "to": ["hook", "dead"]},
            {"name": "commands", "match": {"type": "container", "action": "exec_*"}, "to": "hook"},
        ],
    )
    path.chmod(0o644)
    return path


def _printing(folder: Path) -> Path:
    to = {"out": {"type": "console"}}
    path = write_config(folder, destinations=to, routes=[{"name": "all", "to": "out"}])
    path.chmod(0o644)
    return path


def _secret(folder: Path, text: str) -> Path:
    path = folder / "hook"
    path.write_text(text)
    path.chmod(0o400)
    os.chown(path, USER, USER)
    return path


def _mounted(source: Path, target: str) -> list[str]:
    return [f"--mount=type=bind,readonly,source={source},target={target}"]


def _start(engine: PrivateEngine, *options: str) -> None:
    engine.docker("run", "--detach", "--name=relay", *options, IMAGE)


def _health(engine: PrivateEngine) -> str:
    found: str = engine.inspect("relay")["State"]["Health"]["Status"]
    return found


def _execs(history: list[dict[str, Any]], name: str) -> list[str]:
    """The commands run in a container, each by its three events, in order."""
    return [
        event["Action"].split(":")[0]
        for event in history
        if event["Action"].startswith("exec_") and event["Actor"]["Attributes"]["name"] == name
    ]


def _last(arrived: tuple[Received, ...], action: str, name: str) -> bool:
    """Whether the hook has heard of that."""
    events = [it.json["events"][0] for it in arrived if it.path == "/hook"]
    return any((it["action"], it["actor"]["name"]) == (action, name) for it in events)


def _wait_for(engine: PrivateEngine, words: str) -> None:
    _until(lambda: words in engine.logs("relay"), engine)


def _until(holds: Callable[[], bool], engine: PrivateEngine) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_S} s; it said:\n{engine.logs('relay')}")
        time.sleep(0.1)
