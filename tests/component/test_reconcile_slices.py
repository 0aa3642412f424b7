"""Looks at many containers: slice by slice, and not more often than an engine can bear."""

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
def put(monkeypatch: pytest.MonkeyPatch) -> list[Snapshot]:
    """The looks that are put into inboxes."""
    looks: list[Snapshot] = []
    really = EventBuffer.put

    def spy(inbox: EventBuffer, item: Item) -> None:
        looks.extend([item] if isinstance(item, Snapshot) else [])
        really(inbox, item)

    monkeypatch.setattr(EventBuffer, "put", spy)
    return looks


@pytest.mark.parametrize(
    ("bound", "value", "most"),
    [("SLICE", 3, 3), ("SLICE_S", 0, 1), ("BATCH_SIZE", 1, 4)],
    ids=["count", "time", "size"],
)
async def test_what_was_seen_is_handed_on_in_slices(
    engine: ScriptedEngine,
    put: list[Snapshot],
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    value: int,
    most: int,
) -> None:
    """All of one time, the begin of the look; with the last one only, all were looked at."""
    monkeypatch.setattr(reconciler, bound, value)
    for number in range(MANY):
        engine.run(f"web-{number}")
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_ONCE) as result,
    ):
        await wait_for_full_snapshot(result)
    assert max(len(look.containers) for look in put) <= most
    seen = [sighting.id for look in put for sighting in look.containers]
    assert sorted(seen) == sorted(each.id for each in engine.containers.values())
    assert len({look.taken_ns for look in put}) == 1
    assert [look.is_complete for look in put] == [False] * (len(put) - 1) + [True]


async def test_the_missing_are_told_once(
    engine: ScriptedEngine, put: list[Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first slice."""
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
    first = next(place for place, look in enumerate(put) if look.missing)
    assert [bool(look.missing) for look in put[first : first + 3]] == [True, False, False]


async def test_what_was_seen_is_told_though_the_look_breaks_off(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is stuck at one container does not hide the deaths of those before it."""
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


async def test_a_slice_waits_until_the_one_before_is_digested(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing is committed, slices do not heap up in memory."""
    monkeypatch.setattr(reconciler, "PAGE_CONTAINERS", 1)
    for number in range(MANY):
        engine.run(f"web-{number}")
    async with (
        engine.serve(),
        run_ingest(engine, BUSY, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
        with result.block_commits():
            asked = engine.request_count("inspect")
            await wait_for_pings(engine, 30)
            assert engine.request_count("inspect") <= asked + 2
        await engine.changes.wait_for(lambda: engine.request_count("inspect") > asked + MANY)


async def test_losses_in_a_row_do_not_make_looks_in_a_row(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look may not begin at once, but a reconnect is worth one."""
    async with engine.serve(), run_ingest(engine, BUSY, reconcile=RECONCILE_ONCE) as result:
        await wait_for_full_snapshot(result)
        monkeypatch.setattr(reconciler, "MIN_INTERVAL_S", 3600)
        result.buffer.gap_found.set()
        await wait_for_pings(engine, 30)
        assert engine.request_count("containers") == 1
        engine.streams[-1].cut()
        await engine.changes.wait_for(lambda: engine.request_count("containers") == 2)


async def test_streams_that_flap_do_not_make_looks_in_a_row(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reconnect right after a look waits a while for the next."""
    async with engine.serve(), run_ingest(engine, BUSY, reconcile=RECONCILE_ONCE) as result:
        await wait_for_full_snapshot(result)
        monkeypatch.setattr(reconciler, "MIN_INTERVAL_RECONNECTED_S", 3600)
        engine.streams[-1].cut()
        await engine.changes.wait_for(lambda: len(engine.streams) == 2)
        await wait_for_pings(engine, 30)
        assert engine.request_count("containers") == 1


async def test_one_gap_makes_one_look(engine: ScriptedEngine) -> None:
    """The look after the reconnect is the one for the gap that the reconnect shows."""
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
