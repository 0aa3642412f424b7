"""What happened at the hosts of a fleet, and what reached the receiver by way of its hubs.

Each event has a number of its own within its container, counted from 0, so that whatever is lost,
repeated or late shows.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

Container = tuple[str, str]
"""A host and the name of a container; many hosts have one of the same name."""
Key = tuple[str, str, int]
"""The number of an event with its container."""

FAULTS = (
    "lost",
    "unknown",
    "under two ids",
    "repeated without a kill of the hub",
    "out of order",
)
"""What must not happen in any run."""


@dataclass
class Ledger:
    """Which events were made, and which arrived."""

    made: Counter[Container] = field(default_factory=Counter)
    """How many events of each container were made."""
    ids: defaultdict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The notification ids under which each event arrived."""
    lives: defaultdict[Key, set[tuple[str, int]]] = field(default_factory=lambda: defaultdict(set))
    """Which hub sent an event, and which of its lives: a kill begins the next one."""
    unexplained_repeats: int = 0
    """How often an event came again from a hub that had not been killed meanwhile."""
    repeats: Counter[str] = field(default_factory=Counter)
    """How often a hub sent an event again after it was killed."""
    across_hubs: int = 0
    """How often an event came from a second hub."""
    out_of_order: int = 0
    """How often a hub sent an event after a later one of its container, which it or, although it
    had never been killed, another hub had sent."""
    late: int = 0
    """How often an event came after a later one of its container that another hub had sent: it
    waited in the store of a hub that was dead."""
    arrived: Counter[str] = field(default_factory=Counter)
    """How many different events of each host arrived."""
    last_hub: str = ""
    """The hub that sent the last event."""
    _made_by: Counter[str] = field(default_factory=Counter)
    _last: dict[tuple[str, Container], int] = field(default_factory=dict)
    _last_of_all: dict[Container, int] = field(default_factory=dict)

    def make(self, host: str, container: str) -> int:
        """Note a new event of a container; return its number."""
        number = self.made[host, container]
        self.made[host, container] += 1
        self._made_by[host] += 1
        return number

    def expect(self, counts: Mapping[Container, int]) -> None:
        """Note how many events of these containers were made in all."""
        for key, count in counts.items():
            self._made_by[key[0]] += count - self.made[key]
            self.made[key] = count

    def arrive(self, hub: str, life: int, key: Key, id_: str) -> None:
        """Note that the receiver accepted an event from a hub."""
        self.last_hub = hub
        container, number = key[:2], key[2]
        lives = self.lives[key]
        self.ids[key].add(id_)
        if not lives:
            self.arrived[key[0]] += 1
            self._check_order(hub, life, container, number)
        elif (hub, life) in lives:
            self.unexplained_repeats += 1
        elif any(other == hub for other, _ in lives):
            self.repeats[hub] += 1
        else:
            self.across_hubs += 1
        lives.add((hub, life))

    def _check_order(self, hub: str, life: int, container: Container, number: int) -> None:
        """Compare an event that came for the first time with those before it."""
        if number < self._last.get((hub, container), -1):
            self.out_of_order += 1
        elif number < self._last_of_all.get(container, -1):
            if life == 1:  # it was never dead
                self.out_of_order += 1
            else:
                self.late += 1
        self._last[hub, container] = max(number, self._last.get((hub, container), -1))
        self._last_of_all[container] = max(number, self._last_of_all.get(container, -1))

    def missing_of(self, host: str) -> int:
        """How many events of a host were made that have not arrived."""
        return self._made_by[host] - self.arrived[host]

    @property
    def missing(self) -> int:
        """How many events were made that have not arrived, if all that arrived were made."""
        return self.made.total() - len(self.ids)

    def verdict(self) -> dict[str, int]:
        """Return all figures. Call it once everything was made and `expect`ed."""
        return {
            "events": self.made.total(),
            "arrived": len(self.ids),
            "lost": self.made.total() - sum(map(self._was_made, self.ids)),
            "unknown": sum(not self._was_made(key) for key in self.ids),
            "under two ids": sum(len(ids) > 1 for ids in self.ids.values()),
            "repeated without a kill of the hub": self.unexplained_repeats,
            "repeated after a kill of the hub": self.repeats.total(),
            "repeated by another hub": self.across_hubs,
            "out of order": self.out_of_order,
            "late from the store of a dead hub": self.late,
        }

    def _was_made(self, key: Key) -> bool:
        return 0 <= key[2] < self.made[key[:2]]


def is_clean(verdict: Mapping[str, object]) -> bool:
    """Return whether all promises were kept."""
    return not any(verdict[fault] for fault in FAULTS)
