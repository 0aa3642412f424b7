"""relay's own happenings, sent where the routes say."""

import os
import socket
from collections.abc import Callable, Mapping
from time import time_ns

import structlog

from relay import __version__
from relay.event import OWN_ENGINE, happening
from relay.notification import notify
from relay.routing.router import Router
from relay.store.outbox import Intake, Outbox
from relay.store.trouble import Loss

log = structlog.get_logger()


class Announcer:
    """Makes events of what happens to relay as a whole, and commits what they give rise to."""

    def __init__(self, router: Router, outbox: Outbox, now: Callable[[], int]) -> None:
        """``now`` is the clock by which deliveries are due."""
        self._router = router
        self._outbox = outbox
        self._now = now

    async def say(self, action: str) -> None:
        """``started`` or ``stopped``."""
        await self._tell(action, {"version": __version__, "pid": str(os.getpid())})

    async def declare(self, loss: Loss) -> None:
        """A ``gap``: a broken store was set aside."""
        facts = {
            "why": "store_broken",
            "reason": f"the store was broken ({loss.reason}); it is kept as {loss.file}",
            "file": str(loss.file),
            "carried": str(loss.carried),
        }
        await self._tell("gap", facts)

    async def _tell(self, action: str, facts: Mapping[str, str]) -> None:
        event = happening(
            action,
            engine=OWN_ENGINE,
            host=socket.gethostname(),
            time_ns=time_ns(),
            name="relay",
            attributes=facts,
        )
        chosen = [
            (notify(step.route.name, event), step.destinations)
            for step in self._router.route(event)
        ]
        receipt = await self._outbox.take_in(Intake(OWN_ENGINE, None, chosen), self._now())
        if receipt.shed:
            log.error("store.full", given_up=receipt.shed)
