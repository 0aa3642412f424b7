"""The files of a fleet: what servers, hubs and hosts are configured to do, and what each may."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.config import Config
from relay.config.origin import built_in
from relay.config.warnings import find_warnings
from relay.destinations.catalog import DESTINATION_TYPES, parse_config
from relay.dryrun.compare import run_suite
from relay.dryrun.suite import load_suite
from relay.nats.message import MAX_BYTES
from relay.nats.nkey import make_seed
from tests.support.certificates import Authority
from tests.support.nats_server import server_program
from tests.unit.docs.test_blocks import verify_unit

FOLDER = Path(__file__).parents[3] / "deploy" / "fleet"
TOP = FOLDER.parents[1]
SERVERS = ("nats1", "nats2", "nats3")
HUBS = ("hub-1", "hub-2")
HOSTS = ("web-1", "web-2")
ENVIRONMENT = {"RELAY_HOST": "web-1"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file for Compose."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return found


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, str]:
    """What systemd or Compose hand to relay, and the environment that says where it is."""
    (tmp_path / "nkey").write_text(make_seed())
    (tmp_path / "slack_url").write_text("https://hooks.slack.com/services/T0/B0/c")
    (tmp_path / "ca").write_text("")
    return {**ENVIRONMENT, "CREDENTIALS_DIRECTORY": str(tmp_path)}


def load(kind: str, environment: dict[str, str]) -> Config:
    """Read the configuration of an ``edge`` or a ``hub`` as relay does."""
    file = FOLDER / kind / "config.yaml"
    return parse_config(file.read_text(), file=str(file), environ=environment, folder=file.parent)


@pytest.mark.parametrize("kind", ["edge", "hub"])
def test_the_configurations_are_right(kind: str, credentials: dict[str, str]) -> None:
    """As they are, with what they name; relay warns of nothing."""
    config = load(kind, credentials)
    assert config.is_hub == (kind == "hub")
    assert config.store.path is None
    assert list(find_warnings(config, DESTINATION_TYPES)) == []
    text = (FOLDER / kind / "config.yaml").read_text()
    assert set(re.findall(r"\}/(\w+)\"", text)) <= {"nkey", "ca", "slack_url"}


def test_hosts_and_hub_speak_of_the_same_stream(credentials: dict[str, str]) -> None:
    """On the same servers; a host has the name that its login is for."""
    host, hub = load("edge", credentials), load("hub", credentials)
    (to,), (engine,) = host.destinations.values(), hub.nats_engines.values()
    assert to.model_dump()["url"] == engine.url == tuple(f"tls://{it}:4222" for it in SERVERS)
    assert to.model_dump()["stream"] == engine.stream == "RELAY"
    assert engine.consumer == "HUB"
    assert to.model_dump()["as_"] == host.docker_engines["local"].host == "web-1"


def test_a_host_is_heard_more_often_than_it_would_be_lost(credentials: dict[str, str]) -> None:
    """Several heartbeats may fail to come before the hub calls a host silent."""
    heartbeat = load("edge", credentials).heartbeat
    (engine,) = load("hub", credentials).nats_engines.values()
    assert heartbeat is not None
    assert heartbeat.every * 5 <= engine.silent_after


SUITE = """
tests:
  - name: a crash is sent once, with its logs
    events: [{action: die, name: api, exit_code: 1}]
    expect: [{route: failures, to: fleet}]
  - name: what somebody did in a terminal is sent without logs
    events: [{action: die, name: shell, exit_code: 1, interactive: true}]
    expect: [{route: by-hand, to: fleet}]
  - name: the start of a container is sent, so that the hub knows that it is up
    events: [{action: start, name: api}]
    expect: [{route: rest, to: fleet}]
  - name: health checks stay at the host
    events: [{action: "exec_start: true", name: api}]
    expect: []
  - name: relay's own heartbeats are sent
    events: [{type: relay, action: heartbeat}]
    expect: [{route: relay, to: fleet}]
