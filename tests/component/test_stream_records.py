"""The stream reader on one stream, whatever its bytes and framing."""

import pytest

from relay.core.event import Origin
from tests.component.ingest import run_ingest, wait_for_streams
from tests.component.scripted_engine import Answer, Framing, ScriptedEngine

FRAMINGS = pytest.mark.parametrize("framing", list(Framing))


@FRAMINGS
async def test_one_byte_at_a_time(engine: ScriptedEngine, framing: Framing) -> None:
    """Events whose bytes arrive one by one are complete."""
    engine.framing = framing
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        for byte in engine.record("a") + engine.record("é"):
            engine.streams[0].write(bytes([byte]))
            await engine.streams[0].writer.drain()
        await result.wait_for_names("a", "é")


@FRAMINGS
async def test_events_in_one_write_with_the_headers(
    engine: ScriptedEngine, framing: Framing
) -> None:
    """They are not overlooked."""
    engine.framing = framing
    engine.emit_deaths("a", "b")
    async with engine.serve(), run_ingest(engine) as result:
        await result.wait_for_names("a", "b")


@FRAMINGS
async def test_several_events_in_a_chunk(engine: ScriptedEngine, framing: Framing) -> None:
    """One write can contain many lines, and can end within a line."""
    engine.framing = framing
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        content = b"".join(engine.record(name) for name in ("a", "b", "c", "d"))
        engine.streams[0].write(content[:-30])
        await result.wait_for_names("a", "b", "c")
        engine.streams[0].write(content[-30:])
        await result.wait_for_names("a", "b", "c", "d")


@FRAMINGS
async def test_the_end_of_the_stream(engine: ScriptedEngine, framing: Framing) -> None:
    """The stream is requested again, and events in between are routed."""
    engine.framing = framing
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        engine.streams[0].end()
        engine.emit_deaths("b")
        await result.wait_for_names("a", "b")


async def test_blank_lines_and_record_separators(engine: ScriptedEngine) -> None:
    """Keep-alive lines, CRLF and the separators of RFC 7464 leave no trace."""
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        stream = engine.streams[0]
        stream.write(b"\r\n\n  \n")
        stream.write(b"\x1e" + engine.record("a") + b"\x1e" + engine.record("b"))
        stream.write(b"\n" + engine.record("c").replace(b"\n", b"\r\n"))
        await result.wait_for_names("a", "b", "c")
        assert not result.pipeline.counters.malformed


async def test_invalid_records_are_skipped(engine: ScriptedEngine) -> None:
    """They are counted, and the same stream continues."""
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.streams[0].write(b'not JSON\n[1]\n{"Type":7}\n{}\n\xff\xfe\n' + engine.record("a"))
        await result.wait_for_names("a")
        assert result.pipeline.counters.malformed.total() == 5
        assert len(engine.streams) == 1


async def test_an_answer_that_is_no_stream(engine: ScriptedEngine) -> None:
    """A proxy's page instead of the stream is no event, and the stream is requested again."""
    engine.answers["events"] = Answer(b"<html>\n<p>Sign in</p>\n</html>\n")
    async with engine.serve(), run_ingest(engine) as result:
        await engine.changes.wait_for(lambda: engine.request_count("events") > 2)
        del engine.answers["events"]
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")


@pytest.mark.parametrize("status", [403, 500])
async def test_a_refused_stream(engine: ScriptedEngine, status: int) -> None:
    """It is requested until it opens. Meanwhile the engine is lost, which is reported once."""
    engine.answers["events"] = Answer(b'{"message": "no"}', status)
    async with engine.serve(), run_ingest(engine) as result:
        await engine.changes.wait_for(lambda: engine.request_count("events") > 2)
        del engine.answers["events"]
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
    assert result.relay_actions() == ["engine_lost", "engine_back"]


async def test_the_origin_tells_history_from_live_events(engine: ScriptedEngine) -> None:
    """Events from before the connection are replayed, those after it are live."""
    engine.record("before", ago_s=60)
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("after")
        await result.wait_for_names("before", "after")
        assert [event.origin for event in result.routed] == [Origin.REPLAYED, Origin.LIVE]
