"""The image on a real engine: with minimal privileges, behind the proxy in ``deploy/``."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import required
from tests.acceptance.contained import (
    CONFINED,
    FREQUENT_HEALTH_CHECK,
    PYTHON,
    list_files,
    load_all,
    mount_options,
    read_health,
    start_relay,
    wait_for_log,
    wait_until,
    write_console_config,
)
from tests.acceptance.contained_pages import PAGES, run_page
from tests.support import image
from tests.support.daemon import write_config
from tests.support.docker import PrivateEngine
from tests.support.engine_api import EngineApi
from tests.support.image import USER
from tests.support.proxy import socket_proxy
from tests.support.receiver import Received, Receiver
from tests.support.sandboxed_engine import EngineError

UNKNOWN_GROUP = 4242
"""A group that neither the image nor the host has a name for."""

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
class Result:
    """What relay did in a container."""

    build: str
    inspected: dict[str, Any]
    health: str
    received: tuple[Received, ...]
    history: list[dict[str, Any]]
    exit_code: int
    log: str

    @property
    def delivered(self) -> list[tuple[str, str, str]]:
        """Action, container and origin of the events at the hook, in the order of arrival."""
        events = [it.json["events"][0] for it in self.received if it.path == "/hook"]
        return [(it["action"], it["actor"]["name"], it["origin"]) for it in events]


@pytest.fixture(scope="module")
def built(engine: PrivateEngine) -> str:
    """The output of building the image in the tests' engine."""
    engine.start()
    try:
        return image.build(engine)
    except EngineError as missing:
        if required():
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def result(
    engine: PrivateEngine, built: str, haproxy: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Result]:
    """Run relay through an OOM kill and some commands; stop it, miss an OOM kill, restart it."""
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
            *(*CONFINED, *FREQUENT_HEALTH_CHECK, "--volume=relay-state:/var/lib/relay"),
            *mount_options(_write_config(folder, receiver), "/etc/relay/config.yaml"),
            *mount_options(_write_secret(folder, receiver.url("/hook")), "/run/secrets/hook"),
            *mount_options(proxy, "/run/proxy"),
            "--env=DOCKER_HOST=unix:///run/proxy/docker.sock",
        ]
        start_relay(engine, *options)
        wait_for_log(engine, "engine.connected")
        engine.report_out_of_memory("greedy")
        engine.run("sleep", "60", name="other", options=["--init"])
        wait_until(lambda: read_health(engine) == "healthy", engine)
        wait_until(lambda: _exec_actions(engine.events(), "relay").count("exec_die") >= 2, engine)
        engine.docker("exec", "other", "true")
        receiver.wait_for(lambda arrived: _has_arrived(arrived, "exec_die", "other"))
        receiver.wait_for(lambda arrived: any(it.path == "/dead" for it in arrived))
        time.sleep(1.1)  # two more health checks, while a destination fails
        inspected, health = engine.inspect("relay"), read_health(engine)
        history = engine.events()
        engine.docker("stop", "--time=20", "relay")
        exit_code = int(engine.inspect("relay")["State"]["ExitCode"])
        engine.report_out_of_memory("missed")
        engine.docker("start", "relay")
        received = receiver.wait_for(lambda arrived: _has_arrived(arrived, "oom", "missed"))
        log = engine.logs("relay")
    yield Result(built, inspected, health, received, history, exit_code, log)
    engine.start()
    engine.remove_containers()
    engine.docker("volume", "rm", "relay-state")


def test_an_oom_kill_of_another_container_is_delivered(result: Result) -> None:
    """The event comes through the proxy and goes to the URL that is in a secret."""
    assert ("oom", "greedy", "live") in result.delivered


def test_it_runs_with_minimal_privileges(result: Result) -> None:
    """It runs as the image's unprivileged user, and can write to its volume only."""
    config, host = result.inspected["Config"], result.inspected["HostConfig"]
    assert config["User"] == f"{USER}:{USER}"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert not host["Privileged"]


