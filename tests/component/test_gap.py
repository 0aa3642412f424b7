"""Stretches that the engine's history does not cover are declared, before what follows them."""

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from relay.core.event import rfc3339
from relay.ingest.docker.buffer import Opened
from relay.ingest.docker.cursor import LOOKBACK_NS, MARGIN_NS
from tests.component.ingest import QUICK, reading
from tests.component.scripted_engine import HISTORY, Answer, ScriptedEngine

FIELDS = {"why", "reason", "from", "until"}


async def opened(engine: ScriptedEngine, count: int = 1) -> None:
    await engine.bell.wait_for(lambda: len(engine.streams) >= count)


async def heard(engine: ScriptedEngine) -> None:
    """Return after the next ping."""
    pinged = engine.count("_ping")
    await engine.bell.wait_for(lambda: engine.count("_ping") > pinged)


@pytest.mark.parametrize("begun", [False, True])
async def test_an_engine_that_restarted(engine: ScriptedEngine, begun: bool) -> None:
    """Its history is empty, or short and young: the gap stands before what happens next."""
    async with engine.serving(), reading(engine) as result:
        await opened(engine)
        engine.happen("a")
        from_ns = engine.last_ns()
        await result.wait_for_names("a")
        engine.streams[0].cut()
        engine.forget()
        if begun:
            engine.happen("b")
        await opened(engine, 2)
        if not begun:
            await result.wait_for(lambda: result.own() == ["gap"])
            engine.happen("b")
        await result.wait_for_names("a", "b")
    assert [event.action for event in result.routed] == ["die", "gap", "die"]
    gap = result.routed[1]
    assert (gap.engine, gap.host) == ("here", "node-1")
    assert gap.actor.attributes.keys() == FIELDS
    assert gap.actor.attributes["why"] == "engine_restarted"
    assert gap.actor.attributes["from"] == rfc3339(from_ns)
    until = gap.actor.attributes["until"]
    if begun:
        assert until == rfc3339(engine.last_ns())
    else:
        assert rfc3339(from_ns) <= until <= rfc3339(engine.last_ns())


async def test_more_than_the_engine_remembers(engine: ScriptedEngine) -> None:
    """The gap reaches from the last event taken in to the oldest that is remembered."""
    names = [f"web-{number}" for number in range(HISTORY + 10)]
    async with engine.serving(), reading(engine) as result:
        await opened(engine)
        engine.happen("a")
        from_ns = engine.last_ns()
        await result.wait_for_names("a")
        engine.streams[0].cut()
        for name in names:
            engine.record(name)
        await result.wait_for_names("a", *names[10:])
    assert [event.action for event in result.routed[:3]] == ["die", "gap", "die"]
    attributes = result.routed[1].actor.attributes
    assert attributes["why"] == "history_overrun"
    assert attributes["from"] == rfc3339(from_ns)
    assert attributes["until"] == rfc3339(result.routed[2].time_ns)
    assert result.gaps() == ["history_overrun"]


async def test_a_history_that_just_reaches(engine: ScriptedEngine) -> None:
    """As long as it holds the last event that was taken in, there is no gap."""
    names = [f"web-{number}" for number in range(HISTORY - 1)]
    async with engine.serving(), reading(engine) as result:
        await opened(engine)
        engine.happen("a")
        await result.wait_for_names("a")
        engine.streams[0].cut()
        for name in names:
            engine.record(name)
        await result.wait_for_names("a", *names)
    assert result.own() == []


async def test_an_idle_engine_has_no_gap(engine: ScriptedEngine) -> None:
    """One that never had an event to tell, and one whose last was taken in long ago."""
    async with engine.serving(), reading(engine) as result:
        for count in range(1, 4):
            await opened(engine, count)
            engine.streams[-1].cut()
        await opened(engine, 4)
        engine.send(engine.record("a", ago_s=3600))
        await result.wait_for_names("a")
        for count in range(4, 7):
            await opened(engine, count)
            engine.streams[-1].cut()
        await opened(engine, 7)
        engine.happen("b")
        await result.wait_for_names("a", "b")
    assert result.own() == []


async def test_a_gap_is_declared_once(engine: ScriptedEngine) -> None:
    """Neither the next connections nor another process declare it again."""
    async with engine.serving():
        async with reading(engine) as result:
            await opened(engine)
            engine.happen("a")
            await result.wait_for_names("a")
            engine.forget()
            for count in range(1, 5):
                engine.streams[-1].cut()
                await opened(engine, count + 1)
            engine.happen("b")
            await result.wait_for_names("a", "b")
            assert result.gaps() == ["engine_restarted"]
        async with reading(engine, bookmark=result.bookmark) as later:
            engine.happen("c")
            await later.wait_for_names("c")
            assert later.own() == []


