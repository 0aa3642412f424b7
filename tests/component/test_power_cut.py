"""Power cuts, in small."""

from pathlib import Path

import pytest

from tools.power_cut import CONTAINERS, Arrivals, DiskUnavailable, is_clean, measure

SEED = 5
POWER_CUTS = 3


async def test_power_cuts(tmp_path: Path) -> None:
    """Nothing that was committed is lost, and what comes again comes in order under its id."""
    try:
        _, summary = await measure(tmp_path, POWER_CUTS, SEED)
    except DiskUnavailable as error:
        pytest.skip(f"the power cannot fail here: {error}")
    print(summary)  # noqa: T201 - shown with -s, and whenever this fails
    assert is_clean(summary), summary
    assert summary["events"]


def test_what_comes_again_after_a_power_cut_is_no_fault() -> None:
    """It is counted once per power cut; its container begins anew."""
    arrivals = Arrivals()
    for _ in range(2):
        arrivals.start()
        for number in (0, CONTAINERS, 2 * CONTAINERS):
            arrivals.record(number, f"ntf_{number}", is_accepted=True)
    assert (arrivals.repeated, arrivals.doubled, arrivals.out_of_order) == (3, 0, 0)


def test_what_comes_again_without_a_power_cut_is_a_fault() -> None:
    """So is an event that comes after a later one of its container."""
    arrivals = Arrivals()
    arrivals.start()
    for number in (CONTAINERS, CONTAINERS, 0):
        arrivals.record(number, f"ntf_{number}", is_accepted=True)
    assert (arrivals.doubled, arrivals.out_of_order) == (1, 1)


def test_events_that_are_only_in_the_store() -> None:
    """Those before one of their container that arrived, unless they were accepted."""
    arrivals = Arrivals()
    for number in range(CONTAINERS - 1):
        arrivals.record(number, f"ntf_{number}", is_accepted=number != 0)
    assert (arrivals.committed(), arrivals.waiting()) == (CONTAINERS - 1, 1)
    arrivals.record(2 * CONTAINERS - 1, "ntf_later", is_accepted=False)
    assert (arrivals.committed(), arrivals.waiting()) == (CONTAINERS, 2)
    assert arrivals.lost(CONTAINERS + 3) == 5
