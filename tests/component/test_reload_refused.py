"""Reloads that fail, hang, pile up or come at a bad moment."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.admin.operations import NotReloaded
from relay.config import Config
from relay.core.zone import TimeZone
from relay.daemon import reload
from relay.daemon.reload import FileReader, ReadTimeout
from relay.daemon.supervisor import Applied, Supervisor
from relay.daemon.topology import Topology
from relay.delivery.client import DestinationClient, open_client
from relay.destinations.catalog import load_config
from tests.component.daemon_with_config import (
    CONTAINERS,
    DaemonWithConfig,
    http_destination,
    scrape_metrics,
)
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.component.webhook import Webhook

IN_FORCE = "not reloaded; the configuration from before stays in force"


class Gate:
    """Blocks a read of the configuration, in any thread."""

    def __init__(self, daemon: DaemonWithConfig) -> None:
        self.reads = 0
        self.begun = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._open = threading.Event()
        self._load = partial(load_config, daemon.file, daemon.environ)

    def __call__(self) -> Config:
        self.reads += 1
        self._loop.call_soon_threadsafe(self.begun.set)
        self._open.wait(TIMEOUT_S)
        return self._load()

    def open(self) -> None:
        self._open.set()


def make_broken_file(kind: str, url: str, taken_port: int, folder: Path) -> tuple[str, list[str]]:
    """Return a file that cannot be used, and the messages about it."""
    hook = f"{{type: http, url: '{url}'}}"
    routes = "routes: [{name: all, to: hook}]"
    file = folder / "config.yaml"
    match kind:
        case "nonsense":
            return f"destinations:\n  hook: {hook}\nroutes: [{{name: all, to: hok}}]\nadmn: 1\n", [
                f"{file}:3:26: routes[0].to: 'hok' is not a destination (did you mean 'hook'?)",
                f"{file}:4:1: admn: unknown key 'admn' (did you mean 'admin'?)",
            ]
        case "secret":
            return (
                f"destinations:\n  hook: {{type: http, url_file: {folder}/none}}\n{routes}\n",
                [f"{file}:2:32: destinations.hook.url_file: "],
            )
        case "certificate":
            (folder / "ca.pem").write_text("none")
            to = f"{{type: http, url: 'https://x/', tls: {{ca_file: {folder}/ca.pem}}}}"
            return f"destinations:\n  hook: {to}\n{routes}\n", [
                f"{folder}/ca.pem: cannot be used for TLS"
            ]
        case "store":
            return f"store: {{path: other.db}}\ndestinations:\n  hook: {hook}\n{routes}\n", [
                "store.path: relay cannot change its store while it runs"
            ]
        case _:
            listen = f"127.0.0.1:{taken_port}"
            return f"admin: {{listen: '{listen}'}}\ndestinations:\n  hook: {hook}\n{routes}\n", [
                f"admin.listen {listen} cannot be opened: it is taken by another program"
            ]


@pytest.mark.parametrize("kind", ["nonsense", "secret", "certificate", "store", "port"])
async def test_a_file_that_cannot_be_used(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str, kind: str
) -> None:
    """Nothing changes; every problem is logged, shown and answered; the next reload works."""
    admin = daemon.file.parent / "admin.sock"
    with capture_logs() as logs, socket.create_server(("127.0.0.1", 0)) as bound_port:
        text, expected_beginnings = make_broken_file(
            kind, url, bound_port.getsockname()[1], daemon.file.parent
        )
        good = {
            "destinations": {"hook": http_destination(url)},
            "admin": {"listen": f"unix:{admin}"},
        }
        async with daemon.running(**good), daemon.operations() as operations:
            daemon.file.write_text(text)
            with pytest.raises(NotReloaded) as rejected:
                await operations.reload()
            assert (await operations.daemon_status()).reload_failed is not None
            seen = await scrape_metrics(admin)
            engine.emit_deaths("a")
            await webhook.wait_for(lambda summaries: summaries == ["a"])
            await daemon.reload(**good)
            assert (await operations.daemon_status()).reload_failed is None
            after = await scrape_metrics(admin)
    first, *problems = str(rejected.value).splitlines()
    assert first == IN_FORCE
    beginnings = [
        problem[: len(expected)]
        for problem, expected in zip(problems, expected_beginnings, strict=True)
    ]
    assert beginnings == expected_beginnings
    assert [line["problem"] for line in logs if line["event"] == "config.problem"] == problems
    assert [line["event"] for line in logs].count("config.reload_failed") == 1
    assert [line["event"] for line in logs].count("config.reloaded") == 1
    assert seen["relay_config_last_reload_successful"] == 0
    assert seen['relay_config_reloads_total{outcome="failure"}'] == 1
    assert after["relay_config_last_reload_successful"] == 1
    assert after['relay_config_reloads_total{outcome="success"}'] == 1
    assert after['relay_config_reloads_total{outcome="failure"}'] == 1


async def test_clients_of_a_failed_reload_are_closed(
    daemon: DaemonWithConfig, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New clients leave no connections behind if the last step of the reload fails."""
    opened, closed = 0, 0

    @asynccontextmanager
    async def count_clients(*arguments: Any, zone: TimeZone) -> AsyncIterator[DestinationClient]:
        nonlocal opened, closed
        opened += 1
        try:
            async with open_client(*arguments, zone=zone) as client:
                yield client
        finally:
            closed += 1

    monkeypatch.setattr("relay.daemon.topology.open_client", count_clients)
    with socket.create_server(("127.0.0.1", 0)) as bound_port:
        async with daemon.running(destinations={"hook": http_destination(url)}):
            for number in range(3):
                names = ["hook", f"more-{number}", f"most-{number}"]
                with pytest.raises(NotReloaded):
                    await daemon.reload(
                        destinations={name: http_destination(url) for name in names},
                        admin={"listen": f"127.0.0.1:{bound_port.getsockname()[1]}"},
                    )
            assert (opened, closed) == (7, 6)
    assert (opened, closed) == (7, 7)


