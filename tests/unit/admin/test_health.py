"""Which loops count as stalled, and what makes relay ready or not."""

import pytest
from msgspec.structs import replace

from relay.admin.health import (
    LivenessReport,
    ReloadStatus,
    StallDetector,
    StatusSnapshot,
    describe_backlogs,
    find_stalled,
    not_ready_reasons,
)
from relay.core.counters import DestinationCounters, EngineCounters, EngineSnapshot
from relay.core.exchange import Reason, Retry
from relay.core.status import DestinationStatus, SourceBacklog, StreamStatus
from relay.store.faults import StoreFault, StoreStatus

SECOND_NS = 10**9
NOW_NS = 1795420000 * SECOND_NS


def make_report(*, lives: bool = True, wait_s: float = 0.0, **loops: float) -> LivenessReport:
    return LivenessReport(loops, lives, wait_s)


def test_short_iterations_are_not_stalled() -> None:
    """Loops whose iterations are short are not stalled."""
    assert find_stalled(make_report(ingest=0.0, destination=29.0)) == []


def test_a_long_iteration_is_stalled() -> None:
    """A loop that is busy for too long is named, and only that loop."""
    assert find_stalled(make_report(ingest=31.4, destination=2.0)) == [
        "ingest: nothing has moved for 31 s"
    ]


def test_a_hanging_disk_stalls_nothing() -> None:
    """While the store is waited for, no loop is stalled: a restart would wait as well."""
    assert find_stalled(make_report(wait_s=3000.0, ingest=3000.0, destination=3000.0)) == []


def test_a_dead_store_thread_is_stalled() -> None:
    """A store without its thread never answers again."""
    stalled = find_stalled(make_report(lives=False, wait_s=3000.0, destination=3000.0))
    assert stalled == ["the store's thread has ended"]


def test_a_stall_is_confirmed_by_a_second_check() -> None:
    """A single check is not enough: a loop that was held up until just now looks the same."""
    report = make_report(destination=31.0)
    detector = StallDetector(lambda: report)
    detector.check()
    assert detector.stalled == []
    detector.check()
    assert detector.stalled == ["destination: nothing has moved for 31 s"]
    report = make_report(destination=1.0)
    detector.check()
    assert detector.stalled == []
    report = make_report(destination=31.0)
    detector.check()
    assert detector.stalled == []


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


def test_an_unreachable_engine_is_not_ready() -> None:
    """Only the engine that cannot be reached is named."""
    assert not_ready_reasons(make_snapshot(True, False), NOW_NS) == [
        "engine engine-1: its stream is not open"
    ]


def test_why_a_stream_is_not_open() -> None:
    """It is said if it is known; a hub that stands by is ready."""
    stream = StreamStatus(False, 0, 0, 0, problem="there is no stream RELAY")
    standby = StreamStatus(True, 0, 0, 0, is_standby=True)
    snapshot = replace(
        make_snapshot(),
        streams={
            "fleet": EngineSnapshot(EngineCounters(), is_open=False, stream=stream),
            "spare": EngineSnapshot(EngineCounters(), is_open=True, stream=standby),
        },
    )
    assert not_ready_reasons(snapshot, NOW_NS) == [
        "engine fleet: its stream is not open: there is no stream RELAY"
    ]


def test_what_waits_in_a_stream() -> None:
    """Of the engines that can say it."""
    stream = StreamStatus(True, 0, 0, 0, is_standby=True, backlog=SourceBacklog(3, 2, 1))
    engines = {
        "fleet": EngineSnapshot(EngineCounters(), is_open=True, stream=stream),
        "here": EngineSnapshot(EngineCounters(), is_open=True, stream=StreamStatus(True, 0, 0, 0)),
        "new": EngineSnapshot(EngineCounters(), is_open=False),
    }
    assert describe_backlogs(replace(make_snapshot(), streams=engines)) == {
        "fleet": {"pending": 3, "unacknowledged": 2, "redelivered": 1, "standby": True}
    }


@pytest.mark.parametrize(("since_s", "duration"), [(12, "12 s"), (-5, "0 s")])
def test_a_failing_store_is_not_ready(since_s: int, duration: str) -> None:
    """The text says why and for how long, also if the clock was set back since then."""
    status = StoreStatus(NOW_NS - since_s * SECOND_NS, StoreFault.READ_ONLY)
    assert not_ready_reasons(make_snapshot(True, store=status), NOW_NS) == [
        f"store: read only, for {duration}"
    ]


def test_several_reasons_not_to_be_ready() -> None:
    """Every reason is listed."""
    status = StoreStatus(NOW_NS, StoreFault.FULL)
    assert not_ready_reasons(make_snapshot(False, store=status), NOW_NS) == [
        "store: full, for 0 s",
        "engine engine-0: its stream is not open",
    ]
