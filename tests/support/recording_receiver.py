"""A delivery worker that only records what the store passes to it."""

from collections.abc import Collection, Sequence

from relay.store.handover import Committed
from relay.store.outbox import Outbox
from relay.store.records import Ack


class RecordingReceiver:
    """A `relay.store.handover.Receiver`."""

    def __init__(self, outbox: Outbox, destination: str) -> None:
        self.clear()
        outbox.attach(destination, self)

    @property
    def was_informed(self) -> bool:
        """Whether the store has passed on a delivery, a request or an outcome since `clear`."""
        return bool(self.committed or self.fetch_requests or self.acks)

    def clear(self) -> None:
        """Forget everything."""
        self.committed: list[Committed] = []
        self.fetch_requests: list[Collection[int] | None] = []
        self.acks: list[Ack] = []
        self.errors: list[BaseException] = []

    def receive(self, committed: Sequence[Committed]) -> None:
        self.committed += committed

    def request_fetch(self, chains: Collection[int] | None = None) -> None:
        self.fetch_requests.append(chains)

    def settled(self, acks: Sequence[Ack]) -> None:
        self.acks += acks

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)
