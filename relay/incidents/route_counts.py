"""The conservation of events: what was taken was reported, waits to be reported, or was held
back."""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace


class RouteCounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The events of one route at one destination, since the first start. It is stored as a row."""

    destination: str
    route: str
    taken: int = 0
    """How many the route took for the destination, as incidents or in groups."""
    reported: int = 0
    """How many the destination's messages stand for."""
    held: Mapping[str, int] = {}
    """How many were held back, by reason."""

    def add(self, *, taken: int = 0, reported: int = 0) -> "RouteCounts":
        """Return the counts with more events."""
        return replace(self, taken=self.taken + taken, reported=self.reported + reported)

    def hold(self, reason: str, count: int) -> "RouteCounts":
        """Return the counts with more events that were held back."""
        return replace(self, held={**self.held, reason: self.held.get(reason, 0) + count})


class Balance(msgspec.Struct, frozen=True):
    """Where the events of one route at one destination are."""

    taken: int
    reported: int
    waiting: int
    held: Mapping[str, int]

    @property
    def is_complete(self) -> bool:
        """Whether none is lost."""
        return self.taken == self.reported + self.waiting + sum(self.held.values())
