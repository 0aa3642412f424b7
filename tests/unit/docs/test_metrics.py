"""The page about metrics: the words of their labels, and the alerts.

That every metric has its row, with its labels, is a test of the metrics themselves.
"""

import re
from collections import defaultdict

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from relay.admin.metrics import render_metrics
from tests.unit.admin.test_metrics import make_snapshot
from tests.unit.docs.pages import DOCS, ROOT, code

PAGE = DOCS / "metrics.md"
RULES = ROOT / "deploy" / "prometheus" / "relay.rules.yaml"
CONFIGURED = {"engine", "destination", "route", "version", "le"}
"""Labels whose values are names of the configuration, or numbers."""


def words() -> dict[str, set[str]]:
    """The values that a metric's labels can have, by its name."""
    found: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(render_metrics(make_snapshot(), {}).decode()):
        for sample in family.samples:
            said = {value for key, value in sample.labels.items() if key not in CONFIGURED}
            found[sample.name] |= said
    return {name: said for name, said in found.items() if said}


@pytest.mark.parametrize(("name", "said"), words().items())
def test_every_word_of_a_label_is_documented(name: str, said: set[str]) -> None:
    """In the row of its metric, and in the form in which it is served."""
    row = re.search(rf"^\| `{name}` \|[^|]*\|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    assert row is not None
    assert said <= set(code(row[1]))


def test_every_alert_is_documented() -> None:
    """Each of the rules that are shipped, and no other."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    cells = re.findall(r"^\| (`Relay.*?) \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(name for cell in cells for name in code(cell)) == sorted(
        rule["alert"] for rule in group["rules"]
    )
