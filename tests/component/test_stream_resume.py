"""The stream reader after a stream broke, hung or fell silent: every event once."""

import asyncio
from time import time_ns

import pytest
from msgspec.structs import replace

from relay.core.checkpoint import Checkpoint, encode_seen
from relay.ingest.docker.buffer import EventBuffer, Item, StreamOpened
from relay.ingest.docker.cursor import MARGIN_NS
from relay.ingest.docker.engine.client import EngineClient, EngineInfo
from tests.component.ingest import QUICK, run_ingest, wait_for_streams
from tests.component.scripted_engine import Answer, NoAnswer, ScriptedEngine

WATCHFUL = replace(QUICK, ping_interval_s=0.01, answer_timeout_s=0.3)
"""Pings and checks its stream constantly."""


async def test_the_stream_resumes_from_a_margin_before_the_last_event(
    engine: ScriptedEngine,
) -> None:
    """Events during the cut are routed, and repeated events are not routed again."""
    engine.record("old", ago_s=300)
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a", "b")
        position_ns = engine.last_event_ns()
        await result.wait_for_names("old", "a", "b")
        engine.streams[0].cut()
        engine.emit_deaths("c", "d")
        await wait_for_streams(engine, 2)
        engine.emit_deaths("e")
        await result.wait_for_names("old", "a", "b", "c", "d", "e")
        assert engine.streams[0].since_ns == 1
        assert engine.streams[1].since_ns == position_ns - MARGIN_NS


async def test_many_cuts(engine: ScriptedEngine) -> None:
    """With a cut after every event, none is lost and none is routed twice."""
    names = [f"container-{number}" for number in range(30)]
    async with engine.serve(), run_ingest(engine) as result:
        for number, name in enumerate(names):
            await wait_for_streams(engine, number + 1)
            engine.emit_deaths(name)
            engine.streams[-1].cut()
        await result.wait_for_names(*names)


async def test_a_record_that_a_cut_split(engine: ScriptedEngine) -> None:
    """Its beginning is discarded; the engine repeats it whole."""
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        engine.streams[0].write(engine.record("split")[:40])
        engine.streams[0].cut()
        await wait_for_streams(engine, 2)
        engine.emit_deaths("b")
        await result.wait_for_names("a", "split", "b")
        assert not result.pipeline.counters.malformed


async def test_an_engine_that_was_away(engine: ScriptedEngine) -> None:
    """relay reports that it was lost and is back, and routes what it remembers."""
    async with run_ingest(engine) as result:
        await result.wait_for(lambda: result.relay_actions() == ["engine_lost"])
        async with engine.serve():
            await wait_for_streams(engine)
            engine.emit_deaths("a")
            await result.wait_for(lambda: result.container_names() == ["a"])
        await result.wait_for(lambda: result.relay_actions().count("engine_lost") == 2)
        engine.emit_deaths("b")
        async with engine.serve():
            await result.wait_for_names("a", "b")
    assert result.relay_actions() == ["engine_lost", "engine_back"] * 2


@pytest.mark.parametrize("turns", range(12))
async def test_cancelling_just_as_the_stream_ends(engine: ScriptedEngine, turns: int) -> None:
    """The reader stops, whichever of the two comes first, by however little."""
    async with engine.serve(), run_ingest(engine):
        await wait_for_streams(engine)
        engine.streams[0].cut()
        for _ in range(turns):
            await asyncio.sleep(0)


async def test_the_stream_resumes_from_a_checkpoint(engine: ScriptedEngine) -> None:
    """Another process continues where this one stopped, and routes only new events."""
    async with engine.serve():
        async with run_ingest(engine) as result:
            await wait_for_streams(engine)
            engine.emit_deaths("a")
            await result.wait_for_names("a")
        checkpoint = result.checkpoint
        engine.emit_deaths("b")
        async with run_ingest(engine, checkpoint=checkpoint) as later:
            await later.wait_for_names("b")


async def test_a_half_open_stream(engine: ScriptedEngine) -> None:
    """A ping without answer closes the stream. The next one continues where it stopped."""
    async with engine.serve(), run_ingest(engine, WATCHFUL) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        first = engine.streams[-1]
        engine.answers["_ping"] = NoAnswer.SILENCE
        await engine.changes.wait_for(lambda: first.closed)
        engine.record("b")
        del engine.answers["_ping"]
        await result.wait_for_names("a", "b")


