"""The engine's client on a socket: what it asks, and what it makes of the answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time_ns

import pytest

from relay.ingest.docker.engine.client import (
    RESPONSE_MAX_BYTES,
    EngineClient,
    EngineRefused,
    EngineUnavailable,
    connect,
)
from relay.ingest.docker.engine.endpoint import Endpoint
from tests.component.scripted_engine import Answer, ScriptedEngine


@asynccontextmanager
async def connected_client(engine: ScriptedEngine) -> AsyncIterator[EngineClient]:
    place = Endpoint(f"unix://{engine.socket}", None, None)
    async with engine.serve(), connect(place, time_ns) as client:
        await client.handshake()
        yield client


@pytest.mark.parametrize("podman", [False, True])
async def test_the_greeting_tells_which_engine_it_is(engine: ScriptedEngine, podman: bool) -> None:
    """Docker's id lasts; Podman, known by its Server header, makes up another every time."""
    engine.identity, engine.podman = "ABCD", podman
    place = Endpoint(f"unix://{engine.socket}", None, None)
    async with engine.serve(), connect(place, time_ns) as client:
        greeting = await client.handshake()
    assert greeting.podman is podman
    assert greeting.identity == (None if podman else "ABCD")
    assert (greeting.name, greeting.api_version, greeting.ahead_ns) == ("node-1", "v1.45", 0)


@pytest.mark.parametrize("info", [Answer(b"", 403), Answer(b'{"ID": ""}'), Answer(b'{"ID": 7}')])
async def test_an_engine_that_withholds_its_id(engine: ScriptedEngine, info: Answer) -> None:
    """It has none."""
    engine.answers["info"] = info
    place = Endpoint(f"unix://{engine.socket}", None, None)
    async with engine.serve(), connect(place, time_ns) as client:
        assert (await client.handshake()).identity is None


@pytest.mark.parametrize(
    ("podman", "query"),
    [
        (False, "since=1.000000001&until=2.000000000"),
        (True, "since=1.000000001&stream=false"),
    ],
)
async def test_how_the_history_is_asked_for(
    engine: ScriptedEngine, podman: bool, query: str
) -> None:
    """Of Podman without an end: a past one it answers with nothing."""
    engine.podman = podman
    async with connected_client(engine) as client:
        await client.history(10**9 + 1, 2 * 10**9)
    assert engine.requests[-1] == f"/v1.45/events?{query}"


async def test_the_containers_with_their_states(engine: ScriptedEngine) -> None:
    """All of them, the dead ones too."""
    engine.run("web")
    engine.run("db")
    engine.die("db", 3)
    async with connected_client(engine) as client:
        assert await client.list_containers() == {"id-of-web": "running", "id-of-db": "exited"}
    assert engine.requests[-1] == "/v1.45/containers/json?all=1"


async def test_a_list_with_unknown_fields(engine: ScriptedEngine) -> None:
    """They are passed over; a state that is missing is none."""
    engine.answers["containers"] = Answer(b'[{"Id": "a", "New": {"x": [1]}}]')
    async with connected_client(engine) as client:
        assert await client.list_containers() == {"a": ""}


@pytest.mark.parametrize("body", [b"", b"{}", b"[7]", b"<html>", b"\xff", b'[{"Id": "a"}'])
async def test_a_list_that_is_none(engine: ScriptedEngine, body: bytes) -> None:
    """The engine is unavailable, as far as this question goes."""
    engine.answers["containers"] = Answer(body)
    async with connected_client(engine) as client:
        with pytest.raises(EngineUnavailable, match="cannot be read"):
            await client.list_containers()


async def test_a_list_of_any_length(engine: ScriptedEngine) -> None:
    """What people write into labels does not keep the others from being seen."""
    label = b"x" * (RESPONSE_MAX_BYTES // 8)
    entry = b'{"Id": "%d", "Labels": {"long": "' + label + b'"}, "State": "running"}'
    body = b"[" + b",".join(entry % number for number in range(9)) + b"]"
    assert len(body) > RESPONSE_MAX_BYTES
    engine.answers["containers"] = Answer(body)
    async with connected_client(engine) as client:
        assert await client.list_containers() == {str(number): "running" for number in range(9)}


async def test_a_sighting(engine: ScriptedEngine) -> None:
    """What inspection shows of a death."""
    engine.run("web", {"exitCode": "0"}, stop_signal="SIGUSR1")
    dead = engine.die("web", 137, oom=True)
    async with connected_client(engine) as client:
        seen = await client.snapshot("id-of-web")
    assert seen is not None
    assert (seen.started_ns, seen.finished_ns) == (dead.started_ns, dead.finished_ns)
    assert (seen.is_running, seen.exit_code, seen.oom_killed) == (False, 137, True)
    assert (seen.stop_signal, seen.hiding_labels) == (10, frozenset({"exitCode"}))


async def test_podmans_sighting_hides_nothing(engine: ScriptedEngine) -> None:
    """There a label does not stand in the place of a real value."""
    engine.podman = True
    engine.run("web", {"exitCode": "0"})
    async with connected_client(engine) as client:
        seen = await client.snapshot("id-of-web")
    assert seen is not None
    assert seen.hiding_labels == frozenset()


async def test_a_container_that_is_gone(engine: ScriptedEngine) -> None:
    """Is nothing, however odd its id."""
    async with connected_client(engine) as client:
        assert await client.snapshot("a/b?c") is None
    assert engine.requests[-1] == "/v1.45/containers/a%2Fb%3Fc/json"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, b"<html>\n no </html>", "answers 403 to /containers/json: <html> no </html>"),
        (500, b'{"message": "a\\nb"}', "answers 500 to /containers/json: a b"),
        (503, b"", "answers 503 to /containers/json"),
        (301, b"", "answers 301 to /containers/json"),
        (204, b"", "answers 204 to /containers/json"),
    ],
)
async def test_a_refusal_carries_its_status(
    engine: ScriptedEngine, status: int, body: bytes, words: str
) -> None:
    """And says in one line what was asked, and what was answered."""
    engine.answers["containers"] = Answer(body, status)
    async with connected_client(engine) as client:
        with pytest.raises(EngineRefused) as refused:
            await client.list_containers()
    assert refused.value.status == status
    assert str(refused.value) == words


async def test_a_client_whose_connection_was_closed(engine: ScriptedEngine) -> None:
    """Whoever still has it gets no answer, as from an engine that is not there."""
    async with connected_client(engine) as client:
        pass
    with pytest.raises(EngineUnavailable, match="the connection is closed"):
        await client.snapshot("c0ffee")
