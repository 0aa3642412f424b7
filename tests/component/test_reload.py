"""What a reload does with destinations, and with what is under way and waits for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

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
async def other() -> Webhook:
    return Webhook()


@pytest_asyncio.fixture
async def other_url(other: Webhook) -> AsyncIterator[str]:
    """Where another webhook listens."""
    async with other.serving() as url:
        yield url


@pytest_asyncio.fixture
async def daemon(tmp_path: Path, engine: ScriptedEngine) -> AsyncIterator[DaemonWithConfig]:
    """One whose engine is there."""
    async with engine.serve():
        yield DaemonWithConfig(tmp_path, engine)


async def test_what_is_under_way_to_an_unchanged_destination_goes_on(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """Its one request is answered after the reload, and was made once."""
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
    """It says so, and asks the engine for no other stream."""
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
    other: Webhook,
    other_url: str,
) -> None:
    """It gets what comes from then on."""
    async with daemon.running(destinations={"hook": http_destination(url)}):
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        await daemon.reload(
            destinations={"hook": http_destination(url), "more": http_destination(other_url)}
        )
        engine.emit_deaths("b")
        await other.wait_for(lambda summaries: summaries == ["b"])
        await webhook.wait_for(lambda summaries: summaries == ["a", "b"])


async def test_a_destination_that_is_removed(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other: Webhook,
    other_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is under way is settled; the rest become dead letters, of which another is told."""
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
        await other.wait_for(lambda summaries: summaries == ["dead_letter"])
    assert webhook.summaries() == ["a"]
    assert other.received[0].event["actor"]["attributes"] == {
        "destination": "hook",
        "count": "2",
        "reason": "2 destination_removed",
    }
    assert await daemon.dead_letters() == [
        ("hook", "b", "destination_removed"),
        ("hook", "c", "destination_removed"),
    ]


async def test_one_that_was_removed_while_relay_was_away(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """The next start makes dead letters of what waits for it."""
    webhook.hold()
    async with daemon.running(destinations={"hook": http_destination(url)}) as stop:
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        stop.request()
        stop.request()
    daemon = DaemonWithConfig(daemon.file.parent, engine)
    async with daemon.running(destinations={"more": http_destination(other_url)}):
        await daemon.wait_until_settled()
    assert await daemon.dead_letters() == [("hook", "a", "destination_removed")]


async def test_one_that_is_back_before_its_lane_has_ended(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """What waited goes on waiting, and is sent; each once."""
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


async def test_one_that_comes_and_goes(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """It can be removed and added again and again, and works each time."""
    async with daemon.running(destinations={"hook": http_destination(url)}):
        for number in range(10):
            engine.emit_deaths(f"c-{number}")
            await webhook.wait_for(lambda summaries, n=number: len(summaries) == n + 1)  # type: ignore[misc]
            await daemon.reload(destinations={"more": http_destination(other_url)})
            await daemon.reload(destinations={"hook": http_destination(url)})
    assert webhook.summaries() == [f"c-{number}" for number in range(10)]


async def test_a_destination_that_moves(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other: Webhook,
    other_url: str,
) -> None:
    """What is under way is settled at the old place first; what waits goes to the new, in order."""
    webhook.hold()
    async with daemon.running(destinations={"hook": http_destination(url, **ONE_AT_A_TIME)}):
        engine.emit_deaths("a", "a", "b")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        changes = await daemon.reload(
            destinations={"hook": http_destination(other_url, **ONE_AT_A_TIME)}
        )
        assert changes == ["destination hook changed"]
        engine.emit_deaths("a", "b")
        assert other.summaries() == []
        webhook.release()
        await other.wait_for(lambda summaries: len(summaries) == 4)
        await daemon.wait_until_settled()
    assert webhook.summaries() == ["a"]
    assert sorted(other.summaries()) == ["a", "a", "b", "b"]
    ids = [taken.id for taken in [*webhook.received, *other.received]]
    assert len(set(ids)) == len(ids)
    for name in ("a", "b"):
        times = [it.event["time_ns"] for it in other.received if it.summary == name]
        assert times == sorted(times)


async def test_a_destination_that_is_sent_batches_from_then_on(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """What is under way is settled as it was sent; then two go together, and one by one again."""
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


async def test_what_waits_for_a_retry_is_sent_to_the_new_place_at_once(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other: Webhook,
    other_url: str,
) -> None:
    """Whatever the old one made it wait for."""
    retry = {"initial": "1h", "max": "1h"}
    webhook.status = 500
    async with daemon.running(destinations={"hook": http_destination(url, retry=retry)}):
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        await daemon.reload(destinations={"hook": http_destination(other_url, retry=retry)})
        await other.wait_for(lambda summaries: summaries == ["a"])
    assert webhook.received == other.received


async def test_a_pause_is_the_place_s(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other: Webhook,
    other_url: str,
) -> None:
    """It goes on where the destination is changed and stays there; another place is sent to."""
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
        await other.wait_for(lambda summaries: sorted(summaries) == ["a", "b"])
    assert webhook.summaries() == ["a"]


async def test_a_pause_that_is_lifted_while_another_lane_is_to_follow(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """It holds that one up no more than the one before it."""
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


async def test_a_destination_that_wanted_no_more(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """After 410 it is sent to again, though its part of the file is what it was."""
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


async def test_a_storm_of_changes(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However often what follows an attempt is replaced, it is sent to once it is over; what is
    replaced is closed at once."""
    opened = 0

    @asynccontextmanager
    async def counted(*arguments: Any) -> AsyncIterator[DestinationClient]:
        nonlocal opened
        opened += 1
        async with open_client(*arguments) as way:
            yield way
        opened -= 1  # not where it is but thrown away

    monkeypatch.setattr("relay.daemon.topology.open_client", counted)
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


async def test_a_stop_while_another_lane_is_to_follow(
    daemon: DaemonWithConfig,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other: Webhook,
    other_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is under way is settled; the new place is not sent to before the next start."""
    stop_delivering = Supervisor.stop_delivery

    def stopped(supervisor: Supervisor) -> list[asyncio.Task[None]]:
        webhook.release()
        return stop_delivering(supervisor)

    monkeypatch.setattr(Supervisor, "stop_delivery", stopped)
    webhook.hold()
    async with daemon.running(
        destinations={"hook": http_destination(url, **ONE_AT_A_TIME)}
    ) as stop:
        engine.emit_deaths("a", "b")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        await daemon.reload(destinations={"hook": http_destination(other_url)})
        stop.request()
    assert (webhook.summaries(), other.summaries()) == (["a"], [])
    daemon = DaemonWithConfig(daemon.file.parent, engine)
    async with daemon.running():
        await other.wait_for(lambda summaries: summaries == ["b"])
