"""Which metrics there are, and which an expression asks for."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relay.admin.metrics import render_metrics
from tests.unit.admin.test_metrics import make_hub_snapshot

promtool_is_here = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here (Debian: prometheus)"
)

_NAME = re.compile(r"\brelay_\w+")


def served() -> dict[str, frozenset[str]]:
    """The name of everything that relay serves, with its labels."""
    families = text_string_to_metric_families(render_metrics(make_hub_snapshot(), {}).decode())
    return {
        sample.name: frozenset(sample.labels) for family in families for sample in family.samples
    }


def asked_for(expression: str) -> set[str]:
    """The names of relay's metrics in an expression."""
    return set(_NAME.findall(expression))


def labels(expression: str) -> set[str]:
    """Those that an expression groups by, and that are not the scrape's own."""
    groups = re.findall(r"\bby \(([^)]*)\)", expression)
    found = {label for group in groups for label in re.split(r",\s*", group)}
    return found - {"job", "instance"}


def promtool(*arguments: str | Path) -> None:
    """Run it; what it complains of is a failure."""
    ended = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
