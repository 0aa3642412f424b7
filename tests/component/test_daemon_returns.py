"""The whole daemon after it was away, in bad surroundings, and with odd things to say."""

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


async def looked(engine: ScriptedEngine) -> None:
    """Return once the stream is open and a look was begun."""
    await engine.changes.wait_for(
        lambda: engine.request_count("containers") > 0 and bool(engine.streams)
    )


async def test_a_death_while_relay_was_away(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """What was known of the containers outlives relay; a death is told once for all starts."""
    config = make_config(
        url, engine, start_from="now", routes=f"{CONTAINER_ROUTE}, {SELF_EVENT_ROUTE}"
    )
    engine.run("old")
    engine.die("old", 9)
    engine.run("web", {"tier": "front"})
    engine.run("gone")
    async with engine.serve():
        async with running_daemon(config, store):
            await looked(engine)
            engine.emit("gone", "start")
            await webhook.wait_for(lambda whats: "gone" in whats)
        engine.clear_history()
        dead = engine.die("web", 3)
        del engine.containers["gone"]
        async with running_daemon(config, store):
            await webhook.wait_for(lambda whats: {"web", "gap"} <= set(whats))
        async with running_daemon(config, store):
            await webhook.wait_for(lambda whats: whats.count("started") == 3)
            engine.emit_deaths("db")
            await webhook.wait_for(lambda whats: "db" in whats and whats.count("gap") == 2)
    own = {"started", "stopped", "gap"}
    told = [taken for taken in webhook.received if taken.summary not in own]
    assert sorted(taken.summary for taken in told) == ["db", "gone", "gone", "web"]
    (web,) = [taken.event for taken in told if taken.summary == "web"]
    assert web["origin"] == "inferred"
    assert web["exit_code"] == 3
    assert web["time"] == format_rfc3339(dead.finished_ns or 0)
    assert web["actor"]["attributes"]["tier"] == "front"
    gaps = [taken.event for taken in webhook.received if taken.summary == "gap"]
    whys = [gap["actor"]["attributes"]["why"] for gap in gaps]
    assert whys == ["engine_restarted", "unproven"]


async def test_an_overrun_while_relay_was_away(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """One gap, the deaths that left the history, what is still in it, and nothing else."""
    config = make_config(
        url, engine, start_from="now", routes=f"{CONTAINER_ROUTE}, {SELF_EVENT_ROUTE}"
    )
    dying = ["web-1", "web-2", "web-3"]
    async with engine.serve():
        async with running_daemon(config, store):
            await looked(engine)
            for name in (*dying, "db"):
                engine.run(name)
                engine.emit(name, "start")
            await webhook.wait_for(lambda whats: "db" in whats)
        webhook.received.clear()
        for name in dying:
            engine.die(name, 3)
            engine.record(name)
        for _ in range(1000):
            engine.record("db", action="exec_start")
        async with running_daemon(config, store):
            await webhook.wait_for(lambda whats: len(whats) == 1 + 1 + 256 + 3)
    whats = webhook.summaries()
    assert sorted(whats) == sorted(["started", "stopped", "gap", *dying, *["db"] * 256])
    inferred = [taken.summary for taken in webhook.received if taken.event["origin"] == "inferred"]
    assert sorted(inferred) == dying


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


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "inferred"])
async def test_odd_labels_arrive_as_they_are(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path, heard: bool
) -> None:
    """From the engine's bytes through the store to the webhook's JSON."""
    config = make_config(url, engine, start_from="now")
    engine.run("web", ODD)
    async with engine.serve(), running_daemon(config, store):
        await looked(engine)
        engine.die("web", 3)
        if heard:
            engine.emit("web", "die", exitCode="3")
        else:
            engine.streams[-1].cut()
        await webhook.wait_for(lambda whats: whats == ["web"])
    attributes = webhook.received[0].event["actor"]["attributes"]
    assert attributes == {**ODD, "name": "web", "image": "bb:1", "exitCode": "3"}


class StuckDisk:
    """A store whose disk takes nothing more from a moment on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stuck = False
        self.waiting: list[IngestCommit] = []
        self.bell = ChangeSignal()
        taking_in = Outbox.commit

        async def take_in(outbox: Outbox, intake: IngestCommit, now_ns: int) -> CommitResult:
            if self.stuck:
                self.waiting.append(intake)
                self.bell.notify()
                await asyncio.Event().wait()
            return await taking_in(outbox, intake, now_ns)

        monkeypatch.setattr(Outbox, "commit", take_in)


@pytest.mark.parametrize(("drain_s", "asked"), [(0.05, 1), (3600, 2)])
async def test_a_stop_while_the_disk_takes_nothing(
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    drain_s: float,
    asked: int,
) -> None:
    """It ends after the drain, or at once if asked twice; the next start takes in what waited."""
    monkeypatch.setattr(run, "DRAIN_S", drain_s)
    config = make_config(url, engine)
    engine.emit_deaths("a")
    async with engine.serve():
        with monkeypatch.context() as failing:
            disk = StuckDisk(failing)
            async with running_daemon(config, store) as stop:
                await webhook.wait_for(lambda whats: whats == ["a"])
                disk.stuck = True
                engine.emit_deaths("b")
                await disk.bell.wait_for(lambda: bool(disk.waiting))
                for _ in range(asked):
                    stop.request()
        async with running_daemon(config, store):
            await webhook.wait_for(lambda whats: len(whats) == 2)
    assert webhook.summaries() == ["a", "b"]
    async with open_outbox(store) as outbox:
        assert await outbox.pending() == {}


async def test_a_stop_before_the_disk_took_anything(
    engine: ScriptedEngine,
    webhook: Webhook,
    url: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """relay ends though it never came to listen."""
    monkeypatch.setattr(run, "DRAIN_S", 0.05)
    disk = StuckDisk(monkeypatch)
    disk.stuck = True
    async with engine.serve(), running_daemon(make_config(url, engine), store) as stop:
        await disk.bell.wait_for(lambda: bool(disk.waiting))
        stop.request()
    assert engine.requests == []


async def test_a_socket_proxy_that_allows_only_events(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """What it lets through is enough to be told of everything that happens."""
    for endpoint in ("info", "containers", "inspect"):
        engine.answers[endpoint] = Answer(b"<html>403 Forbidden</html>", 403)
    engine.run("web", {"exitCode": "0"})
    config = make_config(url, engine)
    async with engine.serve():
        async with running_daemon(config, store):
            engine.emit_deaths("a")
            await webhook.wait_for(lambda whats: whats == ["a"])
            engine.streams[-1].cut()
            engine.emit_deaths("b")
            await webhook.wait_for(lambda whats: whats == ["a", "b"])
        async with running_daemon(config, store):
            engine.emit_deaths("web")
            await webhook.wait_for(lambda whats: whats == ["a", "b", "web"])
