"""Measuring how long a loop has been in its current iteration."""

from relay.core.tasks import LoopMonitor


class Clock:
    """A clock that moves when the test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_an_iteration_is_measured_from_its_start() -> None:
    """The length of the previous iteration does not count."""
    clock = Clock()
    monitor = LoopMonitor(clock)
    clock.now_s += 7
    assert monitor.busy_s == 7
    monitor.iteration_started()
    clock.now_s += 2
    assert monitor.busy_s == 2


def test_idle_time_does_not_count() -> None:
    """Idle time counts as 0; the next iteration starts after it."""
    clock = Clock()
    monitor = LoopMonitor(clock)
    with monitor.idle():
        clock.now_s += 3600
        assert monitor.busy_s == 0
    clock.now_s += 1
    assert monitor.busy_s == 1
