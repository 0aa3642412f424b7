"""The engine's client on a socket: what it requests, and how it reads the answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time_ns

import pytest

from relay.config import DockerEngineConfig
from relay.ingest.docker.engine.client import RESPONSE_MAX_BYTES, EngineClient, connect
from relay.ingest.docker.engine.endpoint import Endpoint, resolve_endpoint
from relay.ingest.docker.engine.errors import (
    ENGINE_ERRORS,
    EngineRefused,
    EngineUnavailable,
    describe_error,
)
from tests.component.scripted_engine import Answer, ScriptedEngine


@asynccontextmanager
async def connected_client(engine: ScriptedEngine) -> AsyncIterator[EngineClient]:
    endpoint = Endpoint(f"unix://{engine.socket}", None, None)
    async with engine.serve(), connect(endpoint, time_ns) as client:
        await client.handshake()
        yield client


@pytest.mark.parametrize("podman", [False, True])
async def test_the_handshake_identifies_the_engine(engine: ScriptedEngine, podman: bool) -> None:
    """Docker's id lasts. Podman, known by its Server header, makes up another one every time."""
    engine.identity, engine.podman = "ABCD", podman
    endpoint = Endpoint(f"unix://{engine.socket}", None, None)
    async with engine.serve(), connect(endpoint, time_ns) as client:
        info = await client.handshake()
    assert info.podman is podman
    assert info.identity == (None if podman else "ABCD")
    assert (info.name, info.api_version, info.ahead_ns) == ("node-1", "v1.45", 0)


@pytest.mark.parametrize("info", [Answer(b"", 403), Answer(b'{"ID": ""}'), Answer(b'{"ID": 7}')])
async def test_an_engine_that_withholds_its_id(engine: ScriptedEngine, info: Answer) -> None:
    """It has no identity."""
    engine.answers["info"] = info
    endpoint = Endpoint(f"unix://{engine.socket}", None, None)
    async with engine.serve(), connect(endpoint, time_ns) as client:
        assert (await client.handshake()).identity is None


@pytest.mark.parametrize(
    ("podman", "query"),
    [
        (False, "since=1.000000001&until=2.000000000"),
        (True, "since=1.000000001&stream=false"),
    ],
)
async def test_how_the_history_is_requested(
    engine: ScriptedEngine, podman: bool, query: str
) -> None:
    """From Podman without an end: it answers a past one with nothing."""
    engine.podman = podman
    async with connected_client(engine) as client:
        await client.history(10**9 + 1, 2 * 10**9)
    assert engine.requests[-1] == f"/v1.45/events?{query}"


async def test_the_containers_with_their_states(engine: ScriptedEngine) -> None:
    """All of them, including dead ones."""
    engine.run("web")
    engine.run("db")
    engine.die("db", 3)
    async with connected_client(engine) as client:
        assert await client.list_containers() == {"id-of-web": "running", "id-of-db": "exited"}
    assert engine.requests[-1] == "/v1.45/containers/json?all=1"


async def test_a_list_with_unknown_fields(engine: ScriptedEngine) -> None:
    """They are ignored, and a missing state is empty."""
    engine.answers["containers"] = Answer(b'[{"Id": "a", "New": {"x": [1]}}]')
    async with connected_client(engine) as client:
        assert await client.list_containers() == {"a": ""}


@pytest.mark.parametrize("body", [b"", b"{}", b"[7]", b"<html>", b"\xff", b'[{"Id": "a"}'])
async def test_an_invalid_list(engine: ScriptedEngine, body: bytes) -> None:
    """For this request the engine is unavailable."""
    engine.answers["containers"] = Answer(body)
    async with connected_client(engine) as client:
        with pytest.raises(EngineUnavailable, match="cannot be read"):
            await client.list_containers()


