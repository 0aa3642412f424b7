"""Gaps: what the engine's history does not cover is declared, before the events that follow."""

from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec.structs import replace

from relay.core.event import format_rfc3339
from relay.ingest.docker.buffer import StreamOpened
from relay.ingest.docker.cursor import LOOKBACK_NS, MARGIN_NS
from tests.component.ingest import QUICK, run_ingest, wait_for_pings, wait_for_streams
from tests.component.scripted_engine import HISTORY_SIZE, Answer, ScriptedEngine

FIELDS = {"why", "reason", "from", "until"}


@pytest.mark.parametrize("has_new_event", [False, True])
async def test_an_engine_that_restarted(engine: ScriptedEngine, has_new_event: bool) -> None:
    """Its history is empty, or short and young. The gap precedes the next event."""
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        from_ns = engine.last_event_ns()
        await result.wait_for_names("a")
        engine.streams[0].cut()
        engine.clear_history()
        if has_new_event:
            engine.emit_deaths("b")
        await wait_for_streams(engine, 2)
        if not has_new_event:
            await result.wait_for(lambda: result.relay_actions() == ["gap"])
            engine.emit_deaths("b")
        await result.wait_for_names("a", "b")
    assert [event.action for event in result.routed] == ["die", "gap", "die"]
    gap = result.routed[1]
    assert (gap.engine, gap.host) == ("here", "node-1")
    assert gap.actor.attributes.keys() == FIELDS
    assert gap.actor.attributes["why"] == "engine_restarted"
    assert gap.actor.attributes["from"] == format_rfc3339(from_ns)
    until = gap.actor.attributes["until"]
    if has_new_event:
        assert until == format_rfc3339(engine.last_event_ns())
    else:
        assert format_rfc3339(from_ns) <= until <= format_rfc3339(engine.last_event_ns())


async def test_more_events_than_the_engine_remembers(engine: ScriptedEngine) -> None:
    """The gap reaches from the last accepted event to the oldest that the engine remembers."""
    names = [f"web-{number}" for number in range(HISTORY_SIZE + 10)]
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        from_ns = engine.last_event_ns()
        await result.wait_for_names("a")
        engine.streams[0].cut()
        for name in names:
            engine.record(name)
        await result.wait_for_names("a", *names[10:])
    assert [event.action for event in result.routed[:3]] == ["die", "gap", "die"]
    attributes = result.routed[1].actor.attributes
    assert attributes["why"] == "history_overrun"
    assert attributes["from"] == format_rfc3339(from_ns)
    assert attributes["until"] == format_rfc3339(result.routed[2].time_ns)
    assert result.gap_reasons() == ["history_overrun"]


async def test_a_history_that_just_reaches_back(engine: ScriptedEngine) -> None:
    """While the history contains the last accepted event, there is no gap."""
    names = [f"web-{number}" for number in range(HISTORY_SIZE - 1)]
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        engine.streams[0].cut()
        for name in names:
            engine.record(name)
        await result.wait_for_names("a", *names)
    assert result.relay_actions() == []


async def test_an_idle_engine_has_no_gap(engine: ScriptedEngine) -> None:
    """An engine without any event, or whose last event was accepted long ago, leaves no gap."""
    async with engine.serve(), run_ingest(engine) as result:
        for count in range(1, 4):
            await wait_for_streams(engine, count)
            engine.streams[-1].cut()
        await wait_for_streams(engine, 4)
        engine.send(engine.record("a", ago_s=3600))
        await result.wait_for_names("a")
        for count in range(4, 7):
            await wait_for_streams(engine, count)
            engine.streams[-1].cut()
        await wait_for_streams(engine, 7)
        engine.emit_deaths("b")
        await result.wait_for_names("a", "b")
    assert result.relay_actions() == []


async def test_a_gap_is_declared_once(engine: ScriptedEngine) -> None:
    """Neither the next connections nor another process declare it again."""
    async with engine.serve():
        async with run_ingest(engine) as result:
            await wait_for_streams(engine)
            engine.emit_deaths("a")
            await result.wait_for_names("a")
            engine.clear_history()
            for count in range(1, 5):
                engine.streams[-1].cut()
                await wait_for_streams(engine, count + 1)
            engine.emit_deaths("b")
            await result.wait_for_names("a", "b")
            assert result.gap_reasons() == ["engine_restarted"]
        async with run_ingest(engine, checkpoint=result.checkpoint) as later:
            engine.emit_deaths("c")
            await later.wait_for_names("c")
            assert later.relay_actions() == []


