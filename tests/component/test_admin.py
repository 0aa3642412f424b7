"""relay's answers about itself, over HTTP."""

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
from relay.admin.health import LivenessReport
from relay.admin.http import AdminListenerError, serve_admin
from relay.admin.operations import AdminOperations, LocalOperations
from relay.admin.status import ReloadStatus, StatusSnapshot
from relay.admin.tap import EventTap
from relay.config import AdminConfig, Config, TcpPort, UnixSocket
from relay.core.counters import DestinationCounters, EngineCounters
from relay.core.status import EngineSnapshot
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
    """One engine, which is there, and one destination."""
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
    """One loop, which has been in its round for so long."""
    return LivenessReport({"destination hook": busy_s}, store_is_alive=True, store_wait_s=0.0)


@pytest.fixture
def address(tmp_path: Path) -> UnixSocket:
    return UnixSocket(tmp_path / "admin.sock")


@pytest_asyncio.fixture
async def operations() -> AsyncIterator[LocalOperations]:
    async with open_outbox(None) as outbox:
        yield LocalOperations(outbox, lambda: ["hook"], lambda: NOW_NS)


async def get(address: UnixSocket, path: str) -> tuple[int, str, str]:
    """The status, the type and the text of an answer."""
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
    make_report: Callable[[], LivenessReport] = make_report,
) -> AbstractAsyncContextManager[None]:
    return serve_admin(
        lambda: AdminConfig(listen=address),
        operations,
        EventTap(),
        lambda: make_snapshot(store),
        make_report,
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


async def test_what_is_stuck(
    address: UnixSocket, operations: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that does not come round is blamed at the second look, until it does."""
    monkeypatch.setattr(health, "CHECK_EVERY_S", 0.001)
    looks = 0
    at: float = 31

    def look() -> LivenessReport:
        nonlocal looks
        looks += 1
        return make_report(at)

    async def looked(times: int) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while looks < times:
                await asyncio.sleep(0.001)

    async with serve_admin_at(address, operations, make_report=look):
        await looked(3)
        assert (await get(address, "/livez"))[::2] == (
            503,
            '{"live": false, "stuck": ["destination hook: nothing has moved for 31 s"]}',
        )
        assert (await get(address, "/readyz"))[0] == 200
        at, looks = 0, 0
        await looked(2)
        assert (await get(address, "/livez"))[::2] == (200, '{"live": true}')


async def test_what_was_let_go_just_now(
    address: UnixSocket, operations: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look blames nobody."""
    monkeypatch.setattr(health, "CHECK_EVERY_S", 3600.0)
    async with serve_admin_at(address, operations, make_report=lambda: make_report(3600)):
        await asyncio.sleep(0)
        assert (await get(address, "/livez"))[0] == 200


async def test_what_commands_ask(address: UnixSocket, operations: LocalOperations) -> None:
    """The desk is asked here as on the socket that the commands know."""
    async with serve_admin_at(address, operations), connect_to_daemon(address.path) as remote:
        assert await remote.now_ns() == NOW_NS
        assert await remote.pending() == {}
        assert await remote.drop_dead_letters(Selection()) == 0


async def test_not_ready(address: UnixSocket, operations: LocalOperations) -> None:
    """It says what is missing, and that relay lives all the same."""
    async with serve_admin_at(address, operations, StoreStatus(2**62, StoreFault.FULL)):
        assert (await get(address, "/readyz"))[::2] == (
            503,
            '{"ready": false, "not": ["store: full, for 0 s"]}',
        )
        assert (await get(address, "/livez"))[0] == 200


async def test_metrics(address: UnixSocket, operations: LocalOperations) -> None:
    """They come in the type that Prometheus asks for, with what waits in the store."""
    async with serve_admin_at(address, operations):
        status, kind, text = await get(address, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert 'relay_stream_open{engine="here"} 1.0' in text.splitlines()
    assert f'{PENDING}{{destination="hook"}} 0.0' in text.splitlines()


async def test_nothing_else(address: UnixSocket, operations: LocalOperations) -> None:
    """Other paths are not found, and nothing can be posted."""
    async with serve_admin_at(address, operations):
        assert (await get(address, "/"))[0] == 404
        connector = aiohttp.UnixConnector(str(address.path))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post("http://relay/readyz") as answer,
        ):
            assert answer.status == 405


async def test_a_store_that_fails_is_not_asked(
    address: UnixSocket, operations: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is left out, and the store gets no question that it cannot answer."""

    async def refuse() -> Mapping[str, Backlog]:
        raise AssertionError("asked")

    monkeypatch.setattr(operations.outbox, "backlog", refuse)
    async with serve_admin_at(address, operations, StoreStatus(1, StoreFault.IO)):
        status, _, text = await get(address, "/metrics")
    assert status == 200
    assert PENDING not in text
    assert 'relay_store_failing{reason="io"} 1.0' in text.splitlines()


async def test_a_store_that_does_not_answer(
    address: UnixSocket, operations: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scrape goes without, and one question waits however often it is scraped."""
    monkeypatch.setattr(http, "BACKLOG_TIMEOUT_S", 0.001)
    asked = 0
    answer: asyncio.Future[Mapping[str, Backlog]] = asyncio.get_running_loop().create_future()

    async def ask() -> Mapping[str, Backlog]:
        nonlocal asked
        asked += 1
        return await answer

    monkeypatch.setattr(operations.outbox, "backlog", ask)
    async with serve_admin_at(address, operations):
        for _ in range(3):
            assert PENDING not in (await get(address, "/metrics"))[2]
        assert asked == 1
    assert answer.cancelled()


async def test_a_socket_for_its_owner_alone(
    address: UnixSocket, operations: LocalOperations
) -> None:
    """Its mode is 0600 whatever the mask, which stays as it was; it goes with relay."""
    before = os.umask(0)
    try:
        async with serve_admin_at(address, operations):
            assert stat.S_IMODE(address.path.stat().st_mode) == 0o600
    finally:
        assert os.umask(before) == 0
    assert not address.path.exists()


async def test_a_socket_that_is_in_use(address: UnixSocket, operations: LocalOperations) -> None:
    """It is left to the one who has it."""
    async with serve_admin_at(address, operations):
        with pytest.raises(AdminListenerError, match=r"admin\.sock cannot be opened: it is taken"):
            await serve_admin_at(address, operations).__aenter__()
        assert (await get(address, "/livez"))[0] == 200


async def test_a_socket_that_is_left_over(address: UnixSocket, operations: LocalOperations) -> None:
    """Of a relay that was killed: it is replaced."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(address.path))
    async with serve_admin_at(address, operations):
        assert (await get(address, "/livez"))[0] == 200


async def test_a_file_in_its_place(address: UnixSocket, operations: LocalOperations) -> None:
    """It is not touched."""
    address.path.write_text("precious")
    with pytest.raises(
        AdminListenerError, match="it is taken by another program or, as a path, by a file"
    ):
        await serve_admin_at(address, operations).__aenter__()
    assert address.path.read_text() == "precious"


async def test_a_folder_that_is_not_there(tmp_path: Path, operations: LocalOperations) -> None:
    """The system's words say so."""
    address = UnixSocket(tmp_path / "none" / "admin.sock")
    with pytest.raises(AdminListenerError, match="No such file or directory"):
        await serve_admin_at(address, operations).__aenter__()


async def test_a_port(operations: LocalOperations) -> None:
    """It answers there while it runs; one that is taken is told, with its number."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = TcpPort("127.0.0.1", taken.getsockname()[1])
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


def with_admin(config: Config, address: UnixSocket) -> Config:
    return config.model_copy(update={"admin": AdminConfig(listen=address)})


async def value(address: UnixSocket, metric: str) -> float:
    lines = (await get(address, "/metrics"))[2].splitlines()
    (line,) = [line for line in lines if line.startswith(f"{metric} ")]
    return float(line.rpartition(" ")[2])


async def until(address: UnixSocket, metric: str, wanted: float) -> None:
    """Return once the metric has this value."""
    async with asyncio.timeout(TIMEOUT_S):
        while await value(address, metric) != wanted:
            await asyncio.sleep(0.001)


async def answered(address: UnixSocket) -> None:
    """Return once something listens."""
    async with asyncio.timeout(TIMEOUT_S):
        while not address.path.exists():
            await asyncio.sleep(0.001)


async def test_of_a_whole_relay(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, address: UnixSocket
) -> None:
    """It is unready while its engine is away, and counts what passes through it."""
    config = with_admin(make_config(url, engine), address)
    engine.emit_deaths("a", "b")
    async with running_daemon(config, store):
        await answered(address)
        status, _, text = await get(address, "/readyz")
        assert status == 503
        assert "engine engine-0: its stream is not open" in text
        async with engine.serve():
            await webhook.wait_for(lambda whats: sorted(whats) == ["a", "b"])
            delivered = (
                'relay_delivery_attempts_total{destination="hook",outcome="delivered",reason="ok"}'
            )
            await until(address, delivered, 2)
            assert (await get(address, "/readyz"))[0] == 200
            latencies = 'relay_delivery_latency_seconds_count{destination="hook"}'
            assert await value(address, latencies) == 2
            assert await value(address, 'relay_route_matches_total{route="containers"}') == 2
            assert await value(address, 'relay_events_taken_in_total{engine="engine-0"}') == 2
            assert await value(address, 'relay_reconnects_total{engine="engine-0"}') == 0
        await until(address, 'relay_stream_open{engine="engine-0"}', 0)
        assert (await get(address, "/readyz"))[0] == 503


async def test_the_desk_of_a_whole_relay(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, address: UnixSocket
) -> None:
    """It says here what it says at the socket beside the store, and lives."""
    engine.emit_deaths("a")
    async with engine.serve(), running_daemon(with_admin(make_config(url, engine), address), store):
        await webhook.wait_for(lambda whats: whats == ["a"])
        assert (await get(address, "/livez"))[::2] == (200, '{"live": true}')
        async with (
            connect_to_daemon(address.path) as here,
            connect_to_daemon(socket_path(store)) as there,
        ):
            assert await here.destination_status() == await there.destination_status()
            assert list((await here.daemon_status()).engines) == ["engine-0"]


async def test_a_destination_that_hangs_is_no_reason(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, address: UnixSocket
) -> None:
    """What is for it waits, and shows; relay is ready."""
    config = with_admin(make_config(url, engine), address)
    engine.emit_deaths("a")
    webhook.hold()
    async with engine.serve(), running_daemon(config, store):
        await webhook.wait_for(lambda whats: whats == ["a"])
        assert (await get(address, "/readyz"))[0] == 200
        assert await value(address, f'{PENDING}{{destination="hook"}}') == 1
        assert await value(address, 'relay_oldest_delivery_age_seconds{destination="hook"}') > 0
        webhook.release()


async def test_nothing_listens_unless_told(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """Without the section no line says that it listens."""
    engine.emit_deaths("a")
    with capture_logs() as lines:
        async with engine.serve(), running_daemon(make_config(url, engine), store):
            await webhook.wait_for(lambda whats: whats == ["a"])
    logged: list[Any] = [line["event"] for line in lines]
    assert "relay.started" in logged
    assert "admin.listening" not in logged


async def test_a_stream_that_is_not_given(
    engine: ScriptedEngine, url: str, store: Path, address: UnixSocket
) -> None:
    """An engine that greets, and does not answer for its events, is not heard yet."""
    given = asyncio.Event()
    engine.before_answer["events"] = given.wait
    async with engine.serve(), running_daemon(with_admin(make_config(url, engine), address), store):
        await engine.changes.wait_for(lambda: engine.request_count("events") == 1)
        status, _, text = await get(address, "/readyz")
        given.set()
        await until(address, 'relay_stream_open{engine="engine-0"}', 1)
    assert status == 503
    assert "engine engine-0: its stream is not open" in text
