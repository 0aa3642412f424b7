"""What was counted since the start: plain numbers, which whoever wants to may read."""

from collections import Counter
from dataclasses import dataclass, field

from relay.event import Event, Origin
from relay.exchange import Outcome, Reason, kind


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

    def take(self, event: Event) -> None:
        """Count an event that is new."""
        self.taken_in += 1
        self.last_event_ns = event.time_ns

    def infer(self, events: list[Event]) -> None:
        """Count those of the events that the engine did not tell."""
        self.inferred.update(event.action for event in events if event.origin is Origin.INFERRED)


@dataclass(slots=True)
class DestinationTally:
    """What the attempts to reach one destination came to."""

    attempts: Counter[tuple[str, Reason]] = field(default_factory=Counter)
    """By the kind of outcome and its reason."""
    template_failures: int = 0
    """Templates that failed, so that a default was sent."""
    swept: int = 0
    """Deliveries given up for their age, without another attempt."""

    def count(self, outcome: Outcome) -> None:
        """Count an attempt."""
        self.attempts[kind(outcome), outcome.reason] += 1

    @property
    def dead(self) -> int:
        """How many deliveries were given up."""
        attempted = sum(count for (what, _), count in self.attempts.items() if what == "dead")
        return attempted + self.swept
