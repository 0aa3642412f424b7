"""Power cuts of the NATS server, in small."""

from pathlib import Path

import pytest

from tests.support.fleet_ledger import is_clean
from tools.fleet_power_cut import measure
from tools.power_cut import DiskUnavailable

SEED = 2
"""With it the hub is dead in the first round, so all events are in the stream alone."""


async def test_what_was_confirmed_is_kept(tmp_path: Path) -> None:
    """With the shipped configuration a server loses nothing that it confirmed."""
    try:
        found, summary = await measure(tmp_path, 2, SEED)
    except DiskUnavailable as error:
        pytest.skip(f"the power cannot fail here: {error}")
    print(found, summary)  # noqa: T201 - shown with -s, and whenever this fails
    assert is_clean(summary), summary
    assert summary["left in the stream"] == 0


async def test_what_a_server_confirms_by_default_is_lost(tmp_path: Path) -> None:
    """It is not on the disk yet: so the test above can fail."""
    try:
        _, summary = await measure(tmp_path, 3, SEED, sync="2m", stall_s=3.0)
    except DiskUnavailable as error:
        pytest.skip(f"the power cannot fail here: {error}")
    assert summary["lost"]
