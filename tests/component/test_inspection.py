"""Inspection fills in what the event stream does not say, or what a label hides."""

import pytest

from relay.core.event import Cause, Origin
from relay.ingest.docker.containers import later_evidence
from relay.ingest.docker.engine import inspector
from tests.component.ingest import IngestRun, run_ingest
from tests.component.scripted_engine import Answer, NoAnswer, ScriptedEngine


async def wait_for_streams(engine: ScriptedEngine, count: int = 1) -> None:
    await engine.changes.wait_for(lambda: len(engine.streams) >= count)


def summarize(result: IngestRun) -> list[tuple[str, int | None, Cause | None]]:
    return [(event.action, event.exit_code, event.cause) for event in result.routed]


def exit_codes(result: IngestRun) -> dict[str | None, int | None]:
    """The exit codes of the routed events, by container: none waits for another's inspection."""
    return {event.actor.name: event.exit_code for event in result.routed}


async def test_a_label_that_hides_the_exit_code(engine: ScriptedEngine) -> None:
    """Inspection finds the true one, also in the middle of a batch."""
    engine.run("web", {"exitCode": "0"})
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.die("web", 7)
        lines = [engine.record("db"), engine.record("web"), engine.record("cache")]
        engine.streams[0].write(b"".join(lines))
        await result.wait_for(lambda: len(result.routed) == 3)
    assert exit_codes(result) == {"db": 3, "web": 7, "cache": 3}
    assert {event.cause for event in result.routed} == {Cause.CRASHED}


async def test_events_of_the_history_are_inspected(engine: ScriptedEngine) -> None:
    """A hidden exit code is found although its event comes with the stream's first bytes."""
    engine.run("web", {"exitCode": "0"})
    engine.die("web", 7)
    engine.record("web")
    async with engine.serve(), run_ingest(engine) as result:
        await result.wait_for_names("web")
    assert summarize(result) == [("die", 7, Cause.CRASHED)]


async def test_a_batch_about_many_containers(engine: ScriptedEngine) -> None:
    """There are more of them than are inspected at once."""
    names = [f"web-{number}" for number in range(3 * inspector.CONCURRENCY)]
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        for code, name in enumerate(names, 1):
            engine.run(name, {"exitCode": "0"})
            engine.die(name, code)
        engine.streams[0].write(b"".join(engine.record(name) for name in names))
        await result.wait_for(lambda: len(result.routed) == len(names))
    assert exit_codes(result) == {name: code for code, name in enumerate(names, 1)}


async def test_the_stop_signal_of_a_container(engine: ScriptedEngine) -> None:
    """A signal that asks only this container to end explains its death; another does not."""
    engine.run("web", stop_signal="SIGUSR1")
    engine.run("db")
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        for name in ("web", "db"):
            engine.emit(name, "kill", signal="10")
            engine.die(name, 138)
            engine.emit(name, "die", exitCode="138")
        await result.wait_for(lambda: len(result.routed) == 4)
    causes = {event.actor.name: event.cause for event in result.routed if event.action == "die"}
    assert causes == {"web": Cause.REQUESTED, "db": Cause.CRASHED}


async def test_an_oom_kill_without_an_event(engine: ScriptedEngine) -> None:
    """Podman sends no oom event and Docker may skip one: inspection finds it."""
    engine.run("web")
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.die("web", 137, oom=True)
        engine.emit("web", "die", exitCode="137")
        await result.wait_for(lambda: len(result.routed) == 2)
    assert summarize(result) == [("oom", None, None), ("die", 137, Cause.OOM)]
    assert [event.origin for event in result.routed] == [Origin.INFERRED, Origin.LIVE]


@pytest.mark.parametrize(
    "answer",
    [Answer(b"", 404), Answer(b"", 403), Answer(b"", 500), Answer(b"<html>"), NoAnswer.CLOSE],
    ids=["404", "403", "500", "html", "close"],
)
async def test_a_container_that_cannot_be_inspected(
    engine: ScriptedEngine, answer: Answer | NoAnswer
) -> None:
    """Its death is delivered without what a label hides, and nothing else is held up."""
    engine.answers["id-of-web"] = answer
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.run("web", {"exitCode": "0"})
        engine.emit("web", "start")
        engine.die("web", 7)
        engine.emit("web", "die", exitCode="7")
        engine.emit_deaths("db")
        await result.wait_for(lambda: len(result.routed) == 3)
        assert len(engine.streams) == 1
    deaths = {event.actor.name: event.cause for event in result.routed if event.action == "die"}
    assert deaths == {"web": Cause.UNKNOWN, "db": Cause.CRASHED}
    assert exit_codes(result) == {"web": None, "db": 3}
    assert result.relay_actions() == []


