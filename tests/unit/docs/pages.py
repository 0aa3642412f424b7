"""The pages that people read, and what stands in them."""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import msgspec

from relay.config import variables
from relay.config.services import all_settings

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("deploy/**/README*")})
VARIABLES = {each.variable for each in all_settings()} | {*variables.OTHERS}
"""The variables that relay reads; each may have ``_FILE`` at its end."""

_OPEN = re.compile(r"^ *(?:- +|[0-9]+\. +)?(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_CODE = re.compile(r"`([^`\n]+)`")


class Block(msgspec.Struct, frozen=True):
    """What stands between fences."""

    page: Path
    line: int
    """The line of the opening fence, from 1."""
    language: str
    """The whole info string; empty if there is none."""
    text: str
    """Without the indentation of the list that the block belongs to."""

    @property
    def place(self) -> str:
        """The page and the line, as an editor opens them."""
        return f"{page_name(self.page)}:{self.line}"


def page_name(page: Path) -> str:
    """Return the path of a page within the repository."""
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name


def find_blocks(page: Path) -> tuple[Block, ...]:
    """Return the fenced blocks of a page; raise `ValueError` if one is not closed."""
    return tuple(block for block in _split(page) if isinstance(block, Block))


def blocks(page: Path, language: str) -> list[str]:
    """What stands between fences of a language."""
    return [block.text for block in find_blocks(page) if block.language == language]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return "".join(f"{line}\n" for line in _split(page) if isinstance(line, str))


def _split(page: Path) -> Iterator[Block | str]:
    """Yield the blocks of a page, and the lines between them."""
    lines = enumerate(page.read_text().splitlines(), start=1)
    for number, line in lines:
        if opened := _OPEN.match(line):
            close = re.compile(rf" *{re.escape(opened['fence'])}+ *")
            inside: list[str] = []
            for _, each in lines:
                if close.fullmatch(each):
                    break
                inside.append(each)
            else:
                raise ValueError(f"{page_name(page)}:{number}: the block is not closed")
            text = dedent("".join(f"{each}\n" for each in inside))
            yield Block(page, number, opened["info"].strip(), text)
        else:
            yield line


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
