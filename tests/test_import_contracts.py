"""The floors of the layout."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_no_import_goes_upwards() -> None:
    """Every contract in pyproject.toml is kept."""
    # in a process of its own, because import-linter turns off every logger there is
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    lint = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr
