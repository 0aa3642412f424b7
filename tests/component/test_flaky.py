"""A receiver that fails at random, in small."""

from pathlib import Path

from tools.flaky import is_clean, measure

SEED = 4


async def test_a_receiver_that_fails_at_random(tmp_path: Path) -> None:
    """Nothing is lost, reordered or sent under two ids; again only after a lost answer."""
    verdict = await measure(tmp_path, 1500, SEED)
    print(verdict)  # noqa: T201 - shown with -s, and whenever this fails
    assert is_clean(verdict), verdict
    assert verdict["accepted again after a lost answer"]


async def test_a_receiver_of_batches_that_fails_at_random(tmp_path: Path) -> None:
    """The same holds of each notification where many share an answer, 413 among them."""
    verdict = await measure(tmp_path, 1500, SEED, batch=20)
    print(verdict)  # noqa: T201 - shown with -s, and whenever this fails
    assert is_clean(verdict), verdict
    assert verdict["accepted again after a lost answer"]
    assert verdict["answered 413"]
