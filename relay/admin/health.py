"""The health of a running daemon: whether it is live, whether it is ready, and its status.

Live means that every loop makes progress; ``/livez`` and systemd's watchdog report it. Each loop
(one per engine and destination) says how long it has been in its current iteration, and the stall
detector compares that with `STALLED_AFTER_S`. The detector exists because a loop that hangs raises
no error: without it relay would look healthy and deliver nothing. It runs as long as the server, or
the notifier of systemd, that reports its result.

Ready means that the streams of all engines are open and that the store works; ``/readyz`` reports
it, from the same `StatusSnapshot` as the metrics and systemd's status line.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec
from msgspec.structs import asdict

from relay.core.counters import DestinationCounters, EngineSnapshot
from relay.core.status import DestinationStatus
from relay.core.tasks import spawn
from relay.store.faults import StoreStatus

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
    checking = spawn(_check_periodically(detector), "stall detector")
    try:
        yield detector
    finally:
        checking.cancel()
        await asyncio.wait({checking})


async def _check_periodically(detector: StallDetector) -> None:
    while True:
        detector.check()
        await asyncio.sleep(CHECK_EVERY_S)


class ReloadStatus(msgspec.Struct, frozen=True):
    """The configuration in force and the reloads so far."""

    loaded_ns: int
    """When the configuration in force was read, by the wall clock."""
    last_error: str | None = None
    """Why the last reload failed; None if it succeeded or there was none."""
    successes: int = 0
    failures: int = 0


class StatusSnapshot(msgspec.Struct, frozen=True):
    """What metrics, readiness and systemd's status line are computed from."""

    streams: Mapping[str, EngineSnapshot]
    """By engine, for each that is configured."""
    destination_counters: Mapping[str, DestinationCounters]
    """By destination, for each that is configured."""
    destination_status: Mapping[str, DestinationStatus]
    """By destination, for each that is configured."""
    store: StoreStatus
    route_matches: Mapping[str, int]
    """How many events each route matched, by route, for each that is configured."""
    removed_deliveries: int
    """How many deliveries were given up because their destination is no longer configured."""
    reload: ReloadStatus
    now_ns: int
    """The time by which deliveries are due."""


def not_ready_reasons(snapshot: StatusSnapshot, now_ns: int) -> list[str]:
    """Return why relay is not ready, one text for each reason; ``now_ns`` is the wall clock.

    A failing destination is not a reason: its deliveries wait in the store.
    """
    reasons: list[str] = []
    store = snapshot.store
    if store.failing_since_ns is not None and store.reason is not None:
        # not negative, even if the clock has been set back since then
        failing_s = max(0, now_ns - store.failing_since_ns) // 10**9
        reasons.append(f"store: {store.reason.value.replace('_', ' ')}, for {failing_s} s")
    for name, engine in snapshot.streams.items():
        if not engine.is_open:
            problem = engine.stream.problem if engine.stream is not None else None
            words = f": {problem}" if problem else ""
            reasons.append(f"engine {name}: its stream is not open{words}")
    return reasons


def describe_backlogs(snapshot: StatusSnapshot) -> dict[str, object]:
    """Return what waits in each stream of NATS, and whether this relay stands by, by engine.

    It makes relay neither ready nor not: a hub that catches up works.
    """
    return {
        name: {**asdict(engine.stream.backlog), "standby": engine.stream.is_standby}
        for name, engine in snapshot.streams.items()
        if engine.stream is not None and engine.stream.backlog is not None
    }