async def test_a_list_of_any_length(engine: ScriptedEngine) -> None:
    """Long labels of some containers do not hide the others."""
    label = b"x" * (RESPONSE_MAX_BYTES // 8)
    entry = b'{"Id": "%d", "Labels": {"long": "' + label + b'"}, "State": "running"}'
    body = b"[" + b",".join(entry % number for number in range(9)) + b"]"
    assert len(body) > RESPONSE_MAX_BYTES
    engine.answers["containers"] = Answer(body)
    async with connected_client(engine) as client:
        assert await client.list_containers() == {str(number): "running" for number in range(9)}


async def test_the_snapshot_of_a_container(engine: ScriptedEngine) -> None:
    """What an inspection shows of a death."""
    engine.run("web", {"exitCode": "0"}, stop_signal="SIGUSR1")
    dead = engine.die("web", 137, oom=True)
    async with connected_client(engine) as client:
        snapshot = await client.snapshot("id-of-web")
    assert snapshot is not None
    assert (snapshot.started_ns, snapshot.finished_ns) == (dead.started_ns, dead.finished_ns)
    assert (snapshot.is_running, snapshot.exit_code, snapshot.oom_killed) == (False, 137, True)
    assert (snapshot.stop_signal, snapshot.hiding_labels) == (10, frozenset({"exitCode"}))


async def test_a_podman_snapshot_hides_nothing(engine: ScriptedEngine) -> None:
    """A label of Podman does not take the endpoint of a real attribute."""
    engine.podman = True
    engine.run("web", {"exitCode": "0"})
    async with connected_client(engine) as client:
        snapshot = await client.snapshot("id-of-web")
    assert snapshot is not None
    assert snapshot.hiding_labels == frozenset()


async def test_a_container_that_is_gone(engine: ScriptedEngine) -> None:
    """It has no snapshot. Its id is quoted in the request."""
    async with connected_client(engine) as client:
        assert await client.snapshot("a/b?c") is None
    assert engine.requests[-1] == "/v1.45/containers/a%2Fb%3Fc/json"


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (403, b"<html>\n no </html>", "answers 403 to /containers/json: <html> no </html>"),
        (500, b'{"message": "a\\nb"}', "answers 500 to /containers/json: a b"),
        (503, b"", "answers 503 to /containers/json"),
        (301, b"", "answers 301 to /containers/json"),
        (204, b"", "answers 204 to /containers/json"),
    ],
)
async def test_a_refusal_has_a_status(
    engine: ScriptedEngine, status: int, body: bytes, text: str
) -> None:
    """Its text says in one line what was requested and answered."""
    engine.answers["containers"] = Answer(body, status)
    async with connected_client(engine) as client:
        with pytest.raises(EngineRefused) as error:
            await client.list_containers()
    assert error.value.status == status
    assert str(error.value) == text


async def test_a_client_whose_connection_was_closed(engine: ScriptedEngine) -> None:
    """Its requests fail as if the engine were absent."""
    async with connected_client(engine) as client:
        pass
    with pytest.raises(EngineUnavailable, match="the connection is closed"):
        await client.snapshot("c0ffee")


TOKEN = "canary.eyJ0b2tlbiI"


def endpoint_with_token(engine: ScriptedEngine, folder: Path) -> Endpoint:
    """An engine behind a proxy that wants a header and a token."""
    (folder / "token").write_text(TOKEN + "\n")
    config = DockerEngineConfig(
        url=f"unix://{engine.socket}",
        headers={"X-Tenant": "canary-tenant"},
        bearer_token_file=folder / "token",
    )
    assert "canary" not in repr(config)
    endpoint = resolve_endpoint(config, {}, "")
    assert "canary" not in f"{endpoint} {endpoint!r}"
    return endpoint


async def test_headers_and_a_token_go_with_every_request(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    """A proxy before the engine wants them with the stream as with everything else."""
    endpoint = endpoint_with_token(engine, tmp_path)
    async with engine.serve(), connect(endpoint, time_ns) as client:
        await client.handshake()
        await client.list_containers()
        async with client.stream(1):
            pass
    assert len(engine.request_heads) == 4
    for head in engine.request_heads:
        assert f"\r\nAuthorization: Bearer {TOKEN}\r\n" in head
        assert "\r\nX-Tenant: canary-tenant\r\n" in head


async def test_a_renewed_token_is_sent_by_the_next_connection(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    """It needs no reload."""
    endpoint = endpoint_with_token(engine, tmp_path)
    async with engine.serve():
        for token in ("first", "second"):
            (tmp_path / "token").write_text(token)
            async with connect(endpoint, time_ns) as client:
                await client.ping()
    assert [head.count("Bearer first") for head in engine.request_heads] == [1, 0]
    assert [head.count("Bearer second") for head in engine.request_heads] == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        (b"", "is an empty file"),
        (b"two words", "holds no token"),
        (b"x\r\nHost: evil", "holds no token"),
        (b"\xff", "is a file that is not UTF-8 text"),
    ],
)
async def test_a_token_that_became_unusable(
    engine: ScriptedEngine, tmp_path: Path, content: bytes | None, message: str
) -> None:
    """The connection fails, and is tried again like any other."""
    endpoint = endpoint_with_token(engine, tmp_path)
    (tmp_path / "token").unlink() if content is None else (tmp_path / "token").write_bytes(content)
    with pytest.raises(ENGINE_ERRORS) as caught:
        async with connect(endpoint, time_ns):
            pass
    assert str(tmp_path / "token") in describe_error(caught.value)
    assert message in describe_error(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"no canary-tenant may use Bearer " + TOKEN.encode(),
        b'{"message": "%s"}' % TOKEN.replace(".", "\\u002e").encode(),
        b"x" * 180 + TOKEN.encode(),
        b" " * 495 + TOKEN.encode(),
        TOKEN.encode() * 100,
    ],
)
async def test_an_answer_that_repeats_the_secrets(
    engine: ScriptedEngine, tmp_path: Path, body: bytes
) -> None:
    """They are in no message."""
    engine.answers["_ping"] = Answer(body, 401)
    async with engine.serve(), connect(endpoint_with_token(engine, tmp_path), time_ns) as client:
        with pytest.raises(EngineRefused) as caught:
            await client.ping()
    assert "answers 401 to /_ping" in str(caught.value)
    assert "canary" not in str(caught.value)
