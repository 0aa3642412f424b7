"""What engines remember, and what the routes would have said to it."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import time_ns

import pytest

from relay.config import Config, parse
from relay.core.event import format_rfc3339
from relay.dryrun import history as hindsight
from relay.dryrun.history import History, Window, fetch_history
from relay.dryrun.recording import Recording
from relay.dryrun.simulator import Simulator
from relay.ingest.docker.cursor import LOOKBACK_NS
from relay.ingest.docker.engine.client import EngineUnavailable, connect
from relay.ingest.docker.engine.endpoint import Endpoint
from tests.component import scripted_engine
from tests.component.scripted_containers import container_id
from tests.component.scripted_engine import Answer, NoAnswer, ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.streams import ENGINES, read_records

CONFIG = """
engines: {here: {}}
destinations: {ops: {type: console}, audit: {type: console}}
routes:
  - {name: noise, match: {action: "exec_*"}, drop: true}
  - {name: crashed, match: {action: die, cause: [crashed, oom]}, to: [ops, audit]}
  - {name: asked, match: {action: die, cause: requested}, to: audit}
"""
HOUR = Window(timedelta(hours=1))


def configured(text: str = CONFIG) -> Config:
    return parse(text, file="test", environ={}, folder=Path())


async def recalled(
    engine: ScriptedEngine, window: Window = HOUR, config: Config | None = None
) -> History:
    reach = partial(connect, Endpoint(f"unix://{engine.socket}", None, None), time_ns)
    async with engine.serve(), asyncio.timeout(TIMEOUT_S):
        return await fetch_history(config or configured(), "here", reach, window)


def told(found: History) -> list[tuple[str | None, str, list[str]]]:
    """Who, what, and which routes match."""
    return [
        (
            it.event.actor.name,
            it.event.cause or it.event.action,
            [step.route.name for step in it.routes if step.is_match],
        )
        for it in found.events
    ]


async def test_what_happened(engine: ScriptedEngine) -> None:
    """With causes and routes as the daemon has them, and the host by its name."""
    engine.record("crashes", ago_s=50)
    engine.record("stops", action="kill", ago_s=40, attributes={"signal": "15"})
    engine.record("stops", ago_s=39, attributes={"exitCode": "137"})
    engine.record("works", action="exec_start: sh", ago_s=30)
    found = await recalled(engine)
    assert told(found) == [
        ("crashes", "crashed", ["crashed"]),
        ("stops", "kill", []),
        ("stops", "requested", ["asked"]),
        ("works", "exec_start", ["noise"]),
    ]
    assert {(it.event.engine, it.event.host) for it in found.events} == {("here", "node-1")}
    assert found.oldest_ns is None
    assert engine.streams == []


async def test_in_a_container(engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in relay's own match no route, as in the daemon."""
    monkeypatch.setattr(hindsight, "find_self_container", lambda: container_id("relay"))
    for name in ("relay", "works"):
        engine.record(name, action="exec_start: sh", ago_s=30)
    assert [(name, routes) for name, _, routes in told(await recalled(engine)) if routes] == [
        ("works", ["noise"])
    ]


@pytest.mark.parametrize("recorded", ENGINES)
async def test_as_a_replay(engine: ScriptedEngine, recorded: str) -> None:
    """Of what real engines said, the same becomes as of their recordings."""
    engine.answers["history"] = Answer(b"\n".join(read_records(recorded)))
    rehearsal = Simulator(configured(), host="node-1")
    outcomes = rehearsal.run(Recording(rehearsal, read_records(recorded)))
    replayed = [each for outcome in outcomes for each in outcome.routed]
    found = await recalled(engine, Window(1))
    assert [it.event for it in found.events] == [it.event for it in replayed]
    assert told(found) == told(History(replayed))
    assert ("shop-web-1", "crashed", ["crashed"]) in told(found)


async def test_a_window(engine: ScriptedEngine) -> None:
    """What is outside is not shown, but explains what is inside."""
    engine.record("web", action="kill", ago_s=700, attributes={"signal": "15"})
    engine.record("web", ago_s=690, attributes={"exitCode": "0"})
    engine.record("late", ago_s=10)
    window = Window(timedelta(seconds=695), timedelta(seconds=60))
    assert told(await recalled(engine, window)) == [("web", "requested", ["asked"])]


async def test_an_engine_with_another_clock(engine: ScriptedEngine) -> None:
    """What is so long ago is so by its own."""
    engine.ahead_ns = 3600 * 10**9
    engine.record("old", ago_s=600)
    engine.record("new", ago_s=60)
    found = await recalled(engine, Window(timedelta(minutes=5)))
    assert [name for name, *_ in told(found)] == ["new"]


@pytest.mark.parametrize(
    ("count", "since", "forgotten"),
    [
        (256, timedelta(hours=1), True),
        (300, timedelta(hours=1), True),
        (255, timedelta(hours=1), False),  # it may not have had more to remember
        (300, timedelta(seconds=60), False),
    ],
)
async def test_a_memory_that_is_too_short(
    engine: ScriptedEngine, count: int, since: timedelta, forgotten: bool
) -> None:
    """It is known where the engine remembers as much as it can, and nothing so old."""
    for number in range(count):
        engine.record(f"web-{number}", ago_s=500 - number)
    found = await recalled(engine, Window(since))
    oldest = max(0, count - 256)
    if forgotten:
        assert found.oldest_ns == found.events[0].event.time_ns
        assert found.events[0].event.actor.name == f"web-{oldest}"
        assert len(found.events) == 256
    else:
        assert found.oldest_ns is None


