"""Reconciliation of many containers: page by page, and not more often than an engine can bear."""

import pytest

from relay.ingest.docker import reconciler
from relay.ingest.docker.buffer import EventBuffer, Item
from relay.ingest.docker.containers.inference import Snapshot
from tests.component.ingest import (
    BUSY,
    RECONCILE_CONSTANTLY,
    RECONCILE_ONCE,
    run_ingest,
    wait_for_full_snapshot,
    wait_for_lists,
    wait_for_pings,
)
from tests.component.scripted_engine import HISTORY_SIZE, NoAnswer, ScriptedEngine

MANY = 10


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> list[Snapshot]:
    """The snapshots that are put into buffers."""
    found: list[Snapshot] = []
    put = EventBuffer.put

    def spy(buffer: EventBuffer, item: Item) -> None:
        found.extend([item] if isinstance(item, Snapshot) else [])
        put(buffer, item)

    monkeypatch.setattr(EventBuffer, "put", spy)
    return found


@pytest.mark.parametrize(
    ("bound", "value", "most"),
    [("PAGE_CONTAINERS", 3, 3), ("PAGE_MAX_S", 0, 1), ("BATCH_BYTES", 1, 4)],
    ids=["count", "time", "size"],
)
async def test_snapshots_are_published_page_by_page(
    engine: ScriptedEngine,
    snapshots: list[Snapshot],
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    value: int,
    most: int,
) -> None:
    """All with the time of the start. Only the last page completes the snapshot."""
    monkeypatch.setattr(reconciler, bound, value)
    for number in range(MANY):
        engine.run(f"web-{number}")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_ONCE) as result,
    ):
        await wait_for_full_snapshot(result)
    assert max(len(snapshot.containers) for snapshot in snapshots) <= most
    inspected = [container.id for snapshot in snapshots for container in snapshot.containers]
    assert sorted(inspected) == sorted(each.id for each in engine.containers.values())
    assert len({snapshot.taken_ns for snapshot in snapshots}) == 1
    assert [snapshot.is_complete for snapshot in snapshots] == [False] * (len(snapshots) - 1) + [
        True
    ]


async def test_missing_containers_are_reported_once(
    engine: ScriptedEngine, snapshots: list[Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first page."""
    monkeypatch.setattr(reconciler, "PAGE_CONTAINERS", 3)
    for number in range(MANY):
        engine.run(f"web-{number}")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        del engine.containers["web-5"]
        await result.wait_for_names("web-5")
        await wait_for_lists(engine, 2)
    first = next(index for index, snapshot in enumerate(snapshots) if snapshot.missing)
    assert [bool(snapshot.missing) for snapshot in snapshots[first : first + 3]] == [
        True,
        False,
        False,
    ]


async def test_pages_are_published_although_the_reconciliation_fails(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that hangs at one container does not hide the deaths of those before it."""
    monkeypatch.setattr(reconciler, "PAGE_CONTAINERS", 1)
    for number in range(MANY):
        engine.run(f"web-{number}")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.answers[engine.containers["web-9"].id] = NoAnswer.SILENCE
        engine.die("web-0", 3)
        await result.wait_for_names("web-0")


async def test_a_page_waits_until_the_previous_one_is_committed(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While commits are blocked, pages do not pile up in memory."""
    monkeypatch.setattr(reconciler, "PAGE_CONTAINERS", 1)
    for number in range(MANY):
        engine.run(f"web-{number}")
    async with (
        engine.serve(),
        run_ingest(engine, BUSY, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        with result.block_commits():
            before = engine.request_count("inspect")
            await wait_for_pings(engine, 30)
            assert engine.request_count("inspect") <= before + 2
        await engine.changes.wait_for(lambda: engine.request_count("inspect") > before + MANY)


async def test_repeated_gaps_do_not_cause_constant_reconciliation(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one may not start at once, except after a reconnect."""
    async with engine.serve(), run_ingest(engine, BUSY, reconcile=RECONCILE_ONCE) as result:
        await wait_for_full_snapshot(result)
        monkeypatch.setattr(reconciler, "MIN_INTERVAL_S", 3600)
        result.buffer.gap_found.set()
        await wait_for_pings(engine, 30)
        assert engine.request_count("containers") == 1
        engine.streams[-1].cut()
        await engine.changes.wait_for(lambda: engine.request_count("containers") == 2)


async def test_flapping_streams_do_not_cause_constant_reconciliation(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reconnect shortly after a reconciliation, the next one waits."""
    async with engine.serve(), run_ingest(engine, BUSY, reconcile=RECONCILE_ONCE) as result:
        await wait_for_full_snapshot(result)
        monkeypatch.setattr(reconciler, "MIN_INTERVAL_RECONNECTED_S", 3600)
        engine.streams[-1].cut()
        await engine.changes.wait_for(lambda: len(engine.streams) == 2)
        await wait_for_pings(engine, 30)
        assert engine.request_count("containers") == 1


async def test_one_gap_causes_one_reconciliation(engine: ScriptedEngine) -> None:
    """The reconciliation after the reconnect also covers the gap that the reconnect reveals."""
    async with (
        engine.serve(),
        run_ingest(engine, BUSY, start_from="now", reconcile=RECONCILE_ONCE) as result,
    ):
        await wait_for_full_snapshot(result)
        engine.emit("web", "rename")
        await result.wait_for_names("web")
        engine.run("web")
        engine.streams[-1].cut()
        for _ in range(HISTORY_SIZE):
            engine.record("db", action="exec_start")
        await result.wait_for(lambda: bool(result.gap_reasons()))
        await wait_for_full_snapshot(result)
        await wait_for_pings(engine, 30)
        assert result.gap_reasons() == ["history_overrun"]
        assert engine.request_count("containers") == 2
