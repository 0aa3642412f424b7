"""relay's own happenings, sent where the routes say."""

import asyncio
import os
import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from time import time_ns

import structlog

from relay import __version__
from relay.core.event import RELAY_ENGINE, Event, GapReason, format_rfc3339, make_self_event
from relay.core.exchange import Reason
from relay.delivery.circuit_breaker import HealthChange
from relay.routing.router import Router
from relay.store.faults import StoreLoss
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, IngestCommit

log = structlog.get_logger()


def self_event(action: str, facts: Mapping[str, str]) -> Event:
    """The event of something that happens now to relay as a whole or to a destination."""
    return make_self_event(
        action,
        engine=RELAY_ENGINE,
        host=socket.gethostname(),
        time_ns=time_ns(),
        name=facts.get("destination", "relay"),
        attributes=facts,
    )


class SelfEvents:
    """Makes events of what happens to relay as a whole, and commits what they give rise to.

    An event about a destination is never sent to that destination.
    """

    def __init__(
        self, router: Router, outbox: Outbox, now: Callable[[], int], news: asyncio.Event
    ) -> None:
        """``now`` is the clock by which deliveries are due; ``news`` is set if the store broke."""
        self._router = router
        self._outbox = outbox
        self._now = now
        self._evicted = 0
        self._evicted_since_ns = time_ns()
        self._health_changes: asyncio.Queue[tuple[str, Mapping[str, str]]] = asyncio.Queue()
        self._dead_letters: defaultdict[str, Counter[Reason]] = defaultdict(Counter)
        self.removed_deliveries = 0
        """How many deliveries were given up because their destinations are configured no more."""
        self.matches: Counter[str] = Counter()
        """Events of its own that a route matched, by the route's name."""
        self.losses_pending = news
        """Set when there is something to `declare`; whoever does clears it."""

    def on_commit(self, receipt: CommitResult) -> None:
        """Take note of what a full store gave up."""
        self._evicted = receipt.undeclared_evictions
        if self._evicted:
            self.losses_pending.set()

    def health_changed(
        self, change: HealthChange, destination: str, facts: Mapping[str, str]
    ) -> None:
        """A destination began to fail, or works again: told by `run`."""
        log.warning(change.value.replace("_", ".", 1), destination=destination, **facts)
        self._health_changes.put_nowait((change.value, {"destination": destination, **facts}))

    def dead_lettered(self, destination: str, reason: Reason, count: int = 1) -> None:
        """Deliveries were given up: to be declared."""
        self._dead_letters[destination][reason] += count
        if reason is Reason.DESTINATION_REMOVED:
            self.removed_deliveries += count
        self.losses_pending.set()

    async def run(self) -> None:
        """Tell of turns as they come, until cancelled."""
        while True:
            await self._commit_event(*await self._health_changes.get())

    async def drain(self) -> None:
        """Tell of the turns that are left."""
        while not self._health_changes.empty():
            await self._commit_event(*self._health_changes.get_nowait())

    async def emit(self, action: str) -> None:
        """``started``, ``stopped`` or ``heartbeat``."""
        await self._commit_event(action, {"version": __version__, "pid": str(os.getpid())})

    async def emit_losses(self, losses: Sequence[StoreLoss]) -> None:
        """A ``gap`` for each broken store that was set aside, and one for what was given up.

        A ``dead_letter`` for each destination that deliveries were given up for.
        """
        for loss in losses:
            facts = {
                "why": GapReason.STORE_BROKEN,
                "reason": f"the store was broken ({loss.reason}); it is kept as {loss.file}",
                "file": str(loss.file),
                "carried": str(loss.recovered),
            }
            await self._commit_event("gap", facts, declares=[loss.number])
        await self._emit_evictions()
        buried, self._dead_letters = self._dead_letters, defaultdict(Counter)
        for destination, reasons in buried.items():
            facts = {
                "destination": destination,
                "count": str(reasons.total()),
                "reason": ", ".join(f"{count} {reason}" for reason, count in reasons.items()),
            }
            await self._commit_event("dead_letter", facts)

    async def _emit_evictions(self) -> None:
        if shed := self._evicted:
            log.error("store.full", given_up=shed)
            until_ns = time_ns()
            facts = {
                "why": GapReason.STORE_FULL,
                "reason": f"the store is full; deliveries given up: {shed}",
                "count": str(shed),
                "from": format_rfc3339(self._evicted_since_ns),
                "until": format_rfc3339(until_ns),
            }
            self._evicted_since_ns = until_ns
            await self._commit_event("gap", facts, declares_shed=shed)

    async def _commit_event(
        self,
        action: str,
        facts: Mapping[str, str],
        *,
        declares: Sequence[int] = (),
        declares_shed: int = 0,
    ) -> None:
        event = self_event(action, facts)
        steps = self._router.route(event, self.matches)
        chosen = [(step.build_notification(event), step.destinations) for step in steps]
        intake = IngestCommit(
            RELAY_ENGINE, None, chosen, declared_losses=declares, declared_evictions=declares_shed
        )
        self.on_commit(await self._outbox.commit(intake, self._now()))
