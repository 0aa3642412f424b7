"""A whole relay of a host: from its engine into a stream of a real NATS server."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from relay.core.status import DestinationStatus
from relay.nats import connection
from tests.component.daemon_with_config import CONTAINERS, DaemonWithConfig
from tests.component.nats_stream import (
    Stored,
    count_messages,
    make_stream,
    read_messages,
    take_messages,
    wait_for_messages,
)
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.support.nats_server import NatsServer, running_server
from tools.fleet_edge import measure_both

SELF = {"name": "self", "match": {"type": "relay"}, "to": "hub"}
ROUTES = [{**CONTAINERS, "to": "hub"}, SELF]
QUICK = {"initial": "50ms", "max": "100ms"}
ACCOUNTS = """
authorization {{ users: [
  {{user: admin, password: adminpw}}
  {{user: web-17, password: s3cret-password, permissions: {{
    publish: "{publish}", subscribe: "_INBOX.web-17.>"}}}}
] }}
"""
ADMIN = {"username": "admin", "password": "adminpw"}
LOGIN = {"username": "web-17", "password": "s3cret-password"}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It connects again soon."""
    monkeypatch.setattr(connection, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(connection, "MIN_WAIT_S", 0.02)
    monkeypatch.setattr(connection, "MAX_WAIT_S", 0.05)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with running_server(tmp_path / "nats") as running:
        yield running


def hub(server: NatsServer, **keys: Any) -> Mapping[str, Any]:
    """The destination of a host."""
    usual = {"type": "nats", "url": server.url, "stream": "RELAY", "as": "web-17"}
    return {"hub": {**usual, "retry": QUICK, "timeout": {"connect": "100ms"}, **keys}}


async def status_when(
    daemon: DaemonWithConfig, holds: Callable[[DestinationStatus], bool]
) -> DestinationStatus:
    """The status of the destination as soon as it is so."""
    async with asyncio.timeout(TIMEOUT_S), daemon.operations() as operations:
        while not holds(status := (await operations.destination_status())["hub"]):
            await asyncio.sleep(0.01)
    return status


def names_by_container(messages: list[Stored]) -> Mapping[str, list[str]]:
    """What each container's events say, in the order of the stream."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for message in messages:
        actor = message.event.actor
        if message.event.type == "container":
            found[str(actor.name)].append(actor.attributes["number"])
    return found


async def test_events_of_the_engine_and_of_relay_reach_the_stream(
    daemon: DaemonWithConfig, engine: ScriptedEngine, server: NatsServer
) -> None:
    """As the host that the configuration names, each once; relay's own ones too."""
    await make_stream(server)
    engine.emit_deaths("a", "b")
    async with daemon.running(destinations=hub(server), routes=ROUTES):
        await wait_for_messages(server, 3)
    messages = await read_messages(server)
    events = [(it.subject, it.event.actor.name) for it in messages]
    assert sorted(events) == sorted(
        [
            ("relay.events.web-17.container.die", "a"),
            ("relay.events.web-17.container.die", "b"),
            ("relay.events.web-17.relay.started", "relay"),
            ("relay.events.web-17.relay.stopped", "relay"),
        ]
    )
    assert {it.event.host for it in messages} == {"web-17"}


async def test_nothing_is_lost_or_reordered_while_the_server_is_away(
    daemon: DaemonWithConfig, engine: ScriptedEngine, server: NatsServer, tmp_path: Path
) -> None:
    """It is killed, relay ends and starts again without it, and all arrives: each once."""
    await make_stream(server)
    names, number = [f"c{at}" for at in range(20)], 0

    def emit_round() -> None:
        nonlocal number
        number += 1
        for name in names:
            engine.emit(name, "die", exitCode="1", number=f"{number:03}")

    async with daemon.running(destinations=hub(server), routes=ROUTES):
        emit_round()
        await wait_for_messages(server, len(names) + 1)
        server.kill()
        for _ in range(5):
            emit_round()
        status = await status_when(daemon, lambda it: it.failing and it.last_failure is not None)
        assert status.not_connected is not None
        assert "not connected" in (status.last_failure or "")
    again = DaemonWithConfig(tmp_path, engine)
    async with again.running(destinations=hub(server), routes=ROUTES):
        emit_round()
        server.start()
        await wait_for_messages(server, len(names) * number)
        assert (await status_when(again, lambda it: it.is_well)).not_connected is None
    messages = list(await read_messages(server))
    ids = [it.headers["Nats-Msg-Id"] for it in messages]
    assert len(ids) == len(set(ids))
    expected = [f"{at:03}" for at in range(1, number + 1)]
    assert names_by_container(messages) == dict.fromkeys(names, expected)
    assert await again.dead_letters() == []


async def test_a_full_stream_is_named_and_drains_in_order(
    daemon: DaemonWithConfig, engine: ScriptedEngine, server: NatsServer
) -> None:
    """The host keeps what the stream does not take, for as long as the hub takes nothing."""
    await make_stream(server, max_bytes=16_384)
    taken: list[Stored] = []
    expected = [f"{at:03}" for at in range(40)]
    async with daemon.running(destinations=hub(server), routes=ROUTES[:1]):
        for text in expected:
            engine.emit("a", "die", exitCode="1", number=text)
        status = await status_when(daemon, lambda it: it.failing and it.last_failure is not None)
        assert status.last_failure == "stream RELAY is full: maximum bytes exceeded (10077)"
        assert status.not_connected is None
        async with asyncio.timeout(TIMEOUT_S):
            while len(taken) < len(expected):
                taken += await take_messages(server)
    assert names_by_container(taken) == {"a": expected}
    assert await daemon.dead_letters() == []


async def test_a_permission_that_is_revoked_loses_nothing(
    daemon: DaemonWithConfig, engine: ScriptedEngine, tmp_path: Path
) -> None:
    """The events wait, the status says for what, and no dead letter is made."""
    right = ACCOUNTS.format(publish="relay.events.web-17.>")
    with running_server(tmp_path / "nats", right) as server:
        await make_stream(server, ADMIN)
        async with daemon.running(destinations=hub(server, **LOGIN), routes=ROUTES[:1]):
            engine.emit("a", "die", exitCode="1", number="1")
            await wait_for_messages(server, 1, **ADMIN)
            server.reload(ACCOUNTS.format(publish="nothing"))
            engine.emit("a", "die", exitCode="1", number="2")
            status = await status_when(
                daemon, lambda it: "may not publish" in (it.last_failure or "")
            )
            assert status.last_failure == (
                "the account may not publish to relay.events.web-17.container.die"
            )
            server.reload(right)
            await wait_for_messages(server, 2, **ADMIN)
        assert names_by_container(list(await read_messages(server, **ADMIN))) == {"a": ["1", "2"]}
        assert await daemon.dead_letters() == []


async def test_a_wrong_password_is_named_before_anything_happens(
    daemon: DaemonWithConfig, tmp_path: Path
) -> None:
    """A host where nothing fails would otherwise seem to work."""
    with running_server(tmp_path / "nats", ACCOUNTS.format(publish=">")) as server:
        wrong = hub(server, username="web-17", password="wr0ng-password")
        async with daemon.running(destinations=wrong, routes=ROUTES[:1]):
            status = await status_when(daemon, lambda it: it.not_connected is not None)
            assert "refused the login" in (status.not_connected or "")
            assert not status.failing


async def test_a_reload_goes_on_under_another_name(
    daemon: DaemonWithConfig, engine: ScriptedEngine, server: NatsServer
) -> None:
    """And what the file of a login holds is read by the new connection."""
    await make_stream(server)
    async with daemon.running(destinations=hub(server), routes=ROUTES[:1]):
        engine.emit("a", "die", exitCode="1", number="1")
        await wait_for_messages(server, 1)
        changes = await daemon.reload(
            destinations=hub(server, **{"as": "web-18"}), routes=ROUTES[:1]
        )
        assert changes == ["destination hub changed"]
        engine.emit("a", "die", exitCode="1", number="2")
        await wait_for_messages(server, 2)
    subjects = [it.subject.split(".")[2] for it in await read_messages(server)]
    assert subjects == ["web-17", "web-18"]


async def test_a_stop_without_a_server_is_soon(
    daemon: DaemonWithConfig, engine: ScriptedEngine, tmp_path: Path
) -> None:
    """What could not be published stays in the store."""
    server = NatsServer(tmp_path / "nats")
    async with daemon.running(destinations=hub(server), routes=ROUTES[:1]):
        engine.emit("a", "die", exitCode="1", number="1")
        await daemon.wait_until_stored(1)
    again = DaemonWithConfig(tmp_path, engine)
    server.start()
    try:
        await make_stream(server)
        async with again.running(destinations=hub(server), routes=ROUTES[:1]):
            await wait_for_messages(server, 1)
        assert await count_messages(server) == 1
    finally:
        server.kill()


async def test_the_program_that_measures_the_cost(tmp_path: Path) -> None:
    """A short run: each event is delivered at the first attempt, to both destinations."""
    found = await measure_both(100, tmp_path)
    assert [(each["to"], each["failed_attempts"]) for each in found] == [("http", 0), ("nats", 0)]
