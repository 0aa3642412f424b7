"""``relay check --connect`` of a hub and of a host, with real NATS servers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.cli.connections import ConnectionResult, reach_all
from relay.destinations.catalog import parse_config
from relay.nats.jetstream import create_consumer, create_stream, stream_info
from tests.component.nats_fixtures import connected, consumer_config, stream_config
from tests.support.nats_accounts import Account, edge_entry, hub_entry, users
from tests.support.nats_server import NatsServer, running_server
from tests.unit.cli.cli_store import run


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """One server with JetStream, to which everybody may connect."""
    with running_server(tmp_path / "nats") as running:
        yield running


def _hub(url: str, **keys: object) -> str:
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return (
        f"engines: {{fleet: {{type: nats, url: '{url}', stream: RELAY, consumer: HUB{more}}}}}\n"
        "destinations: {out: {type: console}}\nroutes: [{name: all, to: out}]\n"
    )


def _host(url: str, as_: str = "web-17", **keys: object) -> str:
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return (
        f"destinations: {{fleet: {{type: nats, url: '{url}', stream: RELAY, as: {as_}{more}}}}}\n"
        "routes: [{name: all, to: fleet}]\n"
    )


async def _reach(text: str) -> ConnectionResult:
    config = parse_config(text, file="f", environ={}, folder=Path())
    (result,) = await reach_all(config, {})
    return result


async def _make(server: NatsServer, stream: Any = (), consumer: Any = ()) -> None:
    async with connected(server) as admin:
        await create_stream(admin, stream_config(**dict(stream)))
        right = {"ack_wait": 5 * 10**9, "priority_timeout": 10 * 10**9}
        await create_consumer(admin, "RELAY", consumer_config(**right, **dict(consumer)))


async def test_all_is_right(server: NatsServer) -> None:
    """It says what was reached; no message is stored or taken."""
    await _make(server)
    hub, host = await _reach(_hub(server.url)), await _reach(_host(server.url))
    assert hub.is_reached
    assert "nats-server 2." in hub.text
    assert hub.text.endswith("stream RELAY (1 copy), consumer HUB")
    assert [detail[:5] for detail in hub.details] == ["note:"]
    assert host.is_reached
    assert host.text.endswith("stream RELAY takes the events of web-17")
    async with connected(server) as admin:
        assert (await stream_info(admin, "RELAY")).state.last_seq == 0


async def test_each_fault_is_named_at_once(server: NatsServer) -> None:
    """Of the stream and of the consumer; the hub cannot be used."""
    await _make(
        server,
        {"discard": "old", "retention": "interest", "max_age": 3600 * 10**9, "max_bytes": -1},
        {"max_deliver": 3},
    )
    found = await _reach(_hub(server.url))
    assert not found.is_reached
    assert [detail.partition(":")[0] for detail in found.details] == [
        *("error", "error", "error", "warning", "note")
    ]
    words = "\n".join(found.details)
    for each in ("max_deliver", "discard old", "max_age", "max_bytes"):
        assert each in words


@pytest.mark.parametrize(
    ("has_stream", "words"),
    [
        (False, "there is no stream RELAY: relay fleet setup makes it"),
        (True, "the stream RELAY has no consumer HUB: relay fleet setup makes it"),
    ],
)
async def test_what_is_missing(server: NatsServer, has_stream: bool, words: str) -> None:
    """And which command makes it."""
    if has_stream:
        async with connected(server) as admin:
            await create_stream(admin, stream_config())
    found = await _reach(_hub(server.url))
    assert not found.is_reached
    assert found.details[:-1] == [f"error: {words}"]
    host = await _reach(_host(server.url))
    assert host.is_reached is has_stream


async def test_a_server_that_is_away(server: NatsServer) -> None:
    """After one attempt at each server, not after a minute."""
    server.kill()
    async with asyncio.timeout(10):
        hub, host = await _reach(_hub(server.url)), await _reach(_host(server.url))
    assert hub.text == f"127.0.0.1:{server.port}: Connection refused"
    assert "Connection refused" in host.text
    assert [hub.is_reached, host.is_reached] == [False, False]


async def test_an_old_server(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused with words, at both ends."""
    await _make(server)
    monkeypatch.setattr("relay.nats.requirements.MIN_SERVER", (99, 0, 0))
    hub, host = await _reach(_hub(server.url)), await _reach(_host(server.url))
    assert "relay needs 2.11 or newer" in hub.details[0]
    assert "relay needs 2.11 or newer" in host.text
    assert [hub.is_reached, host.is_reached] == [False, False]


async def test_no_jetstream(tmp_path: Path) -> None:
    """A server of which JetStream is not enabled."""
    with running_server(tmp_path / "nats", jetstream=None) as server:
        hub, host = await _reach(_hub(server.url)), await _reach(_host(server.url))
    assert "error: JetStream does not answer" in hub.details[0]
    assert "does not answer" in host.text
    assert [hub.is_reached, host.is_reached] == [False, False]


async def test_the_rights_of_accounts(tmp_path: Path) -> None:
    """A hub that may not see the stream works; a foreign name and a wrong inbox do not."""
    admin, hub, host = (Account(tmp_path, name) for name in ("admin", "hub", "web-17"))
    entries = users(admin.may_do_all(), hub_entry(hub), edge_entry(host))
    with running_server(tmp_path / "nats", entries) as server:
        async with connected(server, nkey_file=admin.seed_file) as connection:
            await create_stream(connection, stream_config())
            right = {"ack_wait": 5 * 10**9, "priority_timeout": 10 * 10**9}
            await create_consumer(connection, "RELAY", consumer_config(**right))
        found = await _reach(_hub(server.url, nkey_file=hub.seed_file))
        assert found.is_reached
        assert found.details[:-1] == [
            "warning: what the stream RELAY is could not be read: the account may not publish to "
            "$JS.API.STREAM.INFO.RELAY"
        ]
        good = await _reach(_host(server.url, nkey_file=host.seed_file))
        assert good.is_reached
        forged = await _reach(
            _host(server.url, "db-1", nkey_file=host.seed_file, inbox_prefix="_INBOX.web-17")
        )
        assert forged.text == "the account may not publish to relay.events.db-1.relay.check"
        inbox = await _reach(_host(server.url, "db-1", nkey_file=host.seed_file))
        assert inbox.text.startswith("the account may not subscribe to _INBOX.db-1.>")
        nobody = await _reach(_host(server.url))
        assert "refused the login" in nobody.text
        assert {it.is_reached for it in (forged, inbox, nobody)} == {False}


def test_the_command_prints_it(server: NatsServer, tmp_path: Path) -> None:
    """Errors and warnings stand below the connection; the exit code is 1."""
    asyncio.run(_make(server, {"max_bytes": -1}, {"max_deliver": 3}))
    file = tmp_path / "relay.yaml"
    file.write_text(_hub(server.url))
    result = run("check", str(file), "--connect")
    lines = result.stdout.split("connections\n")[1].splitlines()
    assert lines[0].startswith("  engine fleet: reached ")
    assert [line[:12] for line in lines[1:]] == ["    error: t", "    warning:", "    note: wh"]
    assert str(result.exception) == "1 of 1 cannot be reached or used"
