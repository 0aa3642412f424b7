"""Troubleshooting: what it quotes is what relay says."""

import re

import pytest

from relay.delivery.circuit_breaker import HealthChange
from tests.unit.docs.pages import DOCS, code, prose
from tests.unit.docs.printed import find_unsaid, said

PAGE = DOCS / "troubleshooting.md"
REASONS = [
    each
    for row in re.findall(r"^\| (`.*?) \|", prose(PAGE), re.MULTILINE)
    for each in code(row)
    if each != "why"
]
KEYS = {
    key.rpartition(".")[2]
    for key in re.findall(r"^\| `([\w.]+)` \|", (DOCS / "reference.md").read_text(), re.MULTILINE)
}
EVENTS = {
    each
    for each in code(prose(PAGE))
    if re.fullmatch(r"[a-z_]+\.[a-z_]+", each) and each.rpartition(".")[2] not in KEYS
}
TURNS = {turn.value.replace("_", ".", 1) for turn in HealthChange}


def test_there_are_messages() -> None:
    """Those of every kind."""
    assert len(REASONS) > 10
    assert len(EVENTS) > 10


@pytest.mark.parametrize("message", REASONS)
def test_a_message_is_one_that_relay_prints(message: str) -> None:
    """All of it that does not differ from case to case stands in the program."""
    assert find_unsaid(message) == []


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_an_event_of_the_log_is_one(event: str) -> None:
    """By its name."""
    assert event in TURNS or event in said().splitlines()
