"""What a reload does with destinations, and with deliveries under way and waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from relay.core.zone import TimeZone
from relay.daemon import run
from relay.daemon.supervisor import Supervisor
from relay.delivery.client import DestinationClient, open_client
from tests.component.daemon_with_config import CONTAINERS, DaemonWithConfig, http_destination
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.component.webhook import Webhook

ONE_AT_A_TIME = {"concurrency": 1}
BURIALS = {"name": "own", "match": {"type": "relay", "action": "dead_letter"}}


@pytest_asyncio.fixture
async def other_webhook() -> Webhook:
    return Webhook()


@pytest_asyncio.fixture
async def other_url(other_webhook: Webhook) -> AsyncIterator[str]:
    """Where the other webhook listens."""
    async with other_webhook.serving() as url:
        yield url


async def test_attempts_to_an_unchanged_destination_go_on(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """A request under way is answered after the reload, and is made once."""
    webhook.hold()
    engine.emit_deaths("a")
    async with daemon.running(destinations={"hook": http_destination(url)}):
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        changes = await daemon.reload(
            destinations={"hook": http_destination(url), "more": http_destination(other_url)}
        )
        assert changes == ["destination more added", "routes changed"]
        webhook.release()
        await daemon.wait_until_settled()
    assert webhook.summaries() == ["a"]
    assert await daemon.dead_letters() == []


async def test_a_reload_that_changes_nothing(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """It reports no change, and the engine's stream stays open."""
    async with daemon.running(destinations={"hook": http_destination(url)}):
        await engine.changes.wait_for(lambda: len(engine.streams) == 1)
        for _ in range(5):
            assert await daemon.reload(destinations={"hook": http_destination(url)}) == []
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
    assert len(engine.streams) == 1


async def test_a_destination_that_is_added(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other_webhook: Webhook,
    other_url: str,
) -> None:
    """It gets the events that come from then on."""
    async with daemon.running(destinations={"hook": http_destination(url)}):
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        await daemon.reload(
            destinations={"hook": http_destination(url), "more": http_destination(other_url)}
        )
        engine.emit_deaths("b")
        await other_webhook.wait_for(lambda summaries: summaries == ["b"])
        await webhook.wait_for(lambda summaries: summaries == ["a", "b"])


