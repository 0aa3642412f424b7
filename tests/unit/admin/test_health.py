"""Which loops count as stalled."""

from relay.admin.health import LivenessReport, StallDetector, find_stalled


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
