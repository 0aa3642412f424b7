"""The whole daemon between scripted engines and a webhook."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import relay
from relay.admin.client import connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.config import Renderer
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.core.tasks import Shutdown
from relay.daemon import run
from relay.delivery.client import ConsoleOutput
from relay.destinations.http import HttpDestination
from relay.store.outbox import open_outbox
from tests.component.daemon import (
    CONTAINER_ROUTE,
    SELF_EVENT_ROUTE,
    make_config,
    running_daemon,
)
from tests.component.ingest import QUICK, wait_for_streams
from tests.component.scripted_engine import Answer, ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.component.webhook import Webhook

PACKAGE = Path(relay.__file__).parent


async def count_pending(store: Path) -> dict[str, int]:
    async with open_outbox(store) as outbox:
        return await outbox.pending()


async def test_an_engine_whose_events_cannot_be_stored_does_not_disturb_another(
    tmp_path: Path,
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its session ends and begins again; the other engine's commits succeed meanwhile.

    It is reported as lost.
    """
    monkeypatch.setattr("relay.ingest.docker.engine.client.MAX_TIME_NS", 2**80)
    monkeypatch.setattr("relay.ingest.runner.RESTART_INITIAL_S", 0.01)
    poisoned = ScriptedEngine(tmp_path / "poisoned.sock")
    headers = {"Api-Version": "1.45", "Date": "Mon, 01 Jan 2400 00:00:00 GMT"}
    lost = "{name: lost, match: {type: relay, action: engine_lost}, to: hook}"
    config = make_config(url, poisoned, engine, routes=f"{CONTAINER_ROUTE}, {lost}")
    poisoned.answers["_ping"] = Answer(b"OK", headers=headers)
    with capture_logs() as logged:
        async with engine.serve(), poisoned.serve(), running_daemon(config, store):
            await wait_for_streams(engine)
            await poisoned.changes.wait_for(lambda: poisoned.request_count("_ping") > 2)
            await webhook.wait_for(lambda summaries: len(summaries) == 1)
            engine.emit_deaths("a")
            await webhook.wait_for(lambda summaries: summaries[1:] == ["a"])
            del poisoned.answers["_ping"]
            poisoned.emit_deaths("b")
            await webhook.wait_for(lambda summaries: summaries[1:] == ["a", "b"])
    lost_event = webhook.received[0].event
    assert (lost_event["action"], lost_event["engine"]) == ("engine_lost", "engine-0")
    assert "OverflowError" in lost_event["actor"]["attributes"]["reason"]
    failures = [line for line in logged if line["event"] == "engine.session_failed"]
    assert {line["engine"] for line in failures} == {"engine-0"}


