"""Which requests the admin listener answers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from pydantic import SecretStr
from structlog.testing import capture_logs

from relay.admin.health import LivenessReport, ReloadStatus, StatusSnapshot
from relay.admin.http import AdminListenerError, serve_admin
from relay.admin.operations import LocalOperations
from relay.admin.tap import EventTap
from relay.config import AdminConfig, TcpPort, UnixSocket
from relay.core.counters import EngineCounters, EngineSnapshot
from relay.store.faults import StoreStatus
from relay.store.outbox import open_outbox

TOKEN = "0123456789abcdef0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
FOREIGN_HOST = {"Host": "rebound.example.com"}
ENABLE = b'{"destination": "hook"}'


@pytest_asyncio.fixture
async def operations() -> AsyncIterator[LocalOperations]:
    async with open_outbox(None) as outbox:
        yield LocalOperations(outbox, lambda: ["hook"], lambda: 7)


def make_snapshot() -> StatusSnapshot:
    """One engine, which is away."""
    return StatusSnapshot(
        {"secretive": EngineSnapshot(EngineCounters(), is_open=False)},
        {},
        {},
        StoreStatus(),
        {},
        0,
        ReloadStatus(0),
        7,
    )


def make_report() -> LivenessReport:
    return LivenessReport({}, store_is_alive=True, store_wait_s=0.0)


@asynccontextmanager
async def serve_admin_on(
    operations: LocalOperations, host: str = "127.0.0.1", token: str | None = None
) -> AsyncIterator[int]:
    """Serve on a free port of this host, and give the port."""
    with socket.create_server((host, 0)) as free:
        port: int = free.getsockname()[1]
    secret = None if token is None else SecretStr(token)
    config = AdminConfig.model_construct(listen=TcpPort(host, port), token=secret)
    async with serve_admin(lambda: config, operations, EventTap(), make_snapshot, make_report):
        yield port


async def ask(
    port: int, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> tuple[int, str, Mapping[str, str]]:
    """Return the status, the text and the headers of an answer."""
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        session.request(
            "GET" if body is None else "POST", path, headers=headers, data=body
        ) as answer,
    ):
        return answer.status, await answer.text(), answer.headers


async def test_loopback_needs_no_token(operations: LocalOperations) -> None:
    """Everything is shown and done, and the names of what is wrong are shown."""
    async with serve_admin_on(operations) as port:
        assert (await ask(port, "/livez"))[:2] == (200, '{"live": true}')
        assert (await ask(port, "/readyz"))[:2] == (
            503,
            '{"ready": false, "not": ["engine secretive: its stream is not open"]}',
        )
        assert 'engine="secretive"' in (await ask(port, "/metrics"))[1]
        assert (await ask(port, "/api/pending"))[:2] == (200, "{}")
        assert (await ask(port, "/api/dead/drop", body=b"{}"))[:2] == (200, "0")


async def test_remote_with_a_token(operations: LocalOperations) -> None:
    """Without the token only the health is shown; with it, everything."""
    async with serve_admin_on(operations, "0.0.0.0", TOKEN) as port:
        assert (await ask(port, "/livez"))[0] == 200
        assert (await ask(port, "/readyz"))[:2] == (503, '{"ready": false}')
        for path in ("/metrics", "/api/pending", "/api/", "/nothing"):
            status, text, headers = await ask(port, path)
            assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="relay"')
            assert text == (
                """{"error":"send 'Authorization: Bearer TOKEN', with the token of """
                """admin.token_file"}"""
            )
        assert "secretive" in (await ask(port, "/readyz", BEARER))[1]
        assert "secretive" in (await ask(port, "/metrics", BEARER))[1]
        assert (await ask(port, "/api/pending", BEARER | FOREIGN_HOST))[:2] == (200, "{}")
        assert (await ask(port, "/nothing", BEARER))[0] == 404


async def test_remote_without_a_configured_token(operations: LocalOperations) -> None:
    """relay starts, warns, and denies whatever shows or changes something."""
    with capture_logs() as lines:
        async with serve_admin_on(operations, "0.0.0.0") as port:
            assert (await ask(port, "/livez"))[0] == 200
            assert (await ask(port, "/readyz"))[:2] == (503, '{"ready": false}')
            for path in ("/metrics", "/api/pending"):
                status, text, headers = await ask(port, path, BEARER)
                assert status == 403
                assert "set admin.token_file" in text
                assert "WWW-Authenticate" not in headers
    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    assert warning["event"] == "admin.without_token"
    assert warning["remedy"] == "set admin.token_file"


