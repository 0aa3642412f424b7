"""The HTTP server at ``admin.listen``."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from relay.admin import health, http
from relay.admin.client import connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.admin.health import LivenessReport, ReloadStatus, StatusSnapshot
from relay.admin.http import AdminListenerError, serve_admin
from relay.admin.operations import AdminOperations, LocalOperations
from relay.admin.tap import EventTap
from relay.config import AdminConfig, Config, TcpPort, UnixSocket
from relay.core.counters import DestinationCounters, EngineCounters, EngineSnapshot
from relay.store.faults import StoreFault, StoreStatus
from relay.store.outbox import open_outbox
from relay.store.records import Backlog, Selection
from tests.component.daemon import make_config, running_daemon
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.component.webhook import Webhook

WELL = StoreStatus()
NOW_NS = 1_795_420_000 * 10**9
PENDING = "relay_deliveries_pending"


def make_snapshot(store: StoreStatus = WELL) -> StatusSnapshot:
    """One engine, which is connected, and one destination."""
    return StatusSnapshot(
        {"here": EngineSnapshot(EngineCounters(), is_open=True)},
        {"hook": DestinationCounters()},
        {},
        store,
        {},
        0,
        ReloadStatus(0),
        NOW_NS,
    )


def make_report(busy_s: float = 0.0) -> LivenessReport:
    """One loop, which has been busy for this long."""
    return LivenessReport({"destination hook": busy_s}, store_is_alive=True, store_wait_s=0.0)


@pytest.fixture
def address(tmp_path: Path) -> UnixSocket:
    return UnixSocket(tmp_path / "admin.sock")


@pytest_asyncio.fixture
async def operations() -> AsyncIterator[LocalOperations]:
    async with open_outbox(None) as outbox:
        yield LocalOperations(outbox, lambda: ["hook"], lambda: NOW_NS)


async def get(address: UnixSocket, path: str) -> tuple[int, str, str]:
    """Return the status, the content type and the text of an answer."""
    connector = aiohttp.UnixConnector(str(address.path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://relay{path}") as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


def serve_admin_at(
    address: UnixSocket | TcpPort,
    operations: AdminOperations,
    store: StoreStatus = WELL,
    liveness: Callable[[], LivenessReport] = make_report,
) -> AbstractAsyncContextManager[None]:
    return serve_admin(
        lambda: AdminConfig(listen=address),
        operations,
        EventTap(),
        lambda: make_snapshot(store),
        liveness,
    )


async def test_alive_and_ready(address: UnixSocket, operations: LocalOperations) -> None:
    """Both answer 200 in JSON while all is well."""
    async with serve_admin_at(address, operations):
        assert await get(address, "/livez") == (
            200,
            "application/json; charset=utf-8",
            '{"live": true}',
        )
        assert (await get(address, "/readyz"))[::2] == (200, '{"ready": true}')


async def test_a_stalled_loop(
    address: UnixSocket, operations: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop is reported as stuck by the second check, until it goes on."""
    monkeypatch.setattr(health, "CHECK_EVERY_S", 0.001)
    checks = 0
    busy_s: float = 31

    def report_busy() -> LivenessReport:
        nonlocal checks
        checks += 1
        return make_report(busy_s)

    async def wait_for_checks(times: int) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while checks < times:
                await asyncio.sleep(0.001)

    async with serve_admin_at(address, operations, liveness=report_busy):
        await wait_for_checks(3)
        assert (await get(address, "/livez"))[::2] == (
            503,
            '{"live": false, "stuck": ["destination hook: nothing has moved for 31 s"]}',
        )
        assert (await get(address, "/readyz"))[0] == 200
        busy_s, checks = 0, 0
        await wait_for_checks(2)
        assert (await get(address, "/livez"))[::2] == (200, '{"live": true}')


