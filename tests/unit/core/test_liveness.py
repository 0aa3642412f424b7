"""Whether a loop comes round."""

from relay.core.liveness import LoopMonitor


class Clock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_round_lasts_from_its_beat() -> None:
    """However long the one before was."""
    clock = Clock()
    pulse = LoopMonitor(clock)
    clock.now_s += 7
    assert pulse.busy_s == 7
    pulse.iteration_started()
    clock.now_s += 2
    assert pulse.busy_s == 2


def test_a_rest_is_no_round() -> None:
    """It may last; the round begins behind it."""
    clock = Clock()
    pulse = LoopMonitor(clock)
    with pulse.idle():
        clock.now_s += 3600
        assert pulse.busy_s == 0
    clock.now_s += 1
    assert pulse.busy_s == 1
