"""The way from a transaction to the delivery workers, without a query.

The store tells the worker of each destination what was committed for it and what was settled, in
the order of the transactions. A worker attaches itself while it runs. Without one nothing is kept:
everything is in the store, where the next worker fetches it.
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
    """Whether it is due at once; if not, another one of its chain is before it."""


class Receiver(Protocol):
    """A delivery worker, as the store sees it. No method waits."""

    def receive(self, committed: Sequence[Committed]) -> None:
        """Deliveries were committed, in this order."""
        ...

    def request_fetch(self, chains: Collection[int] | None = None) -> None:
        """Deliveries that `receive` does not list are due or will be. They have to be fetched.

        They are the latest of ``chains``; with None they may be of any chain.
        """
        ...

    def settled(self, acks: Sequence[Ack]) -> None:
        """These outcomes are stored, and what waited behind final ones is due."""
        ...

    def fail(self, error: BaseException) -> None:
        """Outcomes could not be stored, and that is not the disk's fault; or a method raised."""
        ...


class Handover:
    """Knows the workers that run, by their destinations."""

    def __init__(self) -> None:
        self._receivers: dict[str, Receiver] = {}

    def attach(self, destination: str, receiver: Receiver) -> None:
        """Inform ``receiver`` from now on. It has to fetch what was committed before."""
        self._receivers[destination] = receiver

    def detach(self, destination: str) -> None:
        """Inform nobody about this destination any longer."""
        self._receivers.pop(destination, None)

    def request_fetch(self, destinations: Collection[str] | None = None) -> None:
        """Request a fetch from the workers of these destinations; with None from all."""
        for destination in list(self._receivers) if destinations is None else destinations:
            if (receiver := self._receivers.get(destination)) is not None:
                with _failing(receiver):
                    receiver.request_fetch()

    def committed(self, batch: IngestCommit, result: CommitResult, now_ns: int) -> None:
        """Tell the workers what was committed.

        They have to fetch a heartbeat, because it replaces another one, and what waits for an
        answer of the engine that its notification is to include.
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
                if is_fetched or chain in to_fetch[to]:  # must not overtake one that is fetched
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
        """Tell the workers whose outcomes are stored."""
        by_destination: defaultdict[str, list[Ack]] = defaultdict(list)
        for ack in acks:
            by_destination[ack.delivery.destination].append(ack)
        for destination, own_acks in by_destination.items():
            if (receiver := self._receivers.get(destination)) is not None:
                with _failing(receiver):
                    receiver.settled(own_acks)

    def fail(self, destinations: Collection[str], error: BaseException) -> None:
        """Tell the workers that their outcomes could not be stored."""
        for destination in destinations:
            if (receiver := self._receivers.get(destination)) is not None:
                receiver.fail(error)


@contextmanager
def _failing(receiver: Receiver) -> Iterator[None]:
    """Let a receiver fail with the error that it raises: nobody else would see it."""
    try:
        yield
    except Exception as error:
        receiver.fail(error)