async def test_one_check_is_not_enough(
    address: UnixSocket, operations: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single check reports nothing."""
    monkeypatch.setattr(health, "CHECK_EVERY_S", 3600.0)
    async with serve_admin_at(address, operations, liveness=lambda: make_report(3600)):
        await asyncio.sleep(0)
        assert (await get(address, "/livez"))[0] == 200


async def test_the_admin_api(address: UnixSocket, operations: LocalOperations) -> None:
    """The operations are the same here as on the control socket."""
    async with serve_admin_at(address, operations), connect_to_daemon(address.path) as remote:
        assert await remote.now_ns() == NOW_NS
        assert await remote.pending() == {}
        assert await remote.drop_dead_letters(Selection()) == 0


async def test_not_ready(address: UnixSocket, operations: LocalOperations) -> None:
    """The answer says what is missing; relay is alive all the same."""
    async with serve_admin_at(address, operations, StoreStatus(2**62, StoreFault.FULL)):
        assert (await get(address, "/readyz"))[::2] == (
            503,
            '{"ready": false, "not": ["store: full, for 0 s"]}',
        )
        assert (await get(address, "/livez"))[0] == 200


async def test_metrics(address: UnixSocket, operations: LocalOperations) -> None:
    """They have the content type that Prometheus expects, and count what waits in the store."""
    async with serve_admin_at(address, operations):
        status, kind, text = await get(address, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert 'relay_stream_open{engine="here"} 1.0' in text.splitlines()
    assert f'{PENDING}{{destination="hook"}} 0.0' in text.splitlines()


async def test_other_paths_and_methods(address: UnixSocket, operations: LocalOperations) -> None:
    """Other paths are not found, and nothing can be posted."""
    async with serve_admin_at(address, operations):
        assert (await get(address, "/"))[0] == 404
        connector = aiohttp.UnixConnector(str(address.path))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post("http://relay/readyz") as answer,
        ):
            assert answer.status == 405


async def test_a_failing_store_is_not_queried(
    address: UnixSocket, operations: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backlog is left out, and the store gets no query that it cannot answer."""

    async def fail() -> Mapping[str, Backlog]:
        raise AssertionError("asked")

    monkeypatch.setattr(operations.outbox, "backlog", fail)
    async with serve_admin_at(address, operations, StoreStatus(1, StoreFault.IO)):
        status, _, text = await get(address, "/metrics")
    assert status == 200
    assert PENDING not in text
    assert 'relay_store_failing{reason="io"} 1.0' in text.splitlines()


async def test_a_store_that_does_not_answer(
    address: UnixSocket, operations: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scrape goes without the backlog, and only one query waits however often it is scraped."""
    monkeypatch.setattr(http, "BACKLOG_TIMEOUT_S", 0.001)
    queries = 0
    answer: asyncio.Future[Mapping[str, Backlog]] = asyncio.get_running_loop().create_future()

    async def query() -> Mapping[str, Backlog]:
        nonlocal queries
        queries += 1
        return await answer

    monkeypatch.setattr(operations.outbox, "backlog", query)
    async with serve_admin_at(address, operations):
        for _ in range(3):
            assert PENDING not in (await get(address, "/metrics"))[2]
        assert queries == 1
    assert answer.cancelled()


async def test_a_socket_is_private(address: UnixSocket, operations: LocalOperations) -> None:
    """Its mode is 0600 whatever the umask, which stays as it was; the socket goes with relay."""
    before = os.umask(0)
    try:
        async with serve_admin_at(address, operations):
            assert stat.S_IMODE(address.path.stat().st_mode) == 0o600
    finally:
        assert os.umask(before) == 0
    assert not address.path.exists()


async def test_a_socket_that_is_in_use(address: UnixSocket, operations: LocalOperations) -> None:
    """The first server keeps it."""
    async with serve_admin_at(address, operations):
        with pytest.raises(AdminListenerError, match=r"admin\.sock cannot be opened: it is taken"):
            await serve_admin_at(address, operations).__aenter__()
        assert (await get(address, "/livez"))[0] == 200


async def test_a_stale_socket(address: UnixSocket, operations: LocalOperations) -> None:
    """The socket of a relay that was killed is replaced."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(address.path))
    async with serve_admin_at(address, operations):
        assert (await get(address, "/livez"))[0] == 200


async def test_a_file_at_the_path(address: UnixSocket, operations: LocalOperations) -> None:
    """The file is not touched."""
    address.path.write_text("precious")
    with pytest.raises(
        AdminListenerError, match="it is taken by another program or, as a path, by a file"
    ):
        await serve_admin_at(address, operations).__aenter__()
    assert address.path.read_text() == "precious"


async def test_a_missing_folder(tmp_path: Path, operations: LocalOperations) -> None:
    """The error has the system's text."""
    address = UnixSocket(tmp_path / "none" / "admin.sock")
    with pytest.raises(AdminListenerError, match="No such file or directory"):
        await serve_admin_at(address, operations).__aenter__()


async def test_a_tcp_port(operations: LocalOperations) -> None:
    """relay answers there while it runs; if the port is taken, the error names it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = TcpPort("127.0.0.1", other.getsockname()[1])
        with pytest.raises(
            AdminListenerError, match=rf"admin\.listen {address} cannot be opened: it is taken"
        ):
            await serve_admin_at(address, operations).__aenter__()
    async with (
        serve_admin_at(address, operations),
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/livez") as answer,
    ):
        assert answer.status == 200


def add_admin(config: Config, address: UnixSocket) -> Config:
    return config.model_copy(update={"admin": AdminConfig(listen=address)})


async def read_metric(address: UnixSocket, metric: str) -> float:
    lines = (await get(address, "/metrics"))[2].splitlines()
    (line,) = [line for line in lines if line.startswith(f"{metric} ")]
    return float(line.rpartition(" ")[2])


async def wait_for_metric(address: UnixSocket, metric: str, wanted: float) -> None:
    """Return once the metric has this value."""
    async with asyncio.timeout(TIMEOUT_S):
        while await read_metric(address, metric) != wanted:
            await asyncio.sleep(0.001)


async def wait_for_socket(address: UnixSocket) -> None:
    """Return once something listens."""
    async with asyncio.timeout(TIMEOUT_S):
        while not address.path.exists():
            await asyncio.sleep(0.001)


async def test_with_a_whole_daemon(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, address: UnixSocket
) -> None:
    """It is not ready while its engine is away, and counts what passes through it."""
    config = add_admin(make_config(url, engine), address)
    engine.emit_deaths("a", "b")
    async with running_daemon(config, store):
        await wait_for_socket(address)
        status, _, text = await get(address, "/readyz")
        assert status == 503
        assert "engine engine-0: its stream is not open" in text
        async with engine.serve():
            await webhook.wait_for(lambda summaries: sorted(summaries) == ["a", "b"])
            delivered = (
                'relay_delivery_attempts_total{destination="hook",outcome="delivered",reason="ok"}'
            )
            await wait_for_metric(address, delivered, 2)
            assert (await get(address, "/readyz"))[0] == 200
            latencies = 'relay_delivery_latency_seconds_count{destination="hook"}'
            assert await read_metric(address, latencies) == 2
            assert await read_metric(address, 'relay_route_matches_total{route="containers"}') == 2
            assert await read_metric(address, 'relay_events_taken_in_total{engine="engine-0"}') == 2
            assert await read_metric(address, 'relay_reconnects_total{engine="engine-0"}') == 0
        await wait_for_metric(address, 'relay_stream_open{engine="engine-0"}', 0)
        assert (await get(address, "/readyz"))[0] == 503


async def test_the_admin_api_of_a_whole_daemon(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, address: UnixSocket
) -> None:
    """It answers the same here as at the control socket."""
    engine.emit_deaths("a")
    async with engine.serve(), running_daemon(add_admin(make_config(url, engine), address), store):
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        assert (await get(address, "/livez"))[::2] == (200, '{"live": true}')
        async with (
            connect_to_daemon(address.path) as over_http,
            connect_to_daemon(socket_path(store)) as over_socket,
        ):
            assert await over_http.destination_status() == await over_socket.destination_status()
            assert list((await over_http.daemon_status()).engines) == ["engine-0"]


async def test_a_hanging_destination(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, address: UnixSocket
) -> None:
    """Its delivery waits, and is counted; relay is ready."""
    config = add_admin(make_config(url, engine), address)
    engine.emit_deaths("a")
    webhook.hold()
    async with engine.serve(), running_daemon(config, store):
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        assert (await get(address, "/readyz"))[0] == 200
        assert await read_metric(address, f'{PENDING}{{destination="hook"}}') == 1
        assert (
            await read_metric(address, 'relay_oldest_delivery_age_seconds{destination="hook"}') > 0
        )
        webhook.release()


async def test_no_admin_section(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """Without the section nothing listens."""
    engine.emit_deaths("a")
    with capture_logs() as lines:
        async with engine.serve(), running_daemon(make_config(url, engine), store):
            await webhook.wait_for(lambda summaries: summaries == ["a"])
    logged: list[Any] = [line["event"] for line in lines]
    assert "relay.started" in logged
    assert "admin.listening" not in logged


async def test_a_stream_that_is_not_answered(
    engine: ScriptedEngine, url: str, store: Path, address: UnixSocket
) -> None:
    """An engine that does not answer for its events after the handshake is not connected."""
    given = asyncio.Event()
    engine.before_answer["events"] = given.wait
    async with engine.serve(), running_daemon(add_admin(make_config(url, engine), address), store):
        await engine.changes.wait_for(lambda: engine.request_count("events") == 1)
        status, _, text = await get(address, "/readyz")
        given.set()
        await wait_for_metric(address, 'relay_stream_open{engine="engine-0"}', 1)
    assert status == 503
    assert "engine engine-0: its stream is not open" in text