def test_it_stays_healthy_if_a_webhook_fails(result: Result) -> None:
    """The health check reports relay's own state: a restart would not repair a webhook."""
    assert result.health == "healthy"
    assert result.inspected["State"]["Health"]["FailingStreak"] == 0
    assert any(it.path == "/dead" for it in result.received)


def test_its_own_health_checks_are_not_delivered(result: Result) -> None:
    """They happened but are not delivered; a command in another container is."""
    assert _exec_actions(result.history, "relay").count("exec_die") >= 2
    events = [(action, name) for action, name, _ in result.delivered if action.startswith("exec_")]
    assert events == [(action, "other") for action in ("exec_create", "exec_start", "exec_die")]
    assert f'"id": "{result.inspected["Id"]}"' in result.log  # the log names relay's own container


def test_it_stops_in_time_and_resumes(result: Result) -> None:
    """It exits with 0 on SIGTERM; the store on its volume lets it deliver what it missed."""
    assert result.exit_code == 0
    assert result.delivered[-1] == ("oom", "missed", "replayed")
    assert result.delivered.count(("oom", "greedy", "live")) == 1
    assert "gap" not in [action for action, *_ in result.delivered]


def test_the_image_contains_no_installer(engine: PrivateEngine, built: str) -> None:
    """It contains no pip, and all its files are readable by everybody."""
    listed = list_files(engine)
    assert any(
        re.fullmatch(r"/opt/relay/lib/python3\.\d+/site-packages/relay/cli/run.py", it)
        for it in listed
    )
    assert not [it for it in listed if re.search(r"site-packages/(pip|setuptools|hatchling)/", it)]
    assert not [it for it in listed if it.startswith("unreadable")]


def test_the_image_contains_no_other_program(engine: PrivateEngine, built: str) -> None:
    """It contains Python and relay: no shell, and nothing that gives more rights."""
    listed = list_files(engine)
    programs = {it.removeprefix("program ") for it in listed if it.startswith("program ")}
    assert {re.sub(r"[.\d]+$", "", it) for it in programs} == {"python", "relay"}
    assert not [it for it in listed if it.startswith("set-id")]


def test_every_module_of_the_image_can_be_loaded(engine: PrivateEngine, built: str) -> None:
    """The libraries that extension modules need, certificates and time zones are there."""
    assert load_all(engine) == "True\nTrue"


def test_the_proxy_refuses_all_other_requests(
    engine: PrivateEngine, haproxy: str, tmp_path: Path
) -> None:
    """It refuses what relay does not need, however it is written, and every change."""
    with socket_proxy(haproxy, engine.socket_path, tmp_path / "docker.sock"):
        behind = EngineApi(tmp_path / "docker.sock")
        before = [it for it in engine.events() if it["Type"] == "volume"]
        assert behind.get("/containers/json?all=1") == []
        for path in REFUSED:
            with pytest.raises(AssertionError, match=": 403 "):
                behind.get(path)
        with pytest.raises(
            (AssertionError, ConnectionError)
        ):  # the proxy closes without reading the body
            behind.make_events(2)
        assert [it for it in engine.events() if it["Type"] == "volume"] == before


