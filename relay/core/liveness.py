"""Whether a loop comes round."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic


class LoopMonitor:
    """Of one loop, which says when it begins a round and when it waits for something to do."""

    def __init__(self, now_s: Callable[[], float] = monotonic) -> None:
        self._now_s = now_s
        self._iteration_start_s: float | None = now_s()

    def iteration_started(self) -> None:
        """A round begins."""
        self._iteration_start_s = self._now_s()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Nothing is to be done, which may last; what comes after is a round."""
        self._iteration_start_s = None
        try:
            yield
        finally:
            self.iteration_started()

    @property
    def busy_s(self) -> float:
        """How long it has been in the same round; 0.0 where it waits for something to do."""
        return 0.0 if self._iteration_start_s is None else self._now_s() - self._iteration_start_s
