"""A short run of the program that reloads under load."""

import logging
from pathlib import Path

import pytest

from tools.reloads import is_clean, measure

SEED = 4


async def test_reloads_under_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, reordered or sent under two ids; only a lost answer causes a repetition."""
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)
    verdict = await measure(tmp_path, 60, SEED)
    print(verdict)  # noqa: T201 - shown with -s, and whenever this fails
    assert is_clean(verdict), verdict
    assert verdict["reloads failed"]
    assert verdict["streams"] != 1