def test_a_relay_that_hangs_is_unhealthy(engine: PrivateEngine, built: str, tmp_path: Path) -> None:
    """A process that does not answer is unhealthy."""
    config = write_console_config(tmp_path)
    start_relay(
        engine, *CONFINED, *FREQUENT_HEALTH_CHECK, *mount_options(config, "/etc/relay/config.yaml")
    )
    wait_until(lambda: read_health(engine) == "healthy", engine)
    engine.docker("kill", "--signal=STOP", "relay")
    wait_until(lambda: read_health(engine) == "unhealthy", engine)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (
            None,
            "/etc/relay/config.yaml: there is no such file, and no variable names a destination",
        ),
        (0o600, "/etc/relay/config.yaml: cannot be read: Permission denied"),
        (0o644, "/run/secrets/hook"),
    ],
    ids=["no configuration", "a configuration that it may not read", "no secret"],
)
def test_a_failed_start_is_explained_in_the_log(
    engine: PrivateEngine, built: str, tmp_path: Path, mode: int | None, message: str
) -> None:
    """It exits with 2, and the log says what is wrong, without a traceback."""
    options: list[str] = []
    if mode is not None:
        with Receiver() as receiver:
            config = _write_config(tmp_path, receiver)
        config.chmod(mode)
        options += mount_options(config, "/etc/relay/config.yaml")
    start_relay(engine, *CONFINED, *options)
    assert engine.wait("relay") == 2
    assert message in engine.logs("relay")
    assert "Traceback" not in engine.logs("relay")


def test_a_socket_without_permission(engine: PrivateEngine, built: str, tmp_path: Path) -> None:
    """The log names the missing group and relay keeps trying; with the group it connects."""
    config = write_console_config(tmp_path)
    options = [
        *(*CONFINED, *mount_options(config, "/etc/relay/config.yaml")),
        *mount_options(engine.socket_path, "/var/run/docker.sock"),
    ]
    start_relay(engine, *options)
    number = engine.socket_path.stat().st_gid
    wait_for_log(engine, "permission denied: relay's user must be in the group ")
    assert re.search(rf"in the group (\w+ \({number}\)|{number})", engine.logs("relay"))
    assert engine.inspect("relay")["State"]["Running"]
    engine.remove_containers()
    start_relay(engine, *options, f"--group-add={number}")
    wait_for_log(engine, "engine.connected")


def test_one_line_starts_it(engine: PrivateEngine, built: str) -> None:
    """With a socket of a group that the image cannot know, and a variable for the destination.

    It runs without root and without capabilities, as do commands in its container.
    """
    os.chown(engine.socket_path, 0, UNKNOWN_GROUP)
    engine.socket_path.chmod(0o660)
    with Receiver() as receiver:
        options = [
            *("--network=host", "--volume=relay:/var/lib/relay", *FREQUENT_HEALTH_CHECK),
            f"--volume={engine.socket_path}:/var/run/docker.sock:ro",
            f"--env=RELAY_WEBHOOK_URL={receiver.url('/hook')}",
        ]
        start_relay(engine, *options)
        wait_for_log(engine, "engine.connected")
        engine.run("sh", "-c", "exit 3", name="crashing")
        receiver.wait_for(lambda arrived: _has_arrived(arrived, "die", "crashing"))
    status = engine.docker("exec", "relay", *PYTHON, "print(open('/proc/1/status').read())")
    fields = {
        name: text.split() for name, _, text in (it.partition(":") for it in status.splitlines())
    }
    assert fields["Uid"] == fields["Gid"] == [str(USER)] * 4
    assert fields["Groups"] == [str(UNKNOWN_GROUP), str(USER)]
    assert {int(fields[name][0], 16) for name in ("CapPrm", "CapEff", "CapAmb")} == {0}
    shown = engine.docker("exec", "relay", "relay", "status")
    assert re.search(r"^local +open", shown, re.MULTILINE)
    wait_until(lambda: read_health(engine) == "healthy", engine)
    engine.docker("stop", "--time=20", "relay")
    assert engine.inspect("relay")["State"]["ExitCode"] == 0