async def test_an_engine_that_is_down_does_not_disturb_another(
    tmp_path: Path, engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """Events of the one are delivered, and those of the other once it can be reached."""
    other = ScriptedEngine(tmp_path / "other.sock")
    engine.emit_deaths("a", "b")
    other.record("c", ago_s=7200)
    async with engine.serve(), running_daemon(make_config(url, engine, other), store):
        await webhook.wait_for(lambda summaries: sorted(summaries) == ["a", "b"])
        assert other.requests == []
        async with other.serve():
            await webhook.wait_for(lambda summaries: "c" in summaries)
            engine.emit_deaths("d")
            await webhook.wait_for(lambda summaries: "d" in summaries)
    assert sorted(webhook.summaries()) == ["a", "b", "c", "d"]
    assert {received.summary: received.event["engine"] for received in webhook.received} == {
        "a": "engine-0",
        "b": "engine-0",
        "c": "engine-1",
        "d": "engine-0",
    }
    async with open_outbox(store) as outbox:
        for name, source in (("engine-0", engine), ("engine-1", other)):
            checkpoint = await outbox.checkpoint(name)
            assert checkpoint is not None
            assert checkpoint.position_ns == source.last_event_ns()


async def test_a_restart_neither_loses_nor_repeats_events(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """Exactly the events that happened while relay was away come after the next start."""
    config = make_config(url, engine)
    engine.emit_deaths("a", "b")
    async with engine.serve():
        async with running_daemon(config, store):
            await webhook.wait_for(lambda summaries: len(summaries) == 2)
        engine.emit_deaths("c", "d")
        async with running_daemon(config, store):
            await webhook.wait_for(lambda summaries: len(summaries) == 4)
            engine.emit_deaths("e")
            await webhook.wait_for(lambda summaries: "e" in summaries)
    assert sorted(webhook.summaries()) == ["a", "b", "c", "d", "e"]
    assert len({received.id for received in webhook.received}) == 5
    assert await count_pending(store) == {}


async def test_shutdown_waits_for_attempts_under_way(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """A delivery that is answered during the drain is done."""
    engine.emit_deaths("a")
    webhook.hold()
    async with engine.serve(), running_daemon(make_config(url, engine), store) as shutdown:
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        shutdown.request()
        await engine.changes.wait_for(lambda: engine.streams[0].closed)
        webhook.release()
    assert await count_pending(store) == {}


@pytest.mark.parametrize(("drain_s", "requests"), [(0.05, 1), (3600, 2)])
async def test_shutdown_does_not_wait_for_ever(
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    drain_s: float,
    requests: int,
) -> None:
    """It ends after the drain, or at once if requested twice; the next start delivers the rest."""
    monkeypatch.setattr(run, "DRAIN_S", drain_s)
    config = make_config(url, engine)
    engine.emit_deaths("a")
    webhook.hold()
    async with engine.serve():
        async with running_daemon(config, store) as shutdown:
            await webhook.wait_for(lambda summaries: summaries == ["a"])
            for _ in range(requests):
                shutdown.request()
        assert await count_pending(store) == {"hook": 1}
        webhook.release()
        async with running_daemon(config, store):
            await webhook.wait_for(lambda summaries: summaries == ["a", "a"])
    first, second = webhook.received
    assert first == second
    assert await count_pending(store) == {}


async def test_shutdown_keeps_what_was_not_attempted(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """Deliveries beyond the concurrency wait in the store, and come after the next start."""
    config = make_config(url, engine)
    names = [f"container-{number:02}" for number in range(20)]
    engine.emit_deaths(*names)
    webhook.hold()
    async with engine.serve():
        async with running_daemon(config, store) as shutdown:
            await webhook.wait_for(lambda summaries: len(summaries) == 8)
            # The first are sent before the last are committed.
            async with connect_to_daemon(socket_path(store)) as operations:
                while await operations.pending() != {"hook": 20}:
                    await asyncio.sleep(0.001)
            shutdown.request()
            shutdown.request()
        assert len(webhook.received) == 8
        assert await count_pending(store) == {"hook": 20}
        webhook.release()
        async with running_daemon(config, store):
            await webhook.wait_for(
                lambda summaries: set(summaries) == set(names) and len(summaries) == 28
            )


async def test_self_events_where_a_route_names_them(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """``started`` is delivered, and ``stopped`` before relay ends."""
    config = make_config(url, engine, routes=SELF_EVENT_ROUTE)
    async with engine.serve(), running_daemon(config, store):
        await webhook.wait_for(lambda summaries: summaries == ["started"])
    assert webhook.summaries() == ["started", "stopped"]


async def test_no_self_events_where_no_route_names_them(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """A route that matches everything does not match relay's own events."""
    config = make_config(url, engine, routes="{name: everything, to: hook}")
    engine.emit_deaths("a")
    async with engine.serve(), running_daemon(config, store):
        await webhook.wait_for(lambda summaries: "a" in summaries)
    assert webhook.summaries() == ["a"]
    assert await count_pending(store) == {}


async def test_an_unexpected_error_in_a_worker_ends_the_daemon(
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is raised, nothing hangs, and the delivery is made after the next start."""
    config = make_config(url, engine)
    engine.emit_deaths("a")

    def fail(notification: Notification) -> Request:
        raise ZeroDivisionError

    def build_renderer(*_: object, **__: object) -> Renderer:
        return fail

    async with engine.serve():
        with monkeypatch.context() as patched:
            patched.setattr(HttpDestination, "build_renderer", build_renderer)
            environment = run.Environment(
                {}, ConsoleOutput(io.BytesIO(), colour=False), reconnect_policy=QUICK
            )
            with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
                async with asyncio.timeout(TIMEOUT_S):
                    await run.run_daemon(config, store, environment, Shutdown())
        async with running_daemon(config, store):
            await webhook.wait_for(lambda summaries: summaries == ["a"])


async def test_shutdown_while_the_store_is_opened(
    engine: ScriptedEngine, url: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start ends at once: there is nothing to finish."""
    opening = asyncio.Event()

    async def hang(_: object) -> None:
        opening.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("relay.store.writer.StoreWriter.start", hang)
    async with running_daemon(make_config(url, engine), store) as shutdown:
        await opening.wait()
        shutdown.request()


async def test_every_task_has_a_name(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """The names of all tasks say what relay does, and for which engine and destination."""
    engine.emit_deaths("a")
    webhook.hold()
    async with engine.serve(), running_daemon(make_config(url, engine), store):
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        coroutines: dict[str, Any] = {
            task.get_name(): task.get_coro() for task in asyncio.all_tasks()
        }
        webhook.release()
    files = {name: coroutine.cr_code.co_filename for name, coroutine in coroutines.items()}
    unnamed = [file for name, file in files.items() if name.startswith("Task-")]
    assert not [file for file in unnamed if Path(file).is_relative_to(PACKAGE)]
    assert coroutines.keys() >= {
        *("engine engine-0: runner", "engine engine-0: reader", "engine engine-0: worker"),
        *("destination hook: runner", "destination hook: sender"),
        *("heartbeat", "self events", "dead letter pruning"),
    }