async def test_loopback_with_a_token(operations: LocalOperations) -> None:
    """The admin API requires the token there as well."""
    async with serve_admin_on(operations, token=TOKEN) as port:
        assert (await ask(port, "/api/pending"))[0] == 401
        assert (await ask(port, "/api/pending", BEARER))[0] == 200
        assert (await ask(port, "/metrics"))[0] == 200
        assert (await ask(port, "/metrics", FOREIGN_HOST))[0] == 403


async def test_a_wrong_token(operations: LocalOperations) -> None:
    """The answer says that the token is wrong, and does not repeat it."""
    with capture_logs() as lines:
        async with serve_admin_on(operations, token=TOKEN) as port:
            wrong = {"Authorization": f"Bearer {TOKEN}x"}
            status, text, headers = await ask(port, "/api/pending", wrong)
    assert status == 401
    assert headers["WWW-Authenticate"] == 'Bearer realm="relay", error="invalid_token"'
    assert TOKEN not in f"{text} {headers} {lines}"


async def test_a_unix_socket_with_a_token(operations: LocalOperations, tmp_path: Path) -> None:
    """The admin API requires a configured token on a Unix socket, too."""
    address = UnixSocket(tmp_path / "admin.sock")
    config = AdminConfig.model_construct(listen=address, token=SecretStr(TOKEN))
    async with (
        serve_admin(lambda: config, operations, EventTap(), make_snapshot, make_report),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(address.path))) as session,
    ):
        for headers, status in ((None, 401), (BEARER, 200)):
            async with session.get("http://any/api/pending", headers=headers) as answer:
                assert answer.status == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9321"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        FOREIGN_HOST,
        {"Host": "127.0.0.1.nip.io"},
    ],
)
async def test_a_web_page_is_denied(
    operations: LocalOperations, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can neither read nor do anything, even if its own name resolves to relay."""

    async def fail(*_: object) -> None:
        raise AssertionError("an operation was performed")

    monkeypatch.setattr(LocalOperations, "call", fail)
    async with serve_admin_on(operations) as port:
        status, text, answer_headers = await ask(port, "/api/enable", headers, ENABLE)
        assert status == 403
        assert "page in a browser" in text or "is not this machine" in text
        assert "Access-Control-Allow-Origin" not in answer_headers
        assert (await ask(port, "/api/report", headers))[0] == 403
        assert (await ask(port, "/metrics", headers))[0] == 403


async def send_raw(port: int, *lines: str) -> bytes:
    """Return everything that comes back for these lines of a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "lines",
    [
        ("GET /api/pending HTTP/1.0",),
        ("GET /api/pending HTTP/1.1", "Host: 127.0.0.1", "Host: evil", "Connection: close"),
        ("GET http://127.0.0.1/api/pending HTTP/1.1", "Host: evil", "Connection: close"),
        ("GET /%61pi/pending HTTP/1.1", "Host: evil", "Connection: close"),
        ("GET /livez/../api/pending HTTP/1.1", "Host: evil", "Connection: close"),
        ("GET //api/pending HTTP/1.1", "Host: evil", "Connection: close"),
    ],
)
async def test_handmade_requests(operations: LocalOperations, lines: tuple[str, ...]) -> None:
    """No unusual request gets around the policy."""
    async with serve_admin_on(operations) as port:
        answer = await send_raw(port, *lines)
    assert answer.split(b" ", 2)[1] in (b"400", b"403")
    assert not answer.endswith(b"{}")


async def test_the_body_of_a_denied_request_is_not_read(operations: LocalOperations) -> None:
    """The answer comes before the body has arrived."""
    async with serve_admin_on(operations, token=TOKEN) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "POST /api/dead/drop HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_close(operations: LocalOperations) -> None:
    """Nothing is left behind, and nobody can connect any longer."""
    before = asyncio.all_tasks()
    async with serve_admin_on(operations) as port:
        assert (await ask(port, "/metrics"))[0] == 200
    assert asyncio.all_tasks() == before
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(port, "/livez")


async def test_a_port_that_is_taken(operations: LocalOperations) -> None:
    """The error says that the port is taken, and nothing is left behind."""
    before = asyncio.all_tasks()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = AdminConfig(listen=TcpPort("127.0.0.1", taken.getsockname()[1]))
        with pytest.raises(
            AdminListenerError, match=r"^admin\.listen 127\.0\.0\.1:\d+ cannot be opened: it "
        ):
            await serve_admin(
                lambda: config, operations, EventTap(), make_snapshot, make_report
            ).__aenter__()
    assert asyncio.all_tasks() == before


async def test_errors_are_json(operations: LocalOperations) -> None:
    """An unknown path or method is answered in the same form as everything else."""
    async with serve_admin_on(operations) as port, aiohttp.ClientSession() as session:
        body: Any
        async with session.post(f"http://127.0.0.1:{port}/metrics") as answer:
            body = await answer.json()
            assert (answer.status, body) == (405, {"error": "Method Not Allowed"})
