"""What the files for containers promise: few rights, nothing in them that has to be changed."""

import re
import runpy
import socket
import threading
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.destinations.catalog import parse_config

FOLDER = Path(__file__).parents[3] / "deploy" / "container"
TOP = FOLDER.parents[1]
USER = "65532:65532"

ALLOWED = {"ALLOW_LOGS", "EVENTS", "PING", "VERSION", "CONTAINERS"}
"""What the proxy lets through: names of its sections of the API."""


def document(name: str) -> dict[str, Any]:
    """One of the YAML files."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def services() -> list[Any]:
    """Every service of both files."""
    return [
        pytest.param(service, id=f"{name}-{file}")
        for file in ("compose.yaml", "stack.yaml")
        for name, service in document(file)["services"].items()
    ]


def instructions(word: str) -> list[str]:
    """What the Dockerfile says with this word, with lines that go on joined."""
    text = re.sub(r"\\\n\s*", " ", (FOLDER / "Dockerfile").read_text())
    return [line.removeprefix(word).strip() for line in text.splitlines() if line.startswith(word)]


@pytest.mark.parametrize("service", services())
def test_every_service_has_next_to_no_rights(service: dict[str, Any]) -> None:
    """A file system that is only read, no capability, no port, not privileged."""
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert not service.keys() & {"privileged", "cap_add", "ports", "network_mode", "pid"}


def test_composes_services_gain_none() -> None:
    """A stack knows no ``security_opt``."""
    for service in document("compose.yaml")["services"].values():
        assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("file", ["compose.yaml", "stack.yaml"])
def test_only_the_proxy_has_the_engines_socket(file: str) -> None:
    """And cannot replace it."""
    found = document(file)["services"]
    sockets = {
        name: [it["read_only"] for it in service["volumes"] if "docker.sock" in it["source"]]
        for name, service in found.items()
        if service.get("volumes")
    }
    assert sockets == {"relay": [], "socket-proxy": [True]}


def test_the_proxy_lets_through_only_what_relay_reads() -> None:
    """Four sections of the API and logs; each other one that it knows is refused by name."""
    environment = document("compose.yaml")["services"]["socket-proxy"]["environment"]
    switches = {name: value for name, value in environment.items() if name != "LOG_LEVEL"}
    assert {name for name, value in switches.items() if value == 1} == ALLOWED
    assert {value for name, value in switches.items() if name not in ALLOWED} == {0}
    assert switches.keys() >= {"POST", "EXEC", "ALLOW_EXEC", "SECRETS", "INFO", "IMAGES", "SYSTEM"}


def test_the_proxy_is_alone_with_relay() -> None:
    """In a network that leads nowhere else; relay has another one for its webhooks."""
    found = document("compose.yaml")
    assert found["services"]["socket-proxy"]["networks"] == ["engine"]
    assert found["services"]["relay"]["networks"] == ["engine", "out"]
    assert found["networks"] == {"engine": {"internal": True}, "out": {}}


@pytest.mark.parametrize("file", ["compose.yaml", "stack.yaml"])
def test_relay_has_time_to_end_and_a_volume_for_its_store(file: str) -> None:
    """It drains for five seconds, and a store that is slow gets five more."""
    relay = document(file)["services"]["relay"]
    assert relay["stop_grace_period"] == "20s"
    stores = [it for it in relay["volumes"] if it["target"] == "/var/lib/relay"]
    assert stores == [{"type": "volume", "source": "state", "target": "/var/lib/relay"}]
    assert "slack_url" in document(file)["secrets"]


def test_composes_configuration_is_only_read_and_must_be_there() -> None:
    """A file that is missing does not become a folder."""
    (config,) = (
        it
        for it in document("compose.yaml")["services"]["relay"]["volumes"]
        if it["type"] == "bind"
    )
    assert config["read_only"]
    assert config["bind"] == {"create_host_path": False}


def test_the_stack_runs_once_on_every_node() -> None:
    """With a secret and a configuration that the image's user can read, and its node's name."""
    found = document("stack.yaml")
    relay = found["services"]["relay"]
    assert {it["deploy"]["mode"] for it in found["services"].values()} == {"global"}
    assert relay["secrets"] == [
        {"source": "slack_url", "uid": "65532", "gid": "65532", "mode": 0o400}
    ]
    assert [it["mode"] for it in relay["configs"]] == [0o444]
    assert relay["environment"]["RELAY_HOST"] == "{{.Node.Hostname}}"
    assert relay["deploy"]["update_config"] == {"order": "stop-first"}


def test_the_configuration_is_right() -> None:
    """As it is mounted, with a secret that is there."""
    text = (FOLDER / "config" / "config.yaml").read_text()
    assert "/run/secrets/slack_url" in text
    inline = text.replace("url_file: /run/secrets/slack_url", "url: https://hooks.example.com/x")
    config = parse_config(
        inline, file="config.yaml", environ={"RELAY_HOST": "node-1"}, folder=FOLDER
    )
    assert config.docker_engines["here"].host == "node-1"
    assert config.store.path is None
    assert [route.name for route in config.routes] == ["died", "not-started", "unhealthy"]


def test_the_image_has_nothing_of_its_base_but_what_relay_loads() -> None:
    """Its versions are locked; it starts as root, to give root up in ``entry.py``."""
    assert instructions("ARG")[0] == "BASE=python:3.14-slim-trixie"
    assert instructions("FROM") == ["${BASE} AS build", "scratch"]
    assert not instructions("USER")
    assert instructions("ENTRYPOINT") == ['["/usr/bin/relay"]']
    assert instructions("VOLUME") == ["/var/lib/relay"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    installs = [it for it in instructions("RUN") if "pip install" in it]
    assert any("--require-hashes -r requirements.lock" in it for it in installs)
    assert installs[-1].endswith("setuptools pip")
    assert all("--mount" not in it for it in instructions("RUN"))  # not every builder knows it


@pytest.mark.parametrize("file", ["compose.yaml", "stack.yaml"])
def test_relay_has_the_images_user_from_the_start(file: str) -> None:
    """Without capabilities root could not become that user."""
    assert document(file)["services"]["relay"]["user"] == USER


def test_the_health_check_runs_once_a_minute() -> None:
    """Each probe costs three of the events that an engine remembers; also while relay starts."""
    (check,) = instructions("HEALTHCHECK")
    assert "--interval=60s" in check
    assert "--start-period" not in check
    assert "alive.py" in check
    for file in ("compose.yaml", "stack.yaml"):
        assert "healthcheck" not in document(file)["services"]["relay"]


def test_only_what_the_image_is_made_of_goes_to_the_builder() -> None:
    """What is not named is not sent: secrets, stores, virtual environments."""
    lines = [
        it for it in (TOP / ".dockerignore").read_text().splitlines() if it[:1] not in ("#", "")
    ]
    assert lines[0] == "*"
    copied = {
        name
        for it in instructions("COPY")
        if "--from" not in it
        for name in it.split()[:-1]
        if not name.startswith("--")
    }
    assert copied == {it.removeprefix("!") for it in lines if it.startswith("!")} - {
        "deploy",
        "deploy/container",
    }


def quadlet(name: str) -> ConfigParser:
    """A unit; of keys that come more than once, the last."""
    unit = ConfigParser(strict=False, interpolation=None, delimiters=["="])
    unit.optionxform = str  # type: ignore[assignment, method-assign] # case counts
    unit.read(FOLDER / name)
    return unit


def test_the_quadlet_has_next_to_no_rights() -> None:
    """Under Podman likewise, with the health check that an image in OCI's format lacks."""
    unit = quadlet("relay.container")
    container = unit["Container"]
    assert container["ReadOnly"] == container["NoNewPrivileges"] == "true"
    assert container["DropCapability"] == "all"
    assert container["User"] == USER
    assert container["Secret"] == "slack_url,uid=65532,gid=65532,mode=0400"
    assert container["HealthInterval"] == "60s"
    (check,) = instructions("HEALTHCHECK")
    assert container["HealthCmd"] in check
    assert container["Volume"] == "relay-state.volume:/var/lib/relay"
    assert quadlet("relay-state.volume")["Volume"]["VolumeName"] == "relay-state"


