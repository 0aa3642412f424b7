"""The files of ``deploy/fleet`` make a fleet that works: servers, logins, a hub and a host."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from relay.config.nats_keys import NatsKeys
from relay.nats.connection import NatsConnection
from relay.nats.failure import FailureKind, RequestError
from relay.nats.permissions import host_permissions, hub_permissions
from tests.support.daemon import RelayProcess
from tests.support.docker import PrivateEngine
from tests.support.nats_keys import client_keys
from tests.support.nats_server import free_ports, server_program
from tests.support.receiver import Receiver
from tests.support.shipped_fleet import ADDRESSES, FOLDER, ShippedFleet
from tests.support.throwaway import REPOSITORY

HOST = "web-1"
EDGE = {"RELAY_HOST": HOST, "DOCKER_HOST": "unix:///nowhere/docker.sock"}
PURGE = "$JS.API.STREAM.PURGE.RELAY"
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedFleet]:
    """Three servers with a stream and a consumer, made as the page says."""
    found = ShippedFleet(tmp_path_factory.mktemp("fleet"), HOST)
    try:
        found.start()
        assert "error:" not in run_relay("fleet", "setup", *list_admin_options(found))
        yield found
    finally:
        found.kill()


def list_admin_options(fleet: ShippedFleet) -> list[str]:
    admin = fleet.made / "admin"
    monitors = [f"http://127.0.0.1:{server.monitor_port}" for server in fleet.servers]
    return [
        *(f"--url={server.url}" for server in fleet.servers),
        *(f"--monitor={url}" for url in monitors),
        *(f"--nkey-file={admin / 'nkey'}", f"--ca-file={admin / 'ca.pem'}", "--max-size=64MiB"),
    ]


def run_relay(*arguments: str, **environ: str) -> str:
    """Run a command of relay, which has to succeed; return what it prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "relay", *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environ},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_what_a_host_reports_reaches_people(fleet: ShippedFleet, receiver: Receiver) -> None:
    """The relay of a host has no engine, and the hub's chat is told, with the name of the host.

    Before that ``relay check --connect`` finds nothing wrong with either configuration.
    """
    secret = 'url_file: "${CREDENTIALS_DIRECTORY:-/run/secrets}/slack_url"'
    hub = fleet.relay_config("hub", "hubs/hub-1", {secret: f"url: {receiver.url('/slack')}"})
    edge = fleet.relay_config("edge", f"hosts/{HOST}")
    run_relay("check", "--connect", f"--config={hub}")
    assert "RELAY" in run_relay("check", f"--config={edge}", **EDGE)
    with (
        RelayProcess(hub, env={"PYTHONPATH": str(REPOSITORY)}) as at_hub,
        RelayProcess(edge, env={"PYTHONPATH": str(REPOSITORY), **EDGE}) as at_host,
    ):
        (first, *_) = receiver.wait_for(1, TIMEOUT_S)
        assert HOST in first.body.decode()
        assert at_host.terminate() == 0
        assert at_hub.terminate() == 0


def test_a_host_may_publish_its_own_events_and_nothing_else(fleet: ShippedFleet) -> None:
    """The servers refuse those of another host, and whatever only an administrator may do."""
    subjects = [f"relay.events.{HOST}.relay.test", "relay.events.web-2.relay.test", PURGE]
    answers = asyncio.run(request_each(fleet, f"hosts/{HOST}", HOST, subjects))
    assert answers == [None, FailureKind.PERMISSION, FailureKind.PERMISSION]


def test_a_hub_may_read_and_nothing_else(fleet: ShippedFleet) -> None:
    """It sees the stream and its consumer; it can neither publish events nor change the stream."""
    reading = ["$JS.API.STREAM.INFO.RELAY", "$JS.API.CONSUMER.INFO.RELAY.HUB"]
    subjects = [*reading, f"relay.events.{HOST}.relay.test", PURGE]
    answers = asyncio.run(request_each(fleet, "hubs/hub-1", "HUB", subjects))
    assert answers == [None, None, FailureKind.PERMISSION, FailureKind.PERMISSION]


async def request_each(
    fleet: ShippedFleet, login: str, inbox: str, subjects: Sequence[str]
) -> list[FailureKind | None]:
    """Send a request to each of these subjects; return how each fails, None if it is answered."""
    failures: list[FailureKind | None] = []
    async with connected_as(make_keys(fleet, login, inbox)) as connection:
        for subject in subjects:
            try:
                await connection.request(subject, b"{}", timeout_s=5)
                failures.append(None)
            except RequestError as error:
                failures.append(error.kind)
    return failures


def make_keys(fleet: ShippedFleet, login: str, inbox: str) -> NatsKeys:
    """Return the keys of one of those for whom the script made a login."""
    made = fleet.made / login
    return client_keys(
        *fleet.servers,
        nkey_file=made / "nkey",
        tls={"ca_file": made / "ca.pem"},
        inbox_prefix=f"_INBOX.{inbox}",
    )


@asynccontextmanager
async def connected_as(keys: NatsKeys) -> AsyncIterator[NatsConnection]:
    """Yield an open connection."""
    connection = NatsConnection("test", keys)
    await connection.open()
    try:
        assert await connection.wait_open(10)
        yield connection
    finally:
        await connection.close()


def test_the_permissions_are_those_that_relay_prints(fleet: ShippedFleet) -> None:
    """The script has the same lists as ``relay fleet setup``."""
    users = (fleet.made / "servers" / ADDRESSES[0] / "users.conf").read_text()
    for permissions in (host_permissions(HOST), hub_permissions("RELAY", "HUB")):
        for subject in (*permissions.publish, *permissions.subscribe):
            assert f'"{subject}"' in users


