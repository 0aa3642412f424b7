"""relay's own happenings, sent where the routes say."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from time import time_ns

import structlog

from relay import __version__
from relay.event import OWN_ENGINE, Why, happening, rfc3339
from relay.routing.router import Router
from relay.store.outbox import Intake, Outbox, Receipt
from relay.store.trouble import Loss

log = structlog.get_logger()


class Announcer:
    """Makes events of what happens to relay as a whole, and commits what they give rise to."""

    def __init__(
        self, router: Router, outbox: Outbox, now: Callable[[], int], news: asyncio.Event
    ) -> None:
        """``now`` is the clock by which deliveries are due; ``news`` is set if the store broke."""
        self._router = router
        self._outbox = outbox
        self._now = now
        self._shed = 0
        self._shed_since_ns = time_ns()
        self.news = news
        """Set when there is something to `declare`; whoever does clears it."""

    def heed(self, receipt: Receipt) -> None:
        """Take note of what a full store gave up."""
        self._shed = receipt.undeclared_shed
        if self._shed:
            self.news.set()

    async def say(self, action: str) -> None:
        """``started`` or ``stopped``."""
        await self._tell(action, {"version": __version__, "pid": str(os.getpid())})

    async def declare(self, losses: Sequence[Loss]) -> None:
        """A ``gap`` for each broken store that was set aside, and one for what was given up."""
        for loss in losses:
            facts = {
                "why": Why.STORE_BROKEN,
                "reason": f"the store was broken ({loss.reason}); it is kept as {loss.file}",
                "file": str(loss.file),
                "carried": str(loss.carried),
            }
            await self._tell("gap", facts, declares=[loss.number])
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
        event = happening(
            action,
            engine=OWN_ENGINE,
            host=socket.gethostname(),
            time_ns=time_ns(),
            name="relay",
            attributes=facts,
        )
        chosen = [
            (step.notification(event), step.destinations) for step in self._router.route(event)
        ]
        intake = Intake(OWN_ENGINE, None, chosen, declares=declares, declares_shed=declares_shed)
        self.heed(await self._outbox.take_in(intake, self._now()))
