"""What counts as making no progress."""

from relay.admin.health import LivenessReport, StallDetector, find_stalled


def progress(*, lives: bool = True, waited_s: float = 0.0, **loops: float) -> LivenessReport:
    return LivenessReport(loops, lives, waited_s)


def test_loops_that_come_round() -> None:
    """Nothing is stuck."""
    assert find_stalled(progress(ingest=0.0, lane=29.0)) == []


def test_a_round_without_end() -> None:
    """Whose it is is said, and of it alone."""
    assert find_stalled(progress(ingest=31.4, lane=2.0)) == ["ingest: nothing has moved for 31 s"]


def test_a_disk_that_hangs() -> None:
    """While the store is waited for no loop is blamed: a restart would wait as well."""
    assert find_stalled(progress(waited_s=3000.0, ingest=3000.0, lane=3000.0)) == []


def test_a_store_without_a_thread() -> None:
    """It never answers again, however long it is waited for."""
    found = find_stalled(progress(lives=False, waited_s=3000.0, lane=3000.0))
    assert found == ["the store's thread has ended"]


def test_two_looks() -> None:
    """One look blames nobody: what was let go just now has been in its round for long as well."""
    seen = progress(lane=31.0)
    watch = StallDetector(lambda: seen)
    watch.check()
    assert watch.stalled == []
    watch.check()
    assert watch.stalled == ["lane: nothing has moved for 31 s"]
    seen = progress(lane=1.0)
    watch.check()
    assert watch.stalled == []
    seen = progress(lane=31.0)
    watch.check()
    assert watch.stalled == []
