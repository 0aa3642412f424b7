"""What a reload does with destinations, and with what is under way and waits for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from relay.daemon import run
from relay.daemon.supervisor import Works
from relay.delivery.client import Channel, channel
from tests.component.daemon_with_config import CONTAINERS, Household, http
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import PATIENCE_S
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
async def house(tmp_path: Path, engine: ScriptedEngine) -> AsyncIterator[Household]:
    """One whose engine is there."""
    async with engine.serving():
        yield Household(tmp_path, engine)


async def test_what_is_under_way_to_an_unchanged_destination_goes_on(
    house: Household, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """Its one request is answered after the reload, and was made once."""
    webhook.hold()
    engine.happen("a")
    async with house.running(destinations={"hook": http(url)}):
        await webhook.wait_for(lambda whats: whats == ["a"])
        changes = await house.reload(destinations={"hook": http(url), "more": http(other_url)})
        assert changes == ["destination more added", "routes changed"]
        webhook.release()
        await house.until_settled()
    assert webhook.whats() == ["a"]
    assert await house.letters() == []


async def test_a_reload_that_changes_nothing(
    house: Household, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """It says so, and asks the engine for no other stream."""
    async with house.running(destinations={"hook": http(url)}):
        await engine.bell.wait_for(lambda: len(engine.streams) == 1)
        for _ in range(5):
            assert await house.reload(destinations={"hook": http(url)}) == []
        engine.happen("a")
        await webhook.wait_for(lambda whats: whats == ["a"])
    assert len(engine.streams) == 1


async def test_a_destination_that_is_added(
    house: Household,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other: Webhook,
    other_url: str,
) -> None:
    """It gets what comes from then on."""
    async with house.running(destinations={"hook": http(url)}):
        engine.happen("a")
        await webhook.wait_for(lambda whats: whats == ["a"])
        await house.reload(destinations={"hook": http(url), "more": http(other_url)})
        engine.happen("b")
        await other.wait_for(lambda whats: whats == ["b"])
        await webhook.wait_for(lambda whats: whats == ["a", "b"])


async def test_a_destination_that_is_removed(
    house: Household,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other: Webhook,
    other_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is under way is settled; the rest become dead letters, of which another is told."""
    monkeypatch.setattr(run, "DECLARE_EVERY_S", 0.001)
    both = {"hook": http(url, **ONE_AT_A_TIME), "more": http(other_url)}
    webhook.hold()
    async with house.running(
        destinations=both,
        routes=[{**CONTAINERS, "to": "hook"}, {**BURIALS, "to": "more"}],
    ):
        engine.happen("a", "b", "c")
        await webhook.wait_for(lambda whats: whats == ["a"])
        changes = await house.reload(
            destinations={"more": http(other_url)}, routes=[{**BURIALS, "to": "more"}]
        )
        assert changes == ["destination hook removed", "routes changed"]
        webhook.release()
        await other.wait_for(lambda whats: whats == ["dead_letter"])
    assert webhook.whats() == ["a"]
    assert other.taken[0].event["actor"]["attributes"] == {
        "destination": "hook",
        "count": "2",
        "reason": "2 destination_removed",
    }
    assert await house.letters() == [
        ("hook", "b", "destination_removed"),
        ("hook", "c", "destination_removed"),
    ]