async def test_podman(engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It remembers everything, so not all is asked for; a second cleanup shows a stop."""
    monkeypatch.setattr(scripted_engine, "HISTORY_SIZE", 1000)
    engine.podman = True
    for action in ("die", "cleanup", "cleanup"):
        engine.record("web", action=action, ago_s=30, attributes={"containerExitCode": "137"})
    for number in range(300):
        engine.record(f"web-{number}", action="init", ago_s=20)
    found = await recalled(engine, Window(timedelta(seconds=60)))
    assert told(found)[0] == ("web", "requested", ["asked"])
    assert found.oldest_ns is None
    (asked,) = (it for it in engine.requests if "/events" in it)
    since_s = int(asked.partition("since=")[2].partition(".")[0])
    assert "stream=false" in asked
    assert abs(time_ns() / 1e9 - 60 - LOOKBACK_NS / 1e9 - since_s) < 30


async def test_what_labels_hide(engine: ScriptedEngine) -> None:
    """A container is inspected where the daemon would have done so."""
    engine.run("web", labels={"exitCode": "0"})
    engine.die("web", 7)
    engine.record("web", attributes={"exitCode": "7"})
    found = await recalled(engine)
    assert told(found) == [("web", "crashed", ["crashed"])]
    assert found.events[0].event.exit_code == 7


async def test_nobody_may_inspect(engine: ScriptedEngine) -> None:
    """Then it is judged without."""
    engine.answers["inspect"] = Answer(b'{"message": "no"}', 403)
    engine.record("web", attributes={"exitCode": "137"})
    assert told(await recalled(engine)) == [("web", "crashed", ["crashed"])]


async def test_an_engine_that_remembers_nothing(engine: ScriptedEngine) -> None:
    """That is no failure."""
    assert await recalled(engine) == History([])


async def test_what_is_no_history(engine: ScriptedEngine) -> None:
    """A proxy's page."""
    engine.answers["history"] = Answer(b"<html>\nsign in\n</html>")
    with pytest.raises(EngineUnavailable, match="answers, but not with events"):
        await recalled(engine)


async def test_an_engine_that_is_silent(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for for ever."""
    monkeypatch.setattr(hindsight, "TIMEOUT_S", 0.05)
    engine.answers["history"] = NoAnswer.SILENCE
    with pytest.raises(TimeoutError):
        await recalled(engine)


async def tail(folder: Path, *arguments: str, **engines: ScriptedEngine) -> tuple[int, str, str]:
    """The command, with these engines configured: its exit code and what it printed."""
    file = folder / "config.yaml"
    listed = ", ".join(f'{name}: {{url: "unix://{it.socket}"}}' for name, it in engines.items())
    file.write_text(CONFIG.replace("{here: {}}", f"{{{listed}}}"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relay", "tail", "--config", str(file), *arguments),
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(TIMEOUT_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_several_engines(tmp_path: Path, engine: ScriptedEngine) -> None:
    """One after the other in time; one that cannot be asked is told, and the exit code is 1."""
    edge, gone = (ScriptedEngine(tmp_path / f"{name}.sock") for name in ("edge", "gone"))
    for at, (where, name) in enumerate([(engine, "a"), (edge, "b"), (engine, "c"), (edge, "d")]):
        where.record(name, ago_s=50 - at)
    async with engine.serve(), edge.serve():
        code, out, err = await tail(tmp_path, "--since", "1h", here=engine, edge=edge, gone=gone)
        one = await tail(tmp_path, "--since", "1h", "--engine", "edge", here=engine, edge=edge)
    assert code == 1
    assert [line.split()[2:] for line in out.splitlines()] == [
        f"{where} container die {name} (crashed, exit code 3) → crashed: ops, audit".split()
        for where, name in (("here", "a"), ("edge", "b"), ("here", "c"), ("edge", "d"))
    ]
    assert err == f"engine gone: {gone.socket}: No such file or directory\n"
    assert [line.split()[2:5] for line in one[1].splitlines()] == [
        ["container", "die", "b"],
        ["container", "die", "d"],
    ]


async def test_all_of_it(tmp_path: Path, engine: ScriptedEngine) -> None:
    """Also what goes nowhere; and how far back it reaches."""
    for number in range(300):
        engine.record(f"web-{number}", action="exec_start", ago_s=400 - number)
    async with engine.serve():
        code, out, err = await tail(tmp_path, "--since", "1h", here=engine)
        assert (code, out) == (0, "")
        code, out, _ = await tail(tmp_path, "--since", "1h", "--all", "--json", here=engine)
    first, *rest = (json.loads(line) for line in out.splitlines())
    oldest = f"{format_rfc3339(first['event']['time_ns'])[:19].replace('T', ' ')}Z"
    assert err == f"engine here remembers nothing before {oldest}\n"
    assert first["event"]["actor"]["name"] == "web-44"
    assert first["routes"] == [{"route": "noise", "verdict": "dropped", "to": []}]
    assert (code, len(rest)) == (0, 255)


async def test_hostile_names(tmp_path: Path, engine: ScriptedEngine) -> None:
    """Nothing of what an engine says is obeyed by a terminal."""
    engine.record("\x1b[2J\u202e\nx", ago_s=5)
    async with engine.serve():
        for form in ([], ["--json"]):
            _, out, _ = await tail(tmp_path, "--since", "1h", *form, here=engine)
            (line,) = out.split("\n")[:-1]
            assert line.isprintable()
