"""Engines and proxies that answer badly: relay keeps trying, and in the end loses no event."""

from functools import partial

import pytest
import tenacity
from msgspec.structs import replace
from structlog.testing import capture_logs

from relay.ingest.docker.engine import inspector
from relay.ingest.docker.stream import ReconnectPolicy
from tests.component.ingest import QUICK, RECONCILE_CONSTANTLY, run_ingest, wait_for_streams
from tests.component.scripted_engine import Answer, NoAnswer, ScriptedEngine, Stream

BAD = pytest.mark.parametrize(
    "bad",
    [
        Answer(b'{"message": "denied"}', 401),
        Answer(b'{"message": "forbidden"}', 403),
        Answer(b"<h1>Not found</h1>", 404),
        Answer(b"slow down", 429),
        Answer(b"\xff\0", 500),
        Answer(b"<html>Bad gateway</html>", 502),
        Answer(b"<html>Welcome</html>", headers={"Content-Type": "text/html"}),
        Answer(),
        Answer(b"[" * 5000),
        Answer(b"OK", headers={"Content-Encoding": "gzip"}),
        NoAnswer.CLOSE,
        NoAnswer.SILENCE,
    ],
    ids=[
        "401",
        "403",
        "404",
        "429",
        "500",
        "502",
        "html",
        "empty",
        "deep",
        "gzip",
        "close",
        "mute",
    ],
)


def policy_for(bad: Answer | NoAnswer) -> ReconnectPolicy:
    """Impatient only with an engine that never answers: any other may be slow on a busy machine."""
    return replace(QUICK, answer_timeout_s=0.3) if bad is NoAnswer.SILENCE else QUICK


@BAD
async def test_an_engine_without_a_handshake(
    engine: ScriptedEngine, bad: Answer | NoAnswer
) -> None:
    """It is lost, which is reported once. Once it answers, events in between are routed."""
    engine.answers |= {"_ping": bad, "version": bad}
    engine.record("a")
    with capture_logs() as logs:
        async with (
            engine.serve(),
            run_ingest(engine, policy_for(bad), reconcile=RECONCILE_CONSTANTLY) as result,
        ):
            await engine.changes.wait_for(lambda: engine.request_count("_ping") > 3)
            assert result.relay_actions() == ["engine_lost"]
            engine.answers.clear()
            await result.wait_for_names("a")
            engine.emit_deaths("b")
            await result.wait_for_names("a", "b")
    assert result.relay_actions() == ["engine_lost", "engine_back"]
    assert sum(line["event"] == "engine.unreachable" for line in logs) == 1


@BAD
async def test_an_engine_without_a_stream(engine: ScriptedEngine, bad: Answer | NoAnswer) -> None:
    """However it refuses, the stream is requested until it opens, and nothing is missed."""
    engine.answers["events"] = bad
    engine.record("a")
    policy = replace(policy_for(bad), ping_interval_s=0.02)
    async with engine.serve(), run_ingest(engine, policy, reconcile=RECONCILE_CONSTANTLY) as result:
        if bad is not NoAnswer.SILENCE:
            await engine.changes.wait_for(lambda: engine.request_count("events") > 3)
        engine.answers.clear()
        await result.wait_for_names("a")
        engine.emit_deaths("b")
        await result.wait_for_names("a", "b")
    assert result.relay_actions() in ([], ["engine_lost", "engine_back"])


@BAD
@pytest.mark.parametrize("endpoint", ["history", "containers", "inspect"])
async def test_an_engine_that_withholds_everything_except_the_stream(
    engine: ScriptedEngine,
    endpoint: str,
    bad: Answer | NoAnswer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its events are accepted over this connection and the next, and nothing is inferred."""
    monkeypatch.setattr(inspector, "TIMEOUT_S", 0.05)
    engine.answers[endpoint] = bad
    engine.run("web")
    async with (
        engine.serve(),
        run_ingest(engine, policy_for(bad), reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        engine.streams[-1].cut()
        engine.emit_deaths("b")
        await result.wait_for_names("a", "b")
    # An empty history looks like that of an engine that restarted.
    forgot = endpoint == "history" and bad == Answer()
    assert result.gap_reasons() == (["engine_restarted"] if forgot else [])
    assert set(result.relay_actions()) <= {"gap"}


@pytest.mark.parametrize(
    "bad",
    [Answer(b"", 403), Answer(b"oops", 500), Answer(b"<html>"), Answer(b"[]"), NoAnswer.SILENCE],
    ids=["403", "500", "html", "array", "mute"],
)
async def test_an_engine_that_withholds_its_name(
    engine: ScriptedEngine, bad: Answer | NoAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else works, and it does not count as another engine."""
    monkeypatch.setattr("relay.ingest.docker.engine.client.INFO_TIMEOUT_S", 0.02)
    engine.identity = "one"
    async with engine.serve(), run_ingest(engine, policy_for(bad)) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        engine.answers["info"] = bad
        engine.streams[-1].cut()
        engine.emit_deaths("b")
        await result.wait_for_names("a", "b")
    assert result.relay_actions() == []


@pytest.mark.parametrize("year", [1, 1970, 2262, 2263, 9999])
async def test_an_engine_with_a_date_beyond_all_clocks(engine: ScriptedEngine, year: int) -> None:
    """Its date is not believed, so that no time overflows the store."""
    date = f"Sat, 01 Jan {year:04} 00:00:00 GMT"
    engine.answers["_ping"] = Answer(b"OK", headers={"Api-Version": "1.45", "Date": date})
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")


async def test_a_proxy_that_cuts_idle_streams(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again: nothing is lost or routed twice, there is no gap, and no wait grows."""
    waits: list[tenacity.RetryCallState] = []
    retrying = partial(tenacity.AsyncRetrying, before_sleep=waits.append)
    monkeypatch.setattr("relay.ingest.docker.stream.tenacity.AsyncRetrying", retrying)
    names = [f"web-{number}" for number in range(25)]
    endings = [Stream.cut, Stream.end]
    stable = replace(QUICK, stable_after_s=0)
    async with engine.serve(), run_ingest(engine, stable, reconcile=RECONCILE_CONSTANTLY) as result:
        for number, name in enumerate(names):
            await wait_for_streams(engine, number + 1)
            engine.emit_deaths(name)
            await result.wait_for(lambda: name in result.container_names())  # noqa: B023
            endings[number % 2](engine.streams[-1])
        await wait_for_streams(engine, len(names) + 1)
    assert result.container_names() == names
    assert result.relay_actions() == []
    assert waits == []
