"""The clock that does not jump when the system time is set."""

import time

import pytest

from relay.core.clock import SteadyClock


class Machine:
    """A wall clock that can be set, and a time since boot that cannot."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME

    def __init__(self) -> None:
        self.wall_ns = 1_000_000
        self.up_ns = 400

    def time_ns(self) -> int:
        """Return the wall clock."""
        return self.wall_ns

    def clock_gettime_ns(self, clock: int) -> int:
        """Return the time since boot, sleep included."""
        assert clock == time.CLOCK_BOOTTIME
        return self.up_ns


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr("relay.core.clock.time", made)
    return made


def test_it_starts_at_the_wall_clock_and_advances_with_the_time_since_boot(
    machine: Machine,
) -> None:
    """After the start, setting the wall clock does not change what this clock shows."""
    clock = SteadyClock()
    assert clock.now_ns() == 1_000_000
    machine.up_ns += 50
    machine.wall_ns -= 900_000
    assert clock.now_ns() == 1_000_050
    machine.wall_ns += 10**15
    assert clock.now_ns() == 1_000_050


def test_it_reads_the_clocks_of_the_machine() -> None:
    """It shows the system's time, except for the moment between two readings."""
    before_ns = time.time_ns()
    now_ns = SteadyClock().now_ns()
    assert abs(now_ns - before_ns) < 60 * 10**9
