"""The whole daemon after it was away, with a bad disk or proxy, and with odd labels."""

import asyncio
from pathlib import Path

import pytest

from relay.core.event import format_rfc3339
from relay.daemon import run
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import CommitResult, IngestCommit
from tests.component.daemon import CONTAINER_ROUTE, SELF_EVENT_ROUTE, make_config, running_daemon
from tests.component.scripted_engine import Answer, ScriptedEngine
from tests.component.wait import ChangeSignal
from tests.component.webhook import Webhook


async def wait_for_inspection(engine: ScriptedEngine) -> None:
    """Return once the stream is open and the containers are being inspected."""
    await engine.changes.wait_for(
        lambda: engine.request_count("containers") > 0 and bool(engine.streams)
    )


async def test_a_death_while_relay_was_away(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """The known containers survive a restart; a death is reported once in all starts."""
    config = make_config(
        url, engine, start_from="now", routes=f"{CONTAINER_ROUTE}, {SELF_EVENT_ROUTE}"
    )
    engine.run("old")
    engine.die("old", 9)
    engine.run("web", {"tier": "front"})
    engine.run("gone")
    async with engine.serve():
        async with running_daemon(config, store):
            await wait_for_inspection(engine)
            engine.emit("gone", "start")
            await webhook.wait_for(lambda summaries: "gone" in summaries)
        engine.clear_history()
        death = engine.die("web", 3)
        del engine.containers["gone"]
        async with running_daemon(config, store):
            await webhook.wait_for(lambda summaries: {"web", "gap"} <= set(summaries))
        async with running_daemon(config, store):
            await webhook.wait_for(lambda summaries: summaries.count("started") == 3)
            engine.emit_deaths("db")
            await webhook.wait_for(
                lambda summaries: "db" in summaries and summaries.count("gap") == 2
            )
    self_events = {"started", "stopped", "gap"}
    container_events = [
        received for received in webhook.received if received.summary not in self_events
    ]
    assert sorted(received.summary for received in container_events) == [
        "db",
        "gone",
        "gone",
        "web",
    ]
    (web,) = [received.event for received in container_events if received.summary == "web"]
    assert web["origin"] == "inferred"
    assert web["exit_code"] == 3
    assert web["time"] == format_rfc3339(death.finished_ns or 0)
    assert web["actor"]["attributes"]["tier"] == "front"
    gaps = [received.event for received in webhook.received if received.summary == "gap"]
    reasons = [gap["actor"]["attributes"]["why"] for gap in gaps]
    assert reasons == ["engine_restarted", "unproven"]


async def test_an_overrun_while_relay_was_away(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """One gap, the deaths that have left the history, the events still in it, and nothing else."""
    config = make_config(
        url, engine, start_from="now", routes=f"{CONTAINER_ROUTE}, {SELF_EVENT_ROUTE}"
    )
    dead_names = ["web-1", "web-2", "web-3"]
    async with engine.serve():
        async with running_daemon(config, store):
            await wait_for_inspection(engine)
            for name in (*dead_names, "db"):
                engine.run(name)
                engine.emit(name, "start")
            await webhook.wait_for(lambda summaries: "db" in summaries)
        webhook.received.clear()
        for name in dead_names:
            engine.die(name, 3)
            engine.record(name)
        for _ in range(1000):
            engine.record("db", action="exec_start")
        async with running_daemon(config, store):
            await webhook.wait_for(lambda summaries: len(summaries) == 1 + 1 + 256 + 3)
    names = webhook.summaries()
    assert sorted(names) == sorted(["started", "stopped", "gap", *dead_names, *["db"] * 256])
    inferred = [
        received.summary for received in webhook.received if received.event["origin"] == "inferred"
    ]
    assert sorted(inferred) == dead_names


ODD = {
    "newline": "one\ntwo\r\nthree",
    "quotes": "\"double\" 'single' `back` \\slash",
    "emoji": "🐳 family: 👨‍👩‍👧",
    "nul": "a\0b",
    "controls": "\x1b[31mred\x07\x7f\u2028",
    "long": "x" * 100_000,
    "": "no name",
    "ключ 🔑\n": "",
}


@pytest.mark.parametrize("is_live", [True, False], ids=["live", "inferred"])
async def test_odd_labels_arrive_unchanged(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, is_live: bool
) -> None:
    """From the engine's bytes through the store to the webhook's JSON."""
    config = make_config(url, engine, start_from="now")
    engine.run("web", ODD)
    async with engine.serve(), running_daemon(config, store):
        await wait_for_inspection(engine)
        engine.die("web", 3)
        if is_live:
            engine.emit("web", "die", exitCode="3")
        else:
            engine.streams[-1].cut()
        await webhook.wait_for(lambda summaries: summaries == ["web"])
    attributes = webhook.received[0].event["actor"]["attributes"]
    assert attributes == {**ODD, "name": "web", "image": "bb:1", "exitCode": "3"}


class HangingDisk:
    """A store whose disk stops writing at some moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stuck = False
        self.waiting: list[IngestCommit] = []
        self.changes = ChangeSignal()
        commit = Outbox.commit

        async def hanging_commit(outbox: Outbox, batch: IngestCommit, now_ns: int) -> CommitResult:
            if self.stuck:
                self.waiting.append(batch)
                self.changes.notify()
                await asyncio.Event().wait()
            return await commit(outbox, batch, now_ns)

        monkeypatch.setattr(Outbox, "commit", hanging_commit)


@pytest.mark.parametrize(("drain_s", "requests"), [(0.05, 1), (3600, 2)])
async def test_shutdown_while_the_disk_hangs(
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    drain_s: float,
    requests: int,
) -> None:
    """It ends after the drain, or at once if requested twice; the next start commits the events."""
    monkeypatch.setattr(run, "DRAIN_S", drain_s)
    config = make_config(url, engine)
    engine.emit_deaths("a")
    async with engine.serve():
        with monkeypatch.context() as failing:
            disk = HangingDisk(failing)
            async with running_daemon(config, store) as shutdown:
                await webhook.wait_for(lambda summaries: summaries == ["a"])
                disk.stuck = True
                engine.emit_deaths("b")
                await disk.changes.wait_for(lambda: bool(disk.waiting))
                for _ in range(requests):
                    shutdown.request()
        async with running_daemon(config, store):
            await webhook.wait_for(lambda summaries: len(summaries) == 2)
    assert webhook.summaries() == ["a", "b"]
    async with open_outbox(store) as outbox:
        assert await outbox.pending() == {}


async def test_shutdown_before_the_first_commit(
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """relay ends although it has never connected to the engine."""
    monkeypatch.setattr(run, "DRAIN_S", 0.05)
    disk = HangingDisk(monkeypatch)
    disk.stuck = True
    async with engine.serve(), running_daemon(make_config(url, engine), store) as shutdown:
        await disk.changes.wait_for(lambda: bool(disk.waiting))
        shutdown.request()
    assert engine.requests == []


async def test_a_socket_proxy_that_allows_only_events(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """The event stream alone is enough to be notified of everything that happens."""
    for endpoint in ("info", "containers", "inspect"):
        engine.answers[endpoint] = Answer(b"<html>403 Forbidden</html>", 403)
    engine.run("web", {"exitCode": "0"})
    config = make_config(url, engine)
    async with engine.serve():
        async with running_daemon(config, store):
            engine.emit_deaths("a")
            await webhook.wait_for(lambda summaries: summaries == ["a"])
            engine.streams[-1].cut()
            engine.emit_deaths("b")
            await webhook.wait_for(lambda summaries: summaries == ["a", "b"])
        async with running_daemon(config, store):
            engine.emit_deaths("web")
            await webhook.wait_for(lambda summaries: summaries == ["a", "b", "web"])
