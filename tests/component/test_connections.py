"""``relay check --connect``: engines, and destinations to which nothing is sent."""

import asyncio
import socket
from pathlib import Path

import pytest

from relay.cli.connections import ConnectionResult, reach_all
from relay.destinations.catalog import parse_config
from relay.ingest.docker.engine.endpoint import resolve_endpoints
from tests.component.scripted_engine import Answer, ScriptedEngine
from tests.support.certificates import Authority
from tests.support.loopback import serve_connections


async def _reach(destination: str, engine: Path | None = None) -> list[ConnectionResult]:
    """Try to connect to an engine and one destination."""
    engines = "" if engine is None else f"engines: {{here: {{url: 'unix://{engine}'}}}}\n"
    text = f"{engines}destinations: {{hook: {destination}}}\nroutes: [{{name: all, to: hook}}]"
    config = parse_config(text, file="f", environ={}, folder=Path())
    endpoints = {} if engine is None else resolve_endpoints(config.docker_engines, {})
    return await reach_all(config, endpoints)


class Silent:
    """A server that only listens: it keeps what is sent to it."""

    def __init__(self) -> None:
        self.received = b""
        self.closed = asyncio.Event()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received += await reader.read()
        self.closed.set()


async def test_nothing_is_sent_to_a_destination() -> None:
    """The connection is opened and closed."""
    server = Silent()
    async with serve_connections(server.accept) as address:
        found = await _reach(f"{{type: http, url: 'http://me:pw@{address}/secret?a=secret'}}")
        await server.closed.wait()
    assert found == [ConnectionResult("destination hook", f"reached (http://{address})", True)]
    assert server.received == b""


async def test_a_tls_destination(tmp_path: Path) -> None:
    """The handshake is made: a certificate that is not accepted is found."""
    authority, server = Authority(tmp_path), Silent()
    async with serve_connections(server.accept, authority.server_context()) as at:
        url = f"type: http, url: 'https://{at}/secret'"
        trusted = await _reach(f"{{{url}, tls: {{ca_file: {authority.certificate}}}}}")
        untrusted = await _reach(f"{{{url}}}")
    assert [found.text for found in trusted] == [f"reached (https://{at})"]
    (refused,) = untrusted
    assert not refused.is_reached
    assert refused.text.startswith("certificate not accepted: ")


async def test_a_server_that_is_not_there() -> None:
    """The reason is that of a delivery, without the path of the URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (found,) = await _reach(f"{{type: http, url: 'http://127.0.0.1:{port}/secret'}}")
    assert found == ConnectionResult("destination hook", "Connection refused", False)


async def test_a_destination_behind_a_proxy() -> None:
    """Only the proxy is tried: it would have to be asked for the rest."""
    server = Silent()
    async with serve_connections(server.accept) as address:
        (found,) = await _reach(f"{{type: http, url: 'https://x.test', proxy: 'http://{address}'}}")
    assert found.is_reached
    assert found.text == f"its proxy is reached (http://{address}); what is beyond it is not tried"


async def test_the_terminal_is_not_tried() -> None:
    """A destination without a server has nothing to reach."""
    assert await _reach("{type: console}") == []


async def test_an_engine(engine: ScriptedEngine) -> None:
    """It is asked for its version."""
    async with engine.serve():
        found = await _reach("{type: console}", engine.socket)
    assert found == [ConnectionResult("engine here", "reached, Docker with API v1.45", True)]


@pytest.mark.parametrize("is_there", [False, True])
async def test_an_engine_that_cannot_be_reached(engine: ScriptedEngine, is_there: bool) -> None:
    """It is absent, or something else answers."""
    if not is_there:
        (found,) = await _reach("{type: console}", engine.socket)
        assert found.text == f"{engine.socket}: No such file or directory"
    else:
        engine.answers["_ping"] = Answer(b"<html>", headers={"Content-Type": "text/html"})
        engine.answers["version"] = Answer(b"{}")
        async with engine.serve():
            (found,) = await _reach("{type: console}", engine.socket)
        assert found.text == "answers, but not as a container engine does"
    assert not found.is_reached


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_an_engine_that_wants_a_token(
    engine: ScriptedEngine, tmp_path: Path, is_accepted: bool
) -> None:
    """It gets what the daemon would send, and nothing of it is shown."""
    (tmp_path / "token").write_text("canary-token")
    if not is_accepted:
        engine.answers["_ping"] = Answer(b"no access for canary-token", 401)
    text = f"""
engines: {{here: {{url: "unix://{engine.socket}", bearer_token_file: token}}}}
destinations: {{out: {{type: console}}}}
routes: [{{name: all, to: out}}]
"""
    config = parse_config(text, file="f", environ={}, folder=tmp_path)
    async with engine.serve():
        (found,) = await reach_all(config, resolve_endpoints(config.docker_engines, {}))
    assert found.is_reached is is_accepted
    assert "canary" not in found.text
    assert all("Authorization: Bearer canary-token" in head for head in engine.request_heads)
    assert engine.request_heads
