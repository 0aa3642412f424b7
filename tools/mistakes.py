"""Writes the page of mistakes, docs/mistakes.md: ``python -m tools.mistakes``.

The page shows mistakes in a configuration with what `relay check` prints about each.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from time import time_ns

from relay.cli.check import format_warning
from relay.config import load_located
from relay.config.origin import of_file
from relay.config.warnings import find_warnings
from relay.core.errors import ConfigError
from relay.destinations.catalog import DESTINATION_TYPES
from relay.incidents.policy import build_policies
from relay.incidents.policy_warnings import find_policy_warnings
from tests.unit.docs.mistakes import CHAPTERS, FILES, Chapter, complete

FILE = Path(__file__).parents[1] / "docs" / "mistakes.md"
COMMAND = "python -m tools.mistakes"

TITLE = "# Mistakes, and what relay says about them"
INTRODUCTION = (
    "`relay check` prints every problem of a configuration with its line. Here are the usual "
    "mistakes, each with what it prints. Every part is shown as if it stood at the top of "
    f"`config.yaml`, with the rest of the file below it. This page is written by `{COMMAND}`."
)
MAX_COLUMNS = 120


def page() -> str:
    """Return the whole page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in FILES.items():
            (folder / file).write_text(content)
        parts = [f"{TITLE}\n\n{fill(INTRODUCTION, MAX_COLUMNS)}\n"]
        for chapter in CHAPTERS:
            parts += [f"\n## {chapter.title}\n\n{fill(chapter.text, MAX_COLUMNS)}\n"]
            parts += [_describe(chapter, part, folder) for part in chapter.mistakes]
    return "".join(parts)


def _describe(chapter: Chapter, part: str, folder: Path) -> str:
    printed = "\n".join(find_problems(complete(part), chapter.environ, folder))
    return f"\n```yaml\n{part}```\n```text\n{printed}\n```\n"


def find_problems(text: str, environ: Mapping[str, str], folder: Path) -> list[str]:
    """Return the lines that `relay check` prints about a configuration, without the folder."""
    path = folder / "config.yaml"
    path.write_text(text)
    try:
        located = load_located(of_file(path), environ, DESTINATION_TYPES)
        config = located.config
        issues = [
            *find_warnings(config, DESTINATION_TYPES),
            *find_policy_warnings(config, build_policies(config), time_ns()),
        ]
        warnings = located.locate(issues)
        lines = [format_warning(warning) for warning in warnings]
    except ConfigError as error:
        lines = [str(problem) for problem in error.problems]
    return [line.removeprefix(f"{folder}/") for line in lines]


if __name__ == "__main__":
    FILE.write_text(page())
    print(f"wrote {FILE}")
