"""Whether a loop comes round."""

from relay.core.liveness import Pulse


class Clock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_round_lasts_from_its_beat() -> None:
    """However long the one before was."""
    clock = Clock()
    pulse = Pulse(clock)
    clock.now_s += 7
    assert pulse.busy_s == 7
    pulse.beat()
    clock.now_s += 2
    assert pulse.busy_s == 2


def test_a_rest_is_no_round() -> None:
    """It may last; the round begins behind it."""
    clock = Clock()
    pulse = Pulse(clock)
    with pulse.resting():
        clock.now_s += 3600
        assert pulse.busy_s == 0
    clock.now_s += 1
    assert pulse.busy_s == 1
