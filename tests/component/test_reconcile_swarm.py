"""Reconciliation of a Swarm's services, at the engine that manages it."""

import json

from structlog.testing import capture_logs

from tests.component.ingest import (
    RECONCILE_CONSTANTLY,
    IngestRun,
    run_ingest,
    wait_for_full_snapshot,
    wait_for_lists,
)
from tests.component.scripted_engine import Answer, ScriptedEngine

SWARM = {"Name": "node-1", "Swarm": {"ControlAvailable": True}}


REJECTED = {
    "ServiceID": "s1",
    "Slot": 1,
    "Status": {"State": "rejected", "Err": "No such image: web:2", "Timestamp": "2026-11-30"},
}


def failed_starts(result: IngestRun) -> list[tuple[str, str | None, str]]:
    """The routed starts that failed: type, name and error."""
    return [
        (event.type, event.actor.name, event.actor.attributes["error"])
        for event in result.routed
        if event.action == "start_failed"
    ]


async def test_a_service_of_a_swarm_that_cannot_start(engine: ScriptedEngine) -> None:
    """A manager is asked at each comparison; it is reported once, even if an answer is lost."""
    engine.answers |= {
        "info": Answer(json.dumps(SWARM).encode()),
        "tasks": Answer(json.dumps([REJECTED]).encode()),
        "services": Answer(b'[{"ID": "s1", "Spec": {"Name": "web"}}]'),
    }
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await result.wait_for_names("web")
        engine.answers["tasks"] = Answer(b"<html>", 502)
        await wait_for_lists(engine, 4)
        engine.answers["tasks"] = Answer(json.dumps([REJECTED]).encode())
        await wait_for_lists(engine, 8)
    assert failed_starts(result) == [("service", "web", "No such image: web:2")]


async def test_a_manager_that_does_not_show_its_tasks(engine: ScriptedEngine) -> None:
    """It is logged once, and the containers are compared all the same."""
    engine.answers |= {
        "info": Answer(json.dumps(SWARM).encode()),
        "tasks": Answer(b"denied", 403),
    }
    with capture_logs() as logs:
        async with (
            engine.serve(),
            run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
        ):
            await wait_for_full_snapshot(result)
            await wait_for_lists(engine, 4)
    (logged,) = [line for line in logs if line["event"] == "services.unavailable"]
    assert logged["reason"] == "answers 403 to /tasks: denied"


async def test_other_engines_are_not_asked_for_tasks(engine: ScriptedEngine) -> None:
    """They would answer that they are no managers."""
    async with (
        engine.serve(),
        run_ingest(engine, start_from="now", reconcile=RECONCILE_CONSTANTLY) as result,
    ):
        await wait_for_full_snapshot(result)
    assert engine.request_count("tasks") == 0
