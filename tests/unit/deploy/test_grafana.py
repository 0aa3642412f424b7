"""The dashboard that is shipped."""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.unit.deploy.metrics import asked_for, labels, promtool, promtool_is_here, served

FILE = Path(__file__).parents[3] / "deploy" / "grafana" / "relay.json"


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FILE.read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    """All that it asks Prometheus."""
    whole = json.loads(FILE.read_text())
    for panel in whole["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (each["expr"] for each in whole["annotations"]["list"])
    queries = [each["query"] for each in whole["templating"]["list"]]
    yield from (query["query"] for query in queries if isinstance(query, dict))


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_what_it_asks_for_is_there(expression: str) -> None:
    """Every metric is one that relay serves, with the labels that it is grouped by."""
    known, used = served(), asked_for(expression)
    assert used
    for name in used:
        assert labels(expression) <= known[name] | {"le"}
        assert name in known


@promtool_is_here
def test_promtool(tmp_path: Path) -> None:
    """Prometheus understands every expression, once Grafana has filled in its variables."""
    queries = [each for each in expressions() if not each.startswith("label_values(")]
    filled = [query.replace("$__rate_interval", "5m") for query in queries]
    rules = [{"record": f"number:{n}", "expr": expr} for n, expr in enumerate(filled)]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)


def test_it_leaves_no_metric_out_that_an_alert_is_about() -> None:
    """What somebody is woken for can be seen."""
    rules = FILE.parents[1] / "prometheus" / "relay.rules.yaml"
    alerted = asked_for(rules.read_text())
    assert alerted <= {name for expression in expressions() for name in asked_for(expression)}


def test_panels_do_not_overlap() -> None:
    """Each has its place and its number, and says what it shows."""
    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert all(panel["title"] and panel["description"] for panel in panels())
    for one, other in combinations([panel["gridPos"] for panel in panels()], 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )


def test_it_works_with_any_data_source() -> None:
    """None is named: the person who imports it chooses."""
    sources = {panel["datasource"]["uid"] for panel in panels()}
    assert sources == {"${datasource}"}
