"""The alert rules that are shipped."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy.metrics import asked_for, labels, promtool, promtool_is_here, served

FOLDER = Path(__file__).parents[3] / "deploy" / "prometheus"
RULES = FOLDER / "relay.rules.yaml"
TESTS = FOLDER / "relay.rules.test.yaml"


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


@promtool_is_here
@pytest.mark.parametrize("arguments", [("check", "rules", RULES), ("test", "rules", TESTS)])
def test_promtool(arguments: tuple[str | Path, ...]) -> None:
    """The rules can be loaded, and alert when they should and only then."""
    promtool(*arguments)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_what_a_rule_asks_for_is_there(rule: dict[str, Any]) -> None:
    """Every metric is one that relay serves, with the labels that the rule groups by or shows."""
    known, used = served(), asked_for(rule["expr"])
    assert used <= set(known)
    shown = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) - {"instance"}
    for name in used:
        assert labels(rule["expr"]) | shown <= known[name]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_a_rule_says_what_it_means(rule: dict[str, Any]) -> None:
    """How bad it is, what it is, and what to do."""
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}


def test_every_alert_is_tested() -> None:
    """The tests of the rules name every alert that is shipped, and no other."""
    tested = set(re.findall(r'alertname(?:="|: )(\w+)', TESTS.read_text()))
    assert tested == {rule["alert"] for rule in rules()}