async def test_a_gap_while_relay_was_away(engine: ScriptedEngine) -> None:
    """The next process declares it, from the checkpoint."""
    async with engine.serve():
        async with run_ingest(engine) as result:
            await wait_for_streams(engine)
            engine.emit_deaths("a")
            await result.wait_for_names("a")
        engine.clear_history()
        async with run_ingest(engine, checkpoint=result.checkpoint) as later:
            await later.wait_for(lambda: later.gap_reasons() == ["engine_restarted"])


async def test_an_engine_without_events_so_far(engine: ScriptedEngine) -> None:
    """That it is unreachable at first is no gap, nor is a mere reconnect. Being away later is."""
    async with run_ingest(engine, start_from="now") as result:
        await result.wait_for(lambda: result.relay_actions() == ["engine_lost"])
        async with engine.serve():
            for count in range(1, 4):
                await wait_for_streams(engine, count)
                engine.streams[-1].cut()
            await wait_for_streams(engine, 4)
        await result.wait_for(lambda: result.relay_actions().count("engine_lost") == 2)
        assert result.gap_reasons() == []
        async with engine.serve():
            await result.wait_for(lambda: result.gap_reasons() == ["unproven"])
            engine.streams[-1].cut()
            await wait_for_streams(engine, 6)
            engine.emit_deaths("a")
            await result.wait_for_names("a")
    assert result.relay_actions() == [*["engine_lost", "engine_back"] * 2, "gap"]


async def test_a_history_from_before_the_start_proves_that_nothing_is_missing(
    engine: ScriptedEngine,
) -> None:
    """Its event is not routed. It is still there after an outage, and gone after a restart."""
    engine.record("before", ago_s=60)
    async with run_ingest(engine, start_from="now") as result:
        await result.wait_for(lambda: result.relay_actions() == ["engine_lost"])
        async with engine.serve():
            await wait_for_streams(engine)
        await result.wait_for(lambda: result.relay_actions().count("engine_lost") == 2)
        async with engine.serve():
            await wait_for_streams(engine, 2)
        await result.wait_for(lambda: result.relay_actions().count("engine_lost") == 3)
        assert result.gap_reasons() == []
        engine.clear_history()
        async with engine.serve():
            await result.wait_for(lambda: result.gap_reasons() == ["engine_restarted"])
    assert result.container_names() == []


async def test_a_clock_that_was_set_back(engine: ScriptedEngine) -> None:
    """It is declared once. Events with the new times are routed, and none twice."""
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        engine.ahead_ns = -3600 * 10**9
        requests_before = len(engine.requests)
        engine.record("b", ago_s=1)
        engine.streams[-1].cut()
        await wait_for_streams(engine, 2)
        engine.send(engine.record("c", ago_s=0.001))
        await result.wait_for_names("a", "b", "c")
        engine.streams[-1].cut()
        await wait_for_streams(engine, 3)
        engine.send(engine.record("d", ago_s=0.0001))
        await result.wait_for_names("a", "b", "c", "d")
    assert result.gap_reasons() == ["clock_set_back"]
    soon_ns = engine.now_ns() + 2 * 10**9
    assert engine.streams[1].since_ns <= soon_ns - LOOKBACK_NS
    assert engine.streams[2].since_ns <= soon_ns - MARGIN_NS
    queries = [parse_qs(urlsplit(target).query) for target in engine.requests[requests_before:]]
    untils_s = [float(query["until"][0]) for query in queries if "until" in query]
    assert untils_s
    assert max(untils_s) * 1e9 <= soon_ns


async def test_a_clock_that_is_set_back_a_little_after_a_first_start(
    engine: ScriptedEngine,
) -> None:
    """New events are routed although their times are from before the start."""
    engine.record("before", ago_s=3)
    async with engine.serve(), run_ingest(engine, start_from="now") as result:
        await wait_for_streams(engine)
        engine.send(engine.record("a", ago_s=2))
        await result.wait_for_names("a")
        engine.emit_deaths("b")
        await result.wait_for_names("a", "b")
    assert result.relay_actions() == []


