"""A clock that nobody sets."""

import time


class SteadyClock:
    """The wall clock as it was at the start, and the time that has passed since.

    Deliveries are due by it, so that a clock that is set brings none of them forward and holds none
    up. Time that the machine sleeps counts (``CLOCK_BOOTTIME``, clock_gettime(2)).
    """

    def __init__(self) -> None:
        self._boot_time_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def now_ns(self) -> int:
        """Nanoseconds since 1970, never less than before."""
        return self._boot_time_ns + time.clock_gettime_ns(time.CLOCK_BOOTTIME)