async def test_a_gap_while_relay_was_away(engine: ScriptedEngine) -> None:
    """Another process, with what was kept, declares it."""
    async with engine.serving():
        async with reading(engine) as result:
            await opened(engine)
            engine.happen("a")
            await result.wait_for_names("a")
        engine.forget()
        async with reading(engine, bookmark=result.bookmark) as later:
            await later.wait_for(lambda: later.gaps() == ["engine_restarted"])


async def test_an_engine_of_which_nothing_was_heard_yet(engine: ScriptedEngine) -> None:
    """That it was not there at first is no gap, nor is a mere reconnect; that it was away is."""
    async with reading(engine, start_from="now") as result:
        await result.wait_for(lambda: result.own() == ["engine_lost"])
        async with engine.serving():
            for count in range(1, 4):
                await opened(engine, count)
                engine.streams[-1].cut()
            await opened(engine, 4)
        await result.wait_for(lambda: result.own().count("engine_lost") == 2)
        assert result.gaps() == []
        async with engine.serving():
            await result.wait_for(lambda: result.gaps() == ["unproven"])
            engine.streams[-1].cut()
            await opened(engine, 6)
            engine.happen("a")
            await result.wait_for_names("a")
    assert result.own() == [*["engine_lost", "engine_back"] * 2, "gap"]


async def test_a_history_from_before_the_start_proves_that_nothing_is_missing(
    engine: ScriptedEngine,
) -> None:
    """It is not told; it is there after the engine was out of reach, and not after a restart."""
    engine.record("before", ago_s=60)
    async with reading(engine, start_from="now") as result:
        await result.wait_for(lambda: result.own() == ["engine_lost"])
        async with engine.serving():
            await opened(engine)
        await result.wait_for(lambda: result.own().count("engine_lost") == 2)
        async with engine.serving():
            await opened(engine, 2)
        await result.wait_for(lambda: result.own().count("engine_lost") == 3)
        assert result.gaps() == []
        engine.forget()
        async with engine.serving():
            await result.wait_for(lambda: result.gaps() == ["engine_restarted"])
    assert result.names() == []


async def test_a_clock_that_was_set_back(engine: ScriptedEngine) -> None:
    """It is declared once; what happens by the new time comes, and nothing comes twice."""
    async with engine.serving(), reading(engine) as result:
        await opened(engine)
        engine.happen("a")
        await result.wait_for_names("a")
        engine.ahead_ns = -3600 * 10**9
        asked = len(engine.requests)
        engine.record("b", ago_s=1)
        engine.streams[-1].cut()
        await opened(engine, 2)
        engine.send(engine.record("c", ago_s=0.001))
        await result.wait_for_names("a", "b", "c")
        engine.streams[-1].cut()
        await opened(engine, 3)
        engine.send(engine.record("d", ago_s=0.0001))
        await result.wait_for_names("a", "b", "c", "d")
    assert result.gaps() == ["clock_set_back"]
    soon_ns = engine.now_ns() + 2 * 10**9
    assert engine.streams[1].since_ns <= soon_ns - LOOKBACK_NS
    assert engine.streams[2].since_ns <= soon_ns - MARGIN_NS
    queries = [parse_qs(urlsplit(target).query) for target in engine.requests[asked:]]
    untils_s = [float(query["until"][0]) for query in queries if "until" in query]
    assert untils_s
    assert max(untils_s) * 1e9 <= soon_ns


async def test_a_clock_that_steps_back_a_little_after_a_first_start(
    engine: ScriptedEngine,
) -> None:
    """What happens is news, though its time is before the start."""
    engine.record("before", ago_s=3)
    async with engine.serving(), reading(engine, start_from="now") as result:
        await opened(engine)
        engine.send(engine.record("a", ago_s=2))
        await result.wait_for_names("a")
        engine.happen("b")
        await result.wait_for_names("a", "b")
    assert result.own() == []