async def test_another_engine_at_the_same_address(engine: ScriptedEngine) -> None:
    """Its id reveals it, even if its history would fit. From then on it is the engine."""
    engine.identity = "one"
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        engine.identity = "other"
        engine.streams[-1].cut()
        await result.wait_for(lambda: result.gap_reasons() == ["another_engine"])
        engine.identity = None
        engine.streams[-1].cut()
        await wait_for_streams(engine, 3)
        engine.identity = "other"
        engine.streams[-1].cut()
        await wait_for_streams(engine, 4)
        engine.emit_deaths("b")
        await result.wait_for_names("a", "b")
    assert result.gap_reasons() == ["another_engine"]


async def test_podman_has_no_lasting_id(engine: ScriptedEngine) -> None:
    """Podman makes up a new id for every answer, but it is still the same engine."""
    engine.podman, engine.identity = True, "one"
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.identity = "other"
        engine.streams[-1].cut()
        await wait_for_streams(engine, 2)
        engine.emit("a", "start")
        await result.wait_for_names("a")
    assert result.relay_actions() == []
    assert any("stream=false" in target for target in engine.requests)
    assert not any("until=" in target for target in engine.requests)


@pytest.mark.parametrize("answer", [Answer(b"", 403), Answer(b"<html>Welcome</html>")])
@pytest.mark.parametrize("lost", [False, True])
async def test_a_history_that_is_withheld(
    engine: ScriptedEngine, answer: Answer, lost: bool
) -> None:
    """The first event of the new stream decides whether there is a gap."""
    engine.answers["history"] = answer
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        engine.streams[-1].cut()
        if lost:
            engine.clear_history()
        engine.emit_deaths("b")
        await result.wait_for_names("a", "b")
    assert result.gap_reasons() == (["history_overrun"] if lost else [])


@pytest.mark.parametrize("ahead_s", [0, 1.9, -1.9, 365 * 24 * 3600.5, -365 * 24 * 3600.5])
async def test_a_clock_that_is_wrong_makes_no_gap(engine: ScriptedEngine, ahead_s: float) -> None:
    """An event later than relay's idea of the engine's time is not missed."""
    engine.ahead_ns = int(ahead_s * 1e9)
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        for count in range(1, 4):
            engine.streams[-1].cut()
            await wait_for_streams(engine, count + 1)
        engine.emit_deaths("b")
        await result.wait_for_names("a", "b")
    assert result.relay_actions() == []


@pytest.mark.parametrize("ahead_s", [365 * 24 * 3600, -365 * 24 * 3600])
async def test_a_gap_of_an_engine_whose_clock_is_wrong(
    engine: ScriptedEngine, ahead_s: int
) -> None:
    """Its times are those of the engine's clock."""
    engine.ahead_ns = ahead_s * 10**9
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.send(engine.record("a", ago_s=60))
        from_ns = engine.last_event_ns()
        await result.wait_for_names("a")
        engine.streams[-1].cut()
        engine.clear_history()
        await result.wait_for(lambda: result.gap_reasons() == ["engine_restarted"])
    attributes = result.routed[-1].actor.attributes
    assert attributes["from"] == format_rfc3339(from_ns)
    assert attributes["from"] < attributes["until"] <= format_rfc3339(engine.now_ns() + 10**9)


async def test_reconnects_while_commits_are_blocked(engine: ScriptedEngine) -> None:
    """Histories do not pile up in memory, and that causes no gap."""
    busy = replace(QUICK, stable_after_s=0, ping_interval_s=0.01)
    for number in range(50):
        engine.record(f"old-{number}", ago_s=50 - number)
    async with engine.serve(), run_ingest(engine, busy) as result:
        await result.wait_for(lambda: len(result.routed) == 50)
        with result.block_commits():
            engine.emit_deaths("a")
            for count in range(1, 10):
                engine.streams[-1].cut()
                await wait_for_streams(engine, count + 1)
                await wait_for_pings(engine, 1)
            waiting = result.buffer.take_ready(100)
            histories = [item.history for item in waiting if isinstance(item, StreamOpened)]
            assert len(histories) > 1
            assert histories.count(None) >= len(histories) - 1
            for item in waiting:
                result.buffer.put(item)
        engine.emit_deaths("b")
        await result.wait_for(lambda: "b" in result.container_names())
    assert result.container_names()[50:] == ["a", "b"]
    assert result.relay_actions() == []
