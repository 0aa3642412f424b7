"""What a reload does with engines, routes, heartbeats, the store and the admin listener."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from relay.admin.operations import NotReloaded
from relay.store.records import Selection
from tests.component.daemon_with_config import (
    CONTAINERS,
    DaemonWithConfig,
    engine_config,
    http_destination,
    scrape_metrics,
)
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S, ChangeSignal
from tests.component.webhook import Webhook
from tests.support.certificates import Authority
from tests.support.loopback import on_loopback

ALIVE = {"name": "alive", "match": {"type": "relay", "action": "heartbeat"}, "to": "hook"}


@pytest_asyncio.fixture
async def second_engine(tmp_path: Path) -> AsyncIterator[ScriptedEngine]:
    """Another engine that can be reached."""
    engine = ScriptedEngine(tmp_path / "second.sock")
    async with engine.serve():
        yield engine


@pytest.fixture
def admin_socket(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


async def test_an_engine_that_changes_in_a_burst(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str, admin_socket: Path
) -> None:
    """The next session goes on where the last one ended; the counters go on as well."""
    parts = {
        "destinations": {"hook": http_destination(url)},
        "admin": {"listen": f"unix:{admin_socket}"},
    }
    async with daemon.running(**parts):
        for number in range(20):
            engine.emit_deaths(*(f"c-{number}-{each}" for each in range(5)))
            changed = engine_config(engine, host=f"host-{number}")
            assert await daemon.reload(**parts, engines={"here": changed}) == [
                "engine here changed"
            ]
        await webhook.wait_for(lambda summaries: len(summaries) >= 100)
        await daemon.wait_until_settled()
        seen = await scrape_metrics(admin_socket)
    expected = [f"c-{number}-{each}" for number in range(20) for each in range(5)]
    assert sorted(webhook.summaries()) == sorted(expected)
    assert len({received.id for received in webhook.received}) == 100
    assert seen['relay_events_taken_in_total{engine="here"}'] == 100


async def test_engines_that_come_and_go(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    second_engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
) -> None:
    """An added engine is connected; one that is added again goes on where it was left."""
    hook = {"hook": http_destination(url)}
    first, both = (
        {"here": engine_config(engine)},
        {"here": engine_config(engine), "two": engine_config(second_engine)},
    )
    async with daemon.running(destinations=hook, engines=first):
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        await daemon.reload(destinations=hook, engines=both)
        second_engine.emit_deaths("b")
        await webhook.wait_for(lambda summaries: "b" in summaries)
        await daemon.reload(destinations=hook, engines=first)
        await second_engine.changes.wait_for(lambda: second_engine.streams[-1].closed)
        second_engine.emit_deaths("c")
        engine.emit_deaths("d")
        await webhook.wait_for(lambda summaries: "d" in summaries)
        assert "c" not in webhook.summaries()
        await daemon.reload(destinations=hook, engines=both)
        await webhook.wait_for(lambda summaries: "c" in summaries)
        await daemon.wait_until_settled()
    assert sorted(webhook.summaries()) == ["a", "b", "c", "d"]


async def test_route_matches_stay_counted(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    second_engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    admin_socket: Path,
) -> None:
    """Also those of a removed engine; a removed route is not shown."""
    parts = {
        "destinations": {"hook": http_destination(url)},
        "admin": {"listen": f"unix:{admin_socket}"},
    }
    both = {"here": engine_config(engine), "two": engine_config(second_engine)}
    async with daemon.running(**parts, engines=both):
        engine.emit_deaths("a")
        second_engine.emit_deaths("b")
        await webhook.wait_for(lambda summaries: len(summaries) == 2)
        await daemon.reload(**parts, engines={"here": engine_config(engine)})
        await second_engine.changes.wait_for(lambda: second_engine.streams[-1].closed)
        engine.emit_deaths("c")
        await webhook.wait_for(lambda summaries: "c" in summaries)
        seen = await scrape_metrics(admin_socket)
        await daemon.reload(**parts, routes=[{**CONTAINERS, "name": "renamed", "to": "hook"}])
        renamed = await scrape_metrics(admin_socket)
    assert seen['relay_route_matches_total{route="containers"}'] == 3
    matched = {name: value for name, value in renamed.items() if "route_matches" in name}
    assert matched == {'relay_route_matches_total{route="renamed"}': 0}


async def test_new_routes(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """Events that come after the reload are routed by the new routes."""
    hook = {"hook": http_destination(url)}
    async with daemon.running(destinations=hook):
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        only_b = {"type": "container", "name": "b"}
        routes = [{"name": "only-b", "match": only_b, "to": "hook"}]
        assert await daemon.reload(destinations=hook, routes=routes) == ["routes changed"]
        engine.emit_deaths("a", "b")
        await webhook.wait_for(lambda summaries: summaries == ["a", "b"])
        await daemon.wait_until_settled()
    assert webhook.summaries() == ["a", "b"]


class Chat:
    """Records the messages that it receives, and answers once `released` is set."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.released = asyncio.Event()
        self.changed = ChangeSignal()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/chat", self._receive)
        async with on_loopback(app) as url:
            try:
                yield f"{url}/chat"
            finally:
                self.released.set()

    async def _receive(self, request: web.Request) -> web.Response:
        self.messages.append(await request.text())
        self.changed.notify()
        await self.released.wait()
        return web.Response(text="ok")