def test_hosts_come_and_go(fleet: ShippedFleet) -> None:
    """A new host is let in once the servers read the list again; one that was removed is not.

    The connection of another host stays, and so does its key.
    """
    seed = read_seed(fleet, HOST)
    assert asyncio.run(count_connections(fleet, "web-2")) == 1
    assert read_seed(fleet, HOST) == seed
    subjects = ["relay.events.web-2.relay.test"]
    assert asyncio.run(request_each(fleet, "hosts/web-2", "web-2", subjects)) == [None]
    gone = (fleet.made / "hosts/web-2").rename(fleet.folder / "gone")
    fleet.prepare_and_reload()
    assert "refused the login" in asyncio.run(find_problem(fleet, gone))


def test_a_key_is_changed(fleet: ShippedFleet) -> None:
    """What was removed is made anew; the host is let in with it, and no longer with the old one."""
    fleet.prepare_and_reload("web-3")
    made = fleet.made / "hosts/web-3"
    before = Path(shutil.copytree(made, fleet.folder / "before"))
    for name in ("nkey", "nkey.pub"):
        (made / name).unlink()
    fleet.prepare_and_reload()
    assert read_seed(fleet, "web-3") != (before / "nkey").read_text()
    subjects = ["relay.events.web-3.relay.test"]
    assert asyncio.run(request_each(fleet, "hosts/web-3", "web-3", subjects)) == [None]
    assert "refused the login" in asyncio.run(find_problem(fleet, before))


async def count_connections(fleet: ShippedFleet, new: str) -> int:
    """Add a host; return how often another one connected meanwhile."""
    async with connected_as(make_keys(fleet, f"hosts/{HOST}", HOST)) as connection:
        await asyncio.to_thread(fleet.prepare_and_reload, new)
        await connection.request(f"relay.events.{HOST}.relay.test", b"{}", timeout_s=5)
        return connection.opened_count


def read_seed(fleet: ShippedFleet, host: str) -> str:
    return (fleet.made / "hosts" / host / "nkey").read_text()


async def find_problem(fleet: ShippedFleet, login: Path) -> str:
    """Return why a connection with the login in this folder cannot be opened."""
    tls = {"ca_file": login / "ca.pem"}
    keys = client_keys(fleet.servers[0], nkey_file=login / "nkey", tls=tls)
    connection = NatsConnection("test", keys)
    await connection.open()
    try:
        assert not await connection.wait_open(3)
        return connection.problem or ""
    finally:
        await connection.close()


@pytest.mark.parametrize("name", ["web.1", "*", "web 1", "", "a/b"])
def test_what_cannot_be_a_host_is_refused(fleet: ShippedFleet, name: str) -> None:
    """Nothing is made of it."""
    assert "cannot be the name of a host" in fleet.prepare(name)


def test_what_was_confirmed_is_on_the_disk(fleet: ShippedFleet) -> None:
    """The servers say that they write each message before they confirm it."""
    for server in fleet.servers:
        with urlopen(f"http://127.0.0.1:{server.monitor_port}/jsz?config=1") as answer:
            assert json.load(answer)["config"]["sync_always"] is True


def test_a_server_needs_no_more_rights_than_compose_gives_it(
    fleet: ShippedFleet, engine: PrivateEngine, tmp_path: Path
) -> None:
    """It reads its files and writes its volume, as root without a capability.

    The image is one of nats-server alone, because the engine has no registry.
    """
    service = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["nats1"]
    archive, config = tmp_path / "image.tar", tmp_path / "nats-server.conf"
    with tarfile.open(archive, "w") as image:
        image.add(server_program(), "usr/local/bin/nats-server")
    engine.docker("import", "--change=ENV PATH=/usr/local/bin", str(archive), service["image"])
    client, peers, monitor = free_ports(3)
    text = (FOLDER / "nats-server.conf").read_text()
    for shipped, here in {
        "0.0.0.0:4222": f"127.0.0.1:{client}",
        "0.0.0.0:6222": f"127.0.0.1:{peers}",
        "127.0.0.1:8222": f"127.0.0.1:{monitor}",
        **{f"nats{number}:6222": f"127.0.0.1:{peers}" for number in (1, 2, 3)},
    }.items():
        text = text.replace(shipped, here)
    config.write_text(text)
    places = {
        "/etc/nats/nats-server.conf": config,
        "/etc/nats/machine": fleet.made / "servers" / ADDRESSES[0],
    }
    program, *arguments = service["entrypoint"]
    engine.docker(
        *("run", "--detach", "--name=nats1", "--network=host", "--read-only"),
        *(f"--cap-drop={name}" for name in service["cap_drop"]),
        *(f"--security-opt={option}" for option in service["security_opt"]),
        *(f"--user={service['user']}", "--env=SERVER_NAME=nats1", f"--entrypoint={program}"),
        *(f"--mount=type=bind,readonly,source={it},target={at}" for at, it in places.items()),
        *("--mount=type=volume,source=nats1,target=/var/lib/nats", service["image"], *arguments),
    )
    deadline_s = time.monotonic() + TIMEOUT_S
    while "Server is ready" not in engine.logs("nats1"):
        assert engine.inspect("nats1")["State"]["Running"], engine.logs("nats1")
        assert time.monotonic() < deadline_s, engine.logs("nats1")
        time.sleep(0.1)
