"""What was counted since the start: plain numbers, which whoever wants to may read."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate

from relay.core.event import Event, Origin
from relay.core.exchange import Outcome, Reason, outcome_kind


@dataclass(slots=True)
class EngineCounters:
    """What one engine's stream came to."""

    opened: int = 0
    """How often its stream was opened."""
    received: int = 0
    """Events, whatever became of them."""
    accepted: int = 0
    """Those that were new."""
    duplicates: int = 0
    """Those that were taken in before: an engine tells what it remembers over again."""
    malformed: Counter[str] = field(default_factory=Counter)
    """Records that are no events, by their flaw."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Records that found no room, by why."""
    gaps: Counter[str] = field(default_factory=Counter)
    """Stretches that may be incomplete, by why."""
    inferred: Counter[str] = field(default_factory=Counter)
    """Events that the engine did not tell, by action."""
    evicted: int = 0
    """Deliveries that a full store gave up as the engine's events came."""
    evicted_dead_letters: int = 0
    """Dead letters that went for the same reason."""
    last_event_ns: int = 0
    """The engine's time of the event that was taken in last."""
    matches: Counter[str] = field(default_factory=Counter)
    """Events that a route matched, by its name, whatever came of it there."""

    @property
    def reconnects(self) -> int:
        """How often its stream was opened again."""
        return max(0, self.opened - 1)

    def count_event(self, event: Event) -> None:
        """Count an event that is new."""
        self.accepted += 1
        self.last_event_ns = event.time_ns

    def count_inferred(self, events: list[Event]) -> None:
        """Count those of the events that the engine did not tell."""
        for event in events:
            if event.origin is Origin.INFERRED:
                self.inferred[event.action] += 1


LATENCY_BUCKETS_S = (
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
    3600.0,
    21600.0,
)
"""The bounds that latencies are counted by: from at once, over several retries, to an outage."""


@dataclass(slots=True)
class LatencyHistogram:
    """How long it took, as numbers that stay few."""

    bucket_counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS_S) + 1))
    """How many took up to each of `LATENCY_BUCKETS_S` and more than the one before it; then the rest."""
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one; where two clocks disagree it can seem less than nothing, and counts as 0."""
        seconds = max(0.0, seconds)
        self.bucket_counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    @property
    def cumulative_counts(self) -> list[int]:
        """How many took up to each of `LATENCY_BUCKETS_S`; then all."""
        return list(accumulate(self.bucket_counts))


@dataclass(slots=True)
class DestinationCounters:
    """What the attempts to reach one destination came to."""

    attempts: Counter[tuple[str, Reason]] = field(default_factory=Counter)
    """By the kind of outcome and its reason."""
    template_failures: int = 0
    """Templates that failed, so that a default was sent."""
    expired: int = 0
    """Deliveries given up for their age, without another attempt."""
    latencies: LatencyHistogram = field(default_factory=LatencyHistogram)
    """From the event to the answer that took it."""

    def count_attempt(self, outcome: Outcome) -> None:
        """Count an attempt."""
        self.attempts[outcome_kind(outcome), outcome.reason] += 1

    @property
    def dead_letters(self) -> int:
        """How many deliveries were given up."""
        attempted = sum(count for (what, _), count in self.attempts.items() if what == "dead")
        return attempted + self.expired
