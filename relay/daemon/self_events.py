"""relay's own events: what happens to relay itself, routed and delivered like any other event.

Without them nobody would learn that relay has started or stopped, that a destination fails, or that
deliveries were lost. They have the type ``relay`` and are sent only where a route names that type;
an event about a destination is never sent to that destination.

Other parts of the daemon only leave a note here (`health_changed`, `engine_changed`,
`dead_lettered`, `on_commit`), because they must not wait for the disk. Tasks of the daemon turn the
notes into events and commit these: `run` each change as it happens, `emit_losses` the losses, at
most once a minute, and `drain` what is left when relay stops. A loss that is not committed then is
reported after the next start if the store knows of it; every other note is lost.
"""

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
from relay.daemon.incidents import is_refusal
from relay.delivery.circuit_breaker import HealthChange
from relay.incidents.incidents import Incidents
from relay.routing.router import Router
from relay.store.faults import StoreLoss
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, IngestCommit

log = structlog.get_logger()


def self_event(action: str, attributes: Mapping[str, str], engine: str = RELAY_ENGINE) -> Event:
    """Return the event of something that happens now to relay, a destination or an engine."""
    return make_self_event(
        action,
        engine=engine,
        host=socket.gethostname(),
        time_ns=time_ns(),
        name=attributes.get("destination", engine),
        attributes=attributes,
    )


class SelfEvents:
    """Makes relay's own events, routes them and commits their deliveries."""

    def __init__(
        self,
        router: Router,
        outbox: Outbox,
        incidents: Incidents,
        now: Callable[[], int],
        losses_pending: asyncio.Event,
    ) -> None:
        """``now`` is the clock by which deliveries are due; the store sets ``losses_pending``."""
        self._router = router
        self._outbox = outbox
        self._incidents = incidents
        self._now = now
        self._changes: asyncio.Queue[tuple[str, Mapping[str, str], str]] = asyncio.Queue()
        """The actions, the attributes and the engines of events that `run` commits."""
        self._dead_letters: defaultdict[str, Counter[Reason]] = defaultdict(Counter)
        self._evicted = 0
        """How many deliveries a full store has given up that no event has reported yet."""
        self._evicted_since_ns = time_ns()
        self.removed_deliveries = 0
        """How many deliveries were given up because their destination is no longer configured."""
        self.matches: Counter[str] = Counter()
        """How many of relay's own events each route matched."""
        self.losses_pending = losses_pending
        """Set when `emit_losses` has something to report; its caller clears it before the call."""

    def on_commit(self, result: CommitResult) -> None:
        """Note the deliveries that a full store has given up."""
        for destination, message_id in result.evicted_messages:
            self._incidents.dead_lettered(destination, message_id, refused=True)
        self._evicted = result.undeclared_evictions
        if self._evicted:
            self.losses_pending.set()

    def health_changed(
        self, change: HealthChange, destination: str, facts: Mapping[str, str]
    ) -> None:
        """Log that a destination began to fail or has recovered, and note it for `run`."""
        log.warning(change.value.replace("_", ".", 1), destination=destination, **facts)
        attributes = {"destination": destination, **facts}
        self._changes.put_nowait((change.value, attributes, RELAY_ENGINE))

    def engine_changed(self, action: str, engine: str, attributes: Mapping[str, str]) -> None:
        """Note for `run` that an engine was lost or is back."""
        self._changes.put_nowait((action, attributes, engine))

    def dead_lettered(self, destination: str, reason: Reason, count: int = 1) -> None:
        """Note that deliveries were given up, for `emit_losses`."""
        self._dead_letters[destination][reason] += count
        if reason is Reason.DESTINATION_REMOVED:
            self.removed_deliveries += count
        self.losses_pending.set()

    def message_settled(
        self, destination: str, message_id: str, given_up: Reason | None = None
    ) -> None:
        """Inform the incidents that a message about them was delivered, or given up."""
        if given_up is None:
            self._incidents.settled(destination, message_id, delivered=True)
        else:
            refused = is_refusal(given_up)
            self._incidents.dead_lettered(destination, message_id, refused=refused)

    async def run(self) -> None:
        """Emit changes of destinations and engines as they come, until cancelled."""
        while True:
            await self._commit_event(*await self._changes.get())

    async def drain(self) -> None:
        """Emit the changes that are left."""
        while not self._changes.empty():
            await self._commit_event(*self._changes.get_nowait())

    async def emit(self, action: str) -> None:
        """Emit ``started``, ``stopped`` or ``heartbeat``."""
        await self._commit_event(action, {"version": __version__, "pid": str(os.getpid())})

    async def emit_losses(self, losses: Sequence[StoreLoss]) -> None:
        """Emit what was lost: everything in ``losses``, and what was noted since the last time.

        That is a ``gap`` for each corrupt store that was set aside, a ``gap`` for what a full store
        has given up, and a ``dead_letter`` for each destination with new dead letters.
        """
        for loss in losses:
            facts = {
                "why": GapReason.STORE_BROKEN,
                "reason": f"the store was broken ({loss.reason}); it is kept as {loss.file}",
                "file": str(loss.file),
                "carried": str(loss.recovered),
            }
            await self._commit_event("gap", facts, declared_losses=[loss.number])
        await self._emit_evictions()
        dead_letters, self._dead_letters = self._dead_letters, defaultdict(Counter)
        for destination, reasons in dead_letters.items():
            facts = {
                "destination": destination,
                "count": str(reasons.total()),
                "reason": ", ".join(f"{count} {reason}" for reason, count in reasons.items()),
            }
            await self._commit_event("dead_letter", facts)

    async def _emit_evictions(self) -> None:
        evicted = self._evicted
        if not evicted:
            return
        log.error("store.full", given_up=evicted)
        until_ns = time_ns()
        facts = {
            "why": GapReason.STORE_FULL,
            "reason": f"the store is full; deliveries given up: {evicted}",
            "count": str(evicted),
            "from": format_rfc3339(self._evicted_since_ns),
            "until": format_rfc3339(until_ns),
        }
        self._evicted_since_ns = until_ns
        await self._commit_event("gap", facts, declared_evictions=evicted)

    async def _commit_event(
        self,
        action: str,
        facts: Mapping[str, str],
        engine: str = RELAY_ENGINE,
        *,
        declared_losses: Sequence[int] = (),
        declared_evictions: int = 0,
    ) -> None:
        """Route an event and commit its deliveries, and that these losses are reported.

        Both are one commit, so that each loss is reported exactly once.
        """
        event = self_event(action, facts, engine)
        matching = self._router.route(event, self.matches)
        batch = IngestCommit(
            RELAY_ENGINE,
            None,
            self._incidents.take([(event, matching)]),
            declared_losses=declared_losses,
            declared_evictions=declared_evictions,
            incident_rows=self._incidents.take_changes(),
        )
        self.on_commit(await self._outbox.commit(batch, self._now()))
