"""Reconciliation: deaths that no event reported are inferred, once."""

import asyncio
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from relay.config import ReconcileConfig, StartFrom
from relay.core.event import Cause, Origin
from relay.ingest.docker import reconciler
from tests.component.ingest import (
    BUSY,
    NO_RECONCILE,
    QUICK,
    RECONCILE_CONSTANTLY,
    RECONCILE_ONCE,
    IngestRun,
    run_ingest,
    wait_for_full_snapshot,
    wait_for_lists,
    wait_for_pings,
)
from tests.component.scripted_engine import HISTORY_SIZE, Answer, ScriptedEngine


async def wait_for_request(engine: ScriptedEngine) -> None:
    """Return after the next request."""
    before = len(engine.requests)
    await engine.changes.wait_for(lambda: len(engine.requests) > before)


def container_events(
    result: IngestRun,
) -> list[tuple[str, str | None, int | None, Cause | None, Origin]]:
    """The routed events of containers, in short."""
    return [
        (event.action, event.actor.name, event.exit_code, event.cause, event.origin)
        for event in result.routed
        if event.type == "container"
    ]


async def test_a_death_without_an_event(engine: ScriptedEngine) -> None:
    """After a reconnect it is one event with the engine's time, exit code and labels."""
    engine.run("web", {"tier": "front"})
    engine.run("db")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.streams[-1].cut()
        dead = engine.die("web", 3)
        await result.wait_for_names("web")
        await wait_for_lists(engine, 4)
    assert container_events(result) == [("die", "web", 3, Cause.CRASHED, Origin.INFERRED)]
    (event,) = result.routed
    assert event.time_ns == dead.finished_ns
    assert event.actor.id == dead.id
    assert event.actor.attributes == {
        "tier": "front",
        "name": "web",
        "image": "bb:1",
        "exitCode": "3",
    }


async def test_labels_of_any_size_are_kept(engine: ScriptedEngine) -> None:
    """A death is matched by its labels, however long they are."""
    labels = {"tier": "front", "long": "x" * 100_000}
    engine.run("web", labels)
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.die("web", 3)
        await result.wait_for_names("web")
    assert labels.items() <= result.routed[0].actor.attributes.items()


async def test_the_id_of_an_inferred_death_is_always_the_same(engine: ScriptedEngine) -> None:
    """Two relays that infer it independently give it the same id."""
    engine.run("web")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as one,
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as other,
    ):
        await wait_for_full_snapshot(one)
        await wait_for_full_snapshot(other)
        engine.die("web", 3)
        await one.wait_for_names("web")
        await other.wait_for_names("web")
    assert one.routed[0].id == other.routed[0].id


