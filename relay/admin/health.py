"""Detects loops of relay that make no progress, for ``/livez`` and systemd's watchdog.

Every loop (one per engine and destination) reports how long it has been in its current iteration.
The detector compares that with `STALLED_AFTER_S`. It exists because a loop that hangs raises no
error: without it relay would look healthy and deliver nothing. A detector runs as long as the
server, or the notifier of systemd, that reports its result.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec

STALLED_AFTER_S = 30.0
"""A loop whose iteration takes longer is stalled. Apart from the time the store needs, no iteration
should: the longest is one of ingest, with three seconds for events that may follow a death and two
for the engine's answer about its containers."""

CHECK_EVERY_S = 5.0
"""How often the loops are checked: longer than most iterations take."""

STORE_SLOW_AFTER_S = 5.0
"""If an operation has waited this long for the store, it is the disk that holds the loops up."""


class LivenessReport(msgspec.Struct, frozen=True):
    """How long each loop has been busy, and whether the store works, at one moment."""

    loops_busy_s: Mapping[str, float]
    """How long each loop has been in its current iteration; see `LoopMonitor.busy_s`."""
    store_is_alive: bool
    """See `Outbox.is_alive`."""
    store_wait_s: float
    """See `Outbox.oldest_wait_s`."""


def find_stalled(report: LivenessReport) -> list[str]:
    """Return one text for each part that makes no progress, but would after a restart.

    A disk that fails or hangs is not reported: every loop that needs it waits, and would wait after
    a restart as well. Neither is an unreachable engine or a destination that does not answer,
    because neither holds up an iteration.
    """
    if not report.store_is_alive:
        return ["the store's thread has ended"]
    if report.store_wait_s > STORE_SLOW_AFTER_S:
        return []
    return [
        f"{name}: nothing has moved for {busy_s:.0f} s"
        for name, busy_s in report.loops_busy_s.items()
        if busy_s > STALLED_AFTER_S
    ]


class StallDetector:
    """Checks repeatedly, and reports a stall only if two checks in a row find one.

    A single check can be wrong: a loop that the disk held up until just now has been in its
    iteration for a long time, and has not been able to finish it yet.
    """

    def __init__(self, report: Callable[[], LivenessReport]) -> None:
        self._report = report
        self.suspected: list[str] = []
        """What the last check found."""
        self.stalled: list[str] = []
        """What the last check found, if the check before it found something too."""

    def check(self) -> None:
        """Check once; call this at intervals."""
        before, self.suspected = self.suspected, find_stalled(self._report())
        self.stalled = self.suspected if before else []


@asynccontextmanager
async def run_stall_detector(report: Callable[[], LivenessReport]) -> AsyncIterator[StallDetector]:
    """Run a detector that checks every `CHECK_EVERY_S` as long as the context lasts."""
    detector = StallDetector(report)
    checking = asyncio.create_task(_check_periodically(detector), name="stall detector")
    try:
        yield detector
    finally:
        checking.cancel()
        await asyncio.wait({checking})


async def _check_periodically(detector: StallDetector) -> None:
    while True:
        detector.check()
        await asyncio.sleep(CHECK_EVERY_S)
