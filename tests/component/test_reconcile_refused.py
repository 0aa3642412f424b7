"""Reconciliation with an engine that does not show its containers, not all, or not in time."""

import pytest
from structlog.testing import capture_logs

from relay.ingest.docker import reconciler
from relay.ingest.docker.engine import inspector
from tests.component.ingest import (
    BUSY,
    RECONCILE_CONSTANTLY,
    RECONCILE_ONCE,
    run_ingest,
    wait_for_full_snapshot,
    wait_for_lists,
    wait_for_pings,
)
from tests.component.scripted_engine import Answer, NoAnswer, ScriptedEngine


@pytest.mark.parametrize(
    ("endpoint", "status"),
    [
        *(("containers", status) for status in (401, 403, 404, 405, 501)),
        ("inspect", 401),
        ("inspect", 403),
    ],
)
async def test_a_proxy_that_shows_no_containers(
    engine: ScriptedEngine, endpoint: str, status: int
) -> None:
    """It is logged once, not once per connection, and not requested again over this one."""
    for name in ("db-1", "db-2", "db-3"):
        engine.run(name)
    engine.answers[endpoint] = Answer(b"<html>forbidden</html>", status)
    with capture_logs() as logs:
        async with (
            engine.serve(),
            run_ingest(engine, BUSY, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
        ):
            for number in range(1, 4):
                await engine.changes.wait_for(lambda: engine.request_count("containers") >= number)  # noqa: B023
                await wait_for_pings(engine, 30)
                assert engine.request_count("containers") == number
                engine.emit_deaths(f"db-{number}")
                await result.wait_for(lambda: len(result.routed) == number)  # noqa: B023
                engine.streams[-1].cut()
    logged = [line for line in logs if line["event"] == "reconcile.unavailable"]
    assert len(logged) == 1
    assert str(status) in logged[0]["reason"]
    assert result.container_names() == ["db-1", "db-2", "db-3"]


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(b"oops", 500),
        Answer(b"slow down", 429),
        Answer(b"bad", 400),
        Answer(b"<html>Welcome</html>"),
        Answer(b'{"Id": "a"}'),
        Answer(b'[{"Id": 7}]'),
        Answer(b"\xff"),
        Answer(b"[" * 100_000),
        NoAnswer.CLOSE,
        NoAnswer.SILENCE,
    ],
    ids=["500", "429", "400", "html", "object", "number", "no-utf8", "deep", "close", "silence"],
)
async def test_an_invalid_list(
    engine: ScriptedEngine, trouble: Answer | NoAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged once and requested until it is valid. Nothing is inferred from it."""
    monkeypatch.setattr(reconciler, "LIST_TIMEOUT_S", 0.05)
    engine.run("web")
    engine.answers["containers"] = trouble
    with capture_logs() as logs:
        async with (
            engine.serve(),
            run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
        ):
            await wait_for_lists(engine, 3)
            assert result.routed == []
            monkeypatch.setattr(reconciler, "LIST_TIMEOUT_S", 10)
            del engine.answers["containers"]
            await wait_for_full_snapshot(result)
            engine.die("web", 3)
            await result.wait_for_names("web")
            assert len(engine.streams) == 1
    assert sum(line["event"] == "reconcile.unavailable" for line in logs) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        *(Answer(b"oops", status) for status in (400, 405, 408, 409, 429, 500, 501)),
        Answer(b"<html>"),
        Answer(b"{}"),
        NoAnswer.CLOSE,
        NoAnswer.SILENCE,
    ],
    ids=["400", "405", "408", "409", "429", "500", "501", "html", "empty", "close", "silence"],
)
async def test_a_container_that_cannot_be_inspected(
    engine: ScriptedEngine, trouble: Answer | NoAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only this container is skipped, until it can be inspected."""
    monkeypatch.setattr(inspector, "CONTAINER_TIMEOUT_S", 0.1)
    engine.run("odd")
    engine.run("web")
    engine.answers[engine.containers["odd"].id] = trouble
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_lists(engine, 2)
        engine.die("odd", 4)
        engine.die("web", 3)
        await result.wait_for_names("web")
        await wait_for_lists(engine, 4)
        engine.answers.clear()
        monkeypatch.setattr(inspector, "CONTAINER_TIMEOUT_S", 10)
        await result.wait_for_names("web", "odd")


async def test_an_engine_that_inspects_nothing(engine: ScriptedEngine) -> None:
    """If it shows no container at all, that is logged once, and tried again."""
    engine.run("web")
    engine.run("db")
    engine.answers["inspect"] = Answer(b"oops", 500)
    with capture_logs() as logs:
        async with (
            engine.serve(),
            run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
        ):
            await wait_for_lists(engine, 4)
            assert result.pipeline.containers.may_have_missed_deaths
            engine.answers.clear()
            await wait_for_full_snapshot(result)
    assert sum(line["event"] == "reconcile.unavailable" for line in logs) == 1


async def test_a_failed_reconciliation_is_repeated(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if periodic reconciliation is switched off."""
    monkeypatch.setattr(reconciler, "RETRY_INTERVAL_S", 0.001)
    engine.run("web")
    engine.answers["containers"] = Answer(b"oops", 500)
    async with (
        engine.serve(),
        run_ingest(engine, BUSY, start_from="now", reconcile=RECONCILE_ONCE) as result,
    ):
        await wait_for_lists(engine, 3)
        engine.answers.clear()
        await wait_for_full_snapshot(result)
        before = engine.request_count("containers")
        await wait_for_pings(engine, 30)
        assert engine.request_count("containers") == before
