"""Engines of several kinds and versions: a death has the same cause and exit code on each."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from tests.acceptance.scenarios import SCENARIOS, Death, Scenario
from tests.support.daemon import RelayProcess, write_config
from tests.support.receiver import Received, Receiver
from tests.support.sandboxed_engine import SandboxedEngine

LAST = "last"
"""A container that ends after all the others."""

RUNS_MAX = 3
"""The scenarios run at most this often, if an engine does not report the OOM kill."""

OUTCOME_TIMEOUT_S = 30.0

MATCH = {"type": "container", "interactive": False}
"""As in the shipped configurations, so that relay inspects each container at its start."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a receiver got for one scenario on one engine."""

    engine: str
    scenario: Scenario
    actions: tuple[str, ...]
    """In the order of arrival."""
    deaths: tuple[Death, ...]
    ooms: int

    @property
    def is_right(self) -> bool:
        """Whether it is what the scenario expects."""
        return (self.deaths, self.ooms) == (self.scenario.deaths, self.scenario.ooms)


def _events(received: Sequence[Received], name: str) -> list[dict[str, Any]]:
    """Return the events of a container."""
    events = [event for request in received for event in request.json["events"]]
    return [event for event in events if event["actor"]["name"] == name]


def _find_outcome(engine: str, scenario: Scenario, events: Sequence[dict[str, Any]]) -> Outcome:
    actions = tuple(event["action"] for event in events)
    deaths = [event for event in events if event["action"] == "die"]
    causes = tuple((event["cause"], event["exit_code"]) for event in deaths)
    origins = [event["origin"] for event in events if event["action"] == "oom"]
    inferred = origins.count("inferred")
    # an engine may report one OOM kill twice: that counts as one
    ooms = inferred + (len(origins) > inferred)
    return Outcome(engine, scenario, actions, causes, ooms)


def _name(scenario: Scenario) -> str:
    return re.sub("[^a-zA-Z0-9]+", "-", scenario.name)


def _is_complete(received: Sequence[Received]) -> bool:
    """Return whether all deaths have arrived, including that of `LAST`."""
    expected = {LAST: 1} | {_name(scenario): len(scenario.deaths) for scenario in SCENARIOS}
    return all(
        [event["action"] for event in _events(received, name)].count("die") >= number
        for name, number in expected.items()
    )


@pytest.fixture(scope="module")
def table() -> Iterator[list[Outcome]]:
    """All outcomes, engine by engine; printed at the end, which ``-s`` shows."""
    outcomes: list[Outcome] = []
    yield outcomes
    wrong = sum(not it.is_right for it in outcomes)
    lines = [_line(it) for it in outcomes]
    click.echo("\n".join(["", *lines, f"{len(lines)} outcomes, wrong: {wrong}"]))


def _line(outcome: Outcome) -> str:
    deaths = ", ".join(f"{cause} {code}" for cause, code in outcome.deaths)
    verdict = "right" if outcome.is_right else "WRONG"
    start = f"{outcome.engine:12}  {outcome.scenario.name:27}  {verdict}  {deaths:33}"
    return f"{start}  {' '.join(outcome.actions)}"


@pytest.fixture(scope="module")
def outcomes(
    each_engine: tuple[str, SandboxedEngine],
    tmp_path_factory: pytest.TempPathFactory,
    table: list[Outcome],
) -> dict[str, Outcome]:
    """Run all scenarios on the engine under one relay; return the outcome of each.

    Now and then a Docker engine sends no ``oom`` for an OOM kill, and does not show it either. Such
    a run is repeated.
    """
    engine_name, engine = each_engine
    for _ in range(RUNS_MAX):
        found = _run_once(engine_name, engine, tmp_path_factory.mktemp("relay"))
        are_ooms_right = all(it.is_right for it in found if it.scenario.ooms)
        sent = [event["Action"] for event in engine.events()].count("oom")
        if are_ooms_right or sent > 1 or engine_name.startswith("podman"):
            break
        engine.remove_containers()
    table += found
    return {outcome.scenario.name: outcome for outcome in found}


def _run_once(engine_name: str, engine: SandboxedEngine, folder: Path) -> list[Outcome]:
    with Receiver() as receiver:
        config = write_config(
            folder,
            engines={"here": {"url": engine.url}},
            store={"path": str(folder / "relay.db")},
            destinations={"hook": {"type": "http", "url": receiver.url(), "concurrency": 1}},
            routes=[{"name": "containers", "match": MATCH, "to": "hook"}],
        )
        with RelayProcess(config) as relay:
            relay.wait_for_log("engine.connected")
            for scenario in SCENARIOS:
                scenario.run(engine, _name(scenario))
            engine.run("sh", "-c", "exit 1", name=LAST)
            engine.wait(LAST)
            with suppress(AssertionError):  # a missing death fails the test of its scenario
                receiver.wait_for(_is_complete, OUTCOME_TIMEOUT_S)
            assert relay.terminate() == 0
        received = receiver.received
    return [_find_outcome(engine_name, it, _events(received, _name(it))) for it in SCENARIOS]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=_name)
def test_each_death_is_reported_as_it_happened(
    scenario: Scenario, outcomes: dict[str, Outcome]
) -> None:
    """Each death arrives once, with its cause and exit code, and an OOM kill is reported once."""
    outcome = outcomes[scenario.name]
    assert outcome.deaths == scenario.deaths, outcome.actions
    assert outcome.ooms == scenario.ooms, outcome.actions
