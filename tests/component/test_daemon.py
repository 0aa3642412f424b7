"""The whole daemon between scripted engines and a webhook."""

import asyncio
import io
from pathlib import Path

import pytest

from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.core.shutdown import Shutdown
from relay.daemon import run
from relay.delivery.client import ConsoleOutput
from relay.destinations.catalog import Renderer
from relay.store.outbox import open_outbox
from tests.component.daemon import SELF_EVENT_ROUTE, make_config, running_daemon
from tests.component.ingest import QUICK
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.component.webhook import Webhook


async def pending(store: Path) -> dict[str, int]:
    async with open_outbox(store) as outbox:
        return await outbox.pending()


async def test_an_engine_that_is_down_disturbs_no_other(
    tmp_path: Path, engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """What the one says is delivered; what the other says once it is there, too."""
    other = ScriptedEngine(tmp_path / "other.sock")
    engine.emit_deaths("a", "b")
    other.record("c", ago_s=7200)
    async with engine.serve(), running_daemon(make_config(url, engine, other), store):
        await webhook.wait_for(lambda whats: sorted(whats) == ["a", "b"])
        assert other.requests == []
        async with other.serve():
            await webhook.wait_for(lambda whats: "c" in whats)
            engine.emit_deaths("d")
            await webhook.wait_for(lambda whats: "d" in whats)
    assert sorted(webhook.summaries()) == ["a", "b", "c", "d"]
    assert {taken.summary: taken.event["engine"] for taken in webhook.received} == {
        "a": "engine-0",
        "b": "engine-0",
        "c": "engine-1",
        "d": "engine-0",
    }
    async with open_outbox(store) as outbox:
        for name, source in (("engine-0", engine), ("engine-1", other)):
            bookmark = await outbox.checkpoint(name)
            assert bookmark is not None
            assert bookmark.position_ns == source.last_event_ns()


async def test_a_restart_loses_nothing_and_doubles_nothing(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """What happened while relay was away comes after the next start, and that only."""
    config = make_config(url, engine)
    engine.emit_deaths("a", "b")
    async with engine.serve():
        async with running_daemon(config, store):
            await webhook.wait_for(lambda whats: len(whats) == 2)
        engine.emit_deaths("c", "d")
        async with running_daemon(config, store):
            await webhook.wait_for(lambda whats: len(whats) == 4)
            engine.emit_deaths("e")
            await webhook.wait_for(lambda whats: "e" in whats)
    assert sorted(webhook.summaries()) == ["a", "b", "c", "d", "e"]
    assert len({taken.id for taken in webhook.received}) == 5
    assert await pending(store) == {}


async def test_a_stop_waits_for_what_is_under_way(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """A delivery that is answered during the drain is done."""
    engine.emit_deaths("a")
    webhook.hold()
    async with engine.serve(), running_daemon(make_config(url, engine), store) as stop:
        await webhook.wait_for(lambda whats: whats == ["a"])
        stop.request()
        await engine.changes.wait_for(lambda: engine.streams[0].closed)
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
    config = make_config(url, engine)
    engine.emit_deaths("a")
    webhook.hold()
    async with engine.serve():
        async with running_daemon(config, store) as stop:
            await webhook.wait_for(lambda whats: whats == ["a"])
            for _ in range(asked):
                stop.request()
        assert await pending(store) == {"hook": 1}
        webhook.release()
        async with running_daemon(config, store):
            await webhook.wait_for(lambda whats: whats == ["a", "a"])
    first, second = webhook.received
    assert first == second
    assert await pending(store) == {}


async def test_a_stop_keeps_what_was_not_begun(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """Beyond the concurrency all waits in the store, and every one comes after the next start."""
    config = make_config(url, engine)
    names = [f"container-{number:02}" for number in range(20)]
    engine.emit_deaths(*names)
    webhook.hold()
    async with engine.serve():
        async with running_daemon(config, store) as stop:
            await webhook.wait_for(lambda whats: len(whats) == 8)
            stop.request()
            stop.request()
        assert len(webhook.received) == 8
        assert await pending(store) == {"hook": 20}
        webhook.release()
        async with running_daemon(config, store):
            await webhook.wait_for(lambda whats: set(whats) == set(names) and len(whats) == 28)


async def test_relay_tells_of_itself_where_a_route_names_it(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """That it started, and that it stopped, before it is gone."""
    config = make_config(url, engine, routes=SELF_EVENT_ROUTE)
    async with engine.serve(), running_daemon(config, store):
        await webhook.wait_for(lambda whats: whats == ["started"])
    assert webhook.summaries() == ["started", "stopped"]


async def test_relay_keeps_to_itself_where_no_route_names_it(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """A route that takes everything does not take relay's own happenings."""
    config = make_config(url, engine, routes="{name: everything, to: hook}")
    engine.emit_deaths("a")
    async with engine.serve(), running_daemon(config, store):
        await webhook.wait_for(lambda whats: "a" in whats)
    assert webhook.summaries() == ["a"]
    assert await pending(store) == {}


async def test_what_is_unexpected_in_a_lane_ends_it_all(
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is raised, nothing hangs, and the delivery is made after the next start."""
    config = make_config(url, engine)
    engine.emit_deaths("a")

    def broken(notification: Notification) -> Request:
        raise ZeroDivisionError

    def renderer(*_: object, **__: object) -> Renderer:
        return broken

    async with engine.serve():
        with monkeypatch.context() as patched:
            patched.setattr("relay.delivery.client.build_renderer", renderer)
            environment = run.Environment(
                {}, ConsoleOutput(io.BytesIO(), colour=False), reconnect_policy=QUICK
            )
            with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
                async with asyncio.timeout(TIMEOUT_S):
                    await run.run_daemon(config, store, environment, Shutdown())
        async with running_daemon(config, store):
            await webhook.wait_for(lambda whats: whats == ["a"])


async def test_a_stop_while_the_store_is_opened(
    engine: ScriptedEngine, url: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the start at once: nothing has begun that would have to be finished."""
    opening = asyncio.Event()

    async def hang(_: object) -> None:
        opening.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("relay.store.writer.StoreWriter.start", hang)
    async with running_daemon(make_config(url, engine), store) as stop:
        await opening.wait()
        stop.request()
