"""What a whole daemon that is a hub says about its stream: status, readiness, metrics."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.admin.client import connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.config import Config
from relay.config.address import UnixSocket
from relay.core.status import StreamStatus
from relay.destinations.catalog import parse_config
from relay.nats import connection as connection_module
from tests.component.daemon import running_daemon
from tests.component.nats_hub import connected, make_consumer, make_death, make_stream, publish
from tests.component.test_admin import add_admin, get, wait_for_socket
from tests.support.nats_server import NatsServer, running_server


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It connects again soon."""
    for name, value in {"FIRST_WAIT_S": 0.01, "MIN_WAIT_S": 0.02, "MAX_WAIT_S": 0.05}.items():
        monkeypatch.setattr(connection_module, name, value)
    monkeypatch.setattr("relay.ingest.nats.stream.CHECK_S", 0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """One server with JetStream, to which everybody may connect."""
    with running_server(tmp_path / "nats") as running:
        yield running


def _hub(server: NatsServer, folder: Path) -> tuple[Config, UnixSocket]:
    text = (
        f"engines: {{fleet: {{type: nats, url: '{server.url}', stream: RELAY, consumer: HUB}}}}\n"
        "destinations: {out: {type: console}}\nroutes: [{name: all, to: out}]\n"
    )
    address = UnixSocket(folder / "admin.sock")
    return add_admin(parse_config(text, file="f", environ={}, folder=folder), address), address


async def _stream(store: Path) -> StreamStatus:
    async with connect_to_daemon(socket_path(store)) as operations:
        status = await operations.daemon_status()
    stream = status.engines["fleet"].stream
    assert stream is not None
    return stream


async def _ready(address: UnixSocket) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((await get(address, "/readyz"))[2])
    return document


async def test_from_nothing_to_all_is_well(server: NatsServer, tmp_path: Path) -> None:
    """It says that there is no stream, and once there is one, what waits; then that it is away."""
    store = tmp_path / "relay.db"
    config, address = _hub(server, tmp_path)
    async with running_daemon(config, store):
        await wait_for_socket(address)
        async with asyncio.timeout(20):
            while "there is no stream RELAY" not in str(await _ready(address)):
                await asyncio.sleep(0.02)
        assert (await _stream(store)).problem == "there is no stream RELAY"
        async with connected(server) as admin:
            await make_stream(admin)
            await make_consumer(admin)
            await publish(admin, "web-17", make_death(1))
        waits = {"pending": 0, "unacknowledged": 0, "redelivered": 0, "standby": False}
        async with asyncio.timeout(20):
            while await _ready(address) != {"ready": True, "streams": {"fleet": waits}}:
                await asyncio.sleep(0.02)
        stream = await _stream(store)
        assert stream.is_open
        assert stream.problem is None
        text = (await get(address, "/metrics"))[2]
        assert 'relay_stream_pending_messages{engine="fleet"} 0.0' in text
        assert 'relay_events_taken_in_total{engine="fleet"} 1.0' in text
        server.kill()
        async with asyncio.timeout(20):
            while "Connection refused" not in str(await _ready(address)):
                await asyncio.sleep(0.02)
        ready = await _ready(address)
        assert ready["not"] == [
            f"engine fleet: its stream is not open: 127.0.0.1:{server.port}: Connection refused"
        ]
        assert "streams" not in ready
        assert "relay_stream_pending_messages{" not in (await get(address, "/metrics"))[2]


async def test_a_standby_is_ready(server: NatsServer, tmp_path: Path) -> None:
    """Two hubs: one gets the messages, and the other says that it stands by."""
    async with connected(server) as admin:
        await make_stream(admin)
        await make_consumer(admin)
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    hubs = [_hub(server, folder) for folder in folders]
    stores = [folder / "relay.db" for folder in folders]
    async with running_daemon(hubs[0][0], stores[0]), running_daemon(hubs[1][0], stores[1]):
        for _, address in hubs:
            await wait_for_socket(address)
        async with connected(server) as admin, asyncio.timeout(20):
            number = 0
            standbys = [True, True]
            while sorted(standbys) != [False, True]:
                number += 1
                await publish(admin, "web-17", make_death(number))
                streams = [await _stream(store) for store in stores]
                standbys = [stream.is_standby for stream in streams]
            assert all([(await _ready(address))["ready"] for _, address in hubs])
