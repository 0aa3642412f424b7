"""A short run of the program that measures what an event costs a hub."""

from pathlib import Path

import pytest

from tools.fleet_hub import CASES, is_clean, measure

EVENTS = 600


@pytest.mark.parametrize("name", list(CASES))
async def test_every_event_is_taken_in_once(name: str, tmp_path: Path) -> None:
    """In each case; how long that takes is no test."""
    verdict = await measure(tmp_path, name, EVENTS, batch=100)
    assert is_clean(verdict, EVENTS), verdict
