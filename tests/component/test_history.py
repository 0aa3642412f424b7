"""The history of engines, as `relay tail --since` reads and routes it."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import time_ns

import pytest

from relay.config import Config
from relay.core.event import format_rfc3339
from relay.destinations.catalog import parse_config
from relay.dryrun import history
from relay.dryrun.history import History, Recording, Window, fetch_history
from relay.dryrun.simulator import Simulator
from relay.ingest.docker.cursor import LOOKBACK_NS
from relay.ingest.docker.engine.client import connect
from relay.ingest.docker.engine.endpoint import Endpoint
from relay.ingest.docker.engine.errors import EngineUnavailable
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
    return parse_config(text, file="test", environ={}, folder=Path())


async def fetch(
    engine: ScriptedEngine, window: Window = HOUR, config: Config | None = None
) -> History:
    connect_engine = partial(connect, Endpoint(f"unix://{engine.socket}", None, None), time_ns)
    async with engine.serve(), asyncio.timeout(TIMEOUT_S):
        return await fetch_history(config or configured(), "here", connect_engine, window)


def summarize(found: History) -> list[tuple[str | None, str, list[str]]]:
    """Name, cause or action, and matching routes of each event."""
    return [
        (
            it.event.actor.name,
            it.event.cause or it.event.action,
            [step.route.name for step in it.routes if step.is_match],
        )
        for it in found.events
    ]


async def test_what_events_did(engine: ScriptedEngine) -> None:
    """As far as the engine remembers: which opened an incident, which were counted."""
    config = configured(
        CONFIG.replace("ops: {type: console}", 'ops: {type: slack, url: "http://slack/x"}')
    )
    for ago_s in (50, 49, 48):
        engine.record("crashes", ago_s=ago_s)
    engine.record("works", action="exec_start: sh", ago_s=30)
    found = await fetch(engine, config=config)
    assert [
        {to: (effect.kind.value, effect.total) for to, effect in it.effects.items()}
        for it in found.events
    ] == [{"ops": ("opened", 1)}, {"ops": ("counted", 2)}, {"ops": ("counted", 3)}, {}]


async def test_causes_and_routes(engine: ScriptedEngine) -> None:
    """Events have the daemon's causes and routes, and the engine's own name as host."""
    engine.record("crashes", ago_s=50)
    engine.record("stops", action="kill", ago_s=40, attributes={"signal": "15"})
    engine.record("stops", ago_s=39, attributes={"exitCode": "137"})
    engine.record("works", action="exec_start: sh", ago_s=30)
    found = await fetch(engine)
    assert summarize(found) == [
        ("crashes", "crashed", ["crashed"]),
        ("stops", "kill", []),
        ("stops", "requested", ["asked"]),
        ("works", "exec_start", ["noise"]),
    ]
    assert {(it.event.engine, it.event.host) for it in found.events} == {("here", "node-1")}
    assert found.oldest_ns is None
    assert engine.streams == []


async def test_commands_in_relays_own_container(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They match no route, as in the daemon."""
    monkeypatch.setattr(history, "find_self_container", lambda: container_id("relay"))
    for name in ("relay", "works"):
        engine.record(name, action="exec_start: sh", ago_s=30)
    assert [(name, routes) for name, _, routes in summarize(await fetch(engine)) if routes] == [
        ("works", ["noise"])
    ]


@pytest.mark.parametrize("recorded", ENGINES)
async def test_equals_a_replay(engine: ScriptedEngine, recorded: str) -> None:
    """An engine's history gives the same events and routes as a recording of it."""
    engine.answers["history"] = Answer(b"\n".join(read_records(recorded)))
    simulator = Simulator(configured(), host="node-1")
    batches = simulator.run(Recording(simulator, read_records(recorded)))
    replayed = [each for batch in batches for each in batch.routed]
    found = await fetch(engine, Window(1))
    assert [it.event for it in found.events] == [it.event for it in replayed]
    assert summarize(found) == summarize(History(replayed))
    assert ("shop-web-1", "crashed", ["crashed"]) in summarize(found)


async def test_a_window(engine: ScriptedEngine) -> None:
    """Events outside the window are not returned, but explain those inside."""
    engine.record("web", action="kill", ago_s=700, attributes={"signal": "15"})
    engine.record("web", ago_s=690, attributes={"exitCode": "0"})
    engine.record("late", ago_s=10)
    window = Window(timedelta(seconds=695), timedelta(seconds=60))
    assert summarize(await fetch(engine, window)) == [("web", "requested", ["asked"])]


async def test_an_engine_whose_clock_differs(engine: ScriptedEngine) -> None:
    """The window is by the engine's clock."""
    engine.ahead_ns = 3600 * 10**9
    engine.record("old", ago_s=600)
    engine.record("new", ago_s=60)
    found = await fetch(engine, Window(timedelta(minutes=5)))
    assert [name for name, *_ in summarize(found)] == ["new"]


