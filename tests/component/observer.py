"""What lanes say of their destinations, kept."""

from collections.abc import Mapping

from relay.core.exchange import Reason
from relay.delivery.circuit_breaker import Turn


class Heard:
    """Remembers what it is told, in order."""

    def __init__(self) -> None:
        self.turns: list[tuple[Turn, str, Mapping[str, str]]] = []
        self.buried: list[tuple[str, Reason, int]] = []

    def turn(self, turn: Turn, destination: str, facts: Mapping[str, str]) -> None:
        self.turns.append((turn, destination, facts))

    def bury(self, destination: str, reason: Reason, count: int = 1) -> None:
        self.buried.append((destination, reason, count))
