"""What makes relay ready or not."""

import pytest

from relay.admin.health import ReloadStatus, StatusSnapshot, not_ready_reasons
from relay.core.counters import DestinationCounters, EngineCounters, EngineSnapshot
from relay.core.exchange import Reason, Retry
from relay.core.status import DestinationStatus
from relay.store.faults import StoreFault, StoreStatus

SECOND_NS = 10**9
NOW_NS = 1795420000 * SECOND_NS


def make_snapshot(*open_: bool, store: StoreStatus | None = None) -> StatusSnapshot:
    """Engines whose streams are open or not, and one destination that fails."""
    dead = DestinationCounters()
    dead.count_attempt(Retry(1.0, Reason.CONNECTION))
    streams = {
        f"engine-{number}": EngineSnapshot(EngineCounters(), is_open=is_open)
        for number, is_open in enumerate(open_)
    }
    destinations = {"hook": DestinationStatus(failing=True)}
    return StatusSnapshot(
        streams,
        {"hook": dead},
        destinations,
        store or StoreStatus(),
        {},
        0,
        ReloadStatus(0),
        NOW_NS,
    )


def test_ready() -> None:
    """Every stream is open and the store works; a failing destination is no reason."""
    assert not_ready_reasons(make_snapshot(True, True), NOW_NS) == []


def test_an_unreachable_engine() -> None:
    """Only the engine that cannot be reached is named."""
    assert not_ready_reasons(make_snapshot(True, False), NOW_NS) == [
        "engine engine-1: its stream is not open"
    ]


@pytest.mark.parametrize(("since_s", "duration"), [(12, "12 s"), (-5, "0 s")])
def test_a_store_that_fails(since_s: int, duration: str) -> None:
    """The text says why and for how long, also if the clock was set back since then."""
    status = StoreStatus(NOW_NS - since_s * SECOND_NS, StoreFault.READ_ONLY)
    assert not_ready_reasons(make_snapshot(True, store=status), NOW_NS) == [
        f"store: read only, for {duration}"
    ]


def test_several_reasons() -> None:
    """Every reason is listed."""
    status = StoreStatus(NOW_NS, StoreFault.FULL)
    assert not_ready_reasons(make_snapshot(False, store=status), NOW_NS) == [
        "store: full, for 0 s",
        "engine engine-0: its stream is not open",
    ]