@pytest.mark.parametrize("moves", [False, True])
async def test_a_title_that_changes(
    daemon: DaemonWithConfig, engine: ScriptedEngine, moves: bool
) -> None:
    """An unchanged destination shows the new title, and so does one that is being replaced."""
    chat = Chat()

    def parts(title: str, concurrency: int) -> dict[str, Any]:
        slack = {"type": "slack", "url": url, "concurrency": concurrency, "rate_limit": "100/s"}
        route = {**CONTAINERS, "title": title, "to": "chat"}
        return {"destinations": {"chat": slack}, "routes": [route]}

    async with chat.serving() as url, daemon.running(**parts("first title", 1)):
        engine.emit_deaths("a", "b")
        await chat.changed.wait_for(lambda: len(chat.messages) == 1)
        if moves:
            await daemon.reload(**parts("second title", 2))
            assert await daemon.reload(**parts("third title", 2)) == ["routes changed"]
        else:
            assert await daemon.reload(**parts("third title", 1)) == ["routes changed"]
        chat.released.set()
        await chat.changed.wait_for(lambda: len(chat.messages) == 2)
    assert "first title" in chat.messages[0]
    assert "third title" in chat.messages[1]


async def test_heartbeats(daemon: DaemonWithConfig, webhook: Webhook, url: str) -> None:
    """A reload starts them, changes their interval and stops them; one comes at once each time."""
    parts = {"destinations": {"hook": http_destination(url)}, "routes": [ALIVE]}
    async with daemon.running(**parts):
        assert await daemon.reload(**parts, heartbeat={"every": "1h"}) == ["heartbeat changed"]
        await webhook.wait_for(lambda summaries: len(summaries) == 1)
        assert await daemon.reload(**parts, heartbeat={"every": "1h"}) == []
        assert await daemon.reload(**parts, heartbeat={"every": "2h"}) == ["heartbeat changed"]
        await webhook.wait_for(lambda summaries: len(summaries) == 2)
        assert await daemon.reload(**parts) == ["heartbeat changed"]
        assert await daemon.reload(**parts, heartbeat={"every": "2h"}) == ["heartbeat changed"]
        await webhook.wait_for(lambda summaries: len(summaries) == 3)
    assert webhook.summaries() == ["heartbeat"] * 3


async def test_the_level_of_the_log(daemon: DaemonWithConfig, url: str) -> None:
    """A reload sets it if it has changed."""
    parts = {"destinations": {"hook": http_destination(url)}}
    async with daemon.running(**parts):
        assert await daemon.reload(**parts, log={"level": "info"}) == []
        assert await daemon.reload(**parts, log={"level": "debug"}) == ["log changed"]
        assert await daemon.reload(**parts, log={"level": "debug"}) == []
        assert await daemon.reload(**parts) == ["log changed"]
    assert daemon.log_levels == ["debug", "info"]


