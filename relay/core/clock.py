"""Clocks: a wall clock that does not jump when the system time is set, and the loop's own clock."""

import asyncio
import time


class SteadyClock:
    """The wall clock at the start of the process, plus the time that has passed since then.

    Deliveries are due by this clock, so setting the system time neither brings them forward nor
    delays them. Time during which the machine sleeps counts (``CLOCK_BOOTTIME``, clock_gettime(2)).
    """

    def __init__(self) -> None:
        self._boot_time_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def now_ns(self) -> int:
        """Return the nanoseconds since 1970; never less than an earlier call returned."""
        return self._boot_time_ns + time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def loop_time_s() -> float:
    """Return the running event loop's monotonic time, in seconds."""
    return asyncio.get_running_loop().time()