"""


def test_what_a_host_sends(tmp_path: Path, credentials: dict[str, str]) -> None:
    """Each event once: of two messages the stream would keep the first, with or without logs."""
    file = tmp_path / "tests.yaml"
    file.write_text(SUITE)
    config = tmp_path / "config.yaml"
    shutil.copy(FOLDER / "edge" / "config.yaml", config)
    suite = load_suite(file, config, built_in, credentials)
    found = {it.case.name: it.differences for it in run_suite(suite)}
    assert found
    assert not any(found.values()), found


def test_a_server_accepts_its_configuration(tmp_path: Path) -> None:
    """nats-server itself says so, with its variable and the list that ``prepare`` writes."""
    machine = tmp_path / "machine"
    machine.mkdir()
    (machine / "users.conf").write_text("users: []\n")
    certificate, key = Authority(machine).issue("server")
    key.rename(machine / "server-key.pem")
    certificate.rename(machine / "server.pem")
    text = (FOLDER / "nats-server.conf").read_text()
    (tmp_path / "nats-server.conf").write_text(text.replace("/etc/nats/machine", str(machine)))
    ended = subprocess.run(
        [server_program(), "--config", str(tmp_path / "nats-server.conf"), "-t"],
        env={"SERVER_NAME": "nats1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_a_server_keeps_what_it_has_confirmed() -> None:
    """It syncs each message, encrypts all connections, and lets nobody in without permissions."""
    text = (FOLDER / "nats-server.conf").read_text()
    assert "sync_interval: always" in text
    assert re.search(r"^max_payload: 1MB$", text, re.MULTILINE)
    assert MAX_BYTES == 2**20
    assert text.count("tls {") == 2
    assert "verify: true" in text
    assert 'http: "127.0.0.1:8222"' in text
    assert 'default_permissions { publish: { deny: ">" }, subscribe: { deny: ">" } }' in text


def test_every_service_has_next_to_no_rights(compose: dict[str, Any]) -> None:
    """A file system that is only read, no capability, no port; only the proxy has the socket."""
    services = {name: it for name, it in compose["services"].items() if name != "socket-proxy"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.keys() & {"privileged", "cap_add", "ports", "network_mode", "pid"}
    assert "docker.sock" not in str(services)
    assert compose["services"]["socket-proxy"] == {
        "extends": {"file": "../container/compose.yaml", "service": "socket-proxy"}
    }


def test_each_service_has_its_own_secrets(compose: dict[str, Any]) -> None:
    """Only ``setup`` is the administrator, and only hubs have the chat's URL."""

    def has(name: str) -> set[str]:
        listed = compose["services"][name].get("secrets", [])
        return {it if isinstance(it, str) else it["source"] for it in listed}

    assert has("setup") == {"ca", "admin"}
    assert {name: has(name) for name in HUBS} == {it: {"ca", "slack_url", it} for it in HUBS}
    assert {name: has(name) for name in HOSTS} == {it: {"ca", it} for it in HOSTS}
    assert not any(has(name) for name in SERVERS)


def test_each_service_has_a_store_of_its_own(compose: dict[str, Any]) -> None:
    """Servers, hubs and hosts: none shares its volume. Servers read their own folder only."""
    for name in (*SERVERS, *HUBS, *HOSTS):
        mounts = compose["services"][name]["volumes"]
        assert [it["source"] for it in mounts if it["type"] == "volume"] == [name]
        assert all(it["read_only"] for it in mounts if it["type"] == "bind")
    for name in SERVERS:
        (machine,) = (
            it["source"]
            for it in compose["services"][name]["volumes"]
            if it["target"] == "/etc/nats/machine"
        )
        assert machine == f"./made/servers/{name}"
        assert compose["services"][name]["environment"] == {"SERVER_NAME": name}
    assert compose["volumes"].keys() == {*SERVERS, *HUBS, *HOSTS}


def test_hubs_have_names(compose: dict[str, Any]) -> None:
    """Their own heartbeats are told by it from those of the hosts."""
    assert [compose["services"][name]["hostname"] for name in HUBS] == list(HUBS)


def test_what_prepare_makes_is_not_committed() -> None:
    """Nor sent to the builder of the image."""
    ignored = (TOP / ".gitignore").read_text().splitlines()
    assert {"deploy/fleet/made/", "deploy/fleet/secrets/"} <= {*ignored}
    assert "deploy/*" in (TOP / ".dockerignore").read_text().splitlines()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_prepare_goes_on_with_what_it_has_made(tmp_path: Path) -> None:
    """A hub that was removed stays away, other servers than the usual ones are not joined by these,
    and a certificate that was removed is made anew."""
    relay = tmp_path / "relay"
    relay.write_text("#!/bin/sh\ncase $2 in genkey) echo SU$$;; *) cat;; esac\n")
    relay.chmod(0o755)
    script = shutil.copy(FOLDER / "prepare", tmp_path)
    made = tmp_path / "made"

    def prepare(*hosts: str, **environment: str) -> None:
        variables = {"PATH": os.environ["PATH"], "RELAY": str(relay), **environment}
        subprocess.run([script, *hosts], env=variables, check=True, capture_output=True)

    prepare("web-1", SERVERS="a b")
    shutil.rmtree(made / "hubs" / "hub-1")
    (made / "servers" / "a" / "server.pem").unlink()
    prepare("web-2")
    assert sorted(it.name for it in (made / "servers").iterdir()) == ["a", "b"]
    assert [it.name for it in (made / "hubs").iterdir()] == ["hub-2"]
    assert (made / "servers" / "a" / "server.pem").stat().st_size > 0
    users = (made / "servers" / "a" / "users.conf").read_text()
    assert re.findall("# (.+/.+)", users) == ["hubs/hub-2", "hosts/web-1", "hosts/web-2"]


def test_the_exposure_of_a_server() -> None:
    """No more than 1.5 by systemd's own measure."""
    unit = FOLDER / "nats-server.service"
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", str(unit)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
@pytest.mark.parametrize("name", ["relay-edge.conf", "relay-hub.conf"])
def test_systemd_knows_every_key_of_a_drop_in(name: str) -> None:
    """It complains of nothing that it does not say of the unit alone."""
    analyze = shutil.which("systemd-analyze")
    assert analyze is not None
    assert verify_unit(analyze, (FOLDER / name).read_text()) == verify_unit(analyze, "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not here")
def test_the_script_is_clean() -> None:
    """shellcheck finds nothing."""
    ran = subprocess.run(
        ["shellcheck", FOLDER / "prepare"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
