"""Counters since the start of the process: plain numbers that the metrics read."""

from bisect import bisect_left
from collections import Counter
from itertools import accumulate

import msgspec

from relay.core.event import Event, Origin
from relay.core.exchange import Outcome, Reason, outcome_kind
from relay.core.status import StreamStatus

LATENCY_BUCKETS_S = (
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0),
)
"""Upper bounds of the latency buckets: from immediate delivery over several retries to an
outage."""
REFRESH_OUTCOMES = ("delivered", "failed", "skipped")
"""``skipped`` is a refresh that was not begun, because the destination did not respond before, or
the one before it was not complete."""


class EngineCounters(msgspec.Struct):
    """Counters of one engine's event stream since the start."""

    opened: int = 0
    """How often its stream was opened."""
    received: int = 0
    """All events that were received, new or not."""
    accepted: int = 0
    """Events that were new."""
    duplicates: int = 0
    """Events that were already processed: after a reconnect the engine repeats its history."""
    malformed: Counter[str] = msgspec.field(default_factory=Counter)
    """Records that are not events, by the kind of their error."""
    dropped: Counter[str] = msgspec.field(default_factory=Counter)
    """Records for which the buffer had no space, by reason."""
    gaps: Counter[str] = msgspec.field(default_factory=Counter)
    """Periods in which events may be missing, by reason."""
    inferred: Counter[str] = msgspec.field(default_factory=Counter)
    """Events that relay inferred because the engine sent none, by action."""
    evicted: int = 0
    """Deliveries that a full store gave up, so that this engine's events could be stored."""
    evicted_dead_letters: int = 0
    """Dead letters that a full store deleted for the same reason."""
    last_event_ns: int = 0
    """The engine's time of the last event that was processed."""
    matches: Counter[str] = msgspec.field(default_factory=Counter)
    """Events that a route matched, by the route's name, whether or not it sent them."""

    @property
    def reconnects(self) -> int:
        """How often its stream was opened again."""
        return max(0, self.opened - 1)

    def count_event(self, event: Event) -> None:
        """Count an event that is new."""
        self.accepted += 1
        self.last_event_ns = event.time_ns

    def count_inferred(self, events: list[Event]) -> None:
        """Count those of the events that relay inferred."""
        for event in events:
            if event.origin is Origin.INFERRED:
                self.inferred[event.action] += 1


class EngineSnapshot(msgspec.Struct, frozen=True):
    """One engine's counters at one moment, for the metrics."""

    counters: EngineCounters
    is_open: bool
    """Whether its stream is open."""
    stream: StreamStatus | None = None
    """The stream's status; None if the session has none yet."""


class LatencyHistogram(msgspec.Struct):
    """How long deliveries took, counted in a fixed number of buckets."""

    bucket_counts: list[int] = msgspec.field(
        default_factory=lambda: [0] * (len(LATENCY_BUCKETS_S) + 1)
    )
    """How many were at most each bound of `LATENCY_BUCKETS_S` and above the bound before it; last,
    how many were above all of them."""
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration. A negative one, if two clocks disagree, counts as 0."""
        seconds = max(0.0, seconds)
        self.bucket_counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    @property
    def cumulative_counts(self) -> list[int]:
        """How many were at most each bound of `LATENCY_BUCKETS_S`; last, all of them."""
        return list(accumulate(self.bucket_counts))


class DestinationCounters(msgspec.Struct):
    """Counters of the delivery attempts to one destination since the start."""

    attempts: Counter[tuple[str, Reason]] = msgspec.field(default_factory=Counter)
    """Attempts by the kind of their outcome and its reason."""
    template_failures: int = 0
    """Templates that failed, so that the default was sent instead."""
    expired: int = 0
    """Deliveries that were given up because of their age, without another attempt."""
    refreshes: Counter[str] = msgspec.field(default_factory=Counter)
    """Requests that repeated open incidents, by their outcome in `REFRESH_OUTCOMES`."""
    latencies: LatencyHistogram = msgspec.field(default_factory=LatencyHistogram)
    """From the event to the response that accepted it."""

    def count_attempt(self, outcome: Outcome) -> None:
        """Count an attempt, unless relay could not even make one."""
        if outcome.reason is not Reason.EXHAUSTED:
            self.attempts[outcome_kind(outcome), outcome.reason] += 1

    @property
    def dead_letters(self) -> int:
        """How many deliveries were given up."""
        attempted = sum(count for (kind, _), count in self.attempts.items() if kind == "dead")
        return attempted + self.expired
