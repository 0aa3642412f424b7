"""A receiver that fails at random, in small."""

from pathlib import Path

from tests.flaky import is_clean, measured

SEED = 4


async def test_a_receiver_that_fails_at_random(tmp_path: Path) -> None:
    """Nothing is lost, reordered or sent under two ids; again only after a lost answer."""
    verdict = await measured(tmp_path, 1500, SEED)
    print(verdict)  # noqa: T201 - shown with -s, and whenever this fails
    assert is_clean(verdict), verdict
    assert verdict["taken again after a lost answer"]