async def test_a_slow_inspection(engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its container's events wait for a limited time, and no others."""
    monkeypatch.setattr(inspector, "TIMEOUT_S", 0.2)
    engine.answers["id-of-web"] = NoAnswer.SILENCE
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        for name in ("web", "db"):
            engine.run(name, {"exitCode": "0"})
            engine.die(name, 7)
        engine.streams[0].write(engine.record("web") + engine.record("db"))
        await result.wait_for_names("db", "web")
    assert exit_codes(result) == {"db": 7, "web": 0}


async def test_podman_shows_a_stop_by_two_cleanups(engine: ScriptedEngine) -> None:
    """Two cleanup events follow the death, and prove that somebody requested it."""
    engine.podman = True
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.run("web")
        engine.emit("web", "start", containerExitCode="0")
        engine.die("web", 0)
        lines = [
            engine.record("web", action=action, attributes={"containerExitCode": "0"})
            for action in ("die", "cleanup", "cleanup")
        ]
        engine.streams[0].write(b"".join(lines))
        await result.wait_for(lambda: len(result.routed) == 4)
    assert summarize(result)[1] == ("die", 0, Cause.REQUESTED)


async def test_podman_shows_an_end_by_one_cleanup(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody requested it; that is known once no second cleanup comes."""
    monkeypatch.setattr(later_evidence, "PODMAN_WAIT_S", 0.1)
    engine.podman = True
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.run("web")
        engine.emit("web", "start", containerExitCode="0")
        engine.die("web", 0)
        for action in ("die", "cleanup"):
            engine.emit("web", action, containerExitCode="0")
        await result.wait_for(lambda: len(result.routed) == 3)
    assert summarize(result)[1] == ("die", 0, Cause.FINISHED)


@pytest.mark.parametrize(("stopped", "cause"), [(True, Cause.REQUESTED), (False, Cause.CRASHED)])
async def test_podman_says_whether_somebody_stopped_a_container(
    engine: ScriptedEngine, stopped: bool, cause: Cause
) -> None:
    """One request over its own API, and no wait for evidence."""
    engine.podman, engine.podman_version = True, "5.4.2"
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.run("web")
        engine.emit("web", "start", containerExitCode="0")
        engine.die("web", 3, stopped_by_user=stopped)
        engine.emit("web", "die", exitCode="3")
        await result.wait_for(lambda: len(result.routed) == 2)
    assert summarize(result)[1] == ("die", 3, cause)
    assert engine.requests[-1] == "/v5.4.2/libpod/containers/id-of-web/json"


@pytest.mark.parametrize("status", [403, 404])
async def test_a_proxy_that_withholds_podmans_own_api(engine: ScriptedEngine, status: int) -> None:
    """The container is inspected over Docker's, and evidence shows who stopped it."""
    engine.podman, engine.podman_version = True, "5.4.2"
    engine.answers["libpod"] = Answer(b"", status)
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.run("web")
        engine.emit("web", "start", containerExitCode="0")
        engine.die("web", 137, oom=True)
        engine.emit("web", "die", exitCode="137")
        await result.wait_for(lambda: len(result.routed) == 3)
    assert summarize(result)[1:] == [("oom", None, None), ("die", 137, Cause.OOM)]
    assert engine.request_count("inspect") == 2


@pytest.mark.parametrize("version", ["4.3.1", "4.7.2", "5", "5.4.2/../..", "5.4.2-dev"])
async def test_a_podman_that_does_not_say_it(engine: ScriptedEngine, version: str) -> None:
    """It is asked over Docker's API."""
    engine.podman, engine.podman_version = True, version
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.run("web")
        engine.die("web", 3, stopped_by_user=True)
        for action in ("die", "remove"):
            engine.emit("web", action, exitCode="3")
        await result.wait_for(lambda: len(result.routed) == 2)
    assert summarize(result)[0] == ("die", 3, Cause.CRASHED)
    assert not [target for target in engine.requests if "libpod" in target]


async def test_an_oom_after_its_death(engine: ScriptedEngine) -> None:
    """The engine noted neither when it sent the death: relay waits for the next event."""
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.run("web")
        engine.emit("web", "start")
        engine.die("web", 137)
        engine.emit("web", "die", exitCode="137")
        engine.emit_deaths("db")
        await result.wait_for(lambda: len(result.routed) == 2)
        engine.emit("web", "oom")
        await result.wait_for(lambda: len(result.routed) == 4)
    assert [(event.actor.name, event.action, event.cause) for event in result.routed] == [
        ("web", "start", None),
        ("db", "die", Cause.CRASHED),
        ("web", "die", Cause.OOM),
        ("web", "oom", None),
    ]


async def test_podmans_labels_hide_nothing(engine: ScriptedEngine) -> None:
    """Podman puts its real values before the labels, so no inspection is needed."""
    engine.podman = True
    async with engine.serve(), run_ingest(engine) as result:
        await wait_for_streams(engine)
        engine.run("web")
        engine.emit("web", "start", containerExitCode="0", exitCode="9")
        for action in ("die", "cleanup", "cleanup"):
            engine.emit("web", action, containerExitCode="7", exitCode="7")
        await result.wait_for(lambda: len(result.routed) == 4)
    assert result.routed[1].exit_code == 7