@pytest.mark.parametrize(
    ("count", "since", "forgotten"),
    [
        (256, timedelta(hours=1), True),
        (300, timedelta(hours=1), True),
        (255, timedelta(hours=1), False),  # it may not have had more to remember
        (300, timedelta(seconds=60), False),
    ],
)
async def test_a_history_that_is_too_short(
    engine: ScriptedEngine, count: int, since: timedelta, forgotten: bool
) -> None:
    """The oldest time is returned if the history is full and does not reach back far enough."""
    for number in range(count):
        engine.record(f"web-{number}", ago_s=500 - number)
    found = await fetch(engine, Window(since))
    oldest = max(0, count - 256)
    if forgotten:
        assert found.oldest_ns == found.events[0].event.time_ns
        assert found.events[0].event.actor.name == f"web-{oldest}"
        assert len(found.events) == 256
    else:
        assert found.oldest_ns is None


async def test_podman(engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Podman remembers everything, so only part is fetched; a second cleanup shows a stop."""
    monkeypatch.setattr(scripted_engine, "HISTORY_SIZE", 1000)
    engine.podman = True
    for action in ("die", "cleanup", "cleanup"):
        engine.record("web", action=action, ago_s=30, attributes={"containerExitCode": "137"})
    for number in range(300):
        engine.record(f"web-{number}", action="init", ago_s=20)
    found = await fetch(engine, Window(timedelta(seconds=60)))
    assert summarize(found)[0] == ("web", "requested", ["asked"])
    assert found.oldest_ns is None
    (asked,) = (it for it in engine.requests if "/events" in it)
    since_s = int(asked.partition("since=")[2].partition(".")[0])
    assert "stream=false" in asked
    assert abs(time_ns() / 1e9 - 60 - LOOKBACK_NS / 1e9 - since_s) < 30


async def test_an_exit_code_hidden_by_a_label(engine: ScriptedEngine) -> None:
    """A container is inspected if the daemon would have done so."""
    engine.run("web", labels={"exitCode": "0"})
    engine.die("web", 7)
    engine.record("web", attributes={"exitCode": "7"})
    found = await fetch(engine)
    assert summarize(found) == [("web", "crashed", ["crashed"])]
    assert found.events[0].event.exit_code == 7


async def test_inspection_refused(engine: ScriptedEngine) -> None:
    """The cause is then decided without it."""
    engine.answers["inspect"] = Answer(b'{"message": "no"}', 403)
    engine.record("web", attributes={"exitCode": "137"})
    assert summarize(await fetch(engine)) == [("web", "crashed", ["crashed"])]


async def test_an_empty_history(engine: ScriptedEngine) -> None:
    """It is not an error."""
    assert await fetch(engine) == History([])


async def test_an_answer_that_is_not_a_history(engine: ScriptedEngine) -> None:
    """A proxy's page is reported as such."""
    engine.answers["history"] = Answer(b"<html>\nsign in\n</html>")
    with pytest.raises(EngineUnavailable, match="answers, but not with events"):
        await fetch(engine)


async def test_an_engine_that_does_not_answer(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine has a limited time to answer."""
    monkeypatch.setattr(history, "TIMEOUT_S", 0.05)
    engine.answers["history"] = NoAnswer.SILENCE
    with pytest.raises(TimeoutError):
        await fetch(engine)


async def tail(folder: Path, *arguments: str, **engines: ScriptedEngine) -> tuple[int, str, str]:
    """Run the command with these engines configured; its exit code, output and errors."""
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
    """Events are in order of time; an unreachable engine is named, and the exit code is 1."""
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


async def test_all_events(tmp_path: Path, engine: ScriptedEngine) -> None:
    """``--all`` also shows events that go nowhere; standard error says how far back."""
    for number in range(300):
        engine.record(f"web-{number}", action="exec_start", ago_s=400 - number)
    async with engine.serve():
        code, out, err = await tail(tmp_path, "--since", "1h", here=engine)
        assert (code, out) == (0, "")
        code, out, _ = await tail(tmp_path, "--since", "1h", "--all", "--json", here=engine)
    first, *rest = (json.loads(line) for line in out.splitlines())
    oldest = f"{format_rfc3339(first['event']['time_ns'])[:19].replace('T', ' ')}Z"
    assert err == (
        f"engine here remembers nothing before {oldest}\n"
        "nothing to show: there were 256 events that no route sends anywhere: --all shows them\n"
    )
    assert first["event"]["actor"]["name"] == "web-44"
    assert first["routes"] == [{"route": "noise", "verdict": "dropped", "to": []}]
    assert (code, len(rest)) == (0, 255)


async def test_nothing_to_show(tmp_path: Path, engine: ScriptedEngine) -> None:
    """It is said, and why: nothing happened, or no route sends what happened."""
    async with engine.serve():
        assert await tail(tmp_path, "--since", "1h", here=engine) == (
            0,
            "",
            "nothing to show: no engine remembers an event of that time\n",
        )
        engine.emit("web", "start")
        engine.emit("web", "pause")
        assert await tail(tmp_path, "--since", "1h", here=engine) == (
            0,
            "",
            "nothing to show: there were 2 events that no route sends anywhere: --all shows them\n",
        )


async def test_hostile_names(tmp_path: Path, engine: ScriptedEngine) -> None:
    """Control characters in names are escaped."""
    engine.record("\x1b[2J\u202e\nx", ago_s=5)
    async with engine.serve():
        for form in ([], ["--json"]):
            _, out, _ = await tail(tmp_path, "--since", "1h", *form, here=engine)
            (line,) = out.split("\n")[:-1]
            assert line.isprintable()
