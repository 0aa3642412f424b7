"""An observer that records what workers report of their destinations."""

from collections.abc import Mapping

from relay.core.exchange import Reason
from relay.delivery.circuit_breaker import HealthChange


class RecordingObserver:
    """Keeps what is reported, in order."""

    def __init__(self) -> None:
        self.health_changes: list[tuple[HealthChange, str, Mapping[str, str]]] = []
        self.dead_letters: list[tuple[str, Reason, int]] = []
        self.messages: list[tuple[str, str, Reason | None]] = []

    def health_changed(
        self, change: HealthChange, destination: str, facts: Mapping[str, str]
    ) -> None:
        self.health_changes.append((change, destination, facts))

    def dead_lettered(self, destination: str, reason: Reason, count: int = 1) -> None:
        self.dead_letters.append((destination, reason, count))

    def message_settled(
        self, destination: str, message_id: str, given_up: Reason | None = None
    ) -> None:
        self.messages.append((destination, message_id, given_up))