def test_the_stacks_proxy_listens_in_the_file_system() -> None:
    """It listens at the socket that relay is configured with, and at no port."""
    found = document("stack.yaml")["services"]
    listen = found["socket-proxy"]["environment"]["LISTEN"]
    assert found["relay"]["environment"]["DOCKER_HOST"] == f"unix://{listen}"
    binds = re.findall(r"^\s*bind (.*)$", (FOLDER / "haproxy.cfg").read_text(), re.MULTILINE)
    assert binds == ['"unix@${LISTEN}" mode 666']


def test_what_the_stacks_proxy_allows() -> None:
    """What relay asks about containers, over Docker's API and Podman's own; no files, no others."""
    (pattern,) = re.findall(r"path,url_dec -m reg (.*) }", (FOLDER / "haproxy.cfg").read_text())
    for path in (
        *("/_ping", "/version", "/v1.41/events", "/v1.41/containers/json"),
        *("/v1.41/containers/web-1/json", "/v1.41/containers/web-1/logs"),
        "/v5.4.2/libpod/containers/web-1/json",
    ):
        assert re.search(pattern, path), path
    for path in (
        *("/v1.41/info", "/v1.41/tasks", "/v1.41/services", "/v1.41/images/json"),
        *("/v1.41/containers/web-1/archive", "/v1.41/containers/a/../../info/json"),
        *("/v5.4.2/libpod/containers/web-1/export", "/v5.4.2/libpod/events"),
    ):
        assert not re.search(pattern, path), path


