"""The pages that people read, and what stands in them."""

import re
from pathlib import Path

from relay.config import variables
from relay.config.services import all_settings

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md")])
VARIABLES = {each.variable for each in all_settings()} | {*variables.OTHERS}
"""The variables that relay reads; each may have ``_FILE`` at its end."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")


def blocks(page: Path, language: str) -> list[str]:
    """What stands between fences of a language."""
    return [text for name, text in _FENCE.findall(page.read_text()) if name == language]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return _FENCE.sub("", page.read_text())


def code(text: str) -> list[str]:
    """What stands between backticks."""
    return _CODE.findall(text)


def find_variables(page: Path) -> set[str]:
    """The variables that a page names, without ``_FILE``."""
    named = re.findall(r"\bRELAY_[A-Z_]+", page.read_text())
    return {name.removesuffix("_FILE") for name in named}


def anchors(page: Path) -> set[str]:
    """Where a link can lead on a page, as GitHub names it."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
