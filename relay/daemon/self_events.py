"""relay's own happenings, sent where the routes say."""

import asyncio
import os
import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from time import time_ns

import structlog

from relay import __version__
from relay.core.event import OWN_ENGINE, Event, Why, happening, rfc3339
from relay.core.exchange import Reason
from relay.delivery.circuit_breaker import Turn
from relay.routing.router import Router
from relay.store.faults import Loss
from relay.store.records import Intake, Outbox, Receipt

log = structlog.get_logger()


def own(action: str, facts: Mapping[str, str]) -> Event:
    """The event of something that happens now to relay as a whole or to a destination."""
    return happening(
        action,
        engine=OWN_ENGINE,
        host=socket.gethostname(),
        time_ns=time_ns(),
        name=facts.get("destination", "relay"),
        attributes=facts,
    )


class Announcer:
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
        self._shed = 0
        self._shed_since_ns = time_ns()
        self._turns: asyncio.Queue[tuple[str, Mapping[str, str]]] = asyncio.Queue()
        self._buried: defaultdict[str, Counter[Reason]] = defaultdict(Counter)
        self.removed = 0
        """How many deliveries were given up because their destinations are configured no more."""
        self.matches: Counter[str] = Counter()
        """Events of its own that a route matched, by the route's name."""
        self.news = news
        """Set when there is something to `declare`; whoever does clears it."""

    def heed(self, receipt: Receipt) -> None:
        """Take note of what a full store gave up."""
        self._shed = receipt.undeclared_shed
        if self._shed:
            self.news.set()

    def turn(self, turn: Turn, destination: str, facts: Mapping[str, str]) -> None:
        """A destination began to fail, or works again: told by `run`."""
        log.warning(turn.value.replace("_", ".", 1), destination=destination, **facts)
        self._turns.put_nowait((turn.value, {"destination": destination, **facts}))

    def bury(self, destination: str, reason: Reason, count: int = 1) -> None:
        """Deliveries were given up: to be declared."""
        self._buried[destination][reason] += count
        if reason is Reason.REMOVED:
            self.removed += count
        self.news.set()

    async def run(self) -> None:
        """Tell of turns as they come, until cancelled."""
        while True:
            await self._tell(*await self._turns.get())

    async def catch_up(self) -> None:
        """Tell of the turns that are left."""
        while not self._turns.empty():
            await self._tell(*self._turns.get_nowait())

    async def say(self, action: str) -> None:
        """``started``, ``stopped`` or ``heartbeat``."""
        await self._tell(action, {"version": __version__, "pid": str(os.getpid())})

    async def declare(self, losses: Sequence[Loss]) -> None:
        """A ``gap`` for each broken store that was set aside, and one for what was given up.

        A ``dead_letter`` for each destination that deliveries were given up for.
        """
        for loss in losses:
            facts = {
                "why": Why.STORE_BROKEN,
                "reason": f"the store was broken ({loss.reason}); it is kept as {loss.file}",
                "file": str(loss.file),
                "carried": str(loss.carried),
            }
            await self._tell("gap", facts, declares=[loss.number])
        await self._declare_shed()
        buried, self._buried = self._buried, defaultdict(Counter)
        for destination, reasons in buried.items():
            facts = {
                "destination": destination,
                "count": str(reasons.total()),
                "reason": ", ".join(f"{count} {reason}" for reason, count in reasons.items()),
            }
            await self._tell("dead_letter", facts)

    async def _declare_shed(self) -> None:
        if shed := self._shed:
            log.error("store.full", given_up=shed)
            until_ns = time_ns()
            facts = {
                "why": Why.STORE_FULL,
                "reason": f"the store is full; deliveries given up: {shed}",
                "count": str(shed),
                "from": rfc3339(self._shed_since_ns),
                "until": rfc3339(until_ns),
            }
            self._shed_since_ns = until_ns
            await self._tell("gap", facts, declares_shed=shed)

    async def _tell(
        self,
        action: str,
        facts: Mapping[str, str],
        *,
        declares: Sequence[int] = (),
        declares_shed: int = 0,
    ) -> None:
        event = own(action, facts)
        steps = self._router.route(event, self.matches)
        chosen = [(step.notification(event), step.destinations) for step in steps]
        intake = Intake(OWN_ENGINE, None, chosen, declares=declares, declares_shed=declares_shed)
        self.heed(await self._outbox.take_in(intake, self._now()))
