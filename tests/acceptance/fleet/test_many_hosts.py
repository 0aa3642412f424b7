"""A short run of the program with many hosts."""

from pathlib import Path

from tools.fleet import Load, is_clean, measure


async def test_many_hosts(tmp_path: Path) -> None:
    """Nothing is lost, repeated or reordered while the server is away, and all hosts come back."""
    verdict = await measure(tmp_path, Load(hosts=200, rate=100, seconds=6, away_s=2))
    print(verdict)  # noqa: T201 - shown with -s, and whenever this fails
    assert is_clean(verdict), verdict
    assert verdict["events"] > 300
