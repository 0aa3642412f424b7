"""Measures whether a worker loop still makes progress.

A loop that hangs in one iteration does nothing and reports nothing. Each loop therefore notifies
its monitor when an iteration starts and when it is idle; the health check and systemd's watchdog
compare the time spent in the current iteration with a limit. A monitor lives as long as its loop.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic


class LoopMonitor:
    """How long one loop has been in its current iteration."""

    def __init__(self, now_s: Callable[[], float] = monotonic) -> None:
        self._now_s = now_s
        self._iteration_start_s: float | None = now_s()

    def iteration_started(self) -> None:
        """Note that an iteration starts now."""
        self._iteration_start_s = self._now_s()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Mark the loop as idle inside this context; an iteration starts at its end."""
        self._iteration_start_s = None
        try:
            yield
        finally:
            self.iteration_started()

    @property
    def busy_s(self) -> float:
        """Seconds since the current iteration started; 0.0 while the loop is idle."""
        return 0.0 if self._iteration_start_s is None else self._now_s() - self._iteration_start_s
