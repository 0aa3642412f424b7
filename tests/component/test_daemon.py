"""The whole daemon between scripted engines and a webhook."""

import asyncio
import io
from pathlib import Path

import pytest

from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.core.shutdown import Stop
from relay.daemon import run
from relay.delivery.client import Terminal
from relay.destinations.catalog import Render
from relay.store.outbox import open_outbox
from tests.component.daemon import OWN, configured, running
from tests.component.ingest import QUICK
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import PATIENCE_S
from tests.component.webhook import Webhook


async def pending(store: Path) -> dict[str, int]:
    async with open_outbox(store) as outbox:
        return await outbox.pending()


async def test_an_engine_that_is_down_disturbs_no_other(
    tmp_path: Path, engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """What the one says is delivered; what the other says once it is there, too."""
    other = ScriptedEngine(tmp_path / "other.sock")
    engine.happen("a", "b")
    other.record("c", ago_s=7200)
    async with engine.serving(), running(configured(url, engine, other), store):
        await webhook.wait_for(lambda whats: sorted(whats) == ["a", "b"])
        assert other.requests == []
        async with other.serving():
            await webhook.wait_for(lambda whats: "c" in whats)
            engine.happen("d")
            await webhook.wait_for(lambda whats: "d" in whats)
    assert sorted(webhook.whats()) == ["a", "b", "c", "d"]
    assert {taken.what: taken.event["engine"] for taken in webhook.taken} == {
        "a": "engine-0",
        "b": "engine-0",
        "c": "engine-1",
        "d": "engine-0",
    }
    async with open_outbox(store) as outbox:
        for name, source in (("engine-0", engine), ("engine-1", other)):
            bookmark = await outbox.bookmark(name)
            assert bookmark is not None
            assert bookmark.position_ns == source.last_ns()


async def test_a_restart_loses_nothing_and_doubles_nothing(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """What happened while relay was away comes after the next start, and that only."""
    config = configured(url, engine)
    engine.happen("a", "b")
    async with engine.serving():
        async with running(config, store):
            await webhook.wait_for(lambda whats: len(whats) == 2)
        engine.happen("c", "d")
        async with running(config, store):
            await webhook.wait_for(lambda whats: len(whats) == 4)
            engine.happen("e")
            await webhook.wait_for(lambda whats: "e" in whats)
    assert sorted(webhook.whats()) == ["a", "b", "c", "d", "e"]
    assert len({taken.id for taken in webhook.taken}) == 5
    assert await pending(store) == {}


async def test_a_stop_waits_for_what_is_under_way(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """A delivery that is answered during the drain is done."""
    engine.happen("a")
    webhook.hold()
    async with engine.serving(), running(configured(url, engine), store) as stop:
        await webhook.wait_for(lambda whats: whats == ["a"])
        stop.ask()
        await engine.bell.wait_for(lambda: engine.streams[0].closed)
        webhook.release()
    assert await pending(store) == {}


@pytest.mark.parametrize(("drain_s", "asked"), [(0.05, 1), (3600, 2)])
async def test_a_stop_does_not_wait_for_ever(
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    drain_s: float,
    asked: int,
) -> None:
    """It ends after the drain, or at once if asked twice; the next start delivers the rest."""
    monkeypatch.setattr(run, "DRAIN_S", drain_s)
    config = configured(url, engine)
    engine.happen("a")
    webhook.hold()
    async with engine.serving():
        async with running(config, store) as stop:
            await webhook.wait_for(lambda whats: whats == ["a"])
            for _ in range(asked):
                stop.ask()
        assert await pending(store) == {"hook": 1}
        webhook.release()
        async with running(config, store):
            await webhook.wait_for(lambda whats: whats == ["a", "a"])
    first, second = webhook.taken
    assert first == second
    assert await pending(store) == {}


async def test_a_stop_keeps_what_was_not_begun(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """Beyond the concurrency all waits in the store, and every one comes after the next start."""
    config = configured(url, engine)
    names = [f"container-{number:02}" for number in range(20)]
    engine.happen(*names)
    webhook.hold()
    async with engine.serving():
        async with running(config, store) as stop:
            await webhook.wait_for(lambda whats: len(whats) == 8)
            stop.ask()
            stop.ask()
        assert len(webhook.taken) == 8
        assert await pending(store) == {"hook": 20}
        webhook.release()
        async with running(config, store):
            await webhook.wait_for(lambda whats: set(whats) == set(names) and len(whats) == 28)


async def test_relay_tells_of_itself_where_a_route_names_it(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """That it started, and that it stopped, before it is gone."""
    config = configured(url, engine, routes=OWN)
    async with engine.serving(), running(config, store):
        await webhook.wait_for(lambda whats: whats == ["started"])
    assert webhook.whats() == ["started", "stopped"]


async def test_relay_keeps_to_itself_where_no_route_names_it(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """A route that takes everything does not take relay's own happenings."""
    config = configured(url, engine, routes="{name: everything, to: hook}")
    engine.happen("a")
    async with engine.serving(), running(config, store):
        await webhook.wait_for(lambda whats: "a" in whats)
    assert webhook.whats() == ["a"]
    assert await pending(store) == {}


async def test_what_is_unexpected_in_a_lane_ends_it_all(
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is raised, nothing hangs, and the delivery is made after the next start."""
    config = configured(url, engine)
    engine.happen("a")

    def broken(notification: Notification) -> Request:
        raise ZeroDivisionError

    def renderer(*_: object, **__: object) -> Render:
        return broken

    async with engine.serving():
        with monkeypatch.context() as patched:
            patched.setattr("relay.delivery.client.renderer", renderer)
            world = run.Surroundings({}, Terminal(io.BytesIO(), colour=False), pace=QUICK)
            with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
                async with asyncio.timeout(PATIENCE_S):
                    await run.run(config, store, world, Stop())
        async with running(config, store):
            await webhook.wait_for(lambda whats: whats == ["a"])


async def test_a_stop_while_the_store_is_opened(
    engine: ScriptedEngine, url: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the start at once: nothing has begun that would have to be finished."""
    opening = asyncio.Event()

    async def hang(_: object) -> None:
        opening.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("relay.store.writer.Committer.start", hang)
    async with running(configured(url, engine), store) as stop:
        await opening.wait()
        stop.ask()