async def test_a_destination_that_is_removed(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other_webhook: Webhook,
    other_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Attempts under way are settled; the rest become dead letters, which are reported."""
    monkeypatch.setattr(run, "REPORT_LOSSES_EVERY_S", 0.001)
    both = {"hook": http_destination(url, **ONE_AT_A_TIME), "more": http_destination(other_url)}
    webhook.hold()
    async with daemon.running(
        destinations=both,
        routes=[{**CONTAINERS, "to": "hook"}, {**BURIALS, "to": "more"}],
    ):
        engine.emit_deaths("a", "b", "c")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        changes = await daemon.reload(
            destinations={"more": http_destination(other_url)}, routes=[{**BURIALS, "to": "more"}]
        )
        assert changes == ["destination hook removed", "routes changed"]
        webhook.release()
        await other_webhook.wait_for(lambda summaries: summaries == ["dead_letter"])
    assert webhook.summaries() == ["a"]
    assert other_webhook.received[0].event["actor"]["attributes"] == {
        "destination": "hook",
        "count": "2",
        "reason": "2 destination_removed",
    }
    assert await daemon.dead_letters() == [
        ("hook", "b", "destination_removed"),
        ("hook", "c", "destination_removed"),
    ]


async def test_a_destination_that_was_removed_while_relay_was_away(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """At the next start, the deliveries that wait for it become dead letters."""
    webhook.hold()
    async with daemon.running(destinations={"hook": http_destination(url)}) as shutdown:
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        shutdown.request()
        shutdown.request()
    daemon = DaemonWithConfig(daemon.file.parent, engine)
    async with daemon.running(destinations={"more": http_destination(other_url)}):
        await daemon.wait_until_settled()
    assert await daemon.dead_letters() == [("hook", "a", "destination_removed")]


async def test_a_destination_added_again_before_its_worker_has_ended(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """What waited goes on waiting, and is sent once."""
    hook = http_destination(url, **ONE_AT_A_TIME)
    webhook.hold()
    async with daemon.running(destinations={"hook": hook}):
        engine.emit_deaths("a", "b")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        await daemon.reload(destinations={"more": http_destination(other_url)})
        await daemon.reload(destinations={"hook": hook})
        engine.emit_deaths("c")
        webhook.release()
        await webhook.wait_for(lambda summaries: len(summaries) == 3)
        await daemon.wait_until_settled()
    assert webhook.summaries() == ["a", "b", "c"]
    assert await daemon.dead_letters() == []


async def test_a_destination_removed_and_added_repeatedly(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """It works each time."""
    async with daemon.running(destinations={"hook": http_destination(url)}):
        for number in range(10):
            engine.emit_deaths(f"c-{number}")
            await webhook.wait_for(lambda summaries, n=number: len(summaries) == n + 1)  # type: ignore[misc]
            await daemon.reload(destinations={"more": http_destination(other_url)})
            await daemon.reload(destinations={"hook": http_destination(url)})
    assert webhook.summaries() == [f"c-{number}" for number in range(10)]


async def test_a_new_url(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other_webhook: Webhook,
    other_url: str,
) -> None:
    """Attempts under way are settled at the old URL; the rest goes to the new one, in order."""
    webhook.hold()
    async with daemon.running(destinations={"hook": http_destination(url, **ONE_AT_A_TIME)}):
        engine.emit_deaths("a", "a", "b")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        changes = await daemon.reload(
            destinations={"hook": http_destination(other_url, **ONE_AT_A_TIME)}
        )
        assert changes == ["destination hook changed"]
        engine.emit_deaths("a", "b")
        assert other_webhook.summaries() == []
        webhook.release()
        await other_webhook.wait_for(lambda summaries: len(summaries) == 4)
        await daemon.wait_until_settled()
    assert webhook.summaries() == ["a"]
    assert sorted(other_webhook.summaries()) == ["a", "a", "b", "b"]
    ids = [bound_port.id for bound_port in [*webhook.received, *other_webhook.received]]
    assert len(set(ids)) == len(ids)
    for name in ("a", "b"):
        times = [
            received.event["time_ns"]
            for received in other_webhook.received
            if received.summary == name
        ]
        assert times == sorted(times)


async def test_a_batch_size_that_changes(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """An attempt under way is settled as it was sent; the next ones have the new batch size."""
    in_pairs = http_destination(url, batch={"max": 2, "wait": "5s"})
    webhook.hold()
    async with daemon.running(destinations={"hook": http_destination(url)}):
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        assert await daemon.reload(destinations={"hook": in_pairs}) == ["destination hook changed"]
        webhook.release()
        engine.emit_deaths("b", "c")
        await webhook.wait_for(lambda summaries: len(summaries) == 3)
        await daemon.reload(destinations={"hook": http_destination(url)})
        engine.emit_deaths("d")
        await webhook.wait_for(lambda summaries: len(summaries) == 4)
        await daemon.wait_until_settled()
    assert webhook.request_sizes == [1, 2, 1]
    assert sorted(webhook.summaries()) == ["a", "b", "c", "d"]


async def test_retries_go_to_a_new_url_at_once(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other_webhook: Webhook,
    other_url: str,
) -> None:
    """The delay that the old URL caused does not hold for the new one."""
    retry = {"initial": "1h", "max": "1h"}
    webhook.status = 500
    async with daemon.running(destinations={"hook": http_destination(url, retry=retry)}):
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        await daemon.reload(destinations={"hook": http_destination(other_url, retry=retry)})
        await other_webhook.wait_for(lambda summaries: summaries == ["a"])
    assert webhook.received == other_webhook.received


async def test_a_pause_belongs_to_the_url(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other_webhook: Webhook,
    other_url: str,
) -> None:
    """It goes on if the destination changes and keeps its URL; another URL is sent to at once."""
    webhook.status, webhook.headers = 429, {"Retry-After": "3600"}
    async with (
        daemon.running(destinations={"hook": http_destination(url)}),
        daemon.operations() as operations,
    ):
        engine.emit_deaths("a")
        async with asyncio.timeout(TIMEOUT_S):
            while (await operations.destination_status())["hook"].resumes_ns is None:
                await asyncio.sleep(0.005)
        for concurrency in (2, 3, 4):
            await daemon.reload(
                destinations={"hook": http_destination(url, concurrency=concurrency)}
            )
            assert (await operations.destination_status())["hook"].resumes_ns is not None
        engine.emit_deaths("b")
        await daemon.reload(destinations={"hook": http_destination(other_url)})
        await other_webhook.wait_for(lambda summaries: sorted(summaries) == ["a", "b"])
    assert webhook.summaries() == ["a"]


async def test_a_pause_that_is_ended_before_the_replacement_starts(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """It does not hold up the replacement either."""
    webhook.status, webhook.headers = 429, {"Retry-After": "3600"}
    webhook.hold("b")
    async with (
        daemon.running(destinations={"hook": http_destination(url)}),
        daemon.operations() as operations,
    ):
        engine.emit_deaths("b")
        await webhook.wait_for(lambda summaries: summaries == ["b"])
        engine.emit_deaths("a")
        async with asyncio.timeout(TIMEOUT_S):
            while (await operations.destination_status())["hook"].resumes_ns is None:
                await asyncio.sleep(0.005)
        await daemon.reload(destinations={"hook": http_destination(url, concurrency=2)})
        await operations.pending()
        assert await operations.enable("hook")
        webhook.status = 204
        webhook.release()
        await daemon.wait_until_settled()
    assert webhook.summaries() == ["b", "a", "a"]


async def test_a_stopped_destination(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """After 410 a reload tries it again, although its configuration has not changed."""
    webhook.status = 410
    async with (
        daemon.running(destinations={"hook": http_destination(url)}),
        daemon.operations() as operations,
    ):
        engine.emit_deaths("a")
        async with asyncio.timeout(TIMEOUT_S):
            while not (await operations.destination_status())["hook"].stopped:
                await asyncio.sleep(0.005)
        engine.emit_deaths("b")
        webhook.status = 204
        assert await daemon.reload(destinations={"hook": http_destination(url)}) == []
        await webhook.wait_for(lambda summaries: "b" in summaries)
        await daemon.wait_until_settled()
        assert not (await operations.destination_status())["hook"].stopped


async def test_many_changes_during_one_attempt(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the last replacement is used after the attempt; the others are closed at once."""
    opened = 0

    @asynccontextmanager
    async def count_clients(*arguments: Any, zone: TimeZone) -> AsyncIterator[DestinationClient]:
        nonlocal opened
        opened += 1
        async with open_client(*arguments, zone=zone) as client:
            yield client
        opened -= 1  # not reached if the client is closed without being used

    monkeypatch.setattr("relay.daemon.topology.open_client", count_clients)
    webhook.hold()
    async with daemon.running(destinations={"hook": http_destination(url, **ONE_AT_A_TIME)}):
        engine.emit_deaths("a", "b")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        for number in range(2, 40):
            await daemon.reload(destinations={"hook": http_destination(url, concurrency=number)})
            await daemon.reload(destinations={"more": http_destination(url)})
            assert opened <= 3
        await daemon.reload(destinations={"hook": http_destination(url)})
        webhook.release()
        await webhook.wait_for(lambda summaries: summaries == ["a", "b"])
        await daemon.wait_until_settled()
    assert opened == 0


async def test_shutdown_before_the_replacement_starts(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other_webhook: Webhook,
    other_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Attempts under way are settled; the new URL is not sent to before the next start."""
    stop_delivering = Supervisor.stop_delivery

    def stopped(supervisor: Supervisor) -> list[asyncio.Task[None]]:
        webhook.release()
        return stop_delivering(supervisor)

    monkeypatch.setattr(Supervisor, "stop_delivery", stopped)
    webhook.hold()
    async with daemon.running(
        destinations={"hook": http_destination(url, **ONE_AT_A_TIME)}
    ) as shutdown:
        engine.emit_deaths("a", "b")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        await daemon.reload(destinations={"hook": http_destination(other_url)})
        shutdown.request()
    assert (webhook.summaries(), other_webhook.summaries()) == (["a"], [])
    daemon = DaemonWithConfig(daemon.file.parent, engine)
    async with daemon.running():
        await other_webhook.wait_for(lambda summaries: summaries == ["b"])