def test_the_folder_that_the_engine_makes_for_the_store(
    engine: PrivateEngine, built: str, tmp_path: Path
) -> None:
    """An empty folder of root becomes relay's; a folder with files is left to its owner."""
    config = mount_options(write_console_config(tmp_path), "/etc/relay/config.yaml")
    empty, full = tmp_path / "empty", tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    start_relay(engine, *config, f"--volume={empty}:/var/lib/relay", f"--group-add={UNKNOWN_GROUP}")
    wait_for_log(engine, "relay.started")
    status = engine.docker("exec", "relay", *PYTHON, "print(open('/proc/1/status').read())")
    assert f"Groups:\t{UNKNOWN_GROUP} {USER}" in status  # what the operator gave is kept
    assert (empty / "relay.db").stat().st_uid == empty.stat().st_uid == USER
    engine.remove_containers()
    start_relay(engine, *config, f"--volume={full}:/var/lib/relay")
    assert engine.wait("relay") != 0
    assert full.stat().st_uid == 0


def test_root_without_capabilities(engine: PrivateEngine, built: str) -> None:
    """It cannot become relay's user, and says how to start it instead."""
    options = ["--cap-drop=ALL", f"--volume={engine.socket_path}:/var/run/docker.sock:ro"]
    group = engine.socket_path.stat().st_gid
    start_relay(engine, *options)
    assert engine.wait("relay") == 2
    assert f"--user {USER}:{USER} --group-add {group}" in engine.logs("relay")
    engine.remove_containers()
    start_relay(engine, *options, "--cap-add=SETUID", "--cap-add=SETGID", "--read-only")
    assert engine.wait("relay") == 2  # as relay, which has no configuration here
    assert "/etc/relay/config.yaml" in engine.logs("relay")


def test_a_replaced_configuration_file_is_reloaded(
    engine: PrivateEngine, built: str, tmp_path: Path
) -> None:
    """A new file in place of the old one is read too, because the folder is mounted."""
    folder = tmp_path / "config"
    folder.mkdir()
    path = write_console_config(folder)
    start_relay(engine, *CONFINED, *mount_options(folder, "/etc/relay"))
    wait_for_log(engine, "relay.started")
    fresh = folder / "config.yaml~"
    fresh.write_text(path.read_text().replace("name: all", "name: everything"))
    fresh.chmod(0o644)
    fresh.replace(path)
    assert engine.docker("exec", "relay", "relay", "reload").strip() == "reloaded: routes changed"


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page(
    engine: PrivateEngine, built: str, receiver: Receiver, tmp_path: Path, page: str
) -> None:
    """Each succeeds as it is written; the quick start ends with the report of a crash."""
    run_page(page, engine, receiver, tmp_path)
    if page == "docs/quick-start.md":
        receiver.wait_for(lambda arrived: any(b"try crashed" in it.body for it in arrived))


def _write_config(folder: Path, receiver: Receiver) -> Path:
    hook = {"type": "http", "url_file": "/run/secrets/hook", "concurrency": 1}
    oom = {"type": "container", "action": "oom"}
    path = write_config(
        folder,
        destinations={"hook": hook, "dead": {"type": "http", "url": receiver.url("/dead")}},
        routes=[
            {"name": "out-of-memory", "match": oom, "to": ["hook", "dead"]},
            {"name": "commands", "match": {"type": "container", "action": "exec_*"}, "to": "hook"},
            {"name": "gaps", "match": {"type": "relay", "action": "gap"}, "to": "hook"},
        ],
    )
    path.chmod(0o644)
    return path


def _write_secret(folder: Path, text: str) -> Path:
    path = folder / "hook"
    path.write_text(text)
    path.chmod(0o400)
    os.chown(path, USER, USER)
    return path


def _exec_actions(history: list[dict[str, Any]], name: str) -> list[str]:
    """Return the actions of the ``exec_*`` events of a container, in order."""
    return [
        event["Action"].split(":")[0]
        for event in history
        if event["Action"].startswith("exec_") and event["Actor"]["Attributes"]["name"] == name
    ]


def _has_arrived(arrived: tuple[Received, ...], action: str, name: str) -> bool:
    """Return whether the hook got this event."""
    events = [it.json["events"][0] for it in arrived if it.path == "/hook"]
    return any((it["action"], it["actor"]["name"]) == (action, name) for it in events)