async def test_requests_during_a_reload_share_the_next_one(
    daemon: DaemonWithConfig, url: str
) -> None:
    """Any number of requests are answered by one reload."""
    async with (
        daemon.running(destinations={"hook": http_destination(url)}),
        daemon.operations() as operations,
    ):
        daemon.read = gate = Gate(daemon)
        first = asyncio.create_task(operations.reload())
        await gate.begun.wait()
        others = [asyncio.create_task(operations.reload()) for _ in range(20)]
        for _ in range(3):
            daemon.request_reload()
            await operations.now_ns()
        for _ in range(50):  # until all have requested a reload
            await operations.now_ns()
        gate.open()
        async with asyncio.timeout(TIMEOUT_S):
            assert await asyncio.gather(first, *others) == [[]] * 21
        assert gate.reads == 2


async def test_shutdown_during_a_read_that_hangs(daemon: DaemonWithConfig, url: str) -> None:
    """relay ends, and requests that wait for the reload fail."""
    async with (
        daemon.running(destinations={"hook": http_destination(url)}) as shutdown,
        daemon.operations() as operations,
    ):
        daemon.read = gate = Gate(daemon)
        asked = [asyncio.create_task(operations.reload()) for _ in range(2)]
        await gate.begun.wait()
        await operations.now_ns()
        shutdown.request()
        async with asyncio.timeout(TIMEOUT_S):
            found = await asyncio.gather(*asked, return_exceptions=True)
    gate.open()
    for each in found:
        assert isinstance(each, NotReloaded)
        assert "relay is stopping" in str(each)


async def test_shutdown_before_the_start(daemon: DaemonWithConfig, url: str) -> None:
    """Nothing hangs."""
    daemon.stop.request()
    async with (
        asyncio.timeout(TIMEOUT_S),
        daemon.running(destinations={"hook": http_destination(url)}),
    ):
        pass


