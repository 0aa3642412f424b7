"""Troubleshooting: what it quotes is what relay says."""

import ast
import re
from collections.abc import Iterator

import pytest

from relay.delivery.circuit_breaker import HealthChange
from tests.unit.docs.pages import DOCS, ROOT, code, prose
from tools.reference import reference

PAGE = DOCS / "troubleshooting.md"
MESSAGES = [
    line.strip()
    for text in re.findall(r"^ *```text\n(.*?)^ *```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    for line in text.splitlines()
]
REASONS = [
    each
    for row in re.findall(r"^\| (`.*?) \|", prose(PAGE), re.MULTILINE)
    for each in code(row)
    if each != "why"
]
KEYS = {
    key.rpartition(".")[2] for key in re.findall(r"^\| `([\w.]+)` \|", reference(), re.MULTILINE)
}
EVENTS = {
    each
    for each in code(prose(PAGE))
    if re.fullmatch(r"[a-z_]+\.[a-z_]+", each) and each.rpartition(".")[2] not in KEYS
}
SYSTEM = {"No such file or directory", "Connection refused", "Permission denied"}
"""What the system says."""
NAMES = {
    *("config.yaml", "destinations.ops.url_file", "/run/secrets/slack", "destinations.ops.url"),
    *("routes", "match.acton", "acton", "opps", "destination ops"),
    *("ops", "relay destination enable ops", "to /events", "to /containers/json"),
}
"""What the page chose for its examples."""
TURNS = {turn.value.replace("_", ".", 1) for turn in HealthChange}


def texts() -> Iterator[str]:
    """All that the program can say: its literals, without what is only documentation."""
    for file in (ROOT / "relay").rglob("*.py"):
        tree = ast.parse(file.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in docstrings:
                yield str(node.value)


SAID = "\n".join(texts())


def pieces(message: str) -> set[str]:
    """What stands in the message whatever it is about, and how a log line is laid out."""
    found = re.split(r"…|\$?[':;(){}\[\]?]|\b[0-9]+\b|\b[A-Z]+_[A-Z_]+\b|\b[a-z]+=", message)
    return {piece.strip(" ,.-") for piece in found} - NAMES - SYSTEM - {""}


def test_there_are_messages() -> None:
    """Those of every kind."""
    assert len(MESSAGES) > 15
    assert len(REASONS) > 10
    assert len(EVENTS) > 10


@pytest.mark.parametrize("message", [*MESSAGES, *REASONS])
def test_a_message_is_one_that_relay_prints(message: str) -> None:
    """All of it that does not differ from case to case stands in the program."""
    assert [piece for piece in pieces(message) if piece not in SAID] == []


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_an_event_of_the_log_is_one(event: str) -> None:
    """By its name."""
    assert event in TURNS or event in SAID.splitlines()