async def test_one_that_was_removed_while_relay_was_away(
    house: Household, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """The next start makes dead letters of what waits for it."""
    webhook.hold()
    async with house.running(destinations={"hook": http(url)}) as stop:
        engine.happen("a")
        await webhook.wait_for(lambda whats: whats == ["a"])
        stop.ask()
        stop.ask()
    house = Household(house.file.parent, engine)
    async with house.running(destinations={"more": http(other_url)}):
        await house.until_settled()
    assert await house.letters() == [("hook", "a", "destination_removed")]


async def test_one_that_is_back_before_its_lane_has_ended(
    house: Household, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """What waited goes on waiting, and is sent; each once."""
    hook = http(url, **ONE_AT_A_TIME)
    webhook.hold()
    async with house.running(destinations={"hook": hook}):
        engine.happen("a", "b")
        await webhook.wait_for(lambda whats: whats == ["a"])
        await house.reload(destinations={"more": http(other_url)})
        await house.reload(destinations={"hook": hook})
        engine.happen("c")
        webhook.release()
        await webhook.wait_for(lambda whats: len(whats) == 3)
        await house.until_settled()
    assert webhook.whats() == ["a", "b", "c"]
    assert await house.letters() == []


async def test_one_that_comes_and_goes(
    house: Household, engine: ScriptedEngine, webhook: Webhook, url: str, other_url: str
) -> None:
    """It can be removed and added again and again, and works each time."""
    async with house.running(destinations={"hook": http(url)}):
        for number in range(10):
            engine.happen(f"c-{number}")
            await webhook.wait_for(lambda whats, n=number: len(whats) == n + 1)  # type: ignore[misc]
            await house.reload(destinations={"more": http(other_url)})
            await house.reload(destinations={"hook": http(url)})
    assert webhook.whats() == [f"c-{number}" for number in range(10)]


async def test_a_destination_that_moves(
    house: Household,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other: Webhook,
    other_url: str,
) -> None:
    """What is under way is settled at the old place first; what waits goes to the new, in order."""
    webhook.hold()
    async with house.running(destinations={"hook": http(url, **ONE_AT_A_TIME)}):
        engine.happen("a", "a", "b")
        await webhook.wait_for(lambda whats: whats == ["a"])
        changes = await house.reload(destinations={"hook": http(other_url, **ONE_AT_A_TIME)})
        assert changes == ["destination hook changed"]
        engine.happen("a", "b")
        assert other.whats() == []
        webhook.release()
        await other.wait_for(lambda whats: len(whats) == 4)
        await house.until_settled()
    assert webhook.whats() == ["a"]
    assert sorted(other.whats()) == ["a", "a", "b", "b"]
    ids = [taken.id for taken in [*webhook.taken, *other.taken]]
    assert len(set(ids)) == len(ids)
    for name in ("a", "b"):
        times = [it.event["time_ns"] for it in other.taken if it.what == name]
        assert times == sorted(times)


async def test_a_destination_that_is_sent_batches_from_then_on(
    house: Household, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """What is under way is settled as it was sent; then two go together, and one by one again."""
    in_pairs = http(url, batch={"max": 2, "wait": "5s"})
    webhook.hold()
    async with house.running(destinations={"hook": http(url)}):
        engine.happen("a")
        await webhook.wait_for(lambda whats: whats == ["a"])
        assert await house.reload(destinations={"hook": in_pairs}) == ["destination hook changed"]
        webhook.release()
        engine.happen("b", "c")
        await webhook.wait_for(lambda whats: len(whats) == 3)
        await house.reload(destinations={"hook": http(url)})
        engine.happen("d")
        await webhook.wait_for(lambda whats: len(whats) == 4)
        await house.until_settled()
    assert webhook.counts == [1, 2, 1]
    assert sorted(webhook.whats()) == ["a", "b", "c", "d"]


async def test_what_waits_for_a_retry_is_sent_to_the_new_place_at_once(
    house: Household,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other: Webhook,
    other_url: str,
) -> None:
    """Whatever the old one made it wait for."""
    retry = {"initial": "1h", "max": "1h"}
    webhook.status = 500
    async with house.running(destinations={"hook": http(url, retry=retry)}):
        engine.happen("a")
        await webhook.wait_for(lambda whats: whats == ["a"])
        await house.reload(destinations={"hook": http(other_url, retry=retry)})
        await other.wait_for(lambda whats: whats == ["a"])
    assert webhook.taken == other.taken


async def test_a_pause_is_the_place_s(
    house: Household,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other: Webhook,
    other_url: str,
) -> None:
    """It goes on where the destination is changed and stays there; another place is sent to."""
    webhook.status, webhook.headers = 429, {"Retry-After": "3600"}
    async with house.running(destinations={"hook": http(url)}), house.desk() as desk:
        engine.happen("a")
        async with asyncio.timeout(PATIENCE_S):
            while (await desk.conditions())["hook"].resumes_ns is None:
                await asyncio.sleep(0.005)
        for concurrency in (2, 3, 4):
            await house.reload(destinations={"hook": http(url, concurrency=concurrency)})
            assert (await desk.conditions())["hook"].resumes_ns is not None
        engine.happen("b")
        await house.reload(destinations={"hook": http(other_url)})
        await other.wait_for(lambda whats: sorted(whats) == ["a", "b"])
    assert webhook.whats() == ["a"]


async def test_a_pause_that_is_lifted_while_another_lane_is_to_follow(
    house: Household, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """It holds that one up no more than the one before it."""
    webhook.status, webhook.headers = 429, {"Retry-After": "3600"}
    webhook.hold("b")
    async with house.running(destinations={"hook": http(url)}), house.desk() as desk:
        engine.happen("b")
        await webhook.wait_for(lambda whats: whats == ["b"])
        engine.happen("a")
        async with asyncio.timeout(PATIENCE_S):
            while (await desk.conditions())["hook"].resumes_ns is None:
                await asyncio.sleep(0.005)
        await house.reload(destinations={"hook": http(url, concurrency=2)})
        await desk.pending()
        assert await desk.enable("hook")
        webhook.status = 204
        webhook.release()
        await house.until_settled()
    assert webhook.whats() == ["b", "a", "a"]


async def test_a_destination_that_wanted_no_more(
    house: Household, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """After 410 it is sent to again, though its part of the file is what it was."""
    webhook.status = 410
    async with house.running(destinations={"hook": http(url)}), house.desk() as desk:
        engine.happen("a")
        async with asyncio.timeout(PATIENCE_S):
            while not (await desk.conditions())["hook"].stopped:
                await asyncio.sleep(0.005)
        engine.happen("b")
        webhook.status = 204
        assert await house.reload(destinations={"hook": http(url)}) == []
        await webhook.wait_for(lambda whats: "b" in whats)
        await house.until_settled()
        assert not (await desk.conditions())["hook"].stopped


async def test_a_storm_of_changes(
    house: Household,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However often what follows an attempt is replaced, it is sent to once it is over; what is
    replaced is closed at once."""
    opened = 0

    @asynccontextmanager
    async def counted(*arguments: Any) -> AsyncIterator[Channel]:
        nonlocal opened
        opened += 1
        async with channel(*arguments) as way:
            yield way
        opened -= 1  # not where it is but thrown away

    monkeypatch.setattr("relay.daemon.topology.channel", counted)
    webhook.hold()
    async with house.running(destinations={"hook": http(url, **ONE_AT_A_TIME)}):
        engine.happen("a", "b")
        await webhook.wait_for(lambda whats: whats == ["a"])
        for number in range(2, 40):
            await house.reload(destinations={"hook": http(url, concurrency=number)})
            await house.reload(destinations={"more": http(url)})
            assert opened <= 3
        await house.reload(destinations={"hook": http(url)})
        webhook.release()
        await webhook.wait_for(lambda whats: whats == ["a", "b"])
        await house.until_settled()
    assert opened == 0


async def test_a_stop_while_another_lane_is_to_follow(
    house: Household,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    other: Webhook,
    other_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is under way is settled; the new place is not sent to before the next start."""
    stop_delivering = Works.stop_delivering

    def stopped(works: Works) -> list[asyncio.Task[None]]:
        webhook.release()
        return stop_delivering(works)

    monkeypatch.setattr(Works, "stop_delivering", stopped)
    webhook.hold()
    async with house.running(destinations={"hook": http(url, **ONE_AT_A_TIME)}) as stop:
        engine.happen("a", "b")
        await webhook.wait_for(lambda whats: whats == ["a"])
        await house.reload(destinations={"hook": http(other_url)})
        stop.ask()
    assert (webhook.whats(), other.whats()) == (["a"], [])
    house = Household(house.file.parent, engine)
    async with house.running():
        await other.wait_for(lambda whats: whats == ["b"])
