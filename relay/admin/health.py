"""Whether relay's loops make progress, and which does not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

STALLED_AFTER_S = 30.0
"""A round takes no longer, but for the store's part. The longest is one of ingest: three seconds
for what comes behind a death, two for an engine's answer about its containers."""

CHECK_EVERY_S = 5.0
"""How often it is looked whether the loops make progress: longer than most rounds take."""

STORE_SLOW_AFTER_S = 5.0
"""Where a question waits so long for the store, it is the disk that holds things up."""


@dataclass(frozen=True, slots=True)
class LivenessReport:
    """What can be seen of it at one moment."""

    loops_busy_s: Mapping[str, float]
    """For how many seconds each has been in the same round; see `LoopMonitor.busy_s`."""
    store_is_alive: bool
    """See `Outbox.is_alive`."""
    store_wait_s: float
    """See `Outbox.oldest_wait_s`."""


def find_stalled(progress: LivenessReport) -> list[str]:
    """What makes no progress and would after a restart, one text for each.

    A disk that fails or hangs is none of it: every loop that needs it waits, and a relay that is
    started again would wait as well. Nor is an engine out of reach or a destination that is dead,
    for neither holds up a round.
    """
    if not progress.store_is_alive:
        return ["the store's thread has ended"]
    if progress.store_wait_s > STORE_SLOW_AFTER_S:
        return []
    return [
        f"{name}: nothing has moved for {busy_s:.0f} s"
        for name, busy_s in progress.loops_busy_s.items()
        if busy_s > STALLED_AFTER_S
    ]


class StallDetector:
    """Looks now and then, and twice before it blames.

    What was let go just now has been in its round for long, and has not come round yet.
    """

    def __init__(self, progress: Callable[[], LivenessReport]) -> None:
        self._progress = progress
        self.suspected: list[str] = []
        """What was stuck at the last look."""
        self.stalled: list[str] = []
        """What was stuck at the last look, and something was at the one before."""

    def check(self) -> None:
        """Again, some time after the last time."""
        before, self.suspected = self.suspected, find_stalled(self._progress())
        self.stalled = self.suspected if before else []


@asynccontextmanager
async def run_stall_detector(
    progress: Callable[[], LivenessReport],
) -> AsyncIterator[StallDetector]:
    """A watch that looks every `LOOK_S` as long as the context lasts."""
    watch = StallDetector(progress)
    looking = asyncio.create_task(_check_periodically(watch))
    try:
        yield watch
    finally:
        looking.cancel()
        await asyncio.wait({looking})


async def _check_periodically(watch: StallDetector) -> None:
    while True:
        watch.check()
        await asyncio.sleep(CHECK_EVERY_S)
