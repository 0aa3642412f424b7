"""The page of mistakes: what relay says about each, and that it says one thing."""

from pathlib import Path

import pytest

from tests.unit.docs.mistakes import CHAPTERS, FILES, Chapter, complete
from tools.mistakes import COMMAND, FILE, find_problems, page


def test_it_is_current() -> None:
    """What is in the repository is what relay says now."""
    is_current = FILE.read_text() == page()  # a name, because nobody wants to see both
    assert is_current, f"docs/mistakes.md is not current: run {COMMAND}"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.title)
def test_one_mistake_is_one_line(chapter: Chapter, tmp_path: Path) -> None:
    """It has its position, and is an error or a warning as its chapter says."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    for part in chapter.mistakes:
        (line,) = find_problems(complete(part), chapter.environ, tmp_path)
        assert line.startswith("config.yaml:"), part
        assert (": warning: " in line) == (chapter is CHAPTERS[-1]), part
