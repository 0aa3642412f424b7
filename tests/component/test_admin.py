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

from relay.admin import health as progressing
from relay.admin import http as served
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


def vitals(store: StoreStatus = WELL) -> StatusSnapshot:
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


def progress(busy_s: float = 0.0) -> LivenessReport:
    """One loop, which has been in its round for so long."""
    return LivenessReport({"destination hook": busy_s}, store_is_alive=True, store_wait_s=0.0)


@pytest.fixture
def place(tmp_path: Path) -> UnixSocket:
    return UnixSocket(tmp_path / "admin.sock")


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[LocalOperations]:
    async with open_outbox(None) as outbox:
        yield LocalOperations(outbox, lambda: ["hook"], lambda: NOW_NS)


async def get(place: UnixSocket, path: str) -> tuple[int, str, str]:
    """The status, the type and the text of an answer."""
    connector = aiohttp.UnixConnector(str(place.path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://relay{path}") as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


def answering(
    place: UnixSocket | TcpPort,
    desk: AdminOperations,
    store: StoreStatus = WELL,
    progress: Callable[[], LivenessReport] = progress,
) -> AbstractAsyncContextManager[None]:
    return serve_admin(
        lambda: AdminConfig(listen=place), desk, EventTap(), lambda: vitals(store), progress
    )


async def test_alive_and_ready(place: UnixSocket, desk: LocalOperations) -> None:
    """Both answer 200 in JSON while all is well."""
    async with answering(place, desk):
        assert await get(place, "/livez") == (
            200,
            "application/json; charset=utf-8",
            '{"live": true}',
        )
        assert (await get(place, "/readyz"))[::2] == (200, '{"ready": true}')


async def test_what_is_stuck(
    place: UnixSocket, desk: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that does not come round is blamed at the second look, until it does."""
    monkeypatch.setattr(progressing, "CHECK_EVERY_S", 0.001)
    looks = 0
    at: float = 31

    def look() -> LivenessReport:
        nonlocal looks
        looks += 1
        return progress(at)

    async def looked(times: int) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while looks < times:
                await asyncio.sleep(0.001)

    async with answering(place, desk, progress=look):
        await looked(3)
        assert (await get(place, "/livez"))[::2] == (
            503,
            '{"live": false, "stuck": ["destination hook: nothing has moved for 31 s"]}',
        )
        assert (await get(place, "/readyz"))[0] == 200
        at, looks = 0, 0
        await looked(2)
        assert (await get(place, "/livez"))[::2] == (200, '{"live": true}')


async def test_what_was_let_go_just_now(
    place: UnixSocket, desk: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look blames nobody."""
    monkeypatch.setattr(progressing, "CHECK_EVERY_S", 3600.0)
    async with answering(place, desk, progress=lambda: progress(3600)):
        await asyncio.sleep(0)
        assert (await get(place, "/livez"))[0] == 200


async def test_what_commands_ask(place: UnixSocket, desk: LocalOperations) -> None:
    """The desk is asked here as on the socket that the commands know."""
    async with answering(place, desk), connect_to_daemon(place.path) as theirs:
        assert await theirs.now_ns() == NOW_NS
        assert await theirs.pending() == {}
        assert await theirs.drop_dead_letters(Selection()) == 0


async def test_not_ready(place: UnixSocket, desk: LocalOperations) -> None:
    """It says what is missing, and that relay lives all the same."""
    async with answering(place, desk, StoreStatus(2**62, StoreFault.FULL)):
        assert (await get(place, "/readyz"))[::2] == (
            503,
            '{"ready": false, "not": ["store: full, for 0 s"]}',
        )
        assert (await get(place, "/livez"))[0] == 200


async def test_metrics(place: UnixSocket, desk: LocalOperations) -> None:
    """They come in the type that Prometheus asks for, with what waits in the store."""
    async with answering(place, desk):
        status, kind, text = await get(place, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert 'relay_stream_open{engine="here"} 1.0' in text.splitlines()
    assert f'{PENDING}{{destination="hook"}} 0.0' in text.splitlines()


async def test_nothing_else(place: UnixSocket, desk: LocalOperations) -> None:
    """Other paths are not found, and nothing can be posted."""
    async with answering(place, desk):
        assert (await get(place, "/"))[0] == 404
        connector = aiohttp.UnixConnector(str(place.path))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post("http://relay/readyz") as answer,
        ):
            assert answer.status == 405


async def test_a_store_that_fails_is_not_asked(
    place: UnixSocket, desk: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is left out, and the store gets no question that it cannot answer."""

    async def refuse() -> Mapping[str, Backlog]:
        raise AssertionError("asked")

    monkeypatch.setattr(desk.outbox, "backlog", refuse)
    async with answering(place, desk, StoreStatus(1, StoreFault.IO)):
        status, _, text = await get(place, "/metrics")
    assert status == 200
    assert PENDING not in text
    assert 'relay_store_failing{reason="io"} 1.0' in text.splitlines()


async def test_a_store_that_does_not_answer(
    place: UnixSocket, desk: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scrape goes without, and one question waits however often it is scraped."""
    monkeypatch.setattr(served, "BACKLOG_TIMEOUT_S", 0.001)
    asked = 0
    answer: asyncio.Future[Mapping[str, Backlog]] = asyncio.get_running_loop().create_future()

    async def ask() -> Mapping[str, Backlog]:
        nonlocal asked
        asked += 1
        return await answer

    monkeypatch.setattr(desk.outbox, "backlog", ask)
    async with answering(place, desk):
        for _ in range(3):
            assert PENDING not in (await get(place, "/metrics"))[2]
        assert asked == 1
    assert answer.cancelled()


async def test_a_socket_for_its_owner_alone(place: UnixSocket, desk: LocalOperations) -> None:
    """Its mode is 0600 whatever the mask, which stays as it was; it goes with relay."""
    before = os.umask(0)
    try:
        async with answering(place, desk):
            assert stat.S_IMODE(place.path.stat().st_mode) == 0o600
    finally:
        assert os.umask(before) == 0
    assert not place.path.exists()


async def test_a_socket_that_is_in_use(place: UnixSocket, desk: LocalOperations) -> None:
    """It is left to the one who has it."""
    async with answering(place, desk):
        with pytest.raises(AdminListenerError, match=r"admin\.sock cannot be had: it is taken"):
            await answering(place, desk).__aenter__()
        assert (await get(place, "/livez"))[0] == 200


async def test_a_socket_that_is_left_over(place: UnixSocket, desk: LocalOperations) -> None:
    """Of a relay that was killed: it is replaced."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(place.path))
    async with answering(place, desk):
        assert (await get(place, "/livez"))[0] == 200


async def test_a_file_in_its_place(place: UnixSocket, desk: LocalOperations) -> None:
    """It is not touched."""
    place.path.write_text("precious")
    with pytest.raises(
        AdminListenerError, match="it is taken by another program or, as a path, by a file"
    ):
        await answering(place, desk).__aenter__()
    assert place.path.read_text() == "precious"


async def test_a_folder_that_is_not_there(tmp_path: Path, desk: LocalOperations) -> None:
    """The system's words say so."""
    place = UnixSocket(tmp_path / "none" / "admin.sock")
    with pytest.raises(AdminListenerError, match="No such file or directory"):
        await answering(place, desk).__aenter__()


async def test_a_port(desk: LocalOperations) -> None:
    """It answers there while it runs; one that is taken is told, with its number."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = TcpPort("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(
            AdminListenerError, match=rf"admin\.listen {place} cannot be had: it is taken"
        ):
            await answering(place, desk).__aenter__()
    async with (
        answering(place, desk),
        aiohttp.ClientSession() as session,
        session.get(f"http://{place}/livez") as answer,
    ):
        assert answer.status == 200


def with_admin(config: Config, place: UnixSocket) -> Config:
    return config.model_copy(update={"admin": AdminConfig(listen=place)})


async def value(place: UnixSocket, metric: str) -> float:
    lines = (await get(place, "/metrics"))[2].splitlines()
    (line,) = [line for line in lines if line.startswith(f"{metric} ")]
    return float(line.rpartition(" ")[2])


async def until(place: UnixSocket, metric: str, wanted: float) -> None:
    """Return once the metric has this value."""
    async with asyncio.timeout(TIMEOUT_S):
        while await value(place, metric) != wanted:
            await asyncio.sleep(0.001)


async def answered(place: UnixSocket) -> None:
    """Return once something listens."""
    async with asyncio.timeout(TIMEOUT_S):
        while not place.path.exists():
            await asyncio.sleep(0.001)


async def test_of_a_whole_relay(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, place: UnixSocket
) -> None:
    """It is unready while its engine is away, and counts what passes through it."""
    config = with_admin(make_config(url, engine), place)
    engine.emit_deaths("a", "b")
    async with running_daemon(config, store):
        await answered(place)
        status, _, text = await get(place, "/readyz")
        assert status == 503
        assert "engine engine-0: its stream is not open" in text
        async with engine.serve():
            await webhook.wait_for(lambda whats: sorted(whats) == ["a", "b"])
            delivered = (
                'relay_delivery_attempts_total{destination="hook",outcome="delivered",reason="ok"}'
            )
            await until(place, delivered, 2)
            assert (await get(place, "/readyz"))[0] == 200
            latencies = 'relay_delivery_latency_seconds_count{destination="hook"}'
            assert await value(place, latencies) == 2
            assert await value(place, 'relay_route_matches_total{route="containers"}') == 2
            assert await value(place, 'relay_events_taken_in_total{engine="engine-0"}') == 2
            assert await value(place, 'relay_reconnects_total{engine="engine-0"}') == 0
        await until(place, 'relay_stream_open{engine="engine-0"}', 0)
        assert (await get(place, "/readyz"))[0] == 503


async def test_the_desk_of_a_whole_relay(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, place: UnixSocket
) -> None:
    """It says here what it says at the socket beside the store, and lives."""
    engine.emit_deaths("a")
    async with engine.serve(), running_daemon(with_admin(make_config(url, engine), place), store):
        await webhook.wait_for(lambda whats: whats == ["a"])
        assert (await get(place, "/livez"))[::2] == (200, '{"live": true}')
        async with (
            connect_to_daemon(place.path) as here,
            connect_to_daemon(socket_path(store)) as there,
        ):
            assert await here.destination_status() == await there.destination_status()
            assert list((await here.daemon_status()).engines) == ["engine-0"]


async def test_a_destination_that_hangs_is_no_reason(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, place: UnixSocket
) -> None:
    """What is for it waits, and shows; relay is ready."""
    config = with_admin(make_config(url, engine), place)
    engine.emit_deaths("a")
    webhook.hold()
    async with engine.serve(), running_daemon(config, store):
        await webhook.wait_for(lambda whats: whats == ["a"])
        assert (await get(place, "/readyz"))[0] == 200
        assert await value(place, f'{PENDING}{{destination="hook"}}') == 1
        assert await value(place, 'relay_oldest_delivery_age_seconds{destination="hook"}') > 0
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
    engine: ScriptedEngine, url: str, store: Path, place: UnixSocket
) -> None:
    """An engine that greets, and does not answer for its events, is not heard yet."""
    given = asyncio.Event()
    engine.before_answer["events"] = given.wait
    async with engine.serve(), running_daemon(with_admin(make_config(url, engine), place), store):
        await engine.changes.wait_for(lambda: engine.request_count("events") == 1)
        status, _, text = await get(place, "/readyz")
        given.set()
        await until(place, 'relay_stream_open{engine="engine-0"}', 1)
    assert status == 503
    assert "engine engine-0: its stream is not open" in text