async def test_ordering_that_is_turned_off(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """Deliveries about one container no longer wait for each other."""
    webhook.hold()
    async with daemon.running(destinations={"hook": http_destination(url)}):
        engine.emit_deaths("a", "a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        webhook.release()
        await webhook.wait_for(lambda summaries: summaries == ["a"] * 2)
        await daemon.wait_until_settled()
        webhook.hold()
        await daemon.reload(destinations={"hook": http_destination(url, ordering="none")})
        engine.emit_deaths("a", "a")
        await webhook.wait_for(lambda summaries: summaries == ["a"] * 4)
        webhook.release()


async def test_store_limits(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    url: str,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The limits are those of the configuration that was read last."""
    bounds: list[tuple[int, str]] = []
    monkeypatch.setattr(
        "relay.store.outbox.Outbox.set_limits",
        lambda _, quota, unordered: bounds.append((quota.max_bytes, quota.when_full)),
    )
    monkeypatch.setattr("relay.daemon.supervisor.Supervisor.start_delivery", lambda _: None)
    monkeypatch.setattr("relay.daemon.run._start_ingest", _nothing)
    monkeypatch.setattr("relay.daemon.run._emit_stopped", _nothing)
    hook = {"hook": http_destination(url)}
    async with daemon.running(destinations=hook):
        small = {"max_size": "200MiB", "when_full": "drop-new"}
        assert await daemon.reload(destinations=hook, store=small) == ["store changed"]
    assert bounds[-2:] == [(2**30, "drop-oldest"), (200 * 2**20, "drop-new")]


async def _nothing(*_: object) -> None:
    pass


async def test_the_admin_listener_moves(daemon: DaemonWithConfig, url: str, tmp_path: Path) -> None:
    """The new address answers, the old one is closed, and a request at the old one is answered."""
    hook = {"hook": http_destination(url)}
    first, second = tmp_path / "first.sock", tmp_path / "second.sock"
    async with daemon.running(destinations=hook, admin={"listen": f"unix:{first}"}):
        daemon.write(destinations=hook, admin={"listen": f"unix:{second}"})
        connector = aiohttp.UnixConnector(str(first))
        async with (
            aiohttp.ClientSession("http://localhost", connector=connector) as session,
            session.post("/api/reload", data=b"") as answer,
        ):
            assert (answer.status, await answer.json()) == (200, ["admin changed"])
        async with asyncio.timeout(TIMEOUT_S):
            while first.exists():
                await asyncio.sleep(0.005)
        assert (await scrape_metrics(second))['relay_config_reloads_total{outcome="success"}'] == 1
        assert await daemon.reload(destinations=hook) == ["admin changed"]
        async with asyncio.timeout(TIMEOUT_S):
            while second.exists():
                await asyncio.sleep(0.005)
        assert await daemon.reload(destinations=hook, admin={"listen": f"unix:{first}"}) == [
            "admin changed"
        ]
        await scrape_metrics(first)
    assert not first.exists()


async def test_replay_after_a_destination_is_added_again(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """Its dead letters can be replayed; while it is removed they cannot."""
    webhook.status = 500
    async with (
        daemon.running(
            destinations={"hook": http_destination(url, retry={"initial": "1h", "max": "1h"})}
        ),
        daemon.operations() as operations,
    ):
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        await daemon.reload(destinations={"more": http_destination(url + "/more")})
        async with asyncio.timeout(TIMEOUT_S):
            while not await operations.count_dead_letters(Selection()):
                await asyncio.sleep(0.005)
        assert (await operations.replay_dead_letters(Selection())).count == 0
        webhook.status = 204
        await daemon.reload(destinations={"hook": http_destination(url)})
        assert (await operations.replay_dead_letters(Selection())).count == 1
        await webhook.wait_for(lambda summaries: summaries == ["a", "a"])
    assert len({received.id for received in webhook.received}) == 1


async def test_many_reloads_leave_nothing_behind(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str, tmp_path: Path
) -> None:
    """There are as many tasks and open files as before, whatever came and went in between."""
    first = {
        "destinations": {"hook": http_destination(url)},
        "engines": {"here": engine_config(engine)},
    }

    def held() -> tuple[int, int]:
        return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    async with daemon.running(**first):
        await engine.changes.wait_for(lambda: len(engine.streams) == 1)
        await daemon.reload(**first)
        before = held()
        for number in range(30):
            more = {
                f"more-{number}-{each}": http_destination(f"{url}/{number}") for each in range(3)
            }
            await daemon.reload(
                destinations={"hook": http_destination(url, concurrency=number + 1), **more},
                engines={f"engine-{number}": engine_config(engine, host=f"host-{number}")},
                admin={"listen": f"unix:{tmp_path}/admin-{number % 2}.sock"},
                heartbeat={"every": f"{number + 1}h"},
            )
        await daemon.reload(**first)
        async with asyncio.timeout(TIMEOUT_S):
            while any(now > then for now, then in zip(held(), before, strict=True)):
                await asyncio.sleep(0.01)
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])


async def test_certificates_that_are_renewed(daemon: DaemonWithConfig, tmp_path: Path) -> None:
    """The new files are used, although the configuration names the same paths."""
    ca = tmp_path / "renewed.pem"

    def renew(name: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        ca.write_bytes(Authority(folder).certificate.read_bytes())

    renew("first")
    hook = {"hook": http_destination("https://127.0.0.1:1/", tls={"ca_file": str(ca)})}
    async with daemon.running(destinations=hook):
        assert await daemon.reload(destinations=hook) == []
        renew("second")
        assert await daemon.reload(destinations=hook) == ["destination hook changed"]
        assert await daemon.reload(destinations=hook) == []
        ca.unlink()
        with pytest.raises(NotReloaded, match=r"hook\.tls\.ca_file: .* cannot be read"):
            await daemon.reload(destinations=hook)
