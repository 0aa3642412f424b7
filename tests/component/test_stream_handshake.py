"""The stream reader before it has a stream: engines that are absent or answer oddly."""

from collections.abc import Callable
from functools import partial

import pytest
import tenacity
from msgspec.structs import replace
from structlog.testing import capture_logs

from relay.core.event import Origin
from relay.ingest.docker.cursor import LOOKBACK_NS
from tests.component.ingest import ENGINE, QUICK, run_ingest, wait_for_streams
from tests.component.scripted_engine import Answer, NoAnswer, ScriptedEngine, Stream
from tests.component.wait import ChangeSignal

YEAR_NS = 365 * 24 * 3600 * 10**9
PAGE = Answer(b"<html>Welcome</html>", headers={"Content-Type": "text/html"})


class RetryLog:
    """The connection attempts of the stream reader."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.waits_s: list[float] = []
        self.bell = ChangeSignal()

    def record(self, state: tenacity.RetryCallState) -> None:
        """Record an attempt, before the wait that follows it."""
        self.numbers.append(state.attempt_number)
        self.waits_s.append(state.upcoming_sleep)
        self.bell.notify()

    async def wait_for(self, count: int) -> None:
        """Return once this many attempts were made."""
        await self.bell.wait_for(lambda: len(self.numbers) >= count)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> RetryLog:
    retry_log = RetryLog()
    retrying = partial(tenacity.AsyncRetrying, before_sleep=retry_log.record)
    monkeypatch.setattr("relay.ingest.docker.stream.tenacity.AsyncRetrying", retrying)
    return retry_log


async def test_an_engine_that_is_absent_at_the_start(
    engine: ScriptedEngine, attempts: RetryLog
) -> None:
    """It is reported once, however often relay tries to connect, and then that it is back."""
    engine.record("before", ago_s=5)
    with capture_logs() as logs:
        async with run_ingest(engine) as result:
            await attempts.wait_for(6)
            assert result.relay_actions() == ["engine_lost"]
            async with engine.serve():
                await result.wait_for_names("before")
    assert result.relay_actions() == ["engine_lost", "engine_back"]
    assert sum(line["event"] == "engine.unreachable" for line in logs) == 1


@pytest.mark.parametrize(
    "answers",
    [
        {"_ping": Answer(b"oops", 500)},
        {"_ping": Answer(b'{"message": "forbidden"}', 403)},
        {"_ping": PAGE, "version": PAGE},
        {"_ping": Answer(), "version": Answer(b"", 404)},
        {"_ping": Answer(), "version": Answer(b"[1, 2]")},
        {"_ping": Answer(headers={"Api-Version": "../../etc"})},
        {"_ping": Answer(b"", 307, {"Location": "http://elsewhere/_ping"})},
        {"_ping": NoAnswer.CLOSE},
        {"info": NoAnswer.CLOSE},
    ],
    ids=str,
)
async def test_a_server_that_is_no_engine(
    engine: ScriptedEngine, attempts: RetryLog, answers: dict[str, Answer | NoAnswer]
) -> None:
    """It counts as unreachable until it answers as an engine does. No stream is requested."""
    engine.answers = answers
    async with engine.serve(), run_ingest(engine) as result:
        await attempts.wait_for(3)
        assert result.relay_actions() == ["engine_lost"]
        assert engine.request_count("events") == 0
        engine.answers = {}
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        assert result.relay_actions() == ["engine_lost", "engine_back"]


async def test_an_engine_that_does_not_answer(engine: ScriptedEngine) -> None:
    """relay gives up after the timeout and tries again."""
    engine.answers["_ping"] = NoAnswer.SILENCE
    async with engine.serve(), run_ingest(engine, replace(QUICK, answer_timeout_s=0.2)) as result:
        await result.wait_for(lambda: result.relay_actions() == ["engine_lost"])
        del engine.answers["_ping"]
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")


@pytest.mark.parametrize(
    ("info", "given", "host"),
    [
        (Answer(b'{"Name": "node-7"}'), None, "node-7"),
        (Answer(b'{"Name": "node-7"}'), "shop", "shop"),
        (Answer(b'{"message": "forbidden"}', 403), None, ENGINE),
        (Answer(b'{"Name": ""}'), None, ENGINE),
        (Answer(b'{"Name": 7}'), None, ENGINE),
        (PAGE, None, ENGINE),
    ],
)
async def test_the_name_of_the_host(
    engine: ScriptedEngine, info: Answer, given: str | None, host: str
) -> None:
    """The configured one, else what the engine calls itself, else the engine's configured name."""
    engine.answers["info"] = info
    async with engine.serve(), run_ingest(engine, host=given) as result:
        await wait_for_streams(engine)
        engine.emit_deaths("a")
        await result.wait_for_names("a")
        assert result.routed[0].host == host


async def test_the_api_version_is_negotiated(engine: ScriptedEngine) -> None:
    """The header of the ping's answer decides."""
    async with engine.serve(), run_ingest(engine):
        await wait_for_streams(engine)
        assert engine.streams[0].target.startswith("/v1.45/events?")
        assert engine.request_count("version") == 0


async def test_a_proxy_that_removes_the_version_header(engine: ScriptedEngine) -> None:
    """Without the header the engine is asked for its version."""
    engine.answers["_ping"] = Answer(b"OK")
    async with engine.serve(), run_ingest(engine):
        await wait_for_streams(engine)
        assert engine.streams[0].target.startswith("/v1.41/events?")


@pytest.mark.parametrize("ahead_ns", [YEAR_NS, -YEAR_NS])
async def test_a_clock_that_is_wrong_by_a_year(engine: ScriptedEngine, ahead_ns: int) -> None:
    """ "now" means now by the engine's clock: no history is routed, and new events are live."""
    engine.ahead_ns = ahead_ns
    engine.record("history", ago_s=3600)
    async with engine.serve(), run_ingest(engine, start_from="now") as result:
        await wait_for_streams(engine)
        assert abs(engine.streams[0].since_ns + LOOKBACK_NS - engine.now_ns()) < 60 * 10**9
        engine.record("new", ago_s=-1)
        engine.streams[0].cut()
        await result.wait_for_names("new")
        assert result.routed[0].origin is Origin.LIVE


async def test_now_does_not_replay_history(engine: ScriptedEngine) -> None:
    """A first start from now takes in no event from before."""
    engine.record("history", ago_s=1)
    async with engine.serve(), run_ingest(engine, start_from="now") as result:
        await wait_for_streams(engine)
        engine.emit_deaths("new")
        await result.wait_for_names("new")


def end(stream: Stream) -> None:
    stream.end()


@pytest.mark.parametrize("trouble", [end, Stream.cut])
async def test_the_backoff_grows_while_connections_are_short(
    engine: ScriptedEngine, attempts: RetryLog, trouble: Callable[[Stream], None]
) -> None:
    """A connection that was not stable counts as one more failed attempt."""
    engine.on_stream = trouble
    async with engine.serve(), run_ingest(engine):
        await attempts.wait_for(6)
    assert attempts.numbers[:6] == [1, 2, 3, 4, 5, 6]
    assert max(attempts.waits_s) <= QUICK.backoff_max_s


async def test_the_backoff_starts_over_after_a_stable_connection(
    engine: ScriptedEngine, attempts: RetryLog
) -> None:
    """The next attempt counts as the first."""
    async with run_ingest(engine, replace(QUICK, stable_after_s=0)):
        await attempts.wait_for(4)
        async with engine.serve():
            await wait_for_streams(engine)
        before = len(attempts.numbers)
        await attempts.wait_for(before + 2)
    assert attempts.numbers[before : before + 2] == [1, 2]
