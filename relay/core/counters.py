"""What was counted since the start: plain numbers, which whoever wants to may read."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate

from relay.core.event import Event, Origin
from relay.core.exchange import Outcome, Reason, kind


@dataclass(slots=True)
class EngineTally:
    """What one engine's stream came to."""

    opened: int = 0
    """How often its stream was opened."""
    received: int = 0
    """Events, whatever became of them."""
    taken_in: int = 0
    """Those that were new."""
    repeated: int = 0
    """Those that were taken in before: an engine tells what it remembers over again."""
    malformed: Counter[str] = field(default_factory=Counter)
    """Records that are no events, by their flaw."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Records that found no room, by why."""
    gaps: Counter[str] = field(default_factory=Counter)
    """Stretches that may be incomplete, by why."""
    inferred: Counter[str] = field(default_factory=Counter)
    """Events that the engine did not tell, by action."""
    shed: int = 0
    """Deliveries that a full store gave up as the engine's events came."""
    letters_shed: int = 0
    """Dead letters that went for the same reason."""
    last_event_ns: int = 0
    """The engine's time of the event that was taken in last."""
    matches: Counter[str] = field(default_factory=Counter)
    """Events that a route matched, by its name, whatever came of it there."""

    @property
    def reconnects(self) -> int:
        """How often its stream was opened again."""
        return max(0, self.opened - 1)

    def take(self, event: Event) -> None:
        """Count an event that is new."""
        self.taken_in += 1
        self.last_event_ns = event.time_ns

    def infer(self, events: list[Event]) -> None:
        """Count those of the events that the engine did not tell."""
        for event in events:
            if event.origin is Origin.INFERRED:
                self.inferred[event.action] += 1


LATENCIES_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0)
"""The bounds that latencies are counted by: from at once, over several retries, to an outage."""


@dataclass(slots=True)
class Latencies:
    """How long it took, as numbers that stay few."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCIES_S) + 1))
    """How many took up to each of `LATENCIES_S` and more than the one before it; then the rest."""
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one; where two clocks disagree it can seem less than nothing, and counts as 0."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(LATENCIES_S, seconds)] += 1
        self.sum_s += seconds

    @property
    def up_to(self) -> list[int]:
        """How many took up to each of `LATENCIES_S`; then all."""
        return list(accumulate(self.counts))


@dataclass(slots=True)
class DestinationTally:
    """What the attempts to reach one destination came to."""

    attempts: Counter[tuple[str, Reason]] = field(default_factory=Counter)
    """By the kind of outcome and its reason."""
    template_failures: int = 0
    """Templates that failed, so that a default was sent."""
    swept: int = 0
    """Deliveries given up for their age, without another attempt."""
    latencies: Latencies = field(default_factory=Latencies)
    """From the event to the answer that took it."""

    def count(self, outcome: Outcome) -> None:
        """Count an attempt."""
        self.attempts[kind(outcome), outcome.reason] += 1

    @property
    def dead(self) -> int:
        """How many deliveries were given up."""
        attempted = sum(count for (what, _), count in self.attempts.items() if what == "dead")
        return attempted + self.swept
