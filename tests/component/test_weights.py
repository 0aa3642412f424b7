"""A short run of the program that shows what large events cost."""

from pathlib import Path

from tools.weights import Load, Shape, is_clean, measure


async def test_large_events_in_a_row_and_a_backlog_of_them(tmp_path: Path) -> None:
    """Nothing is lost, changed, or sent under two ids, and relay's memory keeps its bound."""
    load = Load(
        events=12,
        backlog=4,
        slow=3,
        answer_s=0.05,
        size=2 * 2**20,
        shapes=(Shape.TEXT, Shape.LABELS),
    )
    figures = await measure(tmp_path, load)
    print(figures)  # noqa: T201 - shown with -s, and whenever this fails
    assert is_clean(figures), figures
    assert not figures["declared as dropped"]