async def test_a_real_event_during_the_grace_period(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reports the death, and nothing is inferred."""
    engine.run("web")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)

        async def send_event(delay_s: float) -> None:
            if delay_s == reconciler.EVENT_GRACE_S and not result.routed:
                engine.emit("web", "die", exitCode="3")
                await result.wait_for(lambda: bool(result.routed))

        patched = SimpleNamespace(**{**vars(asyncio), "sleep": send_event})
        monkeypatch.setattr(reconciler, "asyncio", patched)
        engine.die("web", 3)
        await result.wait_for_names("web")
        await wait_for_lists(engine, 4)
    assert container_events(result) == [("die", "web", 3, Cause.CRASHED, Origin.LIVE)]


async def test_a_real_event_after_the_inferred_one(engine: ScriptedEngine) -> None:
    """The death is not reported again."""
    engine.run("web")
    engine.run("db")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.die("web", 3)
        await result.wait_for_names("web")
        engine.emit("web", "die", exitCode="3")
        engine.emit("db", "die", exitCode="4")
        await result.wait_for_names("web", "db")
        await wait_for_lists(engine, 4)
    assert container_events(result) == [
        ("die", "web", 3, Cause.CRASHED, Origin.INFERRED),
        ("die", "db", 4, Cause.CRASHED, Origin.LIVE),
    ]


async def test_the_next_death_after_an_inferred_one(engine: ScriptedEngine) -> None:
    """It is reported like any other."""
    engine.run("web")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.die("web", 3)
        await result.wait_for_names("web")
        engine.containers["web"].start(engine.now_ns())
        engine.emit("web", "start")
        engine.die("web", 4)
        engine.emit("web", "die", exitCode="4")
        await result.wait_for(lambda: len(result.routed) == 3)
        await wait_for_lists(engine, 4)
    assert container_events(result) == [
        ("die", "web", 3, Cause.CRASHED, Origin.INFERRED),
        ("start", "web", None, None, Origin.LIVE),
        ("die", "web", 4, Cause.CRASHED, Origin.LIVE),
    ]


async def test_a_death_and_a_start_without_events(engine: ScriptedEngine) -> None:
    """The death is reported. The engine has forgotten its exit code."""
    engine.run("web")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.die("web", 3)
        engine.containers["web"].start(engine.now_ns())
        await result.wait_for_names("web")
        await wait_for_lists(engine, 4)
    assert container_events(result) == [("die", "web", None, Cause.UNKNOWN, Origin.INFERRED)]


async def test_an_oom_kill(engine: ScriptedEngine) -> None:
    """It is reported as the engine does: an ``oom``, and a ``die`` caused by it."""
    engine.run("web")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.die("web", 137, oom=True)
        await result.wait_for(lambda: len(result.routed) == 2)
        await wait_for_lists(engine, 4)
    assert container_events(result) == [
        ("oom", "web", None, None, Origin.INFERRED),
        ("die", "web", 137, Cause.OOM, Origin.INFERRED),
    ]


async def test_a_requested_death(engine: ScriptedEngine) -> None:
    """A request from before the stream broke explains it."""
    engine.run("web")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.emit("web", "kill", signal="15")
        await result.wait_for_names("web")
        engine.streams[-1].cut()
        engine.die("web", 0)
        await result.wait_for(lambda: len(result.routed) == 2)
    assert container_events(result)[1] == ("die", "web", 0, Cause.REQUESTED, Origin.INFERRED)


async def test_a_kill_while_the_engine_was_away(engine: ScriptedEngine) -> None:
    """Nobody could request that death, because the engine was down."""
    engine.run("web")
    async with run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result:
        async with engine.serve():
            await wait_for_full_snapshot(result)
            engine.emit("web", "rename")
            await result.wait_for_names("web")
        await result.wait_for(lambda: "engine_lost" in result.relay_actions())
        engine.die("web", 137)
        engine.clear_history()
        async with engine.serve():
            await result.wait_for(lambda: len(container_events(result)) == 2)
    assert result.relay_actions() == ["engine_lost", "engine_back", "gap"]
    assert container_events(result)[1] == ("die", "web", 137, Cause.CRASHED, Origin.INFERRED)


async def test_a_kill_in_a_gap(engine: ScriptedEngine) -> None:
    """The engine was up and its history is lost, so nobody can know whether it was requested."""
    engine.run("web")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.emit("web", "rename")
        await result.wait_for_names("web")
        engine.streams[-1].cut()
        engine.die("web", 137)
        for _ in range(HISTORY_SIZE):
            engine.record("db", action="exec_start")
        await result.wait_for(lambda: "die" in [event.action for event in result.routed])
    assert result.gap_reasons() == ["history_overrun"]
    assert container_events(result)[-1] == ("die", "web", 137, Cause.UNKNOWN, Origin.INFERRED)


async def test_a_container_that_is_gone(engine: ScriptedEngine) -> None:
    """It died at an unknown time with an unknown code. Its real events do not report that again."""
    engine.run("web", {"tier": "front"})
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        del engine.containers["web"]
        await result.wait_for_names("web")
        engine.emit("web", "die", exitCode="3")
        engine.emit("db", "die", exitCode="4")
        await result.wait_for_names("web", "db")
    assert container_events(result)[0] == ("die", "web", None, Cause.UNKNOWN, Origin.INFERRED)
    assert result.routed[0].actor.attributes["tier"] == "front"


@pytest.mark.parametrize("start_from", ["now", "oldest"])
async def test_a_first_start_infers_nothing(engine: ScriptedEngine, start_from: StartFrom) -> None:
    """Deaths from before relay knew the engine are not reported, whatever ``start_from`` says."""
    engine.run("web")
    engine.die("web", 3)
    async with (
        engine.serve(),
        run_ingest(engine, start_from=start_from, reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_lists(engine, 4)
        engine.emit_deaths("db")
        await result.wait_for_names("db")


async def test_an_event_that_the_engine_skipped(engine: ScriptedEngine) -> None:
    """The periodic reconciliation finds the death while the connection lasts."""
    engine.run("web")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.die("web", 3)
        await result.wait_for_names("web")
        assert len(engine.streams) == 1


async def test_reconciliation_that_is_switched_off(engine: ScriptedEngine) -> None:
    """The engine is asked for its containers neither after a reconnect nor later."""
    engine.run("web")
    async with engine.serve(), run_ingest(engine) as result:
        await engine.changes.wait_for(lambda: len(engine.streams) == 1)
        engine.streams[-1].cut()
        engine.die("web", 3)
        engine.emit_deaths("db")
        await result.wait_for_names("db")
        assert engine.request_count("containers") == 0


@pytest.mark.parametrize("config", [RECONCILE_ONCE, NO_RECONCILE])
async def test_a_gap_starts_a_reconciliation(
    engine: ScriptedEngine, config: ReconcileConfig
) -> None:
    """A death whose event was too long to keep is inferred, even if it was dead before."""
    engine.answers["history"] = Answer(b"", 403)  # so that the event is not requested again
    engine.run("web", {"long": "x" * 3000})
    engine.die("web", 3)
    async with (
        engine.serve(),
        run_ingest(engine, BUSY, start_from="now", buffer_bytes=2000, reconcile=config) as result,
    ):
        await engine.changes.wait_for(lambda: len(engine.streams) == 1)
        if config is RECONCILE_ONCE:
            await wait_for_full_snapshot(result)
        engine.containers["web"].start(engine.now_ns())
        engine.die("web", 4)
        before = engine.request_count("containers")
        engine.emit("web", "die", exitCode="4")
        await result.wait_for_names("web")
        await wait_for_pings(engine, 30)
        assert engine.request_count("containers") == before + 1
    assert result.gap_reasons() == ["record_too_long"]
    assert container_events(result) == [("die", "web", 4, Cause.CRASHED, Origin.INFERRED)]


async def test_snapshots_do_not_pile_up_while_commits_are_blocked(engine: ScriptedEngine) -> None:
    """Gaps start no further reconciliations meanwhile."""
    engine.run("web", {"long": "x" * 3000})
    async with (
        engine.serve(),
        run_ingest(
            engine, BUSY, start_from="now", reconcile=RECONCILE_CONSTANTLY, buffer_bytes=2000
        ) as result,
    ):
        await wait_for_full_snapshot(result)
        with result.block_commits():
            pinged = engine.request_count("_ping")
            before = engine.request_count("containers")
            while engine.request_count("_ping") < pinged + 50:
                engine.emit("web", "pause")
                await wait_for_request(engine)
            assert engine.request_count("containers") <= before + 2
        await wait_for_lists(engine, 3)


@pytest.mark.parametrize("ahead_s", [365 * 24 * 3600, -365 * 24 * 3600])
async def test_an_engine_whose_clock_is_wrong_by_a_year(
    engine: ScriptedEngine, ahead_s: int
) -> None:
    """The death has the engine's time. No old death is reported, and no gap declared."""
    engine.ahead_ns = ahead_s * 10**9
    engine.run("old")
    engine.die("old", 3).finished_ns = engine.now_ns() - 3600 * 10**9
    engine.run("web")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.record("db", ago_s=-1)
        engine.streams[-1].cut()
        dead = engine.die("web", 3)
        dead.finished_ns = engine.now_ns() + 2 * 10**9
        await result.wait_for(lambda: len(result.routed) == 2)
        await wait_for_lists(engine, 4)
    assert sorted(container_events(result)) == [
        ("die", "db", 3, Cause.CRASHED, Origin.LIVE),
        ("die", "web", 3, Cause.CRASHED, Origin.INFERRED),
    ]
    assert dead.finished_ns in [event.time_ns for event in result.routed]


async def test_reconciliation_continues_over_the_next_connection(engine: ScriptedEngine) -> None:
    """However often the stream is cut, even during a reconciliation."""
    names = [f"web-{number}" for number in range(10)]
    for name in names:
        engine.run(name)
    quick = replace(QUICK, stable_after_s=0)
    async with (
        engine.serve(),
        run_ingest(engine, quick, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        for number, name in enumerate(names, 1):
            engine.die(name, 3)
            await wait_for_lists(engine, number % 3)
            engine.streams[-1].cut()
            await result.wait_for(lambda: len(result.routed) == number)  # noqa: B023
    assert result.container_names() == names
