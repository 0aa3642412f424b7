"""The page of mistakes: what relay says about each, and that it says one thing."""

from pathlib import Path

import pytest

from tests.unit.docs.mistakes import CHAPTERS, FILES, Chapter, complete
from tools.mistakes import COMMAND, FILE, find_problems, page

MISTAKES = [(chapter, part) for chapter in CHAPTERS for part in chapter.mistakes]


def test_it_is_current() -> None:
    """What is in the repository is what relay says now."""
    is_current = FILE.read_text() == page()  # a name, because nobody wants to see both
    assert is_current, f"docs/mistakes.md is not current: run {COMMAND}"


@pytest.mark.parametrize(("chapter", "part"), MISTAKES, ids=[part for _, part in MISTAKES])
def test_one_mistake_is_one_line(chapter: Chapter, part: str, tmp_path: Path) -> None:
    """It has its position, and is an error or a warning as its chapter says."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    (line,) = find_problems(complete(part), chapter.environ, tmp_path)
    assert line.startswith("config.yaml:")
    assert (": warning: " in line) == (chapter is CHAPTERS[-1])
