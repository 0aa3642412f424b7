"""A short run of the program that shows what large events cost."""

from pathlib import Path

from tools.weights import PEAK_MAX_MB, Shape, is_clean, measure


async def test_large_events_in_a_row_and_a_backlog_of_them(tmp_path: Path) -> None:
    """Nothing is lost, changed, or sent under two ids, and relay's memory keeps its bound."""
    figures = await measure(
        tmp_path,
        events=12,
        backlog=4,
        slow=3,
        size=2 * 2**20,
        shapes=(Shape.TEXT, Shape.LABELS),
        answer_s=0.05,
    )
    print(figures)  # noqa: T201 - shown with -s, and whenever this fails
    assert is_clean(figures), figures
    assert not figures["declared as dropped"]
    peaks = [value for name, value in figures.items() if name.startswith("peak_mb")]
    assert max(peaks) < PEAK_MAX_MB
