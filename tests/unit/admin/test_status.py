"""What makes relay ready, and what does not."""

import pytest

from relay.admin.status import ReloadStatus, StatusSnapshot, not_ready_reasons
from relay.core.counters import DestinationCounters, EngineCounters
from relay.core.exchange import Reason, Retry
from relay.core.status import DestinationStatus, EngineSnapshot
from relay.store.faults import StoreFault, StoreStatus

SECOND_NS = 10**9
NOW_NS = 1795420000 * SECOND_NS


def vitals(*open_: bool, store: StoreStatus | None = None) -> StatusSnapshot:
    """Engines whose streams are open or not, and one destination that fails."""
    dead = DestinationCounters()
    dead.count_attempt(Retry(1.0, Reason.CONNECTION))
    streams = {
        f"engine-{number}": EngineSnapshot(EngineCounters(), is_open=is_open)
        for number, is_open in enumerate(open_)
    }
    conditions = {"hook": DestinationStatus(failing=True)}
    return StatusSnapshot(
        streams, {"hook": dead}, conditions, store or StoreStatus(), {}, 0, ReloadStatus(0), NOW_NS
    )


def test_ready() -> None:
    """Every stream is open and the store is well; a destination that fails is no matter."""
    assert not_ready_reasons(vitals(True, True), NOW_NS) == []


def test_an_engine_out_of_reach() -> None:
    """It is named, and only it."""
    assert not_ready_reasons(vitals(True, False), NOW_NS) == [
        "engine engine-1: its stream is not open"
    ]


@pytest.mark.parametrize(("since_s", "words"), [(12, "12 s"), (-5, "0 s")])
def test_a_store_that_fails(since_s: int, words: str) -> None:
    """It says why and for how long, even where the clock was set back since."""
    state = StoreStatus(NOW_NS - since_s * SECOND_NS, StoreFault.READ_ONLY)
    assert not_ready_reasons(vitals(True, store=state), NOW_NS) == [
        f"store: read only, for {words}"
    ]


def test_several_at_once() -> None:
    """All of it is told."""
    state = StoreStatus(NOW_NS, StoreFault.FULL)
    assert not_ready_reasons(vitals(False, store=state), NOW_NS) == [
        "store: full, for 0 s",
        "engine engine-0: its stream is not open",
    ]