async def test_another_engine_at_the_same_place(engine: ScriptedEngine) -> None:
    """It is known by its id, even where its history would do; after that it is the engine."""
    engine.identity = "one"
    async with engine.serving(), reading(engine) as result:
        await opened(engine)
        engine.happen("a")
        await result.wait_for_names("a")
        engine.identity = "other"
        engine.streams[-1].cut()
        await result.wait_for(lambda: result.gaps() == ["another_engine"])
        engine.identity = None
        engine.streams[-1].cut()
        await opened(engine, 3)
        engine.identity = "other"
        engine.streams[-1].cut()
        await opened(engine, 4)
        engine.happen("b")
        await result.wait_for_names("a", "b")
    assert result.gaps() == ["another_engine"]


async def test_podman_has_no_lasting_id(engine: ScriptedEngine) -> None:
    """It makes up another for every answer: that is no other engine."""
    engine.podman, engine.identity = True, "one"
    async with engine.serving(), reading(engine) as result:
        await opened(engine)
        engine.identity = "other"
        engine.streams[-1].cut()
        await opened(engine, 2)
        engine.tell("a", "start")
        await result.wait_for_names("a")
    assert result.own() == []
    asked = [target for target in engine.requests if "stream=false" in target]
    assert asked
    assert not any("until=" in target for target in engine.requests)


@pytest.mark.parametrize("answer", [Answer(b"", 403), Answer(b"<html>Welcome</html>")])
@pytest.mark.parametrize("lost", [False, True])
async def test_a_history_that_is_withheld(
    engine: ScriptedEngine, answer: Answer, lost: bool
) -> None:
    """Then the first event of the new stream decides."""
    engine.answers["history"] = answer
    async with engine.serving(), reading(engine) as result:
        await opened(engine)
        engine.happen("a")
        await result.wait_for_names("a")
        engine.streams[-1].cut()
        if lost:
            engine.forget()
        engine.happen("b")
        await result.wait_for_names("a", "b")
    assert result.gaps() == (["history_overrun"] if lost else [])


@pytest.mark.parametrize("ahead_s", [0, 1.9, -1.9, 365 * 24 * 3600.5, -365 * 24 * 3600.5])
async def test_a_clock_that_is_off_makes_no_gap(engine: ScriptedEngine, ahead_s: float) -> None:
    """An event that is younger than relay's idea of the engine's time is not missed."""
    engine.ahead_ns = int(ahead_s * 1e9)
    async with engine.serving(), reading(engine) as result:
        await opened(engine)
        engine.happen("a")
        await result.wait_for_names("a")
        for count in range(1, 4):
            engine.streams[-1].cut()
            await opened(engine, count + 1)
        engine.happen("b")
        await result.wait_for_names("a", "b")
    assert result.own() == []


@pytest.mark.parametrize("ahead_s", [365 * 24 * 3600, -365 * 24 * 3600])
async def test_a_gap_of_an_engine_whose_clock_is_off(engine: ScriptedEngine, ahead_s: int) -> None:
    """Its ends are told by the engine's clock."""
    engine.ahead_ns = ahead_s * 10**9
    async with engine.serving(), reading(engine) as result:
        await opened(engine)
        engine.send(engine.record("a", ago_s=60))
        from_ns = engine.last_ns()
        await result.wait_for_names("a")
        engine.streams[-1].cut()
        engine.forget()
        await result.wait_for(lambda: result.gaps() == ["engine_restarted"])
    attributes = result.routed[-1].actor.attributes
    assert attributes["from"] == rfc3339(from_ns)
    assert attributes["from"] < attributes["until"] <= rfc3339(engine.now_ns() + 10**9)


async def test_connections_beside_a_digester_that_is_held_up(engine: ScriptedEngine) -> None:
    """While nothing is committed, they do not heap up histories; and no gap is made of that."""
    busy = replace(QUICK, stable_after_s=0, ping_every_s=0.01)
    for number in range(50):
        engine.record(f"old-{number}", ago_s=50 - number)
    async with engine.serving(), reading(engine, busy) as result:
        await result.wait_for(lambda: len(result.routed) == 50)
        with result.held_up():
            engine.happen("a")
            for count in range(1, 10):
                engine.streams[-1].cut()
                await opened(engine, count + 1)
                await heard(engine)
            waiting = result.inbox.take_ready(100)
            histories = [item.history for item in waiting if isinstance(item, Opened)]
            assert len(histories) > 1
            assert histories.count(None) >= len(histories) - 1
            for item in waiting:
                result.inbox.put(item)
        engine.happen("b")
        await result.wait_for(lambda: "b" in result.names())
    assert result.names()[50:] == ["a", "b"]
    assert result.own() == []