async def test_a_read_that_takes_too_long(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reload fails and nothing changes; however often it is tried, only one thread hangs."""
    async with (
        daemon.running(destinations={"hook": http_destination(url)}),
        daemon.operations() as operations,
    ):
        monkeypatch.setattr(reload, "READ_TIMEOUT_S", 0.02)
        daemon.read = gate = Gate(daemon)
        for _ in range(3):
            with pytest.raises(NotReloaded, match=r"took more than 0\.02 s"):
                await operations.reload()
        await gate.begun.wait()
        assert gate.reads == 1
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        monkeypatch.setattr(reload, "READ_TIMEOUT_S", TIMEOUT_S)
        gate.open()
        assert await operations.reload() == []
        assert gate.reads == 2


async def test_a_late_read_does_not_disturb_the_next() -> None:
    """Neither its error nor its result reaches the next read."""
    reader, free = FileReader(), threading.Event()

    def fail() -> None:
        free.wait(TIMEOUT_S)
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reload, "READ_TIMEOUT_S", 0.01)
        with pytest.raises(ReadTimeout):
            await reader.read(fail)
    free.set()
    assert await reader.read(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await reader.read(fail)


async def test_an_unexpected_error(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """It changes nothing; its message, which may contain secrets, is not shown."""

    def fail() -> Config:
        raise RuntimeError("hush-4711")

    async with (
        daemon.running(destinations={"hook": http_destination(url)}),
        daemon.operations() as operations,
    ):
        daemon.read, usual = fail, daemon.read
        with capture_logs() as logs, pytest.raises(NotReloaded) as rejected:
            await operations.reload()
        status = await operations.daemon_status()
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        daemon.read = usual
        assert await operations.reload() == []
    assert "an error in relay itself: RuntimeError" in str(rejected.value)
    assert "hush" not in str(rejected.value) + str(status.reload_failed)
    assert "config.reload_broke" in [line["event"] for line in logs]


async def test_an_error_while_closing(
    daemon: DaemonWithConfig, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reload has succeeded all the same, and relay goes on."""
    original_apply = Supervisor.apply

    def apply(supervisor: Supervisor, topology: Topology) -> Applied:
        applied = original_apply(supervisor, topology)
        applied.obsolete.callback(lambda: 1 / 0)
        return applied

    async with daemon.running(destinations={"hook": http_destination(url)}):
        monkeypatch.setattr(Supervisor, "apply", apply)
        for _ in range(2):
            assert await daemon.reload(destinations={"hook": http_destination(url)}) == []


async def test_without_a_file(daemon: DaemonWithConfig, url: str) -> None:
    """The error says that there is no file to read."""
    daemon.write(destinations={"hook": http_destination(url)})
    daemon.source = None
    async with daemon.running(), daemon.operations() as operations:
        with pytest.raises(NotReloaded, match="runs without a configuration file"):
            await operations.reload()


async def test_a_reload_during_the_start(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """It comes before or after the engines start, and loses nothing."""
    daemon.request_reload()
    engine.emit_deaths("a")
    parts = {"destinations": {"hook": http_destination(url)}}
    daemon.write(**parts)

    def other() -> Config:
        daemon.write(**parts, routes=[{**CONTAINERS, "name": "renamed", "to": "hook"}])
        return load_config(daemon.file, daemon.environ)

    daemon.read = other
    with capture_logs() as logs:
        async with daemon.running():
            await webhook.wait_for(lambda summaries: summaries == ["a"])
            async with asyncio.timeout(TIMEOUT_S):
                while "config.reloaded" not in [line["event"] for line in logs]:
                    await asyncio.sleep(0.005)
            engine.emit_deaths("b")
            await webhook.wait_for(lambda summaries: summaries == ["a", "b"])
            await daemon.wait_until_settled()


async def test_a_destination_added_by_a_reload_during_the_start(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """What waits for it is sent or given up, and never both."""
    webhook.hold()
    async with daemon.running(
        destinations={"old": http_destination(url, concurrency=1)}
    ) as shutdown:
        engine.emit_deaths(*(f"c-{number}" for number in range(20)))
        await webhook.wait_for(lambda summaries: len(summaries) == 1)
        await daemon.wait_until_stored(20)
        shutdown.request()
        shutdown.request()
    webhook.release()
    webhook.received.clear()
    daemon = DaemonWithConfig(daemon.file.parent, engine)
    daemon.write(
        destinations={"new": http_destination(url)}, routes=[{"name": "none", "to": "new"}]
    )
    usual = daemon.read

    def other() -> Config:
        daemon.write(
            destinations={"old": http_destination(url)}, routes=[{"name": "none", "to": "old"}]
        )
        return usual()

    daemon.read = other
    daemon.request_reload()
    async with daemon.running():
        await daemon.wait_until_settled()
    sent = webhook.summaries()
    given_up = [name for _, name, _ in await daemon.dead_letters()]
    assert sorted([*sent, *given_up]) == sorted(f"c-{number}" for number in range(20))
