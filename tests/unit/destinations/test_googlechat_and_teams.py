"""What the cards of Google Chat and Microsoft Teams have in common."""

from types import ModuleType

import pytest

from relay.core.notification import build_notification
from relay.core.text import BLANK
from relay.destinations import googlechat, teams
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import LOGS
from tests.unit.destinations import test_googlechat, test_teams
from tests.unit.destinations.samples import (
    CONTAINER_GONE,
    CRASH,
    FACTS,
    MANY_FIELDS,
    NOTIFICATIONS,
    OOM,
    crash_with_included,
    custom_card,
)

every_card = pytest.mark.parametrize(
    "service", [test_googlechat, test_teams], ids=["googlechat", "teams"]
)
"""The modules whose ``texts``, ``facts``, ``notes`` and ``output`` read a service's card."""


@every_card
def test_shows_the_facts(service: ModuleType) -> None:
    """The most important facts are shown, and only those that exist."""
    crash, oom = (Card(build_notification("r", event)) for event in (CRASH, OOM))
    assert service.facts(crash) == {"Time": "2026-11-23 07:29:49 UTC", **FACTS}
    assert set(service.facts(oom)) == {"Time", "Host", "Image", "Logs"}


@every_card
def test_shows_the_route_and_the_event(service: ModuleType) -> None:
    """The notes lead back to the configuration and to the event."""
    assert service.notes(Card(NOTIFICATIONS[0])) == ["route crashed", CRASH.id[:16]]
    assert service.notes(Card(CONTAINER_GONE))[-1] == "not included: the container is gone"


@every_card
@pytest.mark.parametrize("nothing", ["", "  ", "\n"])
def test_has_no_blank_text(service: ModuleType, nothing: str) -> None:
    """Blank values are marked, and blank custom texts and output are left out."""
    card = custom_card(
        crash_with_included(logs=(nothing,), inspect={"State.Error": nothing}), text=nothing
    )
    facts = service.facts(card)
    assert list(facts.items())[-2:] == [("Logs", FACTS["Logs"]), ("State.Error", BLANK)]
    assert len(service.texts(card)) == 1 + len(facts) + 1  # the headline, and the notes


@pytest.mark.parametrize(
    ("service", "limit", "line_break"),
    [
        (test_googlechat, googlechat.OUTPUT_MAX[LOGS], "<br>"),
        (test_teams, teams.OUTPUT_MAX[LOGS], "\n"),
    ],
    ids=["googlechat", "teams"],
)
def test_keeps_the_last_lines_of_a_long_log(
    service: ModuleType, limit: int, line_break: str
) -> None:
    """The last lines tell why the container ended."""
    shown = service.output(Card(crash_with_included(logs=("x" * 4000, "panic"))))[LOGS]
    assert shown == "…" + "x" * (limit - 7) + f"{line_break}panic"


@every_card
def test_many_inspect_fields_share_the_space(service: ModuleType) -> None:
    """All fields that a route may ask for are shown, each of them truncated."""
    shown = list(service.facts(Card(MANY_FIELDS)).items())[-20:]
    assert [name[:2] for name, _ in shown] == [f"{n:02}" for n in range(20)]
    assert all(value.endswith("v…") for _, value in shown)
