"""Passes on to the delivery workers what a transaction has stored, so that they need no query.

Each worker attaches itself while it runs. It is informed of what was committed for its destination
and which outcomes are stored, in the order of the transactions. For a destination without a worker
nothing is kept: the next worker fetches it from the store.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from relay.store.records import Ack, CommitResult, Delivery, IngestCommit, is_heartbeat


class Committed(NamedTuple):
    """A delivery that was just committed."""

    delivery: Delivery
    is_due: bool
    """Whether it is due at once. If not, it waits for another one of its chain."""


class Receiver(Protocol):
    """The methods of a delivery worker that the store calls. None of them waits."""

    def receive(self, committed: Sequence[Committed]) -> None:
        """Deliveries were committed, in this order."""
        ...

    def request_fetch(self, chains: Collection[int] | None = None) -> None:
        """Deliveries that `receive` does not list have to be fetched when they are due.

        They are the latest of ``chains``; with None they may be of any chain.
        """
        ...

    def settled(self, acks: Sequence[Ack]) -> None:
        """These outcomes are stored. The successors of deliveries with a final one are due."""
        ...

    def fail(self, error: BaseException) -> None:
        """Outcomes could not be stored because of a bug, or a method of the worker raised this."""
        ...


class Handover:
    """Informs the workers that are running."""

    def __init__(self) -> None:
        self._receivers: dict[str, Receiver] = {}

    def attach(self, destination: str, receiver: Receiver) -> None:
        """Inform ``receiver`` from now on. It has to fetch what was committed earlier."""
        self._receivers[destination] = receiver

    def detach(self, destination: str) -> None:
        """Inform the worker of this destination no longer."""
        self._receivers.pop(destination, None)

    def request_fetch(self, destinations: Collection[str] | None = None) -> None:
        """Request a fetch from the workers of these destinations; with None from all."""
        for destination in list(self._receivers) if destinations is None else destinations:
            if (receiver := self._receivers.get(destination)) is not None:
                with _failing(receiver):
                    receiver.request_fetch()

    def committed(self, batch: IngestCommit, result: CommitResult, now_ns: int) -> None:
        """Pass on what was committed.

        Two kinds are not passed on, but have to be fetched: a heartbeat, because it replaces
        another one, and a delivery whose notification is still to be completed.
        """
        passed: defaultdict[str, list[Committed]] = defaultdict(list)
        to_fetch: defaultdict[str, set[int]] = defaultdict(set)
        rows = zip(batch.notifications, result.seqs, result.chains, result.sizes, strict=True)
        for (notification, destinations), seqs, chains, size in rows:
            is_fetched = (
                notification.include is not None
                or is_heartbeat(notification.events[0])
                or len(seqs) < len(destinations)  # some were evicted; which ones is not known
            )
            for place, (to, chain) in enumerate(zip(destinations, chains, strict=True)):
                if is_fetched or chain in to_fetch[to]:  # it must not overtake one to be fetched
                    to_fetch[to].add(chain)
                else:
                    seq = seqs[place]
                    delivery = Delivery(seq, to, notification, now_ns, 0, chain, size)
                    passed[to].append(Committed(delivery, seq in result.due))
        for to, receiver in self._receivers.items():
            with _failing(receiver):
                if to in passed:
                    receiver.receive(passed[to])
                if to_fetch.get(to):
                    receiver.request_fetch(to_fetch[to])

    def settled(self, acks: Sequence[Ack]) -> None:
        """Pass on which outcomes are stored."""
        by_destination: defaultdict[str, list[Ack]] = defaultdict(list)
        for ack in acks:
            by_destination[ack.delivery.destination].append(ack)
        for destination, own_acks in by_destination.items():
            if (receiver := self._receivers.get(destination)) is not None:
                with _failing(receiver):
                    receiver.settled(own_acks)

    def fail(self, destinations: Collection[str], error: BaseException) -> None:
        """Let the workers of these destinations fail: their outcomes could not be stored."""
        for destination in destinations:
            if (receiver := self._receivers.get(destination)) is not None:
                receiver.fail(error)


@contextmanager
def _failing(receiver: Receiver) -> Iterator[None]:
    """Let the receiver fail with an error that it raises: no caller would see it otherwise."""
    try:
        yield
    except Exception as error:
        receiver.fail(error)
