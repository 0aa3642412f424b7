"""Engines of different ages and makes: a death has the same cause and code on each of them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import click
import pytest

from tests.acceptance.scenarios import SCENARIOS, Death, Scenario
from tests.support.daemon import RelayProcess, write_config
from tests.support.receiver import Received, Receiver
from tests.support.sandboxed_engine import SandboxedEngine

LAST = "last"
"""A container that ends after all the others."""

OUTCOME_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a receiver got of one scenario on one engine."""

    engine: str
    scenario: Scenario
    actions: tuple[str, ...]
    """In the order of their arrival."""
    deaths: tuple[Death, ...]
    ooms: int

    @property
    def right(self) -> bool:
        """Whether it is what a person who knows what was done would say."""
        return (self.deaths, self.ooms) == (self.scenario.deaths, self.scenario.ooms)


def _events(received: Sequence[Received], name: str) -> list[dict[str, Any]]:
    """The events of the container called ``name``."""
    every = [event for request in received for event in request.json["events"]]
    return [event for event in every if event["actor"]["name"] == name]


def _outcome(engine: str, scenario: Scenario, events: Sequence[dict[str, Any]]) -> Outcome:
    actions = tuple(event["action"] for event in events)
    deaths = [event for event in events if event["action"] == "die"]
    causes = tuple((event["cause"], event["exit_code"]) for event in deaths)
    origins = [event["origin"] for event in events if event["action"] == "oom"]
    inferred = origins.count("inferred")
    # an engine may say itself twice that one container ran out of memory: that counts as once
    ooms = inferred + (len(origins) > inferred)
    return Outcome(engine, scenario, actions, causes, ooms)


def _name(scenario: Scenario) -> str:
    return scenario.what.replace(",", "").replace(" ", "-")


def _complete(received: Sequence[Received]) -> bool:
    """Whether as many deaths have come as there were, and the last."""
    expected = {LAST: 1} | {_name(scenario): len(scenario.deaths) for scenario in SCENARIOS}
    return all(
        [event["action"] for event in _events(received, name)].count("die") >= number
        for name, number in expected.items()
    )


@pytest.fixture(scope="module")
def table() -> Iterator[list[Outcome]]:
    """All outcomes, engine by engine; printed at the end, for a run with ``-s``."""
    outcomes: list[Outcome] = []
    yield outcomes
    wrong = sum(not it.right for it in outcomes)
    lines = [_line(it) for it in outcomes]
    click.echo("\n".join(["", *lines, f"{len(lines)} outcomes, wrong: {wrong}"]))


def _line(outcome: Outcome) -> str:
    deaths = ", ".join(f"{cause} {code}" for cause, code in outcome.deaths)
    verdict = "right" if outcome.right else "WRONG"
    start = f"{outcome.engine:12}  {outcome.scenario.what:24}  {verdict}  {deaths:33}"
    return f"{start}  {' '.join(outcome.actions)}"


@pytest.fixture(scope="module")
def outcomes(
    aged_engine: tuple[str, SandboxedEngine],
    tmp_path_factory: pytest.TempPathFactory,
    table: list[Outcome],
) -> dict[str, Outcome]:
    """Let everything happen once on the engine, under one relay."""
    age, engine = aged_engine
    folder = tmp_path_factory.mktemp("relay")
    with Receiver() as receiver:
        config = write_config(
            folder,
            engines={"here": {"url": engine.url}},
            store={"path": str(folder / "relay.db")},
            destinations={"hook": {"type": "http", "url": receiver.url(), "concurrency": 1}},
            routes=[{"name": "containers", "match": {"type": "container"}, "to": "hook"}],
        )
        with RelayProcess(config) as relay:
            relay.wait_for_log("engine.connected")
            for scenario in SCENARIOS:
                scenario.happen(engine, _name(scenario))
            engine.run("sh", "-c", "exit 1", name=LAST)
            engine.wait(LAST)
            with suppress(AssertionError):  # what is missing shows in its own test
                receiver.wait_for(_complete, OUTCOME_TIMEOUT_S)
            assert relay.terminate() == 0
        received = receiver.received
    found = [_outcome(age, it, _events(received, _name(it))) for it in SCENARIOS]
    table += found
    return {outcome.scenario.what: outcome for outcome in found}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=_name)
def test_a_death_is_told_as_it_was(scenario: Scenario, outcomes: dict[str, Outcome]) -> None:
    """Every death comes once, with its cause and exit code; memory that ran out is said once."""
    outcome = outcomes[scenario.what]
    assert outcome.deaths == scenario.deaths, outcome.actions
    assert outcome.ooms == scenario.ooms, outcome.actions