async def test_a_stream_that_is_silent_although_the_engine_has_events(
    engine: ScriptedEngine,
) -> None:
    """It is closed, and the next one repeats what was missed."""
    async with engine.serve(), run_ingest(engine, WATCHFUL) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        first, engine.mute = engine.streams[-1], True
        engine.emit_deaths("b")
        await engine.changes.wait_for(lambda: first.closed)
        await result.wait_for_names("a", "b")


async def test_a_stream_that_is_rightly_silent(engine: ScriptedEngine) -> None:
    """While the engine has only accepted events, the stream is left open."""
    patient = replace(WATCHFUL, answer_timeout_s=10)
    async with engine.serve(), run_ingest(engine, patient) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        before = engine.request_count("history")
        await engine.changes.wait_for(lambda: engine.request_count("history") > before + 5)
        assert len(engine.streams) == 1


async def test_only_recent_history_is_requested_during_a_stream(engine: ScriptedEngine) -> None:
    """However long ago the stream was opened. Events from before the start are not missing."""
    away_s = 0

    def now() -> int:
        return time_ns() + away_s * 10**9

    engine.record("before", ago_s=300)
    began_ns = engine.now_ns()
    checkpoint = replace(Checkpoint.starting_at(began_ns), recent=encode_seen("evt_00", began_ns))
    patient = replace(WATCHFUL, now=now, answer_timeout_s=10)
    async with engine.serve(), run_ingest(engine, patient, checkpoint=checkpoint) as result:
        await wait_for_streams(engine)
        away_s, engine.ahead_ns = 60, 60 * 10**9
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        before = engine.request_count("history")
        await engine.changes.wait_for(lambda: engine.request_count("history") > before + 5)
        assert len(engine.streams) == 1


async def record_openings(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, *, local: bool, away: bool
) -> list[StreamOpened]:
    """The two connections to an engine whose stream is cut in between, or that is away."""
    put, handshake = EventBuffer.put, EngineClient.handshake
    found: list[StreamOpened] = []

    def spy(buffer: EventBuffer, item: Item) -> None:
        if isinstance(item, StreamOpened):
            found.append(item)
        put(buffer, item)

    async def handshake_from(client: EngineClient) -> EngineInfo:
        info = await handshake(client)
        assert info.is_local
        return replace(info, is_local=local)

    monkeypatch.setattr(EventBuffer, "put", spy)
    monkeypatch.setattr(EngineClient, "handshake", handshake_from)
    async with run_ingest(engine) as result:
        await result.wait_for(lambda: result.relay_actions() == ["engine_lost"])
        async with engine.serve():
            await wait_for_streams(engine)
            if not away:
                engine.streams[0].cut()
                await wait_for_streams(engine, 2)
        if away:
            await result.wait_for(lambda: result.relay_actions().count("engine_lost") == 2)
            async with engine.serve():
                await wait_for_streams(engine, 2)
    return found[:2]


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("local", [False, True])
async def test_whether_the_engine_is_known_to_have_been_down(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, local: bool, away: bool
) -> None:
    """If nothing listened at its address, or if no network that can fail lies in between."""
    first, second = [
        opening.connection
        for opening in await record_openings(engine, monkeypatch, local=local, away=away)
    ]
    assert first.down_since_ns is None
    assert second.after_failure is away
    if not local and not away:
        assert second.down_since_ns is None
    else:
        assert second.down_since_ns is not None
        assert first.opened_ns <= second.down_since_ns + 10**9
        assert second.down_since_ns <= second.opened_ns + 10**9


async def test_an_engine_that_withholds_its_history(engine: ScriptedEngine) -> None:
    """If a proxy refuses the request, the stream is left open."""
    patient = replace(WATCHFUL, answer_timeout_s=10)
    engine.answers["history"] = Answer(b"", 403)
    async with engine.serve(), run_ingest(engine, patient) as result:
        await wait_for_streams(engine)
        engine.mute = True
        engine.emit_deaths("missed")
        await engine.changes.wait_for(lambda: engine.request_count("history") > 5)
        engine.mute = False
        engine.emit_deaths("seen")
        await result.wait_for_names("seen")
        assert len(engine.streams) == 1