entry = runpy.run_path(str(FOLDER / "entry.py"))
user: int = entry["USER"]
find_socket_groups: Callable[[dict[str, str], list[str]], list[int]] = entry["find_socket_groups"]
unescape: Callable[[str], str] = entry["unescape"]
explain: Callable[[list[int]], str] = entry["explain"]


def test_everything_names_the_same_user() -> None:
    """The command, the health check, the image's files, and the files for containers."""
    others = [runpy.run_path(str(FOLDER / it))["USER"] for it in ("alive.py", "assemble.py")]
    assert {f"{number}:{number}" for number in (user, *others)} == {USER}


def test_the_groups_of_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of ``DOCKER_HOST`` and of everything mounted; no group of what is no socket."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        one.bind("one.sock")
        other.bind("other.sock")
        group = Path("one.sock").stat().st_gid
        Path("file").touch()
        named = {"DOCKER_HOST": f"unix://{tmp_path}/one.sock"}
        standard = find_socket_groups({}, [])
        assert find_socket_groups(named, []) == sorted({*standard, group})
        assert find_socket_groups({}, [f"{tmp_path}/other.sock"]) == sorted({*standard, group})
    for nothing in ("file", "missing", ""):
        assert find_socket_groups({"DOCKER_HOST": "tcp://proxy:2375"}, [nothing]) == standard


def test_a_mount_point_with_a_space() -> None:
    """It is escaped in mountinfo."""
    assert unescape(r"/run/my\040engine/a\134b.sock") == r"/run/my engine/a\b.sock"
    assert unescape("/run/docker.sock") == "/run/docker.sock"


def test_the_message_for_root_without_capabilities() -> None:
    """The options that replace it, with the groups of this host."""
    assert f"--user {USER} --group-add 0 --group-add 998)" in explain([0, 998])


fault: Callable[[str], str | None] = runpy.run_path(str(FOLDER / "alive.py"))["fault"]


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Somebody who answers one request so."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer_one() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_one)
        thread.start()
        yield
        thread.join()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short way to a socket, however long the test's own folder is called."""
    monkeypatch.chdir(tmp_path)
    return Path("relay.db.sock")


def test_a_relay_that_answers_lives(place: Path) -> None:
    """Whatever it answers about engines and destinations: it is not asked."""
    with answering(place, b"HTTP/1.0 200 OK\r\n\r\n{}"):
        assert fault(str(place)) is None


@pytest.mark.parametrize("answer", [b"HTTP/1.0 500 Oh\r\n\r\n", b"", b"SSH-2.0\r\n", b"200"])
def test_what_answers_otherwise_is_no_relay(place: Path, answer: bytes) -> None:
    """And what it said is shown."""
    with answering(place, answer):
        assert "is not relay" in (fault(str(place)) or "")


def test_where_nobody_answers_the_health_check_says_why(place: Path) -> None:
    """With the one mistake that a person can have made."""
    said = fault(str(place)) or ""
    assert "nothing answers at relay.db.sock: No such file or directory" in said
    assert "store.path" in said
